"""Streams, whole files, the configuration, the command line."""

import copy
import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from moco_transfer import cli
from moco_transfer import files as atomic
from moco_transfer.config.experiment import check
from moco_transfer.data.releases import describe_missing, find_tables
from moco_transfer.errors import UserError
from moco_transfer.seeds import stream, stream_key

ROOT = Path(__file__).parents[2]
names = st.lists(st.one_of(st.text(max_size=5), st.integers(-5, 300)), max_size=4)


@given(names, names)
def test_different_names_are_different_streams(one, other):
    same = [(type(x), x) for x in one] == [(type(x), x) for x in other]
    assert (stream_key(1, *one) == stream_key(1, *other)) == same


def test_a_stream_is_the_same_wherever_it_is_named():
    assert stream(3, "a", 1).random() == stream(3, "a", 1).random() != stream(4, "a", 1).random()
    with pytest.raises(TypeError):
        stream(3, 0.5)


def test_a_file_that_fails_half_way_leaves_the_old_one(tmp_path):
    path = tmp_path / "new" / "table.csv"
    atomic.write_text(path, "old")
    with pytest.raises(RuntimeError), atomic.replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and list(path.parent.iterdir()) == [path]


def test_equal_frames_give_equal_bytes(tmp_path):
    frame = pd.DataFrame({"a": ["x", None], "b": [1.5, float("nan")]})
    for name in "pq":
        atomic.write_parquet(frame, tmp_path / name)
    assert (tmp_path / "p").read_bytes() == (tmp_path / "q").read_bytes()
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "p"), frame)


@pytest.fixture(scope="module")
def paper():
    return yaml.safe_load((ROOT / "config" / "config.yaml").read_text())


def merged(base, overlay):
    result = copy.deepcopy(base)
    for key, value in overlay.items():
        result[key] = (
            merged(result[key], value)
            if isinstance(value, dict) and isinstance(result.get(key), dict)
            else value
        )
    return result


@pytest.mark.parametrize("overlays", [[], ["nih"], ["demo"], ["demo", "nih-sample"]])
def test_every_configuration_of_the_repository_is_valid(paper, overlays):
    for name in overlays:
        paper = merged(paper, yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text()))
    check(paper)


def changed(base, path, value):
    result = copy.deepcopy(base)
    section = result
    *parents, last = path.split(".")
    for key in parents:
        section = section[key]
    if value is KeyError:
        del section[last]
    else:
        section[last] = value
    return result


@pytest.mark.parametrize(
    "path, value, message",
    [
        ("sede", 1, "unknown key 'sede'; did you mean 'seed'?"),
        ("datasets.spine.store.siez", 1, "unknown key 'datasets.spine.store.siez'; did you mean 'size'?"),
        ("seed", KeyError, "'seed' is missing"),
        ("targets.spine.percents", [5], "'targets.spine.percents.0': write it in quotes, .5."),
        ("targets.spine.percents", ["101"], "targets.spine.percents"),
        ("targets.spine.limited", ["2"], "targets.spine.limited: '2' is not in targets.spine.percents"),
        ("datasets.spine.split.train", 0.5, "add up to 0.8, not 1"),
        ("sources.hip", ["hip"], "sources.hip: 'hip' is not a dataset"),
        ("sources.limited", ["spine"], "'limited' is built in"),
        ("datasets.spine.root", None, "either 'root' or 'phantom'"),
        ("model.initial_weights.url", None, "kind 'download' needs 'url'"),
        ("model.input_size", 300, "store.size must be at least model.input_size"),
        ("evaluation.percentiles", [5], "evaluation.percentiles"),
        ("evaluation.percentiles", [95, 5], "smaller percentile must come first"),
        ("model.name", "densenet999", "model.name"),
        ("pretraining.schedules.chest.bn_groups", 200, "too small for 200 bn_groups"),
        ("targets.spine.percents", ["1", "10", "1.0"], "the same percentage is listed twice"),
        ("datasets.natural.phantom", {"images": 5, "size": 64}, "either 'root' or 'phantom'"),
        ("targets.natural", {"percents": ["10"], "limited": []}, "finetune.optimizers"),
        ("datasets.chest.store.size", 320, "sources.spine.chest: all its datasets need the same store.size"),
    ],
)
def test_a_wrong_key_or_value_is_named_in_one_line(paper, path, value, message):
    with pytest.raises(UserError, match=message) as caught:
        check(changed(paper, path, value))
    assert "\n" not in str(caught.value)


def test_an_entry_is_taken_out_by_null(paper):
    without = merged(paper, {"targets": {"chest": None}, "sources": {"spine+chest": None}})
    found = check(without)
    assert list(found.targets) == ["spine"] and list(found.sources) == ["none", "spine", "chest"]


def test_the_reference_of_the_configuration_is_in_step():
    from moco_transfer.config.reference import reference

    assert (ROOT / "config" / "README.md").read_text() == reference(), (
        "run: python -m moco_transfer.config.reference"
    )


def test_missing_releases_are_named_with_what_to_do_instead(tmp_path):
    wanted = {"spine": ("vindr_spinexr", str(tmp_path)), "natural": ("image_folder", str(tmp_path / "no"))}
    first, second, last = describe_missing(wanted).splitlines()
    for part in ("annotations/train.csv", str(tmp_path), "physionet.org", "datasets.spine.root"):
        assert part in first
    assert "image-net.org" in second and "config/demo.yaml" in last


def test_the_tables_of_a_release_are_found_when_all_are_there(tmp_path):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "train.csv").touch()
    assert find_tables("vindr_spinexr", tmp_path) == ([], ["annotations/test.csv"])
    (tmp_path / "annotations" / "test.csv").touch()
    names = [str(tmp_path / "annotations" / f"{name}.csv") for name in ("train", "test")]
    assert find_tables("vindr_spinexr", tmp_path) == (names, [])
    assert find_tables("image_folder", tmp_path) == ([str(tmp_path / "annotations")], [])


def test_the_command_line_prints_a_users_error_in_one_line(tmp_path, capsys):
    nothing = dict.fromkeys(["url", "sha256", "dataset", "epochs", "batch", "lr"])
    weights = nothing | {"kind": "file", "path": str(tmp_path / "no.pth")}
    network = {"name": "densenet_small", "input_size": 32}
    settings = json.dumps({"network": network, "weights": weights})
    assert cli.main(["fetch-weights", "--settings", settings, "--encoder", str(tmp_path / "e")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "no.pth" in error and error.count("\n") == 1


def test_every_stage_has_a_help_text(capsys):
    for name in cli.STAGES:
        with pytest.raises(SystemExit) as caught:
            cli.main([name, "--help"])
        assert caught.value.code == 0
    assert "--settings" in capsys.readouterr().out
