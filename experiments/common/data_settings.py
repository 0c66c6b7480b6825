"""Which images an experiment is trained on, and the types of the units that see them."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax import data, sources, units
from experiments.common.settings import Declared, setting

# Grey levels become counts of 0 to 8 for units that count.
_COUNTS = 8
_GREY = 1 / 5
UNITS = {
    "bernoulli": units.Bernoulli(),
    "spin": units.Spin(),
    "gaussian": units.Gaussian(),
    # Rarely used pixels would otherwise get a σ far below their largest values.
    "gaussian_learnt": units.Gaussian(learn_sigma=True, min_share=0.3),
    "relu": units.ReLU(),
    "poisson": units.Poisson(),
    "binomial": units.Binomial(num_trials=_COUNTS),
    "softmax": units.Softmax(),
}
# Learning rates at which RBMs with such pixels and a few hundred hidden units are stable: the
# smaller, the larger their values are (Hinton's practical guide, section 13).
RATES = {"gaussian": 0.01, "gaussian_learnt": 0.01, "poisson": 0.001, "binomial": 0.01}
PIXEL_UNITS = tuple(name for name in UNITS if name != "softmax")  # pixels are no categories


class DataSettings(Declared, title="Data"):
    """Which images to train on; see `data.load` and `data.binarise`."""

    dataset: str = setting(
        "mnist5k",
        "Name of the data set: mnist5k, digits and photographs ship with packages; mnist, "
        "fashion_mnist and others are read from the IDX files in --data_dir, or through TFDS by "
        "name; folder is the JPEG and PNG files in --data_dir, in grey. Or the path of your own: "
        "an .npz or .csv file, or a folder with a folder of pictures for each class.",
        folder=data.is_path,
    )
    data_dir: str | None = setting(
        None, "Folder of the image files, the IDX files, or the TFDS data sets.", folder=True
    )
    classes: tuple[int, ...] | None = setting(
        None, "Classes whose images are kept, such as 2 or 3,5; by default all.", at_least=0
    )
    full_intensity: float | None = setting(
        None,
        "Value of a pixel of full intensity, such as 255 or 1; by default as the images tell.",
        at_least=1e-9,
    )
    image_size: tuple[int, ...] | None = setting(
        None,
        "Number of rows and columns that the images are shrunk to, or of each, such as 64,96; of "
        "photographs, those of a crop.",
        at_least=1,
    )
    num_validation: int = setting(
        0, "Number of training images to hold out for validation.", at_least=0
    )
    binarisation: str = setting(
        "none",
        "How grey levels become 0 and 1: not at all (none), drawn anew at each presentation "
        "(stochastic), drawn once (fixed), or by comparison with one half (threshold).",
        choices=data.BINARISATIONS,
    )
    resident_gigabytes: float = setting(
        8.0,
        "Gigabytes of images, of IDX files or TFDS, that may be in memory: more stay in a file, "
        "and are read as needed.",
        at_least=0,
    )
    standardise: bool = setting(False, "Standardise each pixel to mean 0 and variance 1.")
    whiten: bool = setting(
        False,
        "Whiten the images, as natural ones are for models of edges: waves of all frequencies but "
        "the finest become equally strong, and the variance 1.",
    )

    def __post_init__(self):
        super().__post_init__()
        if self.image_size is not None and len(self.image_size) > 2:
            raise ValueError(
                f"--image_size={','.join(map(str, self.image_size))}: one number, or the numbers "
                "of rows and of columns"
            )
        if self.standardise and self.whiten:
            raise ValueError("--standardise and --whiten exclude each other: choose one")
        if self.made_real and self.binarisation != "none":
            raise ValueError(
                f"{self.made_real} and --binarisation={self.binarisation} exclude each other: "
                "such pixels are real numbers"
            )

    @property
    def made_real(self) -> str:
        """The flag that makes real numbers of the pixels; empty where they are grey levels."""
        return "--standardise" if self.standardise else "--whiten" if self.whiten else ""

    def redrawn(self, dataset: data.Dataset) -> bool:
        """Whether each presentation makes all layers see pixels anew (`greedy.Stack`).

        It does if it draws them, and if the images stay in a file: what layers make of so many
        would not fit into memory either.
        """
        return self.binarisation == "stochastic" or sources.is_read(dataset.train.images)

    def load(self) -> tuple[data.Dataset, data.Transform]:
        """Loads the data set, and the function that makes model units of its images."""
        dataset = self._load(classes=self.classes, num_validation=self.num_validation)
        if self.standardise:
            dataset = data.standardise(dataset)
        if self.whiten:
            dataset = data.whiten(dataset)
        return data.binarise(dataset, self.binarisation)

    def left_out(self, dataset: data.Dataset) -> data.Split | None:
        """Test images of the classes that are left out, if any, prepared like `load`'s."""
        if self.classes is None:
            return None
        whole = self._load()
        others = ~np.isin(whole.test.labels, dataset.test.labels)
        if not others.any():
            return None
        split = data.Split(whole.test.images[others], whole.test.labels[others])
        if dataset.standardisation is not None:
            return dataset.standardisation.apply(split, whole.scale)
        return data.binarise(dataclasses.replace(whole, test=split), self.binarisation)[0].test

    def _load(self, **options):
        size = self.image_size
        return data.load(
            self.dataset,
            data_dir=self.data_dir,
            full_intensity=self.full_intensity,
            image_size=size[0] if size is not None and len(size) == 1 else size,
            resident_bytes=round(1e9 * self.resident_gigabytes),
            **options,
        )


@dataclasses.dataclass(frozen=True)
class Pixels:
    """Makes values of the visible units, a type in `UNITS`, of rows, inside the compiled update."""

    transform: data.Transform
    visible: str = "bernoulli"

    def __call__(self, key, rows):
        """(key, (..., pixels)) -> (..., V)."""
        x = self.transform(key, rows)
        match self.visible:
            case "spin":
                return 2 * x - 1
            case "binomial" | "poisson":
                return jnp.round(_COUNTS * x)
        return x

    def grey(self, v):
        """Undoes what the unit type did to grey levels: (..., V) -> (..., pixels)."""
        match self.visible:
            case "spin":
                return (v + 1) / 2
            case "binomial" | "poisson":
                return v / _COUNTS
        return v


def is_grey(dataset: data.Dataset, transform: data.Transform) -> bool:
    """Whether binary units see pixels that are grey levels p more than they are black and white.

    They are if p(1 − p), the variance of a pixel that is drawn with probability p, makes more than
    a fifth of the variance of all drawn pixels: 17 % in MNIST, 34 % in the 8×8 digits, 39 % in
    Fashion-MNIST; 0 if `transform` draws them.
    """
    p = data.apply(transform, jax.random.key(0), data.spread(dataset.train.images, 1000))
    return bool(jnp.mean(p * (1 - p)) > _GREY * jnp.mean(p) * (1 - jnp.mean(p)))


def check_classes(dataset: data.Dataset, otherwise: str = "") -> None:
    """Raises a ValueError if there is but one class, as where images have no labels."""
    if dataset.num_classes < 2:
        raise ValueError(
            f"--dataset={dataset.name} has one class, as images without labels have, and a choice "
            f"needs two: give it labels{otherwise}"
        )


def check_batch_size(batch_size: int, num_images: int, prefix: str = "") -> None:
    """Raises a ValueError if there are fewer images: before a workdir holds the mistake."""
    if batch_size > num_images:
        raise ValueError(
            f"--{prefix}batch_size={batch_size}, but there are {num_images} training images; "
            "choose a batch size of at most as many"
        )


def check_updates(learning: Any, num_images: int, prefix: str = "") -> None:
    """Raises a ValueError if `batch_size` or `epochs` do not suit the number of images."""
    batch_size, epochs = learning.batch_size, learning.epochs
    check_batch_size(batch_size, num_images, prefix)
    if (updates := num_images // batch_size * epochs) >= 2**31:
        raise ValueError(
            f"--{prefix}epochs={epochs} with --{prefix}batch_size={batch_size} is {updates:,} "
            "updates, which are counted in 32 bits; choose fewer epochs or a larger batch"
        )
