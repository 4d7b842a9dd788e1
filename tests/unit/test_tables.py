"""The four formats of a table, and the content of the tables."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from budgets import budget_records, budget_summary
from claims import claims_summary
from classes import class_records, class_summary
from encoders import encoder_records, encoder_summary
from jinja2 import Template
from table1 import hyperparameters
from table_aurocs import auroc_records, auroc_summary

from moco_transfer.config.composition import read_config
from moco_transfer.report.names import MODE_HEADINGS, dataset_label, interval_name
from moco_transfer.report.tables import with_seen, write_table, write_tables
from moco_transfer.statistics.evidence import read_reference

ROOT = Path(__file__).parents[2]
NASTY = "50% of A_1 & <b>|x|</b> #2 $3 {~^\\}"
LONG = "a caption's worth of text " * 10 + "end"
LINEAR, END_TO_END = MODE_HEADINGS.values()
TITLES = {"spine": "Spine", "chest": "Chest"}
SOURCES = {"none": "initial", "spine": "moco", "chest": "moco", "spine+chest": "moco", "limited": "moco"}


class Page(HTMLParser):
    """The text of the cells of a page by row, and all its tags."""

    def __init__(self, page: str):
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip("\n ")


def write(folder: Path, frame: pd.DataFrame, **arguments) -> dict[str, str]:
    paths = {form: folder / f"table.{form}" for form in ("csv", "md", "tex", "html")}
    write_table(frame, paths, **arguments)
    return {form: path.read_text(encoding="utf-8") for form, path in paths.items()}


def test_every_format_preserves_the_text(tmp_path):
    frame = pd.DataFrame({"name": [NASTY, None, LONG], "<n>": [1, 2, 3]})
    texts = write(tmp_path, frame, caption=NASTY, note="Phantom data, not radiographs")
    back = pd.read_csv(tmp_path / "table.csv")
    assert back["name"][0] == NASTY and back["<n>"].tolist() == [1, 2, 3]
    assert set(back["data"]) == {"Phantom data, not radiographs"}
    page = Page(texts["html"])
    assert page.rows == [["name", "<n>"], [NASTY, "1"], ["", "2"], [LONG, "3"]]
    assert not page.tags & {"b", "script", "link", "img"} and "http" not in texts["html"]
    row = texts["md"].splitlines()[-3]
    assert r"\|x\|" in row and row.replace(r"\|", "").count("|") == 3
    assert r"50\% of A\_1 \& \textless{}b\textgreater{}\textbar{}x\textbar{}" in texts["tex"]
    assert r"\#2 \$3 \{\textasciitilde{}\textasciicircum{}\textbackslash{}\}" in texts["tex"]
    for form in ("html", "md", "tex"):
        assert "Phantom data, not radiographs" in texts[form] and LONG in texts[form]


def test_headings_span_the_columns_below_them(tmp_path, estimates, reference):
    frame = auroc_summary(estimates, reference, "Spine", SOURCES)
    texts = write(tmp_path, frame, caption="Table 2.", records=auroc_records(estimates, reference))
    assert Page(texts["html"]).rows[2:] == frame.to_numpy().tolist()
    assert re.search(rf'colspan="5"[^>]*>{re.escape(LINEAR)} on Spine<', texts["html"])
    assert rf"\multicolumn{{5}}{{c}}{{{LINEAR} on Spine}}" in texts["tex"]
    assert r"\cmidrule(lr){3-7} \cmidrule(lr){8-10}" in texts["tex"]
    body = texts["tex"].split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert {line.count("&") for line in body} == {frame.shape[1] - 1} and len(body) == len(frame)
    assert f"{LINEAR} on Spine: Chest MoCo" in texts["md"]
    back = pd.read_csv(tmp_path / "table.csv", dtype={"percent": str})
    assert len(back) == 6 + 6 - 2 and set(back["data"]) == {"real"}


def test_columns_are_in_the_order_of_the_sources(estimates):
    linear = estimates[estimates["mode"] == "linear"]
    sources = dict.fromkeys(["none", "knee", "chest", "knee+chest", "limited"], "moco")
    cells = pd.concat([linear[linear["source"] == "none"].assign(source=source) for source in sources][::-1])
    frame = auroc_summary(cells, None, "Spine", sources | {"none": "initial"})
    named = [name for heading, name in frame.columns if heading == f"{LINEAR} on Spine"]
    assert named == ["No MoCo", "Knee MoCo", "Chest MoCo", "Knee+Chest MoCo", "Limited MoCo"]


def test_an_interval_is_named_by_its_coverage():
    assert interval_name([2.5, 97.5]) == "2.5%-97.5% percentiles, a 95% interval"


def test_a_dataset_that_is_called_by_its_title_is_named_once():
    assert dataset_label("hips", {"hips": "Hip radiographs"}) == "Hip radiographs (hips)"
    assert dataset_label("hips", {"hips": "Hips"}) == "Hips"
    assert dataset_label("hips", {}) == "hips"


def test_tables_of_one_page_are_below_each_other_with_their_captions(tmp_path):
    paths = {form: tmp_path / f"table.{form}" for form in ("csv", "md", "tex", "html")}
    tables = [(pd.DataFrame({"a": [1]}), "First. More."), (pd.DataFrame({"b": [NASTY]}), "Second.")]
    write_tables(tables, paths, "Phantom data", pd.DataFrame({"n": [5]}))
    texts = {form: path.read_text(encoding="utf-8") for form, path in paths.items()}
    assert texts["csv"] == "n,data\n5,Phantom data\n"
    lines = [line for line in texts["md"].splitlines() if line]
    assert lines[:5] == ["**Phantom data**", "First. More.", "| a |", "| --- |", "| 1 |"]
    assert lines[5:8] == ["Second.", "| b |", "| --- |"]
    page = Page(texts["html"])
    # The parser adds a caption to the cell before it.
    assert page.rows == [["a"], ["1Phantom data.Second."], ["b"], [NASTY]]
    assert texts["html"].count("<table>") == 2 and "<title>First</title>" in texts["html"]
    # A table of a paper stands alone, with the warning.
    assert texts["tex"].count(r"\begin{table}") == texts["tex"].count("Phantom data.") == 2


def test_an_empty_table_has_its_headings(tmp_path):
    texts = write(tmp_path, pd.DataFrame(columns=["a", "b"]), caption="Nothing.")
    assert texts["csv"] == "a,b,data\n" and "| a | b |" in texts["md"]
    assert "a & b" in texts["tex"] and "<th>a</th>" in texts["html"]


def test_the_same_table_gives_the_same_bytes(tmp_path, estimates):
    frame = auroc_summary(estimates, None, "Spine", SOURCES)
    assert write(tmp_path / "a", frame, caption="c") == write(tmp_path / "b", frame, caption="c")


def test_table_1_of_the_papers_configuration_is_the_papers():
    paper = read_config([])
    titles = {name: dataset.title for name, dataset in paper.datasets.items()}
    schedules = {name: paper.pretraining.schedule(name).model_dump() for name in paper.sources}
    optimizers = {name: paper.finetune.optimizer(name).model_dump() for name in paper.targets}
    config = paper.model_dump() | {"schedules": schedules, "optimizers": optimizers, "recipe": "paper"}
    table = hyperparameters(config, titles)
    joint = table["Dataset"].str.contains("+", regex=False)
    assert table[~joint].agg("|".join, axis=1).tolist() == [
        "MoCo pretraining|VinDr-SpineXR|500|64|0.002|SGD (Weight Decay=1e-4, momentum=0.9)|Cosine Annealing",
        "MoCo pretraining|MIMIC-CXR|100|256|0.002|SGD (Weight Decay=1e-4, momentum=0.9)|Cosine Annealing",
        "Finetuning|VinDr-SpineXR|25, 50, 100, 200|16|0.001|SGD (Weight Decay=1e-4, momentum=0.9)|Cosine Annealing",
        "Finetuning|MIMIC-CXR|25, 50, 100, 200|48|0.0005|Adam|Cosine Annealing",
    ]
    assert table.loc[joint, ["Experiment", "Epochs"]].to_numpy().tolist() == [["MoCo pretraining", "100"]]

    for recipe, said in {
        "standardised": "Linear finetuning, standardised features|MIMIC-CXR|100|48|0.0005|Adam|Cosine Annealing",
        "logistic": "Linear finetuning|MIMIC-CXR||||Logistic regression (L2, C by cross-validation), standardised features|",
    }.items():
        other = hyperparameters(config | {"recipe": recipe}, titles)
        assert len(other) == len(table) + 2
        assert other.agg("|".join, axis=1).iloc[-1] == said


@pytest.fixture
def reference() -> pd.DataFrame:
    return read_reference(ROOT / "workflow" / "reference" / "table2.csv")


@pytest.fixture
def estimates() -> pd.DataFrame:
    rows = [
        ("none", "linear", "1", 58, 100, True, 0.61),
        ("limited", "linear", "1", 58, 100, True, 0.62),
        ("spine+chest", "linear", "1", 58, 100, True, 0.63),
        ("none", "end_to_end", "1", 58, 25, False, 0.64),
        ("none", "end_to_end", "1", 58, 50, True, 0.65),
        ("none", "linear", "0.5", 29, 100, True, 0.60),
    ]
    names = ["source", "mode", "percent", "n_labeled", "epochs", "selected", "auroc"]
    frame = pd.DataFrame(rows, columns=names).assign(target="spine", n_subsets=3, may_have_seen=None)
    auroc = frame["auroc"]
    return frame.assign(macro=auroc, median=auroc + 0.001, lower=auroc - 0.01, upper=auroc + 0.012)


def test_an_auroc_table_holds_the_selected_estimates(estimates):
    table = auroc_summary(estimates, None, "Spine", SOURCES)
    assert (
        table["", "Lab. % (#)"].tolist() == ["0.5% (29)", "1% (58)"] and ("", "Result") not in table.columns
    )
    linear = table[f"{LINEAR} on Spine"]
    assert linear.columns.tolist() == ["No MoCo", "Spine+Chest MoCo", "Limited MoCo"]
    assert linear.to_numpy().tolist() == [
        ["0.600 (0.590–0.612)", "", ""],
        ["0.610 (0.600–0.622)", "0.630 (0.620–0.642)", "0.620 (0.610–0.632)"],
    ]
    assert table[f"{END_TO_END} on Spine", "No MoCo"].tolist() == ["", "0.650 (0.640–0.662)"]


def test_the_papers_values_are_below_ours_with_their_own_counts(estimates, reference):
    ours = estimates[estimates["percent"] == "1"].assign(n_labeled=59)
    table = auroc_summary(ours, reference, "Spine", SOURCES)
    assert table.iloc[:, :2].to_numpy().tolist() == [
        ["1% (59)", "this run"],
        ["1% (59)", "this run, median"],
        ["1% (58)", "paper, median"],
    ]
    linear = table[f"{LINEAR} on Spine"]
    assert linear.columns.tolist()[:3] == ["No MoCo", "Spine MoCo", "Chest MoCo"]
    assert linear.iloc[0].tolist()[:3] == ["0.610 (0.600–0.622)", "", ""]
    assert linear.iloc[1].tolist()[:3] == ["0.611 (0.600–0.622)", "", ""]
    published = reference.query("percent == '1' and mode == 'linear' and source == 'none'").iloc[0]
    assert linear.iloc[2, 0] == f"{published.auroc_median:.3f} ({published.q05:.3f}–{published.q95:.3f})"


def test_the_papers_values_are_shown_only_beside_as_many_labels(estimates, reference):
    ours = estimates.assign(n_labeled=estimates["n_labeled"] // 2)
    with_paper, alone = (auroc_summary(ours, table, "Spine", SOURCES) for table in (reference, None))
    pd.testing.assert_frame_equal(with_paper, alone)
    assert auroc_records(ours, reference)["paper_median"].isna().all()


def test_records_hold_every_estimate_and_every_comparable_value_of_the_paper_once(estimates, reference):
    records = auroc_records(estimates, reference)
    assert records["auroc"].notna().sum() == 6
    assert records["paper_median"].notna().sum() == (reference["percent"] == "1").sum() == 6
    assert not records.duplicated(["source", "mode", "percent", "epochs"]).any()
    cell = records.set_index(["mode", "source", "percent", "epochs"])
    assert cell.loc[("end_to_end", "none", "1", 50), "paper_median"] == 0.668
    assert np.isnan(cell.loc[("end_to_end", "none", "1", 25), "paper_median"])
    pd.testing.assert_frame_equal(auroc_records(estimates, None), estimates)


def test_encoders_have_columns_of_their_own_and_what_they_may_have_seen_is_marked(estimates):
    more = estimates.assign(source=estimates["source"].replace("limited", "lite0"))
    marked = with_seen(more, {"spine": {"lite0": "its weights were trained on spine"}})
    table = auroc_summary(
        marked, None, "Spine", {"none": "initial", "spine+chest": "moco", "lite0": "encoder"}
    )
    # Of encoders, nobody can say 'MoCo + Linear Finetuning'.
    linear = table["Linear Finetuning on Spine"]
    assert linear.columns.tolist() == ["No MoCo", "Spine+Chest MoCo", "lite0 encoder"]
    assert linear.iloc[1].tolist()[1:] == ["0.630 (0.620–0.642)", "0.620 (0.610–0.632) †"]
    records = auroc_records(marked, None)
    assert records.loc[records["may_have_seen"].notna(), "source"].tolist() == ["lite0"]


@pytest.fixture
def classes_and_estimates() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Three classes of chest, of which one is undefined, and one class of spine."""
    cells = [
        ("chest", "none", "linear", "10", 100, True),
        ("chest", "chest", "linear", "10", 100, True),
        ("chest", "none", "end_to_end", "10", 25, False),
        ("chest", "none", "end_to_end", "10", 50, True),
        ("chest", "none", "linear", "0.5", 100, True),
        ("spine", "none", "linear", "1", 100, True),
    ]
    rows = [
        {"target": target, "source": source, "mode": mode, "percent": percent, "epochs": epochs}
        | {"class": name, "positives": positives, "auroc": auroc, "lower": auroc - 0.1, "upper": auroc + 0.05}
        for target, source, mode, percent, epochs, _ in cells
        for name, positives, auroc in (("edema", 40, 0.8), ("hernia", 0, np.nan), ("mass", 9, 0.6))
        if target == "chest" or name == "edema"
    ]
    frame = pd.DataFrame(cells, columns=["target", "source", "mode", "percent", "epochs", "selected"])
    frame = frame.assign(n_labeled=58, auroc=0.7, median=0.71, lower=0.69, upper=0.73, may_have_seen=None)
    frame["macro"] = np.where(frame["target"] == "spine", 0.7, 0.65)
    return pd.DataFrame(rows).assign(may_have_seen=None), frame


def test_each_class_has_a_row_with_its_interval_and_the_averages_follow(classes_and_estimates):
    table = class_summary(*classes_and_estimates, TITLES, "weighted", SOURCES)
    names = table["", "Class"].tolist()
    assert names == 2 * ["edema", "hernia", "mass", "weighted average", "macro average"]
    assert table["", "Lab. % (#)"].tolist() == 5 * ["0.5% (58)"] + 5 * ["10% (58)"]
    assert table["", "Positives"].tolist() == 2 * ["40", "0", "9", "", ""]
    assert set(table["", "Target"]) == {"Chest"}  # spine's one class is in table 2 already
    of_none = ["0.800 (0.700–0.850)", "", "0.600 (0.500–0.650)", "0.700 (0.690–0.730)", "0.650"]
    assert table[LINEAR, "No MoCo"].tolist() == 2 * of_none
    assert table[LINEAR, "Chest MoCo"].tolist() == 5 * [""] + of_none
    assert table[END_TO_END, "No MoCo"].tolist() == 5 * [""] + of_none


def test_a_run_with_macro_averages_has_one_average(classes_and_estimates):
    names = class_summary(*classes_and_estimates, TITLES, "macro", SOURCES)["", "Class"].tolist()
    assert names == 2 * ["edema", "hernia", "mass", "macro average"]


def test_targets_of_one_class_are_shown_if_there_is_no_other(classes_and_estimates):
    frames = (frame[frame["target"] == "spine"] for frame in classes_and_estimates)
    table = class_summary(*frames, TITLES, "weighted", SOURCES)
    assert table["", "Class"].tolist() == ["edema", "weighted average", "macro average"]


def test_class_records_hold_every_class_of_every_budget_and_target(classes_and_estimates):
    records = class_records(*classes_and_estimates)
    assert len(records) == len(classes_and_estimates[0]) and records["n_labeled"].eq(58).all()
    assert records[~records["selected"]]["epochs"].unique().tolist() == [25]


def test_table_3_has_a_row_of_macro_averages(classes_and_estimates):
    _, estimates = classes_and_estimates
    table = auroc_summary(estimates[estimates["target"] == "chest"], None, "Chest", SOURCES)
    assert table["", "Result"].tolist() == 2 * ["this run", "this run, macro"]
    assert table[f"{LINEAR} on Chest", "No MoCo"].tolist() == 2 * ["0.700 (0.690–0.730)", "0.650"]


# (target, percent, labelled images, source), full and matched images, and the epochs that each of them
# chooses.
CHOICES = [
    ("spine", "10", 580, "chest", 500, 500, 50, 50),
    ("spine", "1", 58, "spine", 500, 58, 50, 25),
    ("spine", "1", 58, "none", 500, 58, 25, 25),
    ("spine", "1", 58, "none-longer", 500, 58, 25, 50),
    ("chest", "0.05", 11, "none", 400, 11, 50, None),
    ("chest", "0.05", 11, "chest", 400, 11, 25, 50),
]
FULL, MATCHED, DIFFERENCE = "Full validation", "Matched validation", "Matched minus full"


def choices(percents=("0.05", "1", "10"), of_spine=0.70) -> pd.DataFrame:
    """Return the records of CHOICES: test AUROCs are 0.70 and 0.73, and 0.01 more for chest."""
    budgets, estimates = [], []
    for target, percent, n, source, n_full, n_matched, full, matched in CHOICES:
        cell = {"target": target, "source": source, "percent": percent}
        estimates.append(cell | {"n_labeled": n, "mode": "linear", "epochs": 50, "auroc": 0.1})
        for epochs, auroc in ((25, of_spine if source == "spine" else 0.70), (50, 0.73)):
            budget = {"epochs": epochs, "images_full": n_full, "images_matched": n_matched}
            budget |= {"selected_full": epochs == full, "selected_matched": epochs == matched}
            budgets.append(cell | budget)
            tested = {"n_labeled": n, "mode": "end_to_end", "epochs": epochs}
            estimates.append(cell | tested | {"auroc": auroc + 0.01 * (source == "chest")})
    budgets = pd.DataFrame(budgets)
    sources = ["none", "spine", "chest"]
    records = budget_records(budgets[budgets["percent"].isin(percents)], pd.DataFrame(estimates), sources)
    return with_seen(records, {"spine": {"spine": "its weights were trained on spine"}})


def test_records_hold_both_choices_with_the_test_auroc_of_each():
    records = choices().set_index(["target", "percent", "source"])
    assert records.index.tolist() == [
        ("spine", "1", "none"),
        ("spine", "1", "spine"),
        ("spine", "10", "chest"),
        ("chest", "0.05", "none"),
        ("chest", "0.05", "chest"),
    ]
    assert records["n_labeled"].tolist() == [58, 58, 580, 11, 11]
    assert records["epochs_full"].tolist() == [25, 50, 50, 50, 25]
    assert records["epochs_matched"].fillna(-1).tolist() == [25, 25, 50, -1, 50]
    assert records["auroc_full"].tolist() == pytest.approx([0.70, 0.73, 0.74, 0.73, 0.71])
    assert records["auroc_matched"].tolist() == pytest.approx([0.70, 0.70, 0.74, np.nan, 0.74], nan_ok=True)
    assert records["difference"].tolist() == pytest.approx([0, -0.03, 0, np.nan, 0.03], nan_ok=True)


def test_rows_show_both_choices_and_the_last_row_how_far_they_differ():
    table = budget_summary(choices(), TITLES, SOURCES)
    assert table["", "Target"].tolist() == ["Spine", "Spine", "Spine", "Chest", "Chest", "Total"]
    assert table["", "Lab. % (#)"].tolist()[:4] == ["1% (58)", "1% (58)", "10% (580)", "0.05% (11)"]
    assert table["", "Source"].tolist()[:2] == ["No MoCo", "Spine MoCo †"]
    assert table[MATCHED, "Images"].tolist() == ["58", "58", "500", "11", "11", ""]
    assert table[FULL, "Epochs"].tolist() == ["25", "50", "50", "50", "25", ""]
    # All images of spine at 10% are matched: not counted. The matched images of one cell hold one value:
    # counted separately.
    changed = "2 of 3 change, 1 without a choice"
    assert table[MATCHED, "Epochs"].tolist() == ["25", "25", "50", "no choice", "50", changed]
    assert table[MATCHED, "Test AUROC"].tolist() == ["0.700", "0.700", "0.740", "", "0.740", ""]
    differences = table[DIFFERENCE, "Test AUROC"].tolist()
    assert differences[:5] == ["+0.0000", "-0.0300", "+0.0000", "", "+0.0300"]
    assert differences[5].startswith("mean +0.0000, largest ")


def test_the_largest_difference_keeps_its_sign():
    last = budget_summary(choices(of_spine=0.64), TITLES, SOURCES).iloc[-1]
    assert last[DIFFERENCE, "Test AUROC"] == "mean -0.0200, largest -0.0900"


def test_nothing_is_compared_if_all_images_are_matched():
    last = budget_summary(choices(percents=["10"]), TITLES, SOURCES).iloc[-1]
    assert last[MATCHED, "Epochs"] == "0 of 0 change" and last[DIFFERENCE, "Test AUROC"] == ""


def test_the_summary_of_claims_has_a_row_for_each_with_both_verdicts():
    known = {"effect": 0.0204, "lower": -0.001, "upper": 0.041, "p": 0.06, "p_against": 0.00001}
    known |= {"verdict": "undecided", "remark": "2 of 3", "one_encoder": "spine", "paper_text": "It helps"}
    unknown = {f"paper_{name}": np.nan for name in ("effect", "lower", "upper", "p", "p_against")}
    unknown |= {"paper_verdict": "cannot be tested from the tables", "paper_remark": ""}
    claims = pd.DataFrame(
        {"claim": "1", "text": "It helps", "cell": cell} | known | unknown for cell in ("all", "spine 1%")
    )
    summary = claims_summary(claims, "numbers")
    effect = "+0.020 (-0.001 to +0.041)"
    verdict = "undecided, about these encoders"
    assert summary["This run"].to_numpy().tolist() == [[verdict, effect, "0.0600", "< 0.0001", "2 of 3"]]
    assert summary["The paper's tables"].to_numpy().tolist() == [
        ["It helps", "cannot be tested from the tables", *4 * [""]]
    ]
    several = claims_summary(claims.assign(one_encoder="", paper_verdict="supported"), "verdicts")
    assert several["This run", "Verdict"].tolist() == ["undecided"]
    # The paper has one encoder of each source.
    assert several["The paper's tables"].to_numpy().tolist() == [
        ["It helps", "supported, about these encoders"]
    ]
    assert "The paper's tables" not in claims_summary(claims, "nothing")


def test_statistics_and_tables_import_nothing_slow():
    folder = ROOT / "workflow" / "moco_transfer" / "statistics"
    modules = [
        f"moco_transfer.statistics.{path.stem}" for path in folder.glob("*.py") if path.stem != "__init__"
    ]
    assert len(modules) > 5
    modules.append("moco_transfer.report.tables")
    slow = {"torch", "torchvision", "sklearn", "seaborn", "scipy.stats"}
    code = f"import sys, {', '.join(modules)}; print({slow} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_report_calls_only_generated_images_phantoms() -> None:
    text = (Path(__file__).parents[2] / "workflow/report/workflow.rst").read_text()
    phantom = {"phantom": {"images": 9}}
    datasets = {"spine": phantom | {"root": None}, "chest": phantom | {"root": "/data"}, "hip": None}
    config = {"run": "r", "data": "d", "datasets": datasets, "model": {"initial_weights": {"encoder": "m"}}}
    shown = Template(text).render(snakemake=SimpleNamespace(config=config))
    assert "spine images are phantoms" in shown and "chest" not in shown


def test_the_table_of_encoders_tells_networks_from_their_files_and_origins_from_the_configuration(tmp_path):
    from made_up_settings import NETWORK, changed

    from moco_transfer.networks import build_network, save_encoder

    grey = changed(NETWORK, channels=1, size=48, mean=[0.5], std=[0.25])
    paths = [tmp_path / f"{name}.safetensors" for name in ("initial", "grey")]
    networks = [build_network(network, 0) for network in (NETWORK, grey)]
    save_encoder(networks[0], paths[0])
    save_encoder(networks[1], paths[1], weights_sha256="ab12")
    records = encoder_records(["initial", "grey"], paths, ["random", "grey.pth"], [[], ["spine", "chest"]])
    assert records["parameters"].tolist() == [sum(p.numel() for p in each.parameters()) for each in networks]
    assert encoder_summary(records).iloc[:, [0, 2, 3, 4, 5, 6, 7, 9]].to_numpy().tolist() == [
        ["Initial weights", "random", "", "3 x 32 x 32", "0.485 0.456 0.406", "0.229 0.224 0.225", "50", ""],
        ["grey encoder", "grey.pth", "ab12", "1 x 48 x 48", "0.5", "0.25", "50", "spine, chest"],
    ]
