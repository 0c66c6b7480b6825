"""Which sequences an experiment is trained on, and how batches are cut out of them."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax import data, temporal, training
from dbn_jax.data import balls, sequences
from experiments.common import memory
from experiments.common.settings import Declared, only, setting

_BALLS = only("dataset", "balls")
_ROLLS = only("dataset", "jsb", "nottingham", "piano", "musedata", "midi")
# Semitones by which pieces are transposed: twelve keys.
_DOWN, _UP = 5, 6
_NUM_SIMULATED = 300  # training sequences of balls for what needs a fixed number of them
_FIXED = 1_000_003  # number of their key below that of the seed
_MAX_UPDATES = 1_000_000


class SequenceData(Declared, title="Data"):
    """Which sequences to train on; see `data.load_sequences`."""

    dataset: str = setting("balls", "Name of the data set.", choices=sequences.NAMES)
    data_dir: str | None = setting(
        None, "Folder of the data set's files; balls are simulated.", folder=True
    )
    image_size: int = setting(
        15, "Number of rows and columns of a frame.", at_least=4, at_most=100, given=_BALLS
    )
    num_balls: int = setting(3, "Number of balls.", at_least=1, at_most=5, given=_BALLS)
    num_frames: int = setting(
        128, "Number of frames of a sequence.", at_least=2, at_most=10_000, given=_BALLS
    )
    updates_per_epoch: int = setting(
        50,
        "Number of updates in an epoch: balls are made anew for each.",
        at_least=1,
        at_most=_MAX_UPDATES,
        given=_BALLS,
    )
    transpose: bool = setting(
        False, "Transpose each piece at random, each time, within twelve keys.", given=_ROLLS
    )
    num_validation: int = setting(
        0,
        "Number of training sequences to hold out for validation, where none are published.",
        at_least=0,
    )

    def load(self) -> data.SequenceSet:
        """Reads the sequences, and holds some out."""
        options = {}
        if self.dataset == "balls":
            self._check_memory()
            options = {
                "size": self.image_size,
                "num_balls": self.num_balls,
                "num_frames": self.num_frames,
            }
        dataset = data.load_sequences(self.dataset, data_dir=self.data_dir, **options)
        if not (dataset.train or self.dataset == "balls"):
            raise ValueError(f"{dataset.name} holds no sequences to learn from; add some")
        return _hold_out(dataset, self.num_validation) if self.num_validation else dataset

    def training_sequences(self, dataset: data.SequenceSet, seed: int) -> tuple[np.ndarray, ...]:
        """Training sequences of a fixed number, simulated if need be."""
        if dataset.train:
            return dataset.train
        key = jax.random.fold_in(training.spare_key(seed), _FIXED)
        return tuple(np.asarray(self.simulate(key, _NUM_SIMULATED)))

    def simulate(self, key: jax.Array, num_sequences: int) -> jax.Array:
        """New sequences of balls: (sequences, frames, pixels)."""
        return balls.simulate(
            key, num_sequences, self.num_frames, size=self.image_size, num_balls=self.num_balls
        )

    def _check_memory(self):
        """Films on which nothing is learnt: those held out, and those of the baselines."""
        number = balls.NUM_VALIDATION + balls.NUM_TEST + _NUM_SIMULATED
        memory.check(
            4 * number * self.num_frames * self.image_size**2,
            f"--image_size={self.image_size} --num_frames={self.num_frames}: evaluation",
            "choose smaller or shorter films",
        )


def _hold_out(dataset, count):
    """The data set with so many of its training sequences, evenly spread, for validation."""
    if dataset.validation:
        raise ValueError(
            f"--num_validation={count}: {dataset.name} has {len(dataset.validation)} validation "
            "sequences of its own; leave it out"
        )
    if count >= len(dataset.train):
        raise ValueError(
            f"--num_validation={count}, but there are {len(dataset.train)} training sequences; "
            "choose fewer"
        )
    numbers = np.arange(len(dataset.train))
    held = data.spread(numbers, count)
    parts = {"train": np.setdiff1d(numbers, held), "validation": held}

    def chosen(of_train):
        return {part: tuple(of_train[i] for i in rows) for part, rows in parts.items()}

    labels = dataset.labels and dataset.labels | chosen(dataset.labels["train"])
    return dataclasses.replace(dataset, **chosen(dataset.train), labels=labels)


def held_out(dataset: data.SequenceSet, split: str | None = None) -> tuple[str, tuple]:
    """The name of what is evaluated, validation sequences if there are any, and the sequences."""
    name = split or ("validation" if dataset.validation else "test")
    if not dataset.parts()[name]:
        remedy = {
            "validation": "learn with --num_validation, or choose --split=test",
            "test": "choose other data",
        }
        raise ValueError(f"--split={name}: {dataset.name} has no {name} sequences; {remedy[name]}")
    return name, dataset.parts()[name]


def styles(dataset: data.SequenceSet, part: str) -> np.ndarray | None:
    """One-hot styles of the sequences of a part, (sequences, styles); None if they have none."""
    if not dataset.labels:
        return None
    names, wanted = sorted(set(dataset.labels["train"])), dataset.labels[part]
    if odd := sorted(set(wanted) - set(names)):
        raise ValueError(
            f"--styles: no training sequence of {dataset.name} has the style {odd[0]} of its "
            f"{part} sequences; leave it out, or hold out fewer sequences"
        )
    return np.array([[name == label for name in names] for label in wanted], np.float32)


class Feed(NamedTuple):
    """How a run learns from sequences.

    Attributes:
      rows: windows; None of balls, which are simulated.
      make: ``make(key, rows)``, a batch.
      sizes: what `Run.train` is told of an epoch.
      updates_per_epoch: number of batches.
      num_frames: of each sequence of a batch, filled up.
    """

    rows: Any
    make: Callable[..., temporal.Sequences]
    sizes: dict[str, int]
    updates_per_epoch: int
    num_frames: int


def feed(
    settings: SequenceData,
    dataset: data.SequenceSet,
    *,
    window: int,
    warm_up: int,
    with_styles: bool,
    batch_size: int,
) -> Feed:
    """Batches of balls, simulated; or of windows of sequences.

    The place of a window in its sequence is drawn anew each time; a sequence has as many as cover
    it once.
    """
    if settings.dataset == "balls":
        number = settings.updates_per_epoch
        make = functools.partial(_simulated, settings=settings, num_sequences=batch_size)
        return Feed(None, make, {"updates_per_epoch": number}, number, settings.num_frames)
    lengths = np.array([len(x) for x in dataset.train])
    window = min(window, lengths.max())
    copies = np.maximum(1, np.round(lengths / window)).astype(int)
    number = np.repeat(np.arange(len(lengths)), copies)
    if batch_size > len(number):
        raise ValueError(
            f"--batch_size={batch_size}, but there are {len(number)} windows of {window} frames in "
            "the training sequences; choose a batch size of at most as many"
        )
    rows = {"first": np.cumsum(lengths) - lengths, "count": lengths}
    if settings.transpose:
        rows |= _room(dataset.train)
    rows = {name: column[number].astype(np.int32) for name, column in rows.items()}
    if with_styles:
        rows["style"] = styles(dataset, "train")[number]
    frames = np.concatenate(dataset.train)
    make = functools.partial(_cut, frames=frames, window=int(window), warm_up=warm_up)
    return Feed(rows, make, {"batch_size": batch_size}, len(number) // batch_size, int(window))


def _room(rolls):
    """By how many keys a piece can be moved down and up."""
    heard = [np.flatnonzero(roll.any(axis=0)) for roll in rolls]
    last = rolls[0].shape[1] - 1
    ends = np.array([(keys[0], last - keys[-1]) if len(keys) else (0, 0) for keys in heard])
    return {"down": np.minimum(_DOWN, ends[:, 0]), "up": np.minimum(_UP, ends[:, 1])}


def _cut(key, rows, *, frames, window, warm_up):
    """Cuts windows out of the sequences, which lie one after the other in `frames`."""
    place_key, shift_key = jax.random.split(key)
    shape = rows["count"].shape
    # The middle is uniform over the sequence: if the start were, ends would be learnt seldom.
    middle = jax.random.randint(place_key, shape, 0, rows["count"])
    start = jnp.clip(middle - window // 2, 0, jnp.maximum(rows["count"] - window, 0))
    t = jnp.arange(window, dtype=jnp.int32)[None]
    lengths = jnp.minimum(rows["count"], window)
    inside = t < lengths[:, None]
    places = rows["first"][:, None] + start[:, None] + jnp.where(inside, t, 0)
    values = jnp.where(inside[..., None], jnp.asarray(frames)[places], 0).astype(jnp.float32)
    if "up" in rows:
        shift = jax.random.randint(shift_key, shape, -rows["down"], rows["up"] + 1)
        values = jax.vmap(lambda x, by: jnp.roll(x, by, axis=1))(values, shift)
    # The first frames of a sequence are learnt; within it, a memory is filled first.
    return temporal.Sequences(values, lengths, jnp.where(start > 0, warm_up, 0), rows.get("style"))


def _simulated(key, rows, *, settings, num_sequences):
    del rows
    return temporal.Sequences(settings.simulate(key, num_sequences))
