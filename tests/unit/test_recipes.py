"""Which recipe of linear finetuning a configuration means, what it says of it, and the table that compares recipes."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from recipes import changes, main, recipe_records, recipe_summary
from scipy.stats import kendalltau

from moco_transfer.config.composition import composed
from moco_transfer.config.experiment import check
from moco_transfer.errors import UserError
from moco_transfer.experiment import recipe_remark, table_names
from moco_transfer.plan import plan_text

VIT = {"vit": {"encoder": "vit_small_patch16_224.dino", "weights": "random"}}
DENSE = {"dense": {"encoder": "densenet121.ra_in1k", "weights": "random"}}


def configured(sources=None, **linear):
    return check(composed({"sources": sources or {}, "finetune": {"linear": linear}}))


def test_without_a_choice_the_recipe_is_the_papers_unless_architectures_differ():
    assert configured().linear_recipe == configured(DENSE).linear_recipe == "paper"
    assert configured(VIT).linear_recipe == "logistic"
    assert configured(VIT, recipe="standardised").linear_recipe == "standardised"
    assert configured(VIT, recipe="paper").linear_recipe == "paper"
    assert configured(recipe="logistic").linear_recipe == "logistic"
    with pytest.raises(UserError, match=r"finetune\.linear\.recipe.*'paper', 'standardised' or 'logistic'"):
        configured(recipe="lasso")


def test_a_run_says_what_the_recipe_means_for_encoders_of_several_architectures():
    assert recipe_remark(configured()) == recipe_remark(configured(recipe="paper")) == ""
    assert recipe_remark(configured(VIT, recipe="standardised")) == ""
    by_itself, papers = (recipe_remark(configured(VIT, recipe=recipe)) for recipe in (None, "paper"))
    assert (
        "is logistic regression, because" in by_itself and "(densenet121, vit_small_patch16_224)" in by_itself
    )
    assert "depends on the scale" in papers and "Set it to null or to logistic" in papers
    assert papers in plan_text(configured(VIT, recipe="paper"))


def test_a_recipe_is_not_compared_with_itself_and_without_another_there_is_no_table():
    assert configured(compared=["paper", "logistic", "logistic"]).compared_recipes == ["logistic"]
    assert configured(VIT, compared=["paper", "logistic"]).compared_recipes == ["paper"]
    assert "recipes" in table_names(configured(compared=["logistic"]))
    assert "recipes" not in table_names(configured(compared=["paper"]))


MEANS = {
    ("paper", "1"): {"none": 0.60, "spine": 0.70, "chest": 0.65, "xrv": 0.95},
    ("logistic", "1"): {"none": 0.66, "spine": 0.70, "chest": 0.65, "xrv": 0.99},
    ("paper", "10"): {"none": 0.60, "spine": 0.70, "chest": 0.65, "xrv": 0.95},
    ("logistic", "10"): {"none": 0.80, "spine": 0.61, "chest": 0.65, "xrv": 0.20},
}
SOURCES = {"none": "initial", "spine": "moco", "chest": "moco", "xrv": "encoder"}
SEEN = {"spine": {"xrv": "its weights were trained on spine"}}


def aurocs(sources=SOURCES):
    """Return two subsets in two folds, whose mean is in ``MEANS``."""
    rows = [
        (
            "spine",
            percent,
            subset,
            recipe,
            source,
            fold,
            MEANS[recipe, percent][source] + 0.01 * subset + 0.02 * fold - 0.045,
        )
        for percent in ("1", "10")
        for source in sources
        for fold in (1, 2)
        for subset in (1, 2)
        for recipe in ("paper", "logistic")
    ]
    return pd.DataFrame(rows, columns=["target", "percent", "subset", "recipe", "source", "fold", "auroc"])


def test_the_order_of_the_sources_is_compared_with_that_of_the_runs_own_recipe():
    records = recipe_records(aurocs(), "paper", SEEN)
    for (recipe, percent), means in MEANS.items():
        own = records[(records["recipe"] == recipe) & (records["percent"] == percent)].set_index("source")
        assert own["auroc"].to_dict() == pytest.approx(means) and set(own["subsets"]) == {2}
        names = ["none", "spine", "chest"]
        order = sorted(names, key=means.get, reverse=True)
        assert [order.index(name) + 1 for name in names] == own["rank"][names].tolist()
        assert pd.isna(own["rank"]["xrv"]) and own["may_have_seen"]["xrv"]
        values = [[MEANS[each, percent][name] for name in names] for each in ("paper", recipe)]
        assert own["tau"].to_numpy() == pytest.approx(kendalltau(*values).statistic)
        best = [names[int(np.argmax(each))] for each in values]
        assert set(own["same_best"]) == {best[0] == best[1]}
    assert changes(records, "paper") == (
        "With logistic regression, the best source is another one in 1 of 2 cells, and tau is -0.33 on average."
    )


def test_the_table_has_a_row_for_each_source_and_one_on_their_order():
    table = recipe_summary(recipe_records(aurocs(), "paper", SEEN), "paper", SOURCES)
    assert table.columns.tolist() == ["Cell", "Source", "The paper's recipe", "Logistic regression"]
    assert table.to_numpy().tolist() == [
        ["spine 1%", "No MoCo", "0.600 (3)", "0.660 (2)"],
        ["spine 1%", "Spine MoCo", "0.700 (1)", "0.700 (1)"],
        ["spine 1%", "Chest MoCo", "0.650 (2)", "0.650 (3)"],
        ["spine 1%", "xrv encoder", "0.950 †", "0.990 †"],
        ["spine 1%", "the order of the sources", "", "tau 0.33, the same best"],
        ["spine 10%", "No MoCo", "0.600 (3)", "0.800 (1)"],
        ["spine 10%", "Spine MoCo", "0.700 (1)", "0.610 (3)"],
        ["spine 10%", "Chest MoCo", "0.650 (2)", "0.650 (2)"],
        ["spine 10%", "xrv encoder", "0.950 †", "0.200 †"],
        ["spine 10%", "the order of the sources", "", "tau -1.00, another best"],
    ]


def test_a_single_source_has_no_order(tmp_path):
    aurocs(["none"]).to_parquet(tmp_path / "aurocs.parquet")
    outputs = {kind: tmp_path / f"recipes.{kind}" for kind in ("csv", "md", "tex", "html")}
    params = SimpleNamespace(recipe="paper", seen={}, sources=SOURCES, note="")
    main([tmp_path / "aurocs.parquet"], outputs, params)
    found = pd.read_csv(outputs["csv"])
    assert set(found["rank"]) == {1} and found["tau"].isna().all()
    assert (
        "order of the sources |" not in outputs["md"].read_text() and "nan" not in outputs["md"].read_text()
    )
