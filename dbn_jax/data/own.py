"""Images of one's own: an .npz archive, a table (.csv), or a folder of picture files.

- **.npz**: images and labels under the names of Keras' mnist.npz (x_train, y_train, x_test,
  y_test), of MedMNIST (train_images, train_labels, val_images, …), or `images` and `labels`.
- **.csv**, also gzipped: an image in each row, and a column of labels: that which the header calls
  label, class, target or y, and without a header the first. All other columns are pixels, but for
  one without a name (pandas' row numbers).
- **A folder**: of pictures (JPEG, PNG), or with a folder of pictures for each class. Such folders
  may lie in folders train and test, and val or validation beside these.

Images are (examples, rows, columns[, 3 channels]); flat ones are taken for squares, or else for
single rows of pixels. Pictures are in colour if one of them is, and on white where transparent.
Where no part is called a test set, every fifth image of each class becomes it. Labels are numbers
or names. Classes are numbered from 0 in the order of their labels, which pictures and messages call
them by; without labels there is one class.
"""

import csv
import functools
import gzip
import logging
import math
import os
import zipfile
import zlib

import numpy as np

from dbn_jax import files, numerics
from dbn_jax.data import cifar, embedded, emnist, photographs, pictures

_TABLES = (".csv", ".csv.gz")
_LABELS = ("label", "labels", "class", "target", "y")
_INDEX = ("", "unnamed: 0")  # what pandas calls the column of row numbers, once and twice written
# Names of data sets, which ./digits is not.
_PUBLISHED = ("mnist", "fashion_mnist", "kmnist", *emnist.NAMES, *cifar.NAMES)
_KNOWN = (*embedded.NAMES, *photographs.NAMES, *_PUBLISHED)
_EVERY = 5  # images of a class, of which one is held out
# What archives call the images of a part, and their labels.
_NAMES = {
    "train": (("x_train", "y_train"), ("train_images", "train_labels"), ("images", "labels")),
    "validation": (("x_val", "y_val"), ("val_images", "val_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}
# What folders of a part are called.
_FOLDERS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}

Arrays = tuple[np.ndarray, np.ndarray]


def is_path(name: str) -> bool:
    """Whether this is the path of a file or folder, and no name of a data set."""
    if name.endswith((".npz", *_TABLES)) or name.startswith(("/", ".", "~")) or "://" in name:
        return True
    # mnist/3.0.1 is a name, unless there is such a folder here.
    return name not in _KNOWN and os.path.isdir(name)


def read(path: files.Path, size: tuple[int, int] | None) -> tuple[dict[str, Arrays], list[str]]:
    """(images, labels) of each part, and the names of the classes.

    Args:
      size: rows and columns that pictures are shrunk and cut to (`pictures.read`).
    """
    if path.is_dir():
        parts = _folder(path, size)
    elif not path.exists():
        raise FileNotFoundError(f"{path} does not exist: name a file or folder that does")
    elif path.name.endswith(".npz"):
        parts = _archive(path)
    elif path.name.endswith(_TABLES):
        parts = {"train": _table(path)}
    else:
        raise ValueError(
            f"{path} is no data set: name an .npz or .csv file, a folder of pictures, or a folder "
            "with a folder of pictures for each class"
        )
    for part, (images, labels) in parts.items():
        if len(images) != len(labels) or not len(images):
            raise ValueError(
                f"{path}: {len(images)} {part} images and {len(labels)} labels: there must be one "
                "label for each image, and at least one image"
            )
    parts, names = _numbered(path, parts)
    if "test" not in parts:
        parts = {**_with_test(path, *parts.pop("train"), names), **parts}
    _say(str(path), *_described(parts, names))
    return parts, names


def _archive(path):
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            content = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged, or no archive of arrays ({error})") from error
    parts, unlabelled = {}, []
    for part, choices in _NAMES.items():
        for images, labels in choices:
            if part not in parts and images in content:
                found = _as_images(path, images, content[images])
                if labels not in content:
                    unlabelled.append(images)
                labelled = content.get(labels, np.zeros(len(found), np.int32))
                parts[part] = found, _as_labels(path, labels, labelled)
    if 0 < len(unlabelled) < len(parts):
        raise ValueError(
            f"{path}: {', '.join(unlabelled)} has no labels, and other images have: give all of "
            "them labels, or none"
        )
    if "train" not in parts:
        raise ValueError(
            f"{path} holds {', '.join(content) or 'nothing'}: call the images x_train or images, "
            "and their labels y_train or labels"
        )
    return parts


def _as_images(path, name, array):
    if array.ndim not in (2, 3, 4) or array.dtype.kind not in "buif" or not array.size:
        raise ValueError(
            f"{path}: {name} is {array.dtype} of shape {array.shape}; images are numbers of shape "
            "(examples, rows, columns), with channels at the end, or (examples, pixels)"
        )
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim == 4 and array.shape[3] != 3:
        raise ValueError(
            f"{path}: {name} has the shape {array.shape}, but images in colour have 3 channels, "
            "at the end: move the channels there, and leave out transparency"
        )
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    return array if array.ndim > 2 else _unflattened(array)


def _unflattened(rows):
    side = math.isqrt(rows.shape[1])
    shape = (side, side) if side**2 == rows.shape[1] else (1, rows.shape[1])
    return rows.reshape(-1, *shape)


def _as_labels(path, name, array):
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or array.dtype.kind not in "uiUS":
        raise ValueError(
            f"{path}: {name} is {array.dtype} of shape {array.shape}; labels are one whole number "
            "or one name for each image"
        )
    return array.astype(str) if array.dtype.kind == "S" else array


def _table(path):
    content = path.read_bytes()
    try:
        text = gzip.decompress(content) if path.name.endswith(".gz") else content
        rows = [row for row in text.decode("utf-8-sig").splitlines() if row.strip()]
        names = [name.strip().lower() for name in next(csv.reader(rows), [])]
    except (ValueError, OSError, EOFError, zlib.error, csv.Error) as error:
        raise ValueError(f"{path} is damaged, or no table ({error})") from error
    columns = [i for i, name in enumerate(names) if name in _LABELS]
    column, others = 0, range(1, len(names))
    # Pixels may be called 0, 1, …, too; but names differ, and the pixels of an image hardly do.
    if not any(map(_is_number, names[1:])) or (columns and len(set(names)) == len(names)):
        if len(columns) != 1:
            raise ValueError(
                f"{path}: {len(columns)} of its columns are called {', '.join(_LABELS[:-1])} or "
                f"{_LABELS[-1]}; exactly one holds the labels: name it so in the first row"
            )
        (column,), rows = columns, rows[1:]
        others = [i for i, name in enumerate(names) if i != column and name not in _INDEX]
    if not (rows and others):
        raise ValueError(f"{path} holds no images: each is a row of a label and pixels")
    try:
        labels = [row[column].strip() for row in csv.reader(rows)]
        pixels = np.loadtxt(rows, np.float32, delimiter=",", quotechar='"', usecols=others, ndmin=2)
    except (ValueError, IndexError, csv.Error) as error:
        raise ValueError(
            f"{path}: rows of {len(names)} numbers are expected ({error}): leave out other rows"
        ) from error
    if "" in labels:
        raise ValueError(f"{path}: row {labels.index('')} has no label: leave out such rows")
    if fault := numerics.non_finite(pixels):
        raise ValueError(f"{path}: {fault}")
    whole = pixels.clip(-1, 2**24).astype(np.int32)
    return _unflattened(whole if np.array_equal(whole, pixels) else pixels), np.array(labels)


def _is_number(text):
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _folder(path, size):
    split = {part: path / name for name, part in _FOLDERS.items() if (path / name).is_dir()}
    needed = {"train", "test"} & split.keys()
    if len(needed) == 1:
        raise ValueError(
            f"{path} has a folder {''.join(needed)}, and none of the other part: name both train "
            "and test, or neither"
        )
    folders = split if needed else {"train": path}
    found = {part: _class_folders(folder) for part, folder in folders.items()}
    every = [path for classes in found.values() for paths in classes.values() for path in paths]
    images = iter(pictures.read(every, size))  # of all parts: they have as many channels
    parts = {}
    for part, classes in found.items():
        labels = [name for name, paths in classes.items() for _ in paths]
        parts[part] = np.stack([next(images) for _ in labels]), np.array(labels)
    return parts


def _class_folders(folder):
    """The pictures of each class, by its name; of one without name if there are no folders."""
    own = pictures.find(folder)
    inner = {f.name: pictures.find(f) for f in pictures.visible(folder) if f.is_dir()}
    classes = {name: paths for name, paths in inner.items() if paths}
    if own and classes:
        raise ValueError(
            f"{folder} holds pictures, and folders of pictures ({', '.join(classes)}): put all "
            "pictures into folders of their classes, or all into one"
        )
    if not own and not classes:
        raise ValueError(
            f"{folder} holds no pictures ({', '.join(pictures.SUFFIXES)}), nor folders of them"
        )
    return classes or {"": own}


def _numbered(path, parts):
    """The parts with classes from 0, in the order of their numbers or else names; their names."""
    texts = {part: labels.astype(str).tolist() for part, (_, labels) in parts.items()}
    as_value = _number if all(map(_is_number, set().union(*texts.values()))) else str
    values = {part: [as_value(text) for text in labels] for part, labels in texts.items()}
    for part, labels in values.items():
        if strange := sorted(set(labels).difference(values["train"])):
            raise ValueError(
                f"{path}: {part} images are of class {strange[0]}, and no training image is: leave "
                "them out"
            )
    classes = sorted(set(values["train"]))
    numbers = {value: number for number, value in enumerate(classes)}
    numbered = {
        part: (images, np.array([numbers[value] for value in values[part]], np.int32))
        for part, (images, _) in parts.items()
    }
    return numbered, [str(value) or "0" for value in classes]


def _number(text):
    """The number that a text is: an integer if it is whole, as -1.0 is."""
    number = float(text)
    return int(number) if number.is_integer() else number


def _with_test(path, images, labels, names):
    """Every fifth image of each class, from its second one on, is held out."""
    is_test = np.zeros(len(labels), bool)
    for label, name in enumerate(names):
        (rows,) = np.nonzero(labels == label)
        if len(rows) < 2:
            raise ValueError(
                f"{path} holds one image of class {name}; two are needed, one to train on and one "
                "for the test"
            )
        is_test[rows[1::_EVERY]] = True
    kept = {"train": ~is_test, "test": is_test}
    return {part: (images[rows], labels[rows]) for part, rows in kept.items()}


def _described(parts, names):
    rows, columns, channels = (*parts["train"][0].shape[1:], 1)[:3]
    counts = ", ".join(f"{len(images):,} {part}" for part, (images, _) in parts.items())
    classes = f"{len(names)} classes, {names[0]} to {names[-1]}" if len(names) > 1 else "one class"
    return counts, f"{rows}×{columns} pixels" + f", {channels} channels" * (channels > 1), classes


@functools.cache
def _say(path, counts, size, classes):
    logging.getLogger(__name__).warning("%s: %s images of %s; %s", path, counts, size, classes)
