"""Made-up results for every figure, with as many sources and layers as in the paper, and with long names."""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import combinations, product

import augmentations
import components
import data_card
import figure1
import figure2
import figure3
import figure_coverage
import figure_epochs
import made_up_cards
import model_card
import networks
import numpy as np
import pandas as pd
import similarity_measures
import similarity_ranks
import training_curves
from matplotlib.figure import Figure

from moco_transfer.data.card import DataCard
from moco_transfer.report.names import MEASURE_LABELS

SOURCES = {"none": "initial"} | dict.fromkeys(
    ["spine", "chest", "spine+chest", "limited", "chest-small"], "moco"
)
CONTROLS = SOURCES | {"limited-steps": "moco", "none-longer": "initial"}
MANY = SOURCES | dict.fromkeys(["lite0", "rad_dino", "an encoder with a long name", "d", "e", "f"], "encoder")
SEEN = {
    "spine": {"rad_dino": "its weights were trained on spine"},
    "chest": {"none": "the initial weights were"},
}
TITLES = {"spine": "VinDr-SpineXR", "chest": "MIMIC-CXR", "natural": "ImageNet"}
LABELED = {
    "spine": {"1": 58, "10": 587, "100": 5872},
    "chest": {"0.05": 112, "0.1": 225, "1": 2257, "10": 22572},
}
LAYERS = ["CV1", "DB1", "DB2", "DB3", "DB4"]
NOTE = "Phantom data, not radiographs"


def estimates(sources: Collection[str] = SOURCES) -> pd.DataFrame:
    """Return estimates of every cell of the paper's grid, with intervals around AUROCs drawn at random."""
    generator, rows = np.random.default_rng(1), []
    cells = [(t, p, s) for t, percents in LABELED.items() for p in percents for s in sources]
    for (target, percent, source), mode in product(cells, ("linear", "end_to_end")):
        if source == "limited" and (mode == "end_to_end" or percent in ("10", "100")):
            continue
        budgets = [100] if mode == "linear" else [25, 50, 100, 200]
        chosen = generator.choice(budgets)
        for budget in budgets:
            auroc = generator.uniform(0.6, 0.9)
            cell = (target, source, mode, percent, budget, LABELED[target][percent], budget == chosen)
            rows.append((*cell, auroc, auroc + 0.001, auroc - 0.01, auroc + 0.02))
    names = ["target", "source", "mode", "percent", "epochs", "n_labeled", "selected"]
    return pd.DataFrame(rows, columns=[*names, "auroc", "median", "lower", "upper"])


def reference() -> pd.DataFrame:
    """Return the paper's values: of a cell of ``estimates``, of one with other labels, of one that is not there."""
    columns = ["target", "percent", "n_labeled", "mode", "source", "auroc_median", "q05", "q95"]
    rows = [
        ("spine", "1", 58, "linear", "spine", 0.698, 0.683, 0.714),
        ("spine", "10", 5872, "linear", "spine", 0.2, 0.2, 0.2),
        ("spine", "50", 2936, "linear", "spine", 0.1, 0.1, 0.1),
    ]
    return pd.DataFrame(rows, columns=columns)


def similarities() -> pd.DataFrame:
    """Return every measure of every pair of datasets at five layers."""
    pairs = list(combinations(["spine", "chest", "natural"], 2))
    rows = [
        (measure, layer, a, b, 0.3 + 0.05 * i + 0.01 * int(layer[-1]))
        for measure in ("svcca", *MEASURE_LABELS)
        for layer in LAYERS
        for i, (a, b) in enumerate(pairs + [pair[::-1] for pair in pairs])
        if i < len(pairs) or measure == "variance_share"
    ]
    frame = pd.DataFrame(rows, columns=["measure", "layer", "dataset_a", "dataset_b", "value"])
    spread = frame["value"].where(frame["measure"] != "svcca")
    frame = frame.assign(value_lower=spread - 0.05, value_upper=spread + 0.04)
    return frame.assign(null_mean=0.2, null_lower=0.15, null_upper=0.25, ceiling=0.9)


def draw_figure1(
    examples: dict,
    note: str = "",
    titles: dict[str, str] = TITLES,
    encoders: dict[str, list[str]] | None = None,
    mixtures: tuple[str, ...] = ("spine+chest",),
) -> Figure:
    """Return figure 1 of two targets and of MoCo on spine and on ``mixtures``, beside ``encoders``."""
    seen = {"spine": ["spine"]} | {name: name.split("+") for name in mixtures}
    return figure1.draw(
        initial=["natural"],
        weights="trained here on the classes of natural",
        sources={"none": []} | {name: [] for name in encoders or {}} | seen | {"limited": []},
        unlabeled={name: 5872 if name == "spine" else 231596 for name in seen},
        labeled=LABELED,
        tests={"spine": 2077, "chest": 75500},
        examples=examples,
        titles=titles,
        note=note,
        encoders=encoders or {},
    )


def _table(rows: list[dict]) -> pd.DataFrame:
    """Return a table with a row for each epoch of each of ``rows``, whose losses are lists."""
    return pd.concat(
        [
            pd.DataFrame(row | {"training": number, "epoch": range(1, len(row["loss"]) + 1)})
            for number, row in enumerate(rows)
        ],
        ignore_index=True,
    )


def training_tables(sources: list[str]) -> dict[str, pd.DataFrame]:
    """Return trainings of ``sources`` on two targets, with several lengths and a probe every other epoch."""
    random = np.random.default_rng(0)

    def losses(epochs: int) -> list[float]:
        return list(random.uniform(0.3, 0.7, epochs))

    def moco(source: str, epochs: int, **cell: str) -> dict:
        probe = [0.7 if epoch % 2 else np.nan for epoch in range(epochs)]
        measures = {name: losses(epochs) for name in training_curves.MOCO_METRICS}
        return measures | {"source": source, "probe_spine": probe} | cell

    cells = [
        {"source": source, "target": target, "percent": percent}
        for target in ("spine", "chest")
        for source in sources
        for percent in ("0.5", "10")
    ]
    budgets = [
        _table([cell | {"loss": losses(budget)} for cell in cells]).assign(budget=budget)
        for budget in (1, 30)
    ]
    return {
        "initial": _table([{"source": "none", "loss": losses(3)}]),
        "moco": _table(
            [moco("spine", 8), moco("chest", 4), moco("limited", 6, target="spine", percent="10")]
        ),
        "linear": _table([cell | {"loss": losses(20)} for cell in cells]),
        "end_to_end": pd.concat(budgets, ignore_index=True),
    }


def moved_networks(layers: list[str]) -> pd.DataFrame:
    """Return the likeness of five encoders to the initial one at ``layers``, on images of two targets."""
    rows = [
        (target, source, layer, measure, 0.95 - 0.1 * i, 0.1, 2000)
        for target in LABELED
        for source in list(SOURCES)[1:]
        for i, layer in enumerate(layers)
        for measure in ("svcca", "cka")
    ]
    names = ["target", "source", "layer", "measure", "value", "chance", "images"]
    return pd.DataFrame(rows, columns=names)


def gains() -> pd.DataFrame:
    """Return what two out-of-domain sources gain on each target, by every measure."""
    rows = [
        {"target": target, "percent": percent, "n_labeled": n, "measure": measure, "layer": "DB4"}
        | {"source": source, "similarity": value, "outside_null": measure != "svcca"}
        | {"gain": gain, "lower": gain - 0.1, "upper": gain + 0.05}
        for target, percents in LABELED.items()
        for percent, n in percents.items()
        for measure in similarity_ranks.LABELS
        for source, value, gain in (("none", 0.02, 0.0), ("chest", 0.98, -0.04))
    ]
    return pd.DataFrame(rows)


def parts() -> pd.DataFrame:
    """Return the parts of the variances of two sources' differences from none, one with an encoder only, and of an AUROC."""
    rows = [
        {"target": target, "mode": mode, "percent": percent, "n_labeled": n, "source": source, "less": less}
        | {"se": 0.05, "se_patients": 0.03, "se_subsets": 0.04, "se_encoders": encoders}
        | {"share_patients": 0.36, "share_subsets": 0.64, "share_encoders": np.nan, "subsets": 3}
        | {"encoders": 1, "status": status, "pooled": 0, "fair": np.nan}
        for target, percents in LABELED.items()
        for mode in ("linear", "end_to_end")
        for percent, n in percents.items()
        for source, less, encoders, status in (
            ("none", "", 0.0, "given"),
            ("spine", "none", 0.02, "estimated"),
            ("chest", "none", np.nan, "unknown"),
        )
    ]
    return pd.DataFrame(rows)


def coverage() -> pd.DataFrame:
    """Return coverages of both studies, with the values that the simulation has."""
    rows = [
        ("positives", auroc, positives, 1, "image", interval)
        for auroc in (0.8, 0.95)
        for positives in (10, 20, 50, 100, 200)
        for interval in ("percentile", "logit")
    ]
    rows += [
        ("patients", 0.8, 100, images, unit, interval)
        for images in (1, 2, 4)
        for unit in (["image"] if images == 1 else ["image", "patient"])
        for interval in ("percentile", "logit")
    ]
    frame = pd.DataFrame(rows, columns=["study", "auroc", "positives", "images", "unit", "interval"])
    return frame.assign(trials=2000, coverage=np.linspace(0.7, 0.93, len(frame)))


def card(labels: int = 14, longest: str = "A label whose name is far too long") -> DataCard:
    """Return a card of the size of MIMIC-CXR, with names that are too long to be shown whole."""
    splits = ["train", "validation", "test"]
    names = ["Enlarged Cardiomediastinum", longest, *map(str, range(labels))]
    counts = pd.DataFrame({"split": [*splits, "all"], "images": [225720, 75695, 75695, 377110]})
    prevalence = [(label, split, k / labels) for k, label in enumerate(names[:labels]) for split in splits]
    return DataCard(
        indexed=377113,
        stored=377110,
        counts=counts.assign(studies=counts["images"] // 2, patients=counts["images"] // 6),
        labels=pd.DataFrame(prevalence, columns=["label", "split", "prevalence"]).assign(present=1),
        views=pd.DataFrame({"view": [f"POSTEROANTERIOR, {longest}", "AP"], "images": [300000, 77110]}),
        sizes=pd.DataFrame({"width": [2500, 3050], "height": [3050, 2500], "images": [300000, 77110]}),
        quarantined=pd.DataFrame({"reason": ["file not found, or a reason of many words"], "images": [3]}),
        settings={"size": 256, "colour": False, "fit": "center_crop"},
        repairs=pd.DataFrame({"repair": ["a file with bytes after its pixels"], "images": [12]}),
        warnings=[f"No positives among the test images: {longest}, and other classes that are too many."],
    )


def drawings(titles: dict[str, str] = TITLES) -> dict[str, Callable[[str], Figure]]:
    """Return, by the name of each figure, a function that draws it with a note."""
    cells, pairs, paths = estimates(), similarities(), ["features.0", "layer1.2.conv3", "encoder.layers.11"]
    shape = (augmentations.IMAGES, augmentations.VIEWS, 8, 8)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    views = dict.fromkeys(("moco_cxr", "moco_v2", "chexclusion"), images)
    shown = f"Images: {titles['chest']} (chest), 256 x 256 pixels; views: 224 x 224 pixels"
    layers = moved_networks(LAYERS)
    many = estimates(MANY)
    encoders = {
        "lite0": ["efficientnet_lite0", "lite0.pth"],
        "rad_dino": [
            "vit_base_patch14_dinov2.lvd142m",
            "hf-hub:an-organisation/a-name@0123456789abcdef0123456789abcdef",
        ],
    }
    return {
        "figure1": lambda note: draw_figure1(dict.fromkeys(titles), note, titles),
        "figure1_with_encoders": lambda note: draw_figure1(dict.fromkeys(titles), note, titles, encoders),
        "figure1_of_long_names": lambda note: draw_figure1(
            dict.fromkeys([*titles, "child-chest", "knees_of_many_adults"]),
            *(note, titles, {"an-encoder-with-a-long-name": ["efficientnet_lite0", "lite0.pth"]}),
            ("child-chest+knees_of_many_adults", "a-very-small-part-of-all-knees"),
        ),
        "figure2": lambda note: figure2.draw(cells, titles, SOURCES, note, reference()),
        "figure2_of_many": lambda note: figure2.draw(many, titles, MANY, note, None, SEEN),
        "figure4_of_many": lambda note: figure_epochs.draw(many, "spine", titles, MANY, note, SEEN),
        "figure3": lambda note: figure3.draw(pairs, titles, note),
        "figure4": lambda note: figure_epochs.draw(cells, "spine", titles, SOURCES, note),
        "figure5": lambda note: figure_epochs.draw(cells, "chest", titles, SOURCES, note),
        "similarity_measures": lambda note: similarity_measures.draw(pairs, titles, note),
        "networks": lambda note: networks.draw(layers, titles, SOURCES, note),
        "networks_of_paths": lambda note: networks.draw(moved_networks(paths), titles, SOURCES, note),
        "similarity_ranks": lambda note: similarity_ranks.draw(gains(), titles, SOURCES, note),
        "components": lambda note: components.draw(parts(), titles, note),
        "components_of_one": lambda note: components.draw(
            parts()[lambda table: (table["target"] == "spine") & (table["status"] != "unknown")], titles, note
        ),
        "training_curves": lambda note: training_curves.draw(training_tables(list(CONTROLS)), CONTROLS, note),
        "figure_coverage": lambda note: figure_coverage.draw(coverage(), [5, 95]),
        "data_card": lambda note: data_card.draw(
            card(longest=titles["spine"]), titles["chest"], [images[0, 0]] * 8, note
        ),
        "data_card_of_one": lambda note: data_card.draw(card(1), titles["chest"], None, note),
        "data_card_of_many": lambda note: data_card.draw(card(40), titles["chest"], None, note),
        "augmentations": lambda note: augmentations.draw(images[:, 0], views, shown, note),
        "model_card": lambda note: model_card.draw(
            made_up_cards.results(20_000, [*titles.values(), *map(str, range(11))]), "90% interval", note
        ),
        "model_card_of_one": lambda note: model_card.draw(
            made_up_cards.results(600, [titles["spine"]]), "90% interval", note
        ),
        "model_card_of_none": lambda note: model_card.draw(
            made_up_cards.results(9, ["a"]), "90% interval", note
        ),
    }
