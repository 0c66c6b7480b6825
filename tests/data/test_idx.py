"""The IDX format: what is written by hand is read back, and every kind of damage is named."""

import gzip
import re
import struct

import numpy as np
import pytest

from dbn_jax import data

RANDOM = np.random.default_rng(0)
ARRAYS = {
    "train-images-idx3-ubyte": RANDOM.integers(0, 256, (12, 5, 4), dtype=np.uint8),
    "train-labels-idx1-ubyte": np.arange(12, dtype=np.uint8) % 3,
    "t10k-images-idx3-ubyte": RANDOM.integers(0, 256, (6, 5, 4), dtype=np.uint8),
    "t10k-labels-idx1-ubyte": np.arange(6, dtype=np.uint8) % 3,
}


def idx_bytes(array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def write(folder, arrays):
    for name, array in arrays.items():
        (folder / name).write_bytes(idx_bytes(array))


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, ARRAYS)
    return tmp_path


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize(("old", "new"), [("", ""), ("-idx", ".idx"), ("ubyte", "ubyte.gz")])
def test_load_returns_what_was_written(tmp_path, compress, old, new):
    for name, array in ARRAYS.items():  # compressed or not, whatever the name says
        (tmp_path / name.replace(old, new)).write_bytes(compress(idx_bytes(array)))
    dataset = data.load("fashion_mnist", data_dir=tmp_path)
    assert dataset.name == "fashion_mnist"
    assert dataset.image_shape == (5, 4)
    assert dataset.num_classes == 3
    assert dataset.validation is None
    for split, part in ((dataset.train, "train"), (dataset.test, "t10k")):
        images = ARRAYS[f"{part}-images-idx3-ubyte"].reshape(-1, 20)
        np.testing.assert_array_equal(split.images, images, strict=True)
        labels = ARRAYS[f"{part}-labels-idx1-ubyte"].astype(np.int32)
        np.testing.assert_array_equal(split.labels, labels, strict=True)


def test_missing_files_are_named(folder):
    (folder / "t10k-images-idx3-ubyte").unlink()
    (folder / "train-labels-idx1-ubyte").unlink()
    message = r"lacks train-labels-idx1-ubyte, t10k-images-idx3-ubyte: .* or without \.gz"
    with pytest.raises(FileNotFoundError, match=message):
        data.load("mnist", data_dir=folder)


IMAGES = idx_bytes(ARRAYS["train-images-idx3-ubyte"])
ZIPPED = gzip.compress(IMAGES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (IMAGES[:-1], "is damaged.* holds 255 bytes, but 256 by its header of shape .12, 5, 4."),
        (IMAGES[:9], "is damaged.* holds 9 bytes"),
        (IMAGES + b"x", "is damaged.* holds 257 bytes, but 256"),
        # A header that claims 2^96 pixels must not be believed.
        (b"\0\0\x08\x03" + b"\xff" * 12 + IMAGES[16:], "is damaged"),
        (b"", "starts with the bytes ,"),
        (b"<!DOCTYPE html>", "starts with the bytes 3c21444f, .* of images with 00000803"),
        (b"\0\0\x0d" + IMAGES[3:], "starts with the bytes 00000d03"),  # floats
        (idx_bytes(np.zeros(12, np.uint8)), "starts with the bytes 00000801"),  # labels
        (idx_bytes(np.zeros((11, 5, 4), np.uint8)), "shape .11, 5, 4. and .* 12 labels"),
        (idx_bytes(np.zeros((12, 0, 4), np.uint8)), "shape .12, 0, 4. .* at least one image"),
        (ZIPPED[:-20], "is a corrupt gzip file"),
        (ZIPPED[:60] + bytes(20) + ZIPPED[80:], "is a corrupt gzip file"),
    ],
)
def test_damaged_images_are_named(folder, content, message):
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"(?s){re.escape(str(path))} .*{message}"):
        data.load("mnist", data_dir=folder)


def test_mixed_data_sets_are_named(folder):
    write(folder, {"t10k-images-idx3-ubyte": np.zeros((6, 5, 3), np.uint8)})
    message = re.escape(f"{folder} mixes data sets: training images are (5, 4) pixels, test images")
    with pytest.raises(ValueError, match=message):
        data.load("mnist", data_dir=folder)
