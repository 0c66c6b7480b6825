"""Images of one's own: archives, tables and folders, and what bad ones are told."""

import gzip
import re

import numpy as np
import PIL.Image
import pytest

from dbn_jax import data
from dbn_jax.data import own

IMAGES = np.arange(12 * 6, dtype=np.uint8).reshape(12, 2, 3) + 180
LABELS = np.arange(12) % 2


def archive(path, **arrays):
    np.savez(path / "mine.npz", **arrays)
    return str(path / "mine.npz")


def table(path, text, name="mine.csv"):
    content = text.encode()
    (path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return str(path / name)


def rows(labels=LABELS, label_first=True):
    """Each image and its label, as lines of a table."""
    pixels = [",".join(map(str, image.ravel())) for image in IMAGES]
    pairs = zip(labels, pixels, strict=True)
    return "\n".join(f"{y},{x}" if label_first else f"{x},{y}" for y, x in pairs)


def folder(path, classes=("cat", "dog"), images=IMAGES, parts=("",)):
    for part in parts:
        for i, image in enumerate(images):
            place = path / part / classes[i % len(classes)]
            place.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(image).save(place / f"{i:02}.png")
    return str(path)


MNIST = ("x_train", "y_train", "x_test", "y_test")
MEDMNIST = ("train_images", "train_labels", "test_images", "test_labels")


@pytest.mark.parametrize("names", [MNIST, MEDMNIST])
def test_archives_with_a_test_set(tmp_path, names):
    arrays = dict(
        zip(names, (IMAGES[:8], LABELS[:8, None], IMAGES[8:], LABELS[8:, None]), strict=True)
    )
    dataset = data.load(archive(tmp_path, **arrays, val_images=IMAGES[:2], val_labels=LABELS[:2]))
    assert (dataset.image_shape, dataset.num_classes, dataset.scale) == ((2, 3), 2, 255)
    np.testing.assert_array_equal(dataset.train.images, IMAGES[:8].reshape(8, 6))
    np.testing.assert_array_equal(dataset.test.images, IMAGES[8:].reshape(4, 6))
    np.testing.assert_array_equal(dataset.test.labels, LABELS[8:])
    assert len(dataset.validation) == 2


@pytest.mark.parametrize(
    ("kind", "names", "shape"),
    [
        ("archive", None, (2, 3)),
        ("archive, names", ("cat", "dog"), (2, 3)),
        ("archive, flat", None, (1, 6)),
        ("archive, one channel", None, (2, 3)),
        ("table", None, (1, 6)),
        ("table without header", None, (1, 6)),
        ("table, label last", None, (1, 6)),
        ("table, gzipped, names", ("cat", "dog"), (1, 6)),
        ("table of pandas", None, (1, 6)),
        ("table of pandas, label last", None, (1, 6)),
        ("table of Excel", None, (1, 6)),
        ("folder", ("cat", "dog"), (2, 3)),
    ],
)
def test_every_fifth_image_of_a_class_is_held_out(tmp_path, kind, names, shape):
    named = np.array(["cat", "dog"])[LABELS]
    pixels = ",".join(f"p{i}" for i in range(6))
    numbers = pixels.replace("p", "")
    path = {
        "archive": lambda: archive(tmp_path, images=IMAGES, labels=LABELS),
        "archive, names": lambda: archive(tmp_path, images=IMAGES, labels=named),
        "archive, flat": lambda: archive(tmp_path, images=IMAGES.reshape(12, 6), labels=LABELS),
        "archive, one channel": lambda: archive(tmp_path, images=IMAGES[..., None], labels=LABELS),
        "table": lambda: table(tmp_path, f"label,{pixels}\n{rows()}\n"),
        "table without header": lambda: table(tmp_path, rows()),
        "table, label last": lambda: table(tmp_path, f"{pixels},Class\n{rows(label_first=False)}"),
        "table, gzipped, names": lambda: table(
            tmp_path, f"label,{pixels}\n{rows(named)}", "mine.csv.gz"
        ),
        "table of pandas": lambda: table(
            tmp_path,
            f",label,{numbers}\n"
            + "\n".join(f"{i},{row}" for i, row in enumerate(rows().splitlines())),
        ),
        "table of pandas, label last": lambda: table(
            tmp_path, f"{numbers},label\n{rows(label_first=False)}"
        ),
        "table of Excel": lambda: table(
            tmp_path, "\ufeff" + re.sub(r"(\w+)", r'"\1"', f"label,{pixels}\n{rows()}")
        ),
        "folder": lambda: folder(tmp_path),
    }[kind]()
    dataset = data.load(path)
    assert (dataset.image_shape, dataset.class_names, dataset.num_classes) == (shape, names, 2)
    # The second of six of each class; classes take turns.
    np.testing.assert_array_equal(dataset.test.images, IMAGES.reshape(12, 6)[[2, 3]])
    assert len(dataset.train) == 10
    for split in (dataset.train, dataset.test):  # each image has its own label still
        np.testing.assert_array_equal((split.images[:, 0] - 180) // 6 % 2, split.labels)


def test_folders_of_parts_and_hidden_ones(tmp_path):
    folder(tmp_path, parts=("train", "val", "test"))
    folder(tmp_path / "test", classes=(".ipynb_checkpoints",))
    (tmp_path / "train" / "cat" / "._00.png").write_text("of a Mac")
    dataset = data.load(str(tmp_path))
    assert len(dataset.train) == len(dataset.validation) == len(dataset.test) == 12
    assert dataset.class_names == ("cat", "dog")


def test_pictures_are_in_colour_if_one_is(tmp_path):
    path = folder(tmp_path)
    red = np.zeros((2, 3, 3), np.uint8)
    red[..., 0] = 200
    PIL.Image.fromarray(red).save(tmp_path / "dog" / "99.png")
    dataset = data.load(path)
    assert dataset.image_shape == (2, 3, 3)
    grey = dataset.pictures(dataset.train.images[:1])
    np.testing.assert_array_equal(grey[..., 0], grey[..., 2])


@pytest.mark.parametrize(
    ("labels", "names", "asked", "absent", "there"),
    [
        ([4, 1], ("1", "4"), 4, 0, "1, 4"),
        (["10.0", "-9"], ("-9", "10"), 10, 1, "-9, 10"),
        (["dog", "cat"], ("cat", "dog"), 1, 4, "0 (cat), 1 (dog)"),
    ],
)
def test_classes_are_sorted_and_asked_for_as_they_are_labelled(
    tmp_path, labels, names, asked, absent, there
):
    path = archive(tmp_path, images=IMAGES, labels=np.array(labels)[LABELS])
    dataset = data.load(path)
    assert (dataset.num_classes, dataset.class_names) == (2, names)
    for split in dataset.splits().values():  # the second label comes first
        np.testing.assert_array_equal(1 - (split.images[:, 0] - 180) // 6 % 2, split.labels)
    chosen = data.load(path, classes=(asked,))
    assert set(chosen.train.labels) == {1}
    words = f"classes=[{absent}]: {path} has no class [{absent}], its classes are {there}"
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        data.load(path, classes=(absent,))


def test_names_of_data_sets_are_no_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("digits", "cifar10", "pets"):
        (tmp_path / name).mkdir()
    paths = ("./digits", "pets", "a.csv", "digits", "cifar10", "mnist", "birds")
    assert [name for name in paths if data.is_path(name)] == ["./digits", "pets", "a.csv"]


def test_images_without_labels_are_one_class(tmp_path):
    assert data.load(archive(tmp_path, images=IMAGES)).num_classes == 1


def test_what_is_found_is_said_once(tmp_path, caplog):
    own._say.cache_clear()
    path = folder(tmp_path)
    for _ in range(2):
        data.load(path)
    assert caplog.messages == [
        f"{path}: 10 train, 2 test images of 2×3 pixels; 2 classes, cat to dog"
    ]


def mixed_sizes(path):
    folder(path)
    PIL.Image.fromarray(IMAGES[0, :, :2]).save(path / "dog" / "99.png")
    return str(path)


def loose_pictures(path):
    folder(path)
    PIL.Image.fromarray(IMAGES[0]).save(path / "a.png")
    return str(path)


def text_file(path):
    (path / "a.txt").write_text("of cats")
    return str(path / "a.txt")


REFUSALS = {
    "absent": (lambda path: f"{path}/a.npz", "{}/a.npz does not exist: name a file or folder"),
    "text": (text_file, "{}/a.txt is no data set: name an .npz or .csv file, a folder of"),
    "damaged": (lambda path: table(path, "PK", "a.npz"), "{}/a.npz is damaged, or no archive of"),
    "strange names": (
        lambda path: archive(path, pictures=IMAGES),
        "{}/mine.npz holds pictures: call the images x_train or images, and their labels",
    ),
    "one-hot": (
        lambda path: archive(path, images=IMAGES, labels=np.eye(12)),
        "{}/mine.npz: labels is float64 of shape (12, 12); labels are one whole number or one name",
    ),
    "words": (
        lambda path: archive(path, images=np.array(["a"]), labels=np.array([0])),
        "{}/mine.npz: images is <U1 of shape (1,); images are numbers of shape (examples, rows",
    ),
    "transparent": (
        lambda path: archive(path, images=np.zeros((9, 5, 5, 4), np.uint8)),
        "{}/mine.npz: images has the shape (9, 5, 5, 4), but images in colour have 3 channels, at",
    ),
    "channels first": (
        lambda path: archive(path, images=np.zeros((9, 3, 5, 5), np.uint8)),
        "{}/mine.npz: images has the shape (9, 3, 5, 5), but images in colour have 3 channels, at",
    ),
    "labels of one part": (
        lambda path: archive(path, x_train=IMAGES, y_train=LABELS, x_test=IMAGES),
        "{}/mine.npz: x_test has no labels, and other images have: give all of them labels, or",
    ),
    "fewer labels": (
        lambda path: archive(path, images=IMAGES, labels=LABELS[:11]),
        "{}/mine.npz: 12 train images and 11 labels: there must be one label for each image",
    ),
    "strange class": (
        lambda path: archive(
            path, x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:2], y_test=np.array([0, 7])
        ),
        "{}/mine.npz: test images are of class 7, and no training image is: leave them out",
    ),
    "single": (
        lambda path: archive(path, images=IMAGES[:3], labels=LABELS[:3]),
        "{}/mine.npz holds one image of class 1; two are needed, one to train on and one for",
    ),
    "no label column": (
        lambda path: table(path, f"a,b,c,d,e,f,g\n{rows()}"),
        "{}/mine.csv: 0 of its columns are called label, labels, class, target or y; exactly one",
    ),
    "header only": (
        lambda path: table(path, "label,0,1"),
        "{}/mine.csv holds no images: each is a row of a label and pixels",
    ),
    "NaN": (
        lambda path: table(path, rows() + "\n0,1,nan,3,4,5,6"),
        "{}/mine.csv: 1 of 13 rows hold NaN or infinity, the first at row 12, column 1 (nan); ",
    ),
    "no label": (
        lambda path: table(path, rows() + "\n,1,2,3,4,5,6"),
        "{}/mine.csv: row 12 has no label: leave out such rows",
    ),
    "short row": (
        lambda path: table(path, rows() + "\n0,1,2"),
        "{}/mine.csv: rows of 7 numbers are expected (",
    ),
    "empty": (lambda path: str(path), "{} holds no pictures (.jpg, .jpeg, .png), nor folders of"),
    "mixed sizes": (mixed_sizes, "{}/cat/00.png has 2×3 pixels, but {}/dog/99.png 2×2: set image_"),
    "loose": (loose_pictures, "{} holds pictures, and folders of pictures (cat, dog): put all"),
    "no test": (
        lambda path: folder(path, parts=("train",)),
        "{} has a folder train, and none of the other part: name both train and test, or neither",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSALS)
def test_what_cannot_be_taken_is_named(tmp_path, kind):
    make, words = REFUSALS[kind]
    with pytest.raises(
        (ValueError, FileNotFoundError), match=f"^{re.escape(words.format(*[tmp_path] * 2))}"
    ):
        data.load(make(tmp_path))


def test_a_path_takes_no_other_folder(tmp_path):
    path = archive(tmp_path, images=IMAGES)
    with pytest.raises(ValueError, match=r"mine\.npz is a path already and takes no data_dir"):
        data.load(path, data_dir=tmp_path)
