"""Which rows are embedded, in which views, and what broken files and networks are told."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from moco_transfer.errors import UserError
from moco_transfer.files import write_array
from moco_transfer.finetune.embed import embed_images
from moco_transfer.finetune.linear import FeatureCache
from moco_transfer.networks import build_backbone, save_weights

LABELED, SCORED = np.array([7, 2, 7, 11]), np.array([3, 4, 12])


@pytest.fixture
def encoder(tmp_path):
    save_weights(build_backbone("densenet_small", 3), tmp_path / "encoder.safetensors")
    return tmp_path / "encoder.safetensors"


@pytest.fixture
def images(tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (14, 36, 36), dtype=np.uint8))
    return path


def embed(encoder, images, views=1, seed=5):
    return embed_images(
        encoder,
        images,
        LABELED,
        SCORED,
        model="densenet_small",
        views=views,
        augmentation="chexclusion",
        input_size=32,
        seed=seed,
        stream_name=("embed", "chest"),
        device=torch.device("cpu"),
    )


def write_cache(folder, features, index):
    write_array(np.asarray(features, np.float32), folder / "features.npy")
    write_array(np.asarray(index), folder / "rows.npy")
    return folder / "features.npy", folder / "rows.npy"


def test_only_rows_that_are_labelled_or_scored_are_embedded_and_only_labelled_ones_have_views(
    encoder, images
):
    features, index = embed(encoder, images, views=3)
    assert index.tolist() == [
        *([row, 0] for row in (2, 3, 4, 7, 11, 12)),
        *([row, 1] for row in (2, 7, 11)),
        *([row, 2] for row in (2, 7, 11)),
    ]
    assert len(features) == len(index)
    plain, _ = embed(encoder, images)
    np.testing.assert_array_equal(features[:6], plain)


def test_views_differ_from_each_other_and_between_seeds_and_are_the_same_again(encoder, images):
    features, index = embed(encoder, images, views=3)
    by_view = [features[(index[:, 1] == view) & np.isin(index[:, 0], LABELED)] for view in range(3)]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (np.abs(by_view[one] - by_view[other]).max(axis=1) > 1e-6).any()
    np.testing.assert_array_equal(features, embed(encoder, images, views=3)[0])
    assert (features != embed(encoder, images, views=3, seed=6)[0]).any()


def test_features_are_found_by_row_and_view_in_any_order(tmp_path):
    cache = FeatureCache(*write_cache(tmp_path, [[0.0], [1], [2], [3]], [[4, 0], [6, 0], [9, 0], [6, 1]]))
    assert cache.views == 2
    assert cache.of(np.array([9, 4, 9])).tolist() == [[2], [0], [2]]
    assert cache.of(np.array([6]), view=1).tolist() == [[3]]


@pytest.mark.parametrize(("row", "view"), [(5, 0), (10, 0), (9, 1), (14, 0), (0, 1), (6, 2)])
def test_a_row_or_view_that_is_missing_is_said(tmp_path, row, view):
    """Row 14 in view 0 lies where row 4 of view 1 would be numbered."""
    cache = FeatureCache(*write_cache(tmp_path, [[0.0], [1], [2]], [[4, 0], [9, 0], [4, 1]]))
    with pytest.raises(UserError, match=r"features\.npy: lacks features"):
        cache.of(np.array([row]), view)


@pytest.mark.parametrize("index", [[4, 9], [[4, 0]]])
def test_files_that_do_not_belong_together_are_said(tmp_path, index):
    with pytest.raises(UserError, match=r"features\.npy and .*rows\.npy do not belong together"):
        FeatureCache(*write_cache(tmp_path, [[0.0], [1]], index))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_said_where_they_are_used(tmp_path, value):
    cache = FeatureCache(*write_cache(tmp_path, [[0.0], [value], [2]], [[4, 0], [6, 0], [9, 0]]))
    assert cache.of(np.array([4, 9])).tolist() == [[0], [2]]
    with pytest.raises(UserError, match=r"features\.npy: features are not finite in 1 of 2 .* row 1;"):
        cache.of(np.array([9, 6]))


def test_an_encoder_that_has_diverged_is_said(encoder, images):
    state = load_file(encoder)
    state["features.conv0.weight"][0] = torch.nan
    save_file(state, encoder)
    with pytest.raises(UserError, match=r"encoder\.safetensors: 6 of 6 features .* not finite"):
        embed(encoder, images)
