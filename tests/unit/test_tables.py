"""Tables 1 to 3 and the claims, and what their renderings read back as."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from moco_transfer import config
from moco_transfer.report.tables import auroc_records, auroc_table, interval_name, source_title, write_table
from moco_transfer.statistics.evidence import read_reference
from moco_transfer.tables.claims import claims_summary
from moco_transfer.tables.hyperparameters import hyperparameter_rows

ROOT = Path(__file__).parents[2]
NASTY = "50% of A_1 & <b>|x|</b> #2 $3 {~^\\}"
PAPERS_TABLE_1 = """\
MoCo pretraining|VinDr-SpineXR|500|64|0.002|SGD (Weight Decay=1e-4, momentum=0.9)|Cosine Annealing
MoCo pretraining|MIMIC-CXR|100|256|0.002|SGD (Weight Decay=1e-4, momentum=0.9)|Cosine Annealing
Finetuning|VinDr-SpineXR|25, 50, 100, 200|16|0.001|SGD (Weight Decay=1e-4, momentum=0.9)|Cosine Annealing
Finetuning|MIMIC-CXR|25, 50, 100, 200|48|0.0005|Adam|Cosine Annealing"""


class Cells(HTMLParser):
    """Collects the text of the cells of a page, and every tag."""

    def __init__(self, page: str):
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        self.text += data
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip("\n")


@pytest.fixture
def reference() -> pd.DataFrame:
    return read_reference(*(ROOT / "workflow" / "reference" / f"table{n}.csv" for n in (2, 3)))


@pytest.fixture
def estimates() -> pd.DataFrame:
    columns = [
        "target",
        "source",
        "mode",
        "percent",
        "n_labeled",
        "epochs",
        "selected",
        "n_subsets",
        "auroc",
        "macro",
    ]
    rows = [
        ("spine", "none", "linear", "1", 58, 100, True, 3, 0.61),
        ("spine", "limited", "linear", "1", 58, 100, True, 3, 0.62),
        ("spine", "spine+chest", "linear", "1", 58, 100, True, 3, 0.63),
        ("spine", "none", "end_to_end", "1", 58, 25, False, 3, 0.64),
        ("spine", "none", "end_to_end", "1", 58, 50, True, 3, 0.65),
        ("spine", "none", "linear", "0.5", 29, 100, True, 3, 0.60),
        ("chest", "none", "linear", "1", 2257, 100, True, 3, 0.70),
    ]
    frame = pd.DataFrame([(*row, row[-1]) for row in rows], columns=columns)
    frame = frame.assign(median=frame["auroc"], lower=frame["auroc"] - 0.01, upper=frame["auroc"] + 0.012)
    return frame.assign(se_test=0.01, se_subset=0.02, se=0.0224)


def write(folder: Path, frame: pd.DataFrame, **arguments) -> dict[str, str]:
    paths = {form: folder / f"table.{form}" for form in ("csv", "md", "tex", "html")}
    write_table(frame, paths, **arguments)
    return {form: path.read_text(encoding="utf-8") for form, path in paths.items()}


def test_table_1_of_the_papers_configuration_is_the_papers():
    paper = config.check(yaml.safe_load((ROOT / "config" / "config.yaml").read_text()))
    table = pd.DataFrame(hyperparameter_rows(paper))
    rows = table.astype(str).agg("|".join, axis=1)
    both = table["Dataset"].str.contains("+", regex=False)
    assert "\n".join(rows[~both]) == PAPERS_TABLE_1
    assert table.loc[both, ["Experiment", "Epochs"]].to_numpy().tolist() == [["MoCo pretraining", "100"]]


def test_an_auroc_table_holds_the_selected_estimates_of_its_target(estimates):
    table = auroc_table(estimates, "spine", "Spine", None)
    assert table[("", "Lab. % (#)")].tolist() == ["0.5% (29)", "1% (58)"]
    linear = table["MoCo + Linear Finetuning on Spine"]
    assert linear.columns.tolist() == ["No MoCo", "Spine+Chest MoCo", "Limited MoCo"]
    assert linear.to_numpy().tolist() == [
        ["0.600 (0.590–0.612)", "", ""],
        ["0.610 (0.600–0.622)", "0.630 (0.620–0.642)", "0.620 (0.610–0.632)"],
    ]
    assert table["MoCo + End-to-end Finetuning on Spine"]["No MoCo"].tolist() == ["", "0.650 (0.640–0.662)"]


def test_the_papers_values_stand_beside_ours_with_their_own_counts(estimates, reference):
    table = auroc_table(estimates, "chest", "Chest", reference)
    assert table.iloc[:, :2].to_numpy().tolist() == [
        ["0.05% (112)", "paper"],
        ["0.1% (225)", "paper"],
        ["1% (2257)", "this run"],
        ["1% (2257)", "paper"],
        ["10% (22572)", "paper"],
    ]
    linear = table["MoCo + Linear Finetuning on Chest"]
    assert linear.columns.tolist() == ["No MoCo", "Spine MoCo", "Chest MoCo"]
    assert linear.iloc[2].tolist() == ["0.700 (0.690–0.712)", "", ""]
    assert linear.iloc[3].tolist() == ["0.752 (0.751–0.754)", "0.752 (0.751–0.754)", "0.786 (0.784–0.787)"]


def test_records_hold_every_estimate_and_every_value_of_the_paper_once(estimates, reference):
    records = auroc_records(estimates, "spine", reference)
    assert records["auroc"].notna().sum() == 6
    assert records["paper_median"].notna().sum() == len(reference[reference["target"] == "spine"]) == 18
    assert not records.duplicated(["source", "mode", "percent", "epochs"]).any()
    cell = records.set_index(["mode", "source", "percent", "epochs"])
    assert cell.loc[("end_to_end", "none", "1", 50), "paper_median"] == 0.668
    assert np.isnan(cell.loc[("end_to_end", "none", "1", 25), "paper_median"])
    pd.testing.assert_frame_equal(
        auroc_records(estimates, "spine", None),
        estimates[estimates["target"] == "spine"].reset_index(drop=True),
    )


def test_names():
    assert [source_title(name) for name in ("none", "spine", "limited")] == [
        "No MoCo",
        "Spine MoCo",
        "Limited MoCo",
    ]
    assert interval_name([5, 95]) == "5%-95% percentiles, a 90% interval"
    assert interval_name([2.5, 97.5]) == "2.5%-97.5% percentiles, a 95% interval"


def test_every_format_reads_back_as_the_text_that_went_in(tmp_path):
    frame = pd.DataFrame({"name": [NASTY, None], "n": [1, 2]})
    texts = write(tmp_path, frame, caption=NASTY, note="Phantom data, not radiographs")
    back = pd.read_csv(tmp_path / "table.csv")
    assert back["name"][0] == NASTY and back["n"].tolist() == [1, 2]
    assert set(back["data"]) == {"Phantom data, not radiographs"}
    page = Cells(texts["html"])
    assert page.rows == [["name", "n"], [NASTY, "1"], ["", "2"]]
    assert not page.tags & {"b", "script", "link", "img"} and "http" not in texts["html"]
    markdown_row = texts["md"].splitlines()[-2]
    assert r"\|x\|" in markdown_row and markdown_row.replace(r"\|", "").count("|") == 3
    tex = texts["tex"]
    assert r"50\% of A\_1 \& \textless{}b\textgreater{}|x|" in tex
    assert r"\#2 \$3 \{\textasciitilde{}\textasciicircum{}\textbackslash{}\}" in tex
    for form in ("html", "md", "tex"):
        assert "Phantom data, not radiographs" in texts[form]


def test_headings_span_the_columns_below_them(tmp_path, estimates, reference):
    frame = auroc_table(estimates, "spine", "Spine", reference)
    texts = write(tmp_path, frame, caption="Table 2.", records=auroc_records(estimates, "spine", reference))
    assert 'colspan="5">MoCo + Linear Finetuning on Spine<' in texts["html"]
    assert r"\multicolumn{5}{c}{MoCo + Linear Finetuning on Spine}" in texts["tex"]
    assert r"\cmidrule(lr){3-7} \cmidrule(lr){8-10}" in texts["tex"]
    body = texts["tex"].split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert {line.count("&") for line in body} == {frame.shape[1] - 1} and len(body) == len(frame)
    assert "MoCo + Linear Finetuning on Spine: Chest MoCo" in texts["md"]
    back = pd.read_csv(tmp_path / "table.csv", dtype={"percent": str})
    assert len(back) == 6 + 18 - 2 and set(back["data"]) == {"real"}


def test_the_same_table_gives_the_same_bytes(tmp_path, estimates):
    frame = auroc_table(estimates, "spine", "Spine", None)
    assert write(tmp_path / "a", frame, caption="c") == write(tmp_path / "b", frame, caption="c")


def test_the_summary_of_claims_has_a_row_for_each_with_both_verdicts():
    finding = {
        "effect": 0.0204,
        "lower": -0.001,
        "upper": 0.041,
        "p": 0.06,
        "p_against": 0.94,
        "verdict": "undecided",
        "remark": "2 of 3",
    }
    nothing = dict.fromkeys(["effect", "lower", "upper", "p", "p_against"], np.nan)
    nothing |= {"verdict": "cannot be tested from the tables", "remark": ""}
    claim = {"claim": "1", "text": "It helps"}
    rows = [
        claim | {"cell": cell} | finding | {f"paper_{name}": value for name, value in nothing.items()}
        for cell in ("all", "spine 1%")
    ]
    summary = claims_summary(pd.DataFrame(rows))
    assert len(summary) == 1
    assert summary["This run"].iloc[0].tolist() == [
        "undecided",
        "+0.020 (-0.001 to +0.041)",
        "0.0600",
        "0.9400",
        "2 of 3",
    ]
    assert summary["The paper's tables"].iloc[0].tolist() == [
        "cannot be tested from the tables",
        "",
        "",
        "",
        "",
    ]
    alone = claims_summary(pd.DataFrame(rows).filter(regex="^(?!paper_)"))
    assert "The paper's tables" not in alone.columns.get_level_values(0)


def test_statistics_and_tables_import_nothing_slow():
    modules = [
        f"moco_transfer.{package}.{path.stem}"
        for package in ("statistics", "tables")
        for path in (ROOT / "workflow" / "moco_transfer" / package).glob("*.py")
        if path.stem != "__init__"
    ]
    assert len(modules) > 10
    code = f"import sys, {', '.join(modules)}; print({{'torch', 'torchvision', 'sklearn', 'seaborn', 'scipy.stats'}} & set(sys.modules))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "set()\n"
    )
