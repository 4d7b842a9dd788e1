"""Augmentations in the configuration: lists stay as written, and mistakes are reported in one line."""

import json

import pytest
import yaml

from moco_transfer.config.augmentation import PRESETS, operations_of
from moco_transfer.config.composition import composed
from moco_transfer.config.experiment import check
from moco_transfer.errors import UserError

PAPER = composed({})
LISTED = """
- {rotate: 10}
- {flip: 0.5}
- {resized_crop: [0.2, 1.0]}
- {jitter: {brightness: 0.4, contrast: 0.4, p: 0.8}}
- {jitter: {brightness: 0.0, contrast: 0.0, saturation: 0.5, hue: 0.5, p: 1.0}}
- {grayscale: 0.2}
- {blur: {sigma: [0.1, 2], p: 0.5}}
"""
CROP = {"crop": "random"}
ONE_CROP = "expected exactly one crop or resized_crop"


def checked(section, augment):
    return getattr(check(PAPER | {section: PAPER[section] | {"augment": augment}}), section)


@pytest.mark.parametrize("section", ["moco", "finetune"])
def test_a_list_comes_back_from_the_settings_of_a_job_as_it_was_written(section):
    found = checked(section, yaml.safe_load(LISTED))
    names = [operation.name for operation in found.augment]
    assert names == ["rotate", "flip", "resized_crop", "jitter", "jitter", "grayscale", "blur"]
    assert (found.augment[0].rotate, found.augment[3].jitter.p) == (10, 0.8)
    assert found.augment[6].blur.sigma == [0.1, 2]
    sent = json.loads(json.dumps(found.model_dump()))
    assert sent["augment"] == yaml.safe_load(LISTED)
    assert type(found).model_validate(sent) == found


def test_presets_keep_their_names_and_none_is_for_finetuning_alone():
    assert checked("moco", "moco_v2").augment == "moco_v2"
    assert checked("finetune", "none").augment == "none"
    with pytest.raises(UserError, match="expected moco_cxr, moco_v2, chexclusion or a list of operations"):
        checked("moco", "none")


@pytest.mark.parametrize("preset", PRESETS)
def test_operations_come_from_a_preset_or_a_list(preset):
    listed = [operation.model_dump() for operation in PRESETS[preset]]
    assert operations_of(preset) == operations_of(listed) == PRESETS[preset]


@pytest.mark.parametrize("wrong", ["simclr", [{"rotate": 10}], [{"solarize": 128}]])
def test_neither_a_preset_nor_a_list_is_a_users_error(wrong):
    with pytest.raises(UserError, match=r"^augmentation: "):
        operations_of(wrong)


@pytest.mark.parametrize(
    "augment, message",
    [
        ("moco_v3", "'moco.augment': .* or a list of operations .found 'moco_v3'"),
        ([], f"'moco.augment': {ONE_CROP}"),
        ([{"rotate": 10}], f"'moco.augment': {ONE_CROP}"),
        ([CROP, {"resized_crop": [0.2, 1]}], f"'moco.augment': {ONE_CROP}"),
        ([CROP, {"rotat": 3}], "unknown key 'moco.augment.1.rotat'; did you mean 'rotate'"),
        ([CROP, {"grayscale": 2}], "'moco.augment.1.grayscale': .* less than or equal to 1 .found 2"),
        (
            [CROP, {"jitter": {"hue": 0.6}}],
            "'moco.augment.1.jitter.hue': .* less than or equal to 0.5 .found 0.6",
        ),
        ([{"grayscale": 1}, CROP], "rotate, flip and crops must come before jitter, grayscale"),
        ([CROP, {"jitter": {"p": 1}}, {"flip": 1}], "rotate, flip and crops must come before jitter"),
        ([CROP | {"flip": 0.5}], "'moco.augment.0': .* one operation; this one names flip and crop"),
        ([CROP, {}], "'moco.augment.1': .* one operation; this one names none"),
        ([{"resized_crop": [1, 0.2]}], r"the smaller bound must come first: \[0.2, 1\]"),
        ([{"resized_crop": [0.2]}], "'moco.augment.0.resized_crop': .*at least 2 items"),
        ([CROP, {"rotate": 500}], "'moco.augment.1.rotate': .* less than or equal to 180 .found 500"),
        ([CROP, {"blur": {"sigma": [0, 1]}}], "'moco.augment.1.blur.sigma.0': .* greater than 0"),
        (["crop"], "'moco.augment.0': .*section"),
    ],
)
def test_a_mistake_in_a_list_is_named_in_one_line(augment, message):
    with pytest.raises(UserError, match=message) as caught:
        checked("moco", augment)
    assert "\n" not in str(caught.value)
