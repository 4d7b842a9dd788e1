"""Batches of images on the device: whichever way they come, they are those of ``ImagePool.batch``, in order."""

import threading
import time

import numpy as np
import pytest
import torch
from made_up_settings import NETWORK

from moco_transfer.training import images as images_module
from moco_transfer.training.images import ImagePool, View, delivery, predict, read_ahead

CPU = torch.device("cpu")
GIB = 2**30
BATCHES = [np.array([4, 0, 2]), np.array([1]), np.array([3, 3, 8, 6, 7]), np.array([5, 9])]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture(params=["grey", "colour", "two stores", "grey and colour", "colour and grey"])
def parts(request, tmp_path):
    random = np.random.default_rng(0)
    rows = [np.array([11, 3, 4]), np.array([0, 9, 10, 2, 1, 7, 8])]
    kinds = {"two stores": ["grey", "grey"]}.get(request.param, request.param.split(" and "))
    paths = [tmp_path / f"{number}.npy" for number in range(len(kinds))]
    for path, kind in zip(paths, kinds, strict=True):
        np.save(path, random.integers(0, 256, (12, 9, 7, 3) if kind == "colour" else (12, 9, 7), np.uint8))
    if len(kinds) == 1:
        return [(paths[0], np.concatenate(rows))]
    return list(zip(paths, rows, strict=True))


def expected(parts, numbers):
    """Return the images ``numbers`` straight from the files, [n, c, h, w]; beside colour, grey has three channels."""
    stores = [np.load(path)[rows] for path, rows in parts]
    if len({store.ndim for store in stores}) > 1:
        stores = [np.stack([store] * 3, axis=3) if store.ndim == 3 else store for store in stores]
    chosen = np.concatenate(stores)[numbers]
    return chosen[:, None] if chosen.ndim == 3 else np.moveaxis(chosen, 3, 1)


def assert_delivers(pool, parts, device):
    found = list(pool.batches(BATCHES, device))
    assert len(found) == len(BATCHES)
    for (numbers, images), wanted in zip(found, BATCHES, strict=True):
        assert numbers is wanted and images.dtype == torch.uint8 and images.device.type == device.type
        np.testing.assert_array_equal(images.cpu(), expected(parts, wanted))


@pytest.mark.parametrize("way", ["resident", "ahead", "plain"])
@pytest.mark.parametrize("limit", [2 * GIB, 0], ids=["in memory", "mapped"])
def test_every_way_delivers_the_same_images_in_order(parts, monkeypatch, way, limit):
    monkeypatch.setattr(images_module, "IN_MEMORY_BYTES", limit)
    monkeypatch.setattr(images_module, "UPLOADED_AT_ONCE", 4)
    monkeypatch.setattr(images_module, "delivery", lambda size, device, free: way)
    pool = ImagePool(parts)
    for _ in range(2):
        assert_delivers(pool, parts, CPU)
    assert list(pool.batches([], CPU)) == []


@needs_gpu
@pytest.mark.parametrize("way", ["resident", "pinned"])
def test_a_real_gpu_gets_the_same_images(parts, monkeypatch, way):
    monkeypatch.setattr(images_module, "delivery", lambda size, device, free: way)
    assert_delivers(ImagePool(parts), parts, torch.device("cuda", 0))


@pytest.mark.parametrize(
    ("size", "device", "free", "way"),
    [
        (GIB, "cuda", 2 * GIB, "resident"),
        (GIB + 1, "cuda", 2 * GIB, "pinned"),
        (100 * GIB, "cuda", 70 * GIB, "pinned"),
        (2 * GIB, "cpu", 0, "plain"),
        (2 * GIB + 1, "cpu", 0, "ahead"),
    ],
)
def test_a_gpu_holds_what_fits_half_its_free_memory_and_a_thread_reads_what_is_on_disk(
    size, device, free, way
):
    assert delivery(size, device, free) == way


def test_a_pool_stays_where_it_was_put_first(parts, monkeypatch):
    ways = iter(["resident"])
    monkeypatch.setattr(images_module, "delivery", lambda size, device, free: next(ways))
    uploads = []
    upload = ImagePool._upload
    monkeypatch.setattr(ImagePool, "_upload", lambda pool, device: uploads.append(1) or upload(pool, device))
    pool = ImagePool(parts)
    for _ in range(3):
        list(pool.batches(BATCHES, CPU))
    assert uploads == [1]


def numbered(batch):
    return torch.from_numpy(batch)


def test_reading_ahead_is_two_batches_ahead_and_no_more():
    batches = [np.array([number]) for number in range(6)]
    read = []
    settled = threading.Semaphore(0)

    def slow(batch):
        read.append(int(batch[0]))
        settled.release()
        return numbered(batch)

    found = read_ahead(slow, batches, pin=False)
    assert read == []
    for taken in range(6):
        assert next(found).item() == taken
        for _ in range(3 if taken == 0 else int(taken < 4)):
            assert settled.acquire(timeout=10)
        assert read == list(range(min(taken + 3, 6)))
    assert list(found) == []


def test_what_the_thread_raises_is_raised_in_its_turn():
    def broken(batch):
        if batch[0] == 2:
            raise OSError("the disk is gone")
        return numbered(batch)

    found = read_ahead(broken, [np.array([number]) for number in range(4)], pin=False)
    assert [next(found).item(), next(found).item()] == [0, 1]
    with pytest.raises(OSError, match="the disk is gone"):
        next(found)
    assert readers() == []


def readers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("read_ahead")]


@pytest.mark.parametrize("leave", ["break", "raise"])
def test_leaving_the_loop_ends_the_thread(parts, monkeypatch, leave):
    monkeypatch.setattr(images_module, "delivery", lambda size, device, free: "ahead")
    read = []
    whole = ImagePool._read

    def slow(pool, numbers):
        time.sleep(0.1 * len(read))  # so that the second is still being read when the loop is left
        read.append(1)
        return whole(pool, numbers)

    monkeypatch.setattr(ImagePool, "_read", slow)

    def loop():
        for _ in ImagePool(parts).batches([np.array([0])] * 1000, CPU):
            assert len(readers()) == 1
            if leave == "raise":
                raise RuntimeError
            break

    if leave == "raise":
        with pytest.raises(RuntimeError):
            loop()
    else:
        loop()
    deadline = time.monotonic() + 10
    while readers() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert readers() == [] and len(read) <= 2


def test_predictions_are_the_networks_on_each_image_alone(parts):
    pool = ImagePool(parts)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 4 * 4, 2))
    view = View(4, NETWORK.model_copy(update={"size": 4}))
    found = predict(network, pool, view, CPU, batch=3)
    assert found.dtype == np.float32 and found.shape == (10, 2)
    for number in range(10):
        middle = torch.from_numpy(expected(parts, [number])[:, :, 2:6, 1:5].copy())
        with torch.no_grad():
            alone = network(view.prepare(middle))[0]
        np.testing.assert_allclose(found[number], alone, rtol=1e-5, atol=1e-6)
