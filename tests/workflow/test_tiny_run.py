"""The whole workflow on a tiny configuration, twice: every output, equal bytes, nothing left to do, one file again."""

import hashlib
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from running import ROOT, TINY, snakemake

from moco_transfer.model import load_classifier
from moco_transfer.training.images import ImagePool, View, predict

pytestmark = pytest.mark.workflow
CELL = "100pct/fold1/subset1/predictions.parquet"
# MoCo on a subset, on a sample, and on two datasets.
JOBS = (
    "limited-steps/replicate1/linear",
    "chest-as-spine/replicate1/linear",
    "spine+chest/replicate1/end_to_end",
)


def make_report(directory, *arguments):
    """Run ``make report`` in ``directory``, with the Snakefile of this repository and the Python of the tests."""
    shutil.copy(ROOT / "Snakefile", directory)
    for folder in ("workflow", "config", "envs", "profiles"):
        if not (directory / folder).exists():
            (directory / folder).symlink_to(ROOT / folder)
    command = ["make", "-f", ROOT / "Makefile", "report", "READY=", f"BIN={Path(sys.executable).parent}"]
    return subprocess.run(
        list(map(str, [*command, *arguments])), cwd=directory, capture_output=True, text=True, check=False
    )


def tables_of(folder):
    """Return the SHA-256 of every CSV, Parquet and weights file under results/, by path; releases are inputs and left out."""
    paths = [
        path for path in folder.glob("results/**/*") if path.suffix in (".csv", ".parquet", ".safetensors")
    ]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
        if "release" not in path.parts
    }


def test_every_figure_and_table_is_there_and_opens(finished):
    results = finished / "results/tiny"
    for name in (
        "figure1",
        "figure2",
        "figure3",
        "figure4",
        "figure5",
        "similarity_measures",
        "similarity_ranks",
        "components",
        "networks",
        "augmentations",
        "training_curves",
    ):
        assert Image.open(results / f"figures/{name}.png").size[0] > 500
        assert ET.parse(results / f"figures/{name}.svg").getroot().tag.endswith("svg")
        assert (results / f"figures/{name}.pdf").read_bytes().startswith(b"%PDF")
        assert "Phantom data" in (results / f"figures/{name}.svg").read_text()
    for name in (
        *("table1", "encoders", "table2", "table3", "classes", "claims"),
        *("advice", "decide", "budgets", "components", "controls", "subsets", "recipes"),
        "similarity_ranks",
    ):
        assert len(pd.read_csv(results / f"tables/{name}.csv")) > 0
        for kind in ("md", "tex", "html"):
            assert "hantom data" in (results / f"tables/{name}.{kind}").read_text()


def test_indexed_is_stored_plus_quarantined(finished):
    for dataset, images in (("spine", 90), ("chest", 150), ("natural", 60)):
        folder = finished / "results/data/tiny" / dataset
        assert len(pd.read_parquet(folder / "index.parquet")) == images
        stored = pd.read_parquet(folder / "store/index.parquet")
        assert len(stored) + len(pd.read_csv(folder / "store/quarantine.csv")) == images
        assert (
            pd.read_parquet(finished / f"results/tiny/splits/{dataset}/fold1.parquet")["image_id"].tolist()
            == stored["image_id"].tolist()
        )


def test_every_cell_is_estimated(finished):
    paper = {"none", "spine", "chest", "spine+chest", "grey"}
    # The tiny run has controls of steps and budget for spine alone.
    controls = {"spine": ({"limited-steps"}, {"none-longer"}), "chest": (set(), set())}
    for target, (linear_alone, end_to_end_alone) in controls.items():
        table = pd.read_parquet(finished / f"results/tiny/evaluate/{target}/estimates.parquet")
        selected = table[table["selected"]]
        assert not selected.duplicated(["source", "mode", "percent"]).any()
        linear = selected[selected["mode"] == "linear"]["source"]
        assert set(linear) == paper | {"limited", "chest-as-spine"} | linear_alone
        chosen = selected[selected["mode"] == "end_to_end"]["source"]
        assert set(chosen) == paper | end_to_end_alone
        assert table["auroc"].between(0, 1).all() and (table["lower"] <= table["upper"]).all()


def test_the_recipes_table_holds_the_runs_own_aurocs(finished):
    """It draws the subsets and trains the heads again."""
    found = pd.read_csv(finished / "results/tiny/tables/recipes.csv", dtype={"percent": str})
    assert set(found["recipe"]) == {"paper", "logistic"}
    for target, own in found[found["recipe"] == "paper"].groupby("target"):
        estimates = pd.read_parquet(finished / f"results/tiny/evaluate/{target}/estimates.parquet")
        both = own.merge(estimates[estimates["mode"] == "linear"], on=["source", "percent"])
        assert len(both) == len(own)
        assert both["auroc_x"].to_numpy() == pytest.approx(both["auroc_y"].to_numpy(), abs=1e-12)
        assert set(own["source"]) == {"none", "spine", "chest", "spine+chest", "grey"}


def check_model(finished, folder):
    """Check that the model in ``folder`` gives the logits of its training, and return what its file says of it."""
    model, about = load_classifier(folder / "model.safetensors")
    made = about.made
    cell = f"{made.source}/replicate1/{made.mode}/{made.percent}pct/fold1/subset{made.subset}"
    path = finished / f"results/tiny/finetune/{made.target}/{cell}/predictions.parquet"
    predictions = pd.read_parquet(path, filters=[("epochs", "==", made.epochs)])
    store = finished / f"results/data/tiny/{made.target}/store"
    images = pd.Index(pd.read_parquet(store / "index.parquet")["image_id"])
    pool = ImagePool([(store / "images.npy", images.get_indexer(predictions["image_id"]))])
    logits = predict(model, pool, View(about.crop, about.network), torch.device("cpu"))
    expected = predictions[[f"logit_{name}" for name in about.classes]]
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)
    assert "Phantom data" in (folder / "model.md").read_text()
    assert Image.open(folder / "reliability.png").size[0] > 500
    return about


@pytest.mark.parametrize("target, percent", [("spine", "100"), ("chest", "33.3")])
def test_the_model_that_the_advice_names_gives_the_logits_of_its_training(finished, target, percent):
    made = check_model(finished, finished / f"results/tiny/models/{target}/{percent}pct").made
    advice = pd.read_csv(finished / "results/tiny/tables/advice.csv", dtype={"percent": str})
    best = advice[(advice["target"] == target) & (advice["percent"] == percent) & advice["chosen"]].iloc[0]
    assert (made.source, made.mode, made.epochs) == (best["source"], best["mode"], best["epochs"])


@pytest.mark.parametrize("source, mode", [("limited", "linear"), ("none", "linear"), ("chest", "end_to_end")])
def test_any_way_to_train_can_be_asked_for(finished, source, mode):
    folder = f"results/tiny/models/spine/100pct/{source}/{mode}"
    snakemake(f"{folder}/model.safetensors", *TINY, directory=finished)
    made = check_model(finished, finished / folder).made
    assert (made.source, made.mode) == (source, mode)


def test_an_encoder_that_has_seen_a_target_is_marked_there_and_not_advised(finished):
    tables = finished / "results/tiny/tables"
    advice = pd.read_csv(tables / "advice.csv", dtype={"percent": str})
    grey = advice[advice["source"] == "grey"]
    assert set(grey["target"]) == {"spine", "chest"}
    assert grey["may_have_seen"].notna().equals(grey["target"] == "spine")
    assert not grey.loc[grey["target"] == "spine", ["chosen", "may_be_best", "cheapest"]].any(axis=None)
    assert advice.groupby(["target", "percent"])["chosen"].sum().tolist() == [1, 1, 1]
    assert set(advice["source"]) == {"none", "spine", "chest", "spine+chest", "limited", "grey"}
    assert (advice["images_trained"] > 0).all()
    assert "The encoder grey: its weights were trained on spine." in (tables / "advice.md").read_text()
    for name, marked in (("table2", True), ("table3", False), ("classes", False), ("budgets", True)):
        assert ("†" in (tables / f"{name}.md").read_text()) == marked, name
    for name, marked in (("figure2", True), ("figure4", True), ("figure5", False)):
        assert ("†" in (finished / f"results/tiny/figures/{name}.svg").read_text()) == marked, name
    encoders = pd.read_csv(tables / "encoders.csv").set_index("source")
    assert encoders.loc["grey", ["channels", "input_pixels", "trained_on"]].tolist() == [1, 48, "spine"]
    assert encoders["width"].tolist() == [50, 50]


def test_a_second_invocation_has_nothing_to_do(finished):
    run = snakemake(*TINY, directory=finished)
    assert "Nothing to be done" in run.stdout + run.stderr


def test_two_runs_give_the_same_bytes(finished, tmp_path):
    # Every rule that trains or computes, but not every cell.
    ends = [
        *(f"finetune/spine/{job}/{CELL}" for job in JOBS),
        *("controls/linear/spine/none/replicate1/fold1.parquet", "similarity/similarity.parquet"),
    ]
    snakemake(*(f"results/tiny/{end}" for end in ends), *TINY, directory=tmp_path)
    first, second = tables_of(finished), tables_of(tmp_path)
    assert len(second) > 25
    assert second == {name: first[name] for name in second}


def test_deleted_files_are_made_again_alone_with_the_same_bytes(finished):
    names = [f"finetune/spine/chest/replicate1/linear/{CELL}", "evaluate/spine/budgets.csv"]
    paths = [finished / "results/tiny" / name for name in [*names, "evaluate/spine/estimates.parquet"]]
    before = [path.read_bytes() for path in paths]
    for path in paths:
        path.unlink()
    run = snakemake(paths[-1].relative_to(finished), *TINY, directory=finished)
    assert [path.read_bytes() for path in paths] == before
    assert "3 of 3 steps (100%) done" in run.stdout + run.stderr


def test_the_report_is_built_without_network(report):
    text = report.read_text()
    for part in ("Figures", "Tables", "claims", "Mean canonical correlation", "generated images"):
        assert part in text


def test_a_title_ends_no_element_of_the_report(report):
    tags = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.append((tag, dict(attributes)))
    parser.feed(report.read_text())
    assert ("script", {}) in tags and not any("onerror" in attributes for _, attributes in tags)


def test_the_run_ends_with_a_page_that_answers_and_loads_nothing(finished):
    page = (finished / "results/tiny/report.html").read_text()
    tags = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.append((tag, dict(attributes)))
    parser.feed(page)
    addresses = [
        value for _, each in tags for name, value in each.items() if name in ("src", "href", "srcset")
    ]
    figures = [address for address in addresses if address.startswith("data:image/svg+xml;base64,")]
    models = len(list((finished / "results/tiny/models").glob("*/*/reliability.svg")))
    assert len(figures) == 11 + 3 + models  # figures, data cards, models
    others = set(addresses) - set(figures)
    assert all(each.startswith("#") or each == "https://arxiv.org/abs/2311.09401" for each in others), others
    assert not any("onerror" in attributes for _, attributes in tags)
    advice = pd.read_csv(finished / "results/tiny/tables/advice.csv", dtype={"percent": str})
    cases = len(advice[["target", "percent"]].drop_duplicates())
    assert len([tag for tag, attributes in tags if attributes.get("data-label") == "Start from"]) == cases
    assert len(re.findall(r"<td>best on validation images(?:; cheapest[^<]*)?</td>", page)) == cases
    for words in ("Phantom data", "Claim 7a", "not shareable", "Only one", "Commit", "torch "):
        assert words in page


def test_the_report_is_made_again_alone_and_never_starts_a_run(finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "copy", symlinks=True)
    (copy / "results/tiny/report.html").unlink()
    config = f"CONFIG={' '.join(map(str, TINY[3:]))}"
    made = make_report(copy, config)
    assert made.returncode == 0, made.stderr
    assert "front_page" in set(re.findall(r"\(Rule: (\w+)\)", made.stderr)) <= {"front_page", "data_card"}
    assert (copy / "results/tiny/report.html").exists()
    (tmp_path / "empty").mkdir()
    nothing = make_report(tmp_path / "empty", config)
    assert nothing.returncode != 0 and "the run has not finished" in nothing.stdout
    assert not (tmp_path / "empty/results").exists()


def test_logs_hold_no_traceback(finished):
    logs = [path.read_text() for path in Path(finished, "results/tiny/logs").glob("**/*.log")]
    assert logs and not any("Traceback" in log for log in logs)
