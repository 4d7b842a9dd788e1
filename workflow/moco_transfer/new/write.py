"""The text of a configuration: complete, with the reason of each choice beside it."""

from __future__ import annotations

import os
import re
from typing import Any

import yaml

from moco_transfer.config.composition import PARTS
from moco_transfer.escape import printable
from moco_transfer.new.choose import SPEED, Choice, Machine
from moco_transfer.new.look import Notes, count
from moco_transfer.new.understand import Understanding

WIDTH = 120
SIZES = {
    "cpu": "no GPU was found: EfficientNet-Lite0 on 96 pixels",
    "small-gpu": "a GPU was found: ResNet-18 on 128 pixels; with 16 GB and thousands of images, take size/paper.yaml",
    "paper": "a large GPU was found: DenseNet-121 on 224 pixels, as in the paper; size/small-gpu.yaml is faster",
}
# Text that is the same text without quotes, whatever reads it as YAML.
WITHOUT_QUOTES = re.compile(
    r"(?!(?:yes|no|on|off|true|false|null|y|n)$)[a-zA-Z_][a-zA-Z0-9_./-]*", re.IGNORECASE
)


class _Dumper(yaml.SafeDumper):
    pass


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if WITHOUT_QUOTES.fullmatch(text) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def value(anything: Any) -> str:
    """Return ``anything`` (text, numbers, lists, mappings) as YAML in one line."""
    text = yaml.dump(
        anything,
        Dumper=_Dumper,
        default_flow_style=True,
        width=float("inf"),
        allow_unicode=True,
        sort_keys=False,
    )
    return text.removesuffix("...\n").strip()


def comment(text: str) -> str:
    return f" # {printable(text)}" if text else ""


def raw_config(name: str, title: str, understood: Understanding, choice: Choice) -> dict[str, Any]:
    """Return the configuration as a mapping, without what says how long is trained."""
    colour = {"colour": True} if understood.colour else {}
    target: dict[str, Any] = {"percents": choice.percents, "limited": choice.limited}
    raw = {
        "uses": ["protocol.yaml", f"size/{choice.size}.yaml"],
        "run": name,
        "data": name,
        "datasets": {
            name: {
                "title": title,
                **understood.section,
                "shareable": False,
                "store": {"fit": "pad", **colour, "shards": choice.shards},
                "split": choice.split | ({"folds": choice.folds} if choice.folds > 1 else {}),
                "labels": {"uncertain": "zero", "unlabeled": understood.unlabeled},
            }
        },
        "targets": {name: target | ({"task": "multiclass"} if understood.multiclass else {})},
        "sources": {"none": [], name: [name]},
        "finetune": {"linear": {"recipe": "logistic", "compared": ["paper"]}},
        "evaluation": {"unit": "patient" if choice.several else "image"},
    }
    return raw | ({"moco": {"augment": "moco_v2"}} if understood.colour else {})


def config_text(
    name: str,
    raw: dict[str, Any],
    understood: Understanding,
    choice: Choice,
    machine: Machine,
    notes: Notes,
) -> str:
    """Return the text of the file, which means ``raw`` and the efforts of ``choice``."""
    dataset = raw["datasets"][name]
    sizes = {side: int((choice.sides == side).sum()) for side in ("train", "validation", "test")}
    train = sizes["train"]
    percents = ", ".join(f"{percent}% is {count:,} images" for percent, count in choice.labelled.items())
    counts = ", ".join(f"{count:,} {side}" for side, count in sizes.items())
    in_each = ""
    if choice.folds > 1:
        counts += (
            f" in fold 1; few test images decide little, so with {choice.folds} folds each is tested in one"
        )
        in_each = f", in each of {choice.folds} folds"
    lines = [
        # An editor with a YAML language server completes and checks keys by this line.
        f"# yaml-language-server: $schema={os.path.relpath(PARTS / 'schema.json')}",
        f"# {printable(dataset['title'])}: an experiment with {len(choice.sides):,} images, written by 'make new' for this machine.",
        "# Every choice is here, with its reason. Change what you know better; config/README.md explains all keys.",
        *(f"# Please check: {printable(text)}." for text in notes.check),
        "",
        f"uses: {value(raw['uses'])}{comment(SIZES[choice.size])}",
        "",
        f"run: {value(raw['run'])}{comment(f'the results go to results/{name}/')}",
        f"data: {value(raw['data'])}{comment('runs with the same value share stored images')}",
        "",
        "datasets:",
        f"  {value(name)}:",
        f"    title: {value(dataset['title'])}",
        f"    adapter: {value(dataset['adapter'])}",
        f"    root: {value(dataset['root'])}",
        *_listing(dataset, understood),
        "    shareable: false # no image and no identifier enters a figure, a table or the report",
        f"    store: {value(dataset['store'])}{comment(_store_reason(understood))}",
        f"    split: {value(dataset['split'])}{comment(f'{choice.split_reason}; {counts}')}",
        f"    labels: {value(dataset['labels'])}{comment(_labels_reason(understood))}",
        "",
        "targets: # what is finetuned and scored",
        f"  {value(name)}:",
        *(
            ["    task: multiclass # each image has exactly one of the classes"]
            if understood.multiclass
            else []
        ),
        f"    percents: {value(choice.percents)}{comment('of the training images that are labelled: ' + percents)}",
        f"    limited: {value(choice.limited)}{comment('at these percentages, MoCo is also trained on the labelled images alone; it needs some 30')}",
        "",
        "sources: # what finetuning starts from",
        "  none: [] # the network trained on ImageNet, without MoCo",
        f"  {value(name)}: {value([name])}{comment(f'MoCo on the {train:,} training images, without their labels{in_each}')}",
        "  # Another network, here one of timm (docs/encoders.md):",
        "  # resnet50: {encoder: resnet50.a1_in1k, weights: pretrained}",
        "  # NIH ChestX-ray14: put data/nih-chestxray14.yaml into 'uses', its folder into datasets (chest: {root: /data/nih}), and:",
        "  # chest: [chest]",
        f"  # chest+{name}: [chest, {name}]",
        "",
    ]
    if understood.colour:
        lines += ["moco:", "  augment: moco_v2 # the augmentation for colour photos", ""]
    lines += _effort_lines(raw, choice, machine)
    unit = (
        "images of one patient are alike, so patients are resampled"
        if choice.several
        else "no two images are known to be of one patient"
    )
    lines += ["evaluation:", f"  unit: {value(raw['evaluation']['unit'])}{comment(unit)}"]
    return "\n".join(lines) + "\n"


def _listing(dataset: dict[str, Any], understood: Understanding) -> list[str]:
    """Return the lines of the section ``table`` or ``folders``, if there is one."""
    section = dataset.get(dataset["adapter"])
    if not section:
        return []
    lines = [f"    {dataset['adapter']}:"]
    for key, entry in section.items():
        if key == "labels":
            lines.append("      labels:")
            for label in entry:
                text = (
                    f"{value(label)}: {value(entry[label])}"
                    if isinstance(entry, dict)
                    else f"- {value(label)}"
                )
                lines.append(f"        {text}{comment(understood.comments.get(label, ''))}")
        elif key == "classes":
            lines.append(f"      classes: {value(entry)}{comment(understood.comments.get('', ''))}")
        else:
            lines.append(f"      {key}: {value(entry)}")
    return lines


def _store_reason(understood: Understanding) -> str:
    colour = (
        "three channels, because a sample has colours"
        if understood.colour
        else "grey, as most of a sample are"
    )
    return f"whole images, with black borders to make them square; {colour}"


def _labels_reason(understood: Understanding) -> str:
    dropped = (
        "images without any label are left out" if understood.unlabeled == "drop" else "a blank counts as 0"
    )
    return f"uncertain labels (-1) count as 0; {dropped}"


def _effort_lines(raw: dict[str, Any], choice: Choice, machine: Machine) -> list[str]:
    linear = raw["finetune"]["linear"]
    finetune = [
        "finetune:",
        f"  linear: {value(linear)} # linear heads that need no tuning; the table 'recipes' says whether the paper's would change the order",
    ]
    if choice.epochs is None:
        return [*finetune, ""]
    why = f"{machine.cores} cores train on about {SPEED * machine.cores} images/s, so the whole run takes about {duration(choice.hours)}"
    return [
        f"n_subsets: {choice.n_subsets} # random choices of the labelled images, to see how much depends on them",
        "",
        f"pretraining: {comment(why).strip()}",
        "  schedules:",
        f"    default: {{epochs: {choice.epochs}}} # more is better, if you have the time",
        "",
        *finetune,
        f"  end_to_end: {{budgets: {value(choice.budgets)}}} # epochs; the best on the validation images is taken",
        "",
        "resources:",
        f"  threads: {choice.threads} # of each training",
        "",
    ]


def duration(hours: float) -> str:
    return count(max(1, round(hours * 60)), "minute") if hours < 1.5 else f"{hours:.1f} hours"
