"""The front page of the report: the answer first, then what is decided, what was run, and every figure and table."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from advice import in_words
from decide import deciding_numbers

from moco_transfer.config.experiment import Config, check
from moco_transfer.errors import in_one_line
from moco_transfer.experiment import finetuning_jobs, pretrainings
from moco_transfer.files import read_csv, write_text
from moco_transfer.report.front_page import (
    FrontPage,
    Picture,
    all_warnings,
    axis,
    caption_text,
    card_line,
    cases,
    claim_questions,
    control_questions,
    render,
    time_unit,
)
from moco_transfer.report.names import source_label, weights_text
from moco_transfer.report.tables import html_parts
from moco_transfer.statistics.evidence import read_all

PACKAGES = ("moco-transfer", "torch", "timm", "numpy", "snakemake")


def main(inputs, outputs, params, config: Config, context: Any) -> None:
    run = Path(outputs.page).parent
    ways = read_csv(inputs.advice, ["target", "percent", "source"], ["percent"])
    estimates = read_all(inputs.estimates)
    advice = in_words(
        ways, estimates[estimates["source"].isin(list(params.sources))], inputs, params, run / "logs"
    )
    found = cases(advice)
    settle = settling_numbers(pd.read_csv(inputs.decide).convert_dtypes())
    questions = claim_questions(read_csv(inputs.claims, ["claim", "verdict"], ["claim"]), settle)
    if advice.controls is not None:
        questions += control_questions(advice.controls, settle)
    cards = [json.loads(Path(path).read_text(encoding="utf-8")) for path in inputs.cards]
    captions = {Path(path).stem: caption(path, context) for path in inputs.captions}
    figures = {
        name: Picture(heading(name), Path(path).read_bytes(), captions[params.captions[name]])
        for name, path in zip(params.captions, inputs.figures, strict=True)
    }
    datasets = [
        Picture(card["title"], Path(path).read_bytes())
        for card, path in zip(cards, inputs.card_figures, strict=True)
    ]
    models = [
        Picture(
            f"Model {name}",
            Path(path).read_bytes(),
            f"Is this model calibrated? Its card is models/{name}/model.md.",
        )
        for name, path in zip(params.models, inputs.models, strict=True)
    ]
    page = FrontPage(
        run=config.run,
        note=params.note,
        interval=advice.interval,
        datasets=[config.datasets[target].title for target in config.targets],
        cases=found,
        questions=questions,
        warnings=all_warnings(found, cards),
        cards=[(card["title"], card_line(card)) for card in cards],
        facts=facts(
            config, params.sources, run, Path(inputs.template).parents[2], [*inputs.estimates, inputs.advice]
        ),
        axis=axis(ways),
        time_unit=time_unit(advice),
        main_figure=figures.pop("figure2"),
        figures={"Figures": list(figures.values()), "Datasets": datasets, "Models": models},
        tables=[
            (heading(Path(path).stem), *html_parts(Path(path).read_text(encoding="utf-8")))
            for path in inputs.tables
        ],
    )
    write_text(outputs.page, render(page, Path(inputs.template).read_text(encoding="utf-8")))


def settling_numbers(records: pd.DataFrame) -> dict[str, str]:
    """Return which numbers would decide each claim and control, by question; ``records`` is the CSV of the table decide."""
    asked = records[records["whole"] & (records["difference"] == "seen")].drop_duplicates("question")
    return {
        row["question"]: deciding_numbers(row) or "no number of patients, subsets or encoders suffices"
        for row in asked.to_dict("records")
    }


def heading(name: str) -> str:
    """Return what the page calls a figure or table: 'Figure 4', 'Training curves'."""
    kind = next((kind for kind in ("figure", "table") if name.removeprefix(kind).isdigit()), None)
    return f"{kind.capitalize()} {name.removeprefix(kind)}" if kind else name.replace("_", " ").capitalize()


def caption(path: str | Path, context: Any) -> str:
    """Return the caption that Snakemake's report shows as well, with ``context`` as its variable ``snakemake``."""
    return caption_text(jinja2.Template(Path(path).read_text(encoding="utf-8")).render(snakemake=context))


def facts(
    config: Config, sources: Mapping[str, Any], run: Path, home: Path, results: Sequence[str]
) -> list[tuple[str, str]]:
    """Return what was run, as names and texts. No path of the machine is in them."""
    jobs = [job for target in config.targets for job in finetuning_jobs(config, target)]
    weights = config.model.initial_weights
    last = datetime.fromtimestamp(max(Path(path).stat().st_mtime for path in results))
    budgets = ", ".join(map(str, config.finetune.end_to_end.budgets))
    return [
        ("Starts compared", ", ".join(source_label(name, kind) for name, kind in sources.items())),
        (
            "Network",
            f"{weights.architecture}, {weights_text(weights)}; images of {config.model.crop} x {config.model.crop} pixels",
        ),
        (
            "Trainings",
            f"{len(pretrainings(config)):,} pretrainings of whole datasets, {len(jobs):,} finetunings of labelled subsets",
        ),
        (
            "Repeats",
            f"{config.n_subsets} labelled subsets of each size, {config.pretraining.replicates} encoders of each source",
        ),
        ("Budgets tried", f"{budgets} epochs (all layers)"),
        *cost(run),
        ("Computed on", config.device),
        ("Seed", str(config.seed)),
        ("Results finished", f"{last:%Y-%m-%d %H:%M}"),
        ("This page made", f"{datetime.now():%Y-%m-%d %H:%M}"),
        ("Versions (where this page was made)", ", ".join(f"{name} {version(name)}" for name in PACKAGES)),
        ("Commit", commit(home)),
    ]


def cost(run: Path) -> list[tuple[str, str]]:
    """Return the time and memory that Snakemake measured, and the disk that the folder ``run`` takes."""
    measured = [pd.read_csv(path, sep="\t") for path in sorted(run.glob("benchmarks/**/*.tsv"))]
    rows = []
    if measured:
        table = pd.concat(measured)
        seconds, memory = (pd.to_numeric(table[name], errors="coerce") for name in ("s", "max_rss"))
        rows.append(("Time", f"{duration(seconds.sum())} in {len(table):,} measured jobs, added up"))
        rows.append(("Largest memory of a job", f"{memory.max() / 1024:.1f} GB"))
    size = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
    return [*rows, ("Disk", f"{size / 1e6:,.0f} MB in the folder of this run")]


def duration(seconds: float) -> str:
    """Return '45 s', '12 min' or '3.4 h'."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def commit(home: Path) -> str:
    """Return the commit of the workflow in the folder ``home``, and whether files differ from it."""
    asked = ["git", "-C", str(home), "describe", "--always", "--dirty=, with local changes", "--abbrev=12"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown: the workflow is not in a Git repository"


if "snakemake" in globals():
    with in_one_line():
        main(snakemake.input, snakemake.output, snakemake.params, check(snakemake.config), snakemake)
