"""The IDX format: what is written by hand is read back, and every kind of damage is named."""

import gzip
import struct

import numpy as np
import pytest

from dbn_jax import data
from dbn_jax.data import idx

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


def write(folder, name, content, *, zipped=False):
    path = folder / (name + ".gz" if zipped else name)
    path.write_bytes(gzip.compress(content) if zipped else content)
    return path


@pytest.fixture
def folder(tmp_path):
    for name, array in ARRAYS.items():
        write(tmp_path, name, idx_bytes(array))
    return tmp_path


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("dotted", [False, True])
def test_load_returns_what_was_written(tmp_path, zipped, dotted):
    for name, array in ARRAYS.items():
        name = name.replace("-idx", ".idx") if dotted else name
        write(tmp_path, name, idx_bytes(array), zipped=zipped)
    dataset = data.load("fashion_mnist", data_dir=tmp_path)
    assert dataset.name == "fashion_mnist"
    assert dataset.image_shape == (5, 4)
    assert dataset.num_classes == 3
    assert dataset.validation is None
    np.testing.assert_array_equal(
        dataset.train.images, ARRAYS["train-images-idx3-ubyte"].reshape(12, 20)
    )
    np.testing.assert_array_equal(dataset.train.labels, ARRAYS["train-labels-idx1-ubyte"])
    np.testing.assert_array_equal(
        dataset.test.images, ARRAYS["t10k-images-idx3-ubyte"].reshape(6, 20)
    )
    np.testing.assert_array_equal(dataset.test.labels, ARRAYS["t10k-labels-idx1-ubyte"])
    assert dataset.train.images.dtype == np.uint8
    assert dataset.train.labels.dtype == np.int32


def test_missing_files_are_named(folder):
    (folder / "t10k-images-idx3-ubyte").unlink()
    (folder / "train-labels-idx1-ubyte").unlink()
    message = r"lacks train-labels-idx1-ubyte, t10k-images-idx3-ubyte: .* or without \.gz"
    with pytest.raises(FileNotFoundError, match=message):
        data.load("mnist", data_dir=folder)


IMAGES = idx_bytes(ARRAYS["train-images-idx3-ubyte"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (IMAGES[:-1], "is truncated: .* 256 bytes in all, but it holds 255"),
        (IMAGES[:9], r"ends inside its header \(9 bytes\)"),
        (b"", "starts with bytes 0x,"),
        (IMAGES + b"x", "has bytes left over"),
        (b"<!DOCTYPE html>", "starts with bytes 0x3c21444f, .*0x00000803 for images"),
        (b"\0\0\x0d" + IMAGES[3:], "starts with bytes 0x00000d03"),  # floats
        (idx_bytes(np.zeros(12, np.uint8)), "1 axes where 3 are .* mixed up"),
        (idx_bytes(np.zeros((11, 5, 4), np.uint8)), "11 images but .* 12 labels"),
        (idx_bytes(np.zeros((12, 5, 3), np.uint8)), "training images are .5, 3. pixels, test"),
        (idx_bytes(np.zeros((12, 0, 4), np.uint8)), "holds no pixels"),
        (gzip.compress(IMAGES)[:-20], "is a corrupt gzip file"),
        (gzip.compress(IMAGES)[:60] + bytes(20) + gzip.compress(IMAGES)[80:], "corrupt gzip"),
        # A header that claims 2^96 pixels must not be believed.
        (b"\0\0\x08\x03" + b"\xff" * 12 + IMAGES[16:], "is truncated"),
    ],
)
def test_damaged_images_are_named(folder, content, message):
    path = write(folder, "train-images-idx3-ubyte", content)
    with pytest.raises(ValueError, match=f"(?s){message}") as error:
        data.load("mnist", data_dir=folder)
    assert str(path if "pixels, test" not in message else folder) in str(error.value)


def test_gzip_is_told_by_content(folder):
    write(folder, "train-images-idx3-ubyte", gzip.compress(IMAGES))
    images, _ = idx.read_folder(folder)["train"]
    np.testing.assert_array_equal(images, ARRAYS["train-images-idx3-ubyte"])


def test_any_number_of_axes_is_read(tmp_path):
    array = RANDOM.integers(0, 256, (2, 3, 4, 5), dtype=np.uint8)
    np.testing.assert_array_equal(idx.read(write(tmp_path, "any", idx_bytes(array))), array)
