"""Model cards: the numbers are those of scikit-learn, what too few images cannot tell is not told, and nothing is hidden."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_up_cards import PERCENTILES, model_card, results, scored
from model_card import choose, draw
from scipy.special import expit
from sklearn.metrics import brier_score_loss, roc_auc_score

from moco_transfer.report.model_card import SHOWN
from moco_transfer.report.model_page import page
from moco_transfer.statistics.scorecard import FEWEST, average_result, class_results

NOTE = "Phantom data: generated images, not radiographs"


def test_the_numbers_of_a_class_are_those_of_scikit_learn():
    test = scored(300)
    for k, found in enumerate(results(300)):
        known = ~np.isnan(test.labels[:, k])
        labels, logits = test.labels[known, k], test.scores[known, k].astype(float)
        assert found.test == ((labels == 1).sum(), (labels == 0).sum())
        assert found.auroc.value == pytest.approx(roc_auc_score(labels, logits))
        assert found.auroc.lower < found.auroc.value < found.auroc.upper
        assert found.calibration.brier == pytest.approx(brier_score_loss(labels, expit(logits)))
        called = logits >= found.threshold
        assert found.sensitivity.value == pytest.approx(called[labels == 1].mean())
        assert found.specificity.value == pytest.approx((~called)[labels == 0].mean())


def test_the_threshold_is_chosen_without_the_test_images():
    validation, test = scored(300, split="validation"), scored(300)
    flipped = scored(300)
    flipped.labels[:] = 1 - flipped.labels
    one, other = (class_results(validation, each, "image", PERCENTILES) for each in (test, flipped))
    assert [each.threshold for each in one] == [each.threshold for each in other]


def test_images_of_a_patient_make_intervals_wider_only_if_patients_are_the_unit():
    """Patients with three equal images are as good as patients with one."""
    test, validation = scored(300), scored(300, split="validation")
    for name in ("labels", "scores"):
        values = getattr(test, name)
        values[:] = np.repeat(values[::3], 3, axis=0)
    by_image, by_patient = (
        class_results(validation, test, unit, PERCENTILES) for unit in ("image", "patient")
    )
    for image, patient in zip(by_image, by_patient, strict=True):
        for kind in ("auroc", "sensitivity", "specificity"):
            narrow, wide = getattr(image, kind), getattr(patient, kind)
            assert wide.value == narrow.value
            assert wide.upper - wide.lower == pytest.approx(
                np.sqrt(3) * (narrow.upper - narrow.lower), rel=0.15
            )


def test_the_average_is_scikit_learns_and_that_of_one_class_is_the_class():
    test = scored(300)
    test.labels[:] = np.nan_to_num(test.labels)
    weighted = average_result(test, "image", PERCENTILES, "weighted")
    assert weighted.value == pytest.approx(roc_auc_score(test.labels, test.scores, average="weighted"))
    alone = scored(300, ["effusion"])
    found = class_results(alone, alone, "patient", PERCENTILES)[0].auroc
    mean = average_result(alone, "patient", PERCENTILES, "weighted")
    assert (mean.value, mean.lower, mean.upper) == pytest.approx((found.value, found.lower, found.upper))


def test_too_few_images_give_no_number():
    (found,) = results(FEWEST, ["rare"])
    assert found.auroc is found.threshold is found.sensitivity is found.calibration is None
    assert average_result(scored(FEWEST, ["rare"]), "image", PERCENTILES, "macro") is None
    text = page(model_card(FEWEST, ["rare"]))
    assert "too few images" in text and "nan" not in text.lower()


@pytest.mark.parametrize("positive, kind", [(0.0, "positive"), (1.0, "negative")])
def test_a_class_with_one_value_says_so(positive, kind):
    text = page(model_card(300, ["a", "b"], positive=positive))
    assert f"no {kind} test image" in text and "nan" not in text.lower()


@pytest.mark.parametrize("mode", ["linear", "end_to_end"])
@pytest.mark.parametrize("source", ["none", "chest", "limited", "lite0"])
def test_a_card_says_what_was_trained_on_what(source, mode):
    card = model_card(source=source, mode=mode)
    text = page(card)
    assert "60 labelled images" in text and "A &amp; B &lt;spines&gt;" in text and "<spines>" not in text
    assert ("600 images of Chests" in text) == (source == "chest")
    assert ("efficientnet\\_lite0" in text) == ("licence" in text) == (source == "lite0")
    assert ("| MoCo |" in text) == (source in ("chest", "limited"))
    assert "batch 16, lr 0.001" in text and "torch 9.9" in text
    assert (
        "highest validation AUROC, 0.732, the mean over 3 labelled subsets; its test AUROC is 0.765" in text
    )


@pytest.mark.parametrize("mode", ["linear", "end_to_end"])
@pytest.mark.parametrize("recipe", ["paper", "standardised", "logistic"])
def test_a_card_says_how_a_linear_head_was_fitted(recipe, mode):
    card = model_card(mode=mode)
    text = page(replace(card, facts=card.facts | {"recipe": recipe}))
    fitted = recipe == "logistic" and mode == "linear"
    assert (
        ("| optimiser |" in text)
        == ("| epochs |" in text)
        == ("was trained for" in text or mode != "linear")
        == (not fitted)
    )
    assert (
        ("logistic regression, L2 penalty" in text) == ("was fitted to 60 labelled images" in text) == fitted
    )
    assert ("| features | standardised" in text) == (recipe != "paper" and mode == "linear")


def test_a_card_warns_of_what_must_be_known():
    closed = page(model_card(shareable=False))
    assert "may not be shared: A &amp; B &lt;spines&gt; and Chests." in closed
    assert "may not be shared" not in page(model_card(source="none"))
    assert "generated images" in page(model_card(phantom=True)) and NOTE in page(model_card(), NOTE)
    assert "generated" not in page(model_card())
    seen = page(model_card(way={"may_have_seen": "trained on spine"}, advised=False))
    assert "no evidence" in seen and "ways to train that were compared" not in seen
    assert "highest validation AUROC" not in page(model_card(advised=False))


def test_a_card_of_a_cross_validation_says_which_fold_it_is_of():
    card = model_card()
    assert "fold" not in page(card) and "No test image had a say in it." in page(card)
    text = page(replace(card, facts={**card.facts, "split": {"unit": "patient", "folds": 5}}))
    assert ", the mean over 3 labelled subsets and 5 folds" in text
    assert "No test image" not in text and "it is too high" in text
    assert "this is the network of fold 1. One part in 5 of the images did not train it" in text


def test_a_card_says_that_patients_with_several_images_make_intervals_too_narrow():
    card = model_card(300)
    assert "300 test images are of 100 patients" in page(card) and "too narrow" in page(card)
    assert "too narrow" not in page(model_card(300, unit="patient"))
    alone = card.images["spine"].assign(patients=card.images["spine"]["images"])
    assert "too narrow" not in page(replace(card, images={**card.images, "spine": alone}))


def test_a_card_shows_no_image_and_no_patient():
    text = page(model_card(unit="patient"))
    shown = scored(300), scored(300, split="validation")
    assert not any(name in text for each in shown for name in {*each.images, *each.patients})


def test_of_many_classes_the_most_frequent_are_shown():
    classes = [f"class{number:02}" for number in range(SHOWN + 5)]
    card = model_card(120, classes)
    text = page(card)
    assert f"The {SHOWN} most frequent of {SHOWN + 5} classes." in text
    counts = {each.name: each.test[0] for each in card.results}
    shown = {name for name in classes if f"| {name} |" in text}
    assert len(shown) == SHOWN
    assert min(counts[name] for name in shown) >= max(counts[name] for name in set(classes) - shown)
    panels = draw(card.results, card.interval).axes
    assert len(panels) == sum(card.results[classes.index(name)].calibration is not None for name in shown)


ADVICE = pd.DataFrame(
    [
        ("spine", "10", "none", "linear", 100, False, 0.6),
        ("spine", "10", "chest", "end_to_end", 50, True, 0.7),
        ("spine", "1", "none", "linear", 100, False, 0.5),
        ("chest", "10", "spine", "linear", 100, True, 0.9),
    ],
    columns=["target", "percent", "source", "mode", "epochs", "chosen", "auroc"],
)


def chosen(percent, advised=True, candidates=()):
    facts = {"target": "spine", "percent": percent, "advised": advised, "candidates": candidates}
    return choose(ADVICE, facts)


def test_the_model_is_the_way_that_the_advice_names_or_the_one_asked_for():
    assert chosen("10")["source"] == "chest"
    assert chosen("1", advised=False, candidates=[["none", "linear"]])["epochs"] == 100
