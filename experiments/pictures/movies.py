"""Movies of a net: while it generates, and after it is shown random pixels."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from dbn_jax import data, dbn, figures, label_units, numerics, random, trajectories
from experiments.common.runs import Run
from experiments.pictures import steps

# Gibbs iterations before each frame: most of the change happens in the first iterations.
_MOVIE_INTERVALS = (1, 1, 1, 2, 5, 10, 20, 20, 40, 50, 50, 50, 50, 50, 50)
_MIND_INTERVALS = (1,) * 10 + (2,) * 10 + (5,) * 14 + (10,) * 20 + (35,) * 20
# Iterations that the sheet shows; the animation passes through them.
_MIND_STEPS = steps.milestones(1000)
_FRAMES_PER_SECOND = 8
# Number of frames that show the noise.
_NUM_SHOWN = 8


def noise(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Random pixels, each on with probability 1/2, as published."""
    return random.bernoulli(key, jnp.full(shape, 0.5, jnp.float32))


def movie(
    key: jax.Array,
    run: Run,
    net: dbn.Net,
    classes: Sequence[int | None],
    dataset: data.Dataset,
) -> None:
    """Draws movie.webp: one chain, which starts at random pixels.

    The label units of the classes are clamped one after the other; None clamps nothing.
    """
    noise_key, up_key, chain_key = jax.random.split(key, 3)
    _, x = _perceive(up_key, net, noise(noise_key, (math.prod(dataset.image_shape),)))
    frames = []
    for i, label in enumerate(classes):
        clamped, what = jnp.zeros(x.shape, bool), "nothing is clamped"
        if label is not None:
            clamped = label_units.mask(net.top)
            what = f"label unit {dataset.class_name(label)} is clamped"
            one_hot = numerics.one_hot(label, dbn.num_labels(net), x.dtype)
            x = label_units.join(net.top, label_units.split(net.top, x)[0], one_hot)
        intervals = jnp.asarray(_MOVIE_INTERVALS)
        seen, x = _trajectory(jax.random.fold_in(chain_key, i), net, x, clamped, intervals)
        seen = jax.device_get(seen)
        *_, (name, states) = _layers(seen).items()
        for t, step in enumerate(np.cumsum(_MOVIE_INTERVALS)):
            frames.append(
                figures.moment(
                    seen.pixels[t],
                    {_with_size(name, states): states[t]},
                    image_shape=dataset.image_shape,
                    image_name="image",
                    labels=_named(dataset, seen.labels[t]),
                    clamped=None if label is None else dataset.class_name(label),
                    title="A net generates images",
                    subtitle=f"{what}; Gibbs steps since: {step:,}",
                )
            )
    _write(frames, run, "movie")


def mind_and_brain(key: jax.Array, run: Run, net: dbn.Net, dataset: data.Dataset) -> None:
    """Draws mind_and_brain.png and .webp: a net of any depth after it is shown noise."""
    noise_key, up_key, chain_key = jax.random.split(key, 3)
    shown, x = _perceive(up_key, net, noise(noise_key, (math.prod(dataset.image_shape),)))
    free = jnp.zeros(x.shape, bool)
    seen, _ = _trajectory(chain_key, net, x, free, jnp.asarray(_MIND_INTERVALS))
    seen = jax.tree.map(lambda a, b: np.concatenate([a[None], b]), *jax.device_get((shown, seen)))
    done = [0, *np.cumsum(_MIND_INTERVALS).tolist()]

    columns = np.array([0, *(done.index(step) for step in _MIND_STEPS)])
    notes = None
    if seen.labels.size:
        answers = ((dataset.class_name(p.argmax()), p.max()) for p in seen.labels[columns])
        notes = [f"{name} ({p:.0%})" for name, p in answers]
    picture = figures.moments(
        seen.pixels[columns],
        {f"brain: {name}": states[columns] for name, states in _layers(seen).items()},
        image_shape=dataset.image_shape,
        times=["shown", *(f"{step:,}" for step in _MIND_STEPS)],
        notes=notes,
        title="Mind and brain: a net is shown random pixels, then left to itself",
        subtitle="brain: its hidden units, white is on; mind: the image that these states stand for"
        + (", and the label that is most probable" if notes else ""),
    )
    run.save_figures({"mind_and_brain": picture})

    frames = []
    for t, step in enumerate(done):
        since = f"left to itself; Gibbs steps since: {step:,}"
        frame = figures.moment(
            seen.pixels[t],
            {_with_size(*layer): layer[1][t] for layer in _layers(seen).items()},
            image_shape=dataset.image_shape,
            image_name="mind: the image that these states stand for" if t else "shown",
            labels=_named(dataset, seen.labels[t]),
            title="Mind and brain of a net",
            subtitle=since if t else "shown random pixels",
        )
        frames += [frame] * (1 if t else _NUM_SHOWN)
    _write(frames, run, "mind_and_brain")


_perceive = jax.jit(trajectories.perceive)
_trajectory = jax.jit(trajectories.trajectory)


def _layers(seen):
    """The states of each hidden layer, first to last, by name."""
    *lower, top = seen.hidden
    return {f"layer {i + 1}": h for i, h in enumerate(lower)} | {"top layer": top}


def _with_size(name, states):
    return f"{name}, {states.shape[-1]:,} units, white: on"


def _named(dataset, probabilities):
    return {dataset.class_name(label): p for label, p in enumerate(probabilities)}


def _write(frames: Sequence[Figure], run: Run, name: str) -> None:
    path = run.workdir.figures / f"{name}.webp"
    figures.animate(frames, path, frames_per_second=_FRAMES_PER_SECOND)
