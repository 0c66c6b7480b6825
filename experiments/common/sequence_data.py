"""Which sequences an experiment is trained on, and how batches are cut out of them."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax import data, temporal
from dbn_jax.data import balls, sequences
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
            names = {"size": "image_size", "num_balls": "num_balls", "num_frames": "num_frames"}
            options = {name: getattr(self, setting) for name, setting in names.items()}
        dataset = data.load_sequences(self.dataset, data_dir=self.data_dir, **options)
        return self._hold_out(dataset) if self.num_validation else dataset

    def training_sequences(self, dataset: data.SequenceSet, seed: int) -> tuple[np.ndarray, ...]:
        """Training sequences of a fixed number, simulated if need be."""
        if dataset.train:
            return dataset.train
        key = jax.random.fold_in(jax.random.key(seed), _FIXED)
        return tuple(np.asarray(self.simulate(key, _NUM_SIMULATED)))

    def simulate(self, key: jax.Array, num_sequences: int) -> jax.Array:
        """New sequences of balls: (sequences, frames, pixels)."""
        return balls.simulate(
            key, num_sequences, self.num_frames, size=self.image_size, num_balls=self.num_balls
        )

    def _hold_out(self, dataset):
        if dataset.validation:
            raise ValueError(
                f"--num_validation={self.num_validation}: {dataset.name} has "
                f"{len(dataset.validation)} validation sequences of its own; leave it out"
            )
        if self.num_validation >= len(dataset.train):
            raise ValueError(
                f"--num_validation={self.num_validation}, but there are {len(dataset.train)} "
                "training sequences; choose fewer"
            )
        chosen = data.spread(np.arange(len(dataset.train)), self.num_validation)
        parts = {"train": [], "validation": []}
        labels = dict(dataset.labels or {})
        for i in range(len(dataset.train)):
            parts["validation" if i in chosen else "train"].append(i)
        if labels:
            of_train = labels["train"]
            labels |= {name: tuple(of_train[i] for i in rows) for name, rows in parts.items()}
        found = {name: tuple(dataset.train[i] for i in rows) for name, rows in parts.items()}
        return dataclasses.replace(dataset, **found, labels=labels or None)


def held_out(dataset: data.SequenceSet, split: str | None = None) -> tuple[str, tuple]:
    """The name of what is evaluated, validation sequences if there are any, and the sequences."""
    name = split or ("validation" if dataset.validation else "test")
    if not dataset.parts()[name]:
        raise ValueError(
            f"--split={name}: {dataset.name} has no {name} sequences; hold some out with "
            "--num_validation, or choose --split=test"
        )
    return name, dataset.parts()[name]


def styles(dataset: data.SequenceSet, part: str) -> np.ndarray | None:
    """One-hot styles of the sequences of a part, (sequences, styles); None if they have none."""
    if not dataset.labels:
        return None
    names = sorted(set(dataset.labels["train"]))
    return np.array([[name == label for name in names] for label in dataset.labels[part]], "f4")


def feed(
    settings: SequenceData,
    dataset: data.SequenceSet,
    *,
    window: int,
    warm_up: int,
    with_styles: bool,
    batch_size: int,
) -> tuple[Any, Callable[..., temporal.Sequences], dict[str, int]]:
    """Rows, how batches are made of them, and the sizes of an epoch, for `Run.train`.

    A row is a window of a sequence, whose place is drawn anew each time; a sequence has as many as
    cover it once. Balls have no rows: their sequences are simulated.
    """
    if settings.dataset == "balls":
        make = functools.partial(_simulated, settings=settings, num_sequences=batch_size)
        return None, make, {"updates_per_epoch": settings.updates_per_epoch}
    lengths = np.array([len(x) for x in dataset.train])
    copies = np.maximum(1, np.round(lengths / window)).astype(int)
    number = np.repeat(np.arange(len(lengths)), copies).astype(np.int32)
    if batch_size > len(number):
        raise ValueError(
            f"--batch_size={batch_size}, but there are {len(number)} windows of {window} frames in "
            "the training sequences; choose a batch size of at most as many"
        )
    firsts = np.cumsum(lengths) - lengths
    rows = {"first": firsts[number], "count": lengths[number]}
    if settings.transpose:
        heard = [np.flatnonzero(x.any(axis=0)) for x in dataset.train]
        low = np.array([min(_DOWN, h[0]) if len(h) else 0 for h in heard])
        high = [dataset.train[0].shape[1] - 1 - h[-1] if len(h) else 0 for h in heard]
        rows |= {"down": low[number], "up": np.minimum(_UP, high)[number]}
    rows = {name: column.astype(np.int32) for name, column in rows.items()}
    if with_styles:
        rows["style"] = styles(dataset, "train")[number]
    frames = np.concatenate(dataset.train)
    make = functools.partial(_cut, frames=frames, window=window, warm_up=warm_up)
    return rows, make, {"batch_size": batch_size}


def _cut(key, rows, *, frames, window, warm_up):
    """Cuts windows out of the sequences, which lie one after the other in `frames`."""
    place_key, shift_key = jax.random.split(key)
    shape = rows["count"].shape
    start = jax.random.randint(place_key, shape, 0, jnp.maximum(rows["count"] - window, 0) + 1)
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
    values = settings.simulate(key, num_sequences)
    lengths = jnp.full(num_sequences, settings.num_frames, jnp.int32)
    return temporal.Sequences(values, lengths, jnp.zeros_like(lengths))
