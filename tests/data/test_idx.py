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


CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def idx_bytes(array):
    code = CODES[f"{array.dtype.kind}{array.dtype.itemsize}"]
    header = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


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


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "f4", "f8"])
def test_images_of_other_numbers_are_read(folder, dtype):
    """Whole numbers as they are, of full intensity 15 here; floats as grey levels in [0, 1]."""
    numbers = RANDOM.integers(0, 16, (12, 5, 4)).astype(dtype)
    numbers.flat[0] = 15
    (folder / "train-images-idx3-ubyte").unlink()
    write(folder, {f"train-images-idx3-{dtype}": numbers, "t10k-images-idx3-ubyte": numbers[:6]})
    if dtype[0] == "f":
        (folder / "t10k-images-idx3-ubyte").unlink()
        write(folder, {"t10k-images.idx3-float": numbers[:6]})
    dataset = data.load("mine", data_dir=folder)
    is_float = dtype[0] == "f"
    assert dataset.scale == (1 if is_float else 15)
    expected = (numbers / 15).astype("f4") if is_float else numbers
    np.testing.assert_array_equal(dataset.train.images, expected.reshape(12, 20), strict=True)
    np.testing.assert_array_equal(dataset.test.images, dataset.train.images[:6])


def test_colour_images_and_the_labels_of_qmnist_are_read(folder):
    """QMNIST has eight numbers for each image; the first is the class."""
    colour = RANDOM.integers(0, 256, (12, 5, 4, 3), dtype=np.uint8)
    many = RANDOM.integers(0, 60_000, (12, 8), dtype=np.int32)
    many[:, 0] = np.arange(12) % 3
    for name in ARRAYS:
        (folder / name).unlink()
    write(folder, {"train-images-idx4-ubyte": colour, "t10k-images-idx4-ubyte": colour[:6]})
    write(folder, {"train-labels-idx2-int": many, "t10k-labels-idx2-int": many[:6]})
    dataset = data.load("mine", data_dir=folder)
    assert (dataset.image_shape, dataset.num_classes) == ((5, 4, 3), 3)
    np.testing.assert_array_equal(dataset.train.images, colour.reshape(12, 60))
    np.testing.assert_array_equal(dataset.train.labels, many[:, 0], strict=True)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(12, np.float32), r"holds float32 numbers of shape \(12,\); labels are whole"),
        (np.zeros((12, 2), np.uint8), r"holds uint8 numbers of shape \(12, 2\); labels are whole"),
        (np.arange(12, dtype=np.int8) - 1, "train labels go from -1 to 10, but num_classes=11"),
    ],
)
def test_what_are_no_labels(folder, labels, message):
    write(folder, {"train-labels-idx1-ubyte": labels})
    with pytest.raises(ValueError, match=message):
        data.load("mnist", data_dir=folder)


def test_two_files_for_one_are_refused(folder):
    write(folder, {"train-images-idx3-float": np.zeros((12, 5, 4), np.float32)})
    names = "train-images-idx3-float and train-images-idx3-ubyte: move all but one away"
    with pytest.raises(ValueError, match=f"{re.escape(str(folder))} holds {names}"):
        data.load("mnist", data_dir=folder)


def test_missing_files_are_named(folder):
    (folder / "t10k-images-idx3-ubyte").unlink()
    (folder / "train-labels-idx1-ubyte").unlink()
    message = r"lacks train-labels-idx1-ubyte, t10k-images-idx3-ubyte: .* or without \.gz"
    with pytest.raises(FileNotFoundError, match=message):
        data.load("mnist", data_dir=folder)


IMAGES = idx_bytes(ARRAYS["train-images-idx3-ubyte"])
ZIPPED = gzip.compress(IMAGES, mtime=0)  # the names of tests hold it, and are not to change


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (IMAGES[:-1], "is damaged.* holds 255 bytes, but 256 by its header of shape .12, 5, 4."),
        (IMAGES[:9], "is damaged.* holds 9 bytes"),
        (IMAGES + b"x", "is damaged.* holds 257 bytes, but 256"),
        # A header that claims 2^96 pixels must not be believed.
        (b"\0\0\x08\x03" + b"\xff" * 12 + IMAGES[16:], "is damaged"),
        (b"", "starts with the bytes ,"),
        (
            b"<!DOCTYPE html>",
            "starts with the bytes 3c21444f, .* of images with 0000, one of 08, .* or 04 axes: ",
        ),
        (b"\0\0\x0d" + IMAGES[3:], "is damaged.* holds 256 bytes, but 976 by"),  # floats
        (b"\0\0\x0a" + IMAGES[3:], "starts with the bytes 00000a03"),  # there is no such type
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


def test_images_that_may_not_be_in_memory_stay_in_their_file(folder):
    """The training images have 256 bytes with their header, the test images fewer."""
    dataset = data.load("mine", data_dir=folder, resident_bytes=255)
    assert isinstance(dataset.train.images, np.memmap)
    assert not isinstance(dataset.test.images, np.memmap)
    images = ARRAYS["train-images-idx3-ubyte"].reshape(12, 20)
    np.testing.assert_array_equal(dataset.train.images, images)
    assert data.load("mine", data_dir=folder, resident_bytes=256).scale == dataset.scale == 255


REFUSALS = [{"classes": (1,)}, {"image_size": 2}, {"num_validation": 3}]


@pytest.mark.parametrize("option", REFUSALS, ids=str)
def test_what_would_make_others_of_images_in_a_file_is_refused(folder, option):
    words = (
        f"mine: the train images, 240 bytes, stay in their file, and {next(iter(option))} would "
        "make others of them in memory: do without, prepare the file so, or allow more memory "
        "(--resident_gigabytes)"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        data.load("mine", data_dir=folder, resident_bytes=255, **option)
    dataset = data.load("mine", data_dir=folder, resident_bytes=255)
    with pytest.raises(ValueError, match="stay in their file, and standardise would make others"):
        data.standardise(dataset)
    with pytest.raises(ValueError, match="and binarisation='fixed' would make others"):
        data.binarise(dataset, "fixed")


@pytest.mark.parametrize(("dtype", "compress"), [("u1", gzip.compress), ("i2", bytes)])
def test_only_plain_bytes_can_stay_in_their_file(folder, dtype, compress):
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(compress(idx_bytes(ARRAYS[path.name].astype(dtype))))
    size = 16 + 240 * np.dtype(dtype).itemsize
    words = (
        f"{path} holds {size} bytes, more than the 255 that may be in memory "
        "(--resident_gigabytes), and only bytes on a local disk that are not gzipped can be read "
        "as they are needed: unpack, convert or copy the file, or allow more"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        data.load("mine", data_dir=folder, resident_bytes=255)
