"""What a model of sequences predicts, and how probable it finds them, beside the baselines."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax import data, temporal, training
from dbn_jax.temporal import evaluation
from experiments.baseline_models import sequences as baselines
from experiments.common import early_stopping, memory, sequence_data
from experiments.common.settings import Declared, about, above_0, setting

# Gibbs steps of a prediction (Boulanger-Lewandowski et al. 2012), and steps of mean field.
_NUM_STEPS, _NUM_MEAN_FIELD = 50, 10
_NUM_CHAINS = 20
# Sequences are continued from the middle of each, for so many frames.
NUM_AHEAD = 20
_continued = functools.partial(temporal.complete, num_steps=_NUM_MEAN_FIELD, means=True)

# The ways to predict: as published, and without a draw.
PREDICTIONS = {
    "Gibbs sampling": functools.partial(
        temporal.predict, num_steps=_NUM_STEPS, num_chains=_NUM_CHAINS
    ),
    "mean field": functools.partial(temporal.predict, num_steps=_NUM_MEAN_FIELD, mean_field=True),
}
# The right leg of CMU's subject 35 is missing from frame 45 + 18 on (Lawrence 2007, "Learning for
# larger datasets with the Gaussian process latent variable model").
_LEG, _MISSING_FROM = ("rfemur", "rtibia", "rfoot", "rtoes"), 63
_FILLED_CHAINS = 5
# Of the frames that are watched after every epoch so many, by a short annealing.
_WATCHED_FRAMES, _WATCHED_STEPS, _WATCHED_CHAINS = 200, 50, 4


class Measures(Declared, title="Evaluation"):
    """How models of sequences are evaluated."""

    ais_steps: int = setting(
        200,
        "Number of annealing steps for log p of each frame; 0 for no likelihoods.",
        at_least=0,
        at_most=100_000,
    )
    ais_chains: int = setting(
        20,
        "Number of annealing chains for each frame.",
        at_least=2,
        at_most=10_000,
        given=above_0("ais_steps"),
    )
    ais_frames: int | None = setting(
        None,
        "Number of frames, evenly spread, whose log p is estimated; by default all.",
        at_least=2,
        given=above_0("ais_steps"),
    )


def check(
    measures: Measures,
    dataset: data.SequenceSet,
    part: str,
    train: tuple[np.ndarray, ...],
    num_hidden: int,
) -> None:
    """Raises a ValueError if `measure` would, before there is work to lose."""
    frames = dataset.parts()[part]
    if dataset.kind != "binary":
        with about(f"the sequences of {dataset.name}"):
            for _, chosen in _by_label(dataset, part):
                baselines.check(train, [frames[i] for i in chosen])
    if dataset.kind != "grey" and measures.ais_steps:
        together = min(data.blocks.BLOCK, sum(map(len, frames))) * measures.ais_chains
        memory.check(
            8 * together * (len(dataset.columns) + num_hidden),
            f"--ais_chains={measures.ais_chains}: annealing",
            "choose fewer chains",
        )


def measure(
    key: jax.Array,
    model: temporal.TemporalRBM,
    dataset: data.SequenceSet,
    part: str,
    train: tuple[np.ndarray, ...],
    measures: Measures,
    name: str,
) -> tuple[dict[str, Any], str]:
    """Measures the model and the baselines on a part of a data set; also as a table in words.

    Sequences of different styles, such as walk and run, are measured by themselves.
    """
    frames, memories = dataset.parts()[part], starts(model, dataset, part)
    lines, results = [f"{len(frames)} {part} sequences of {dataset.name}"], {}
    groups = _by_label(dataset, part)
    for i, (label, chosen) in enumerate(groups):
        found, rows = _measure(
            jax.random.fold_in(key, i),
            model,
            dataset,
            tuple(frames[i] for i in chosen),
            jax.tree.map(lambda x: x[chosen], memories),  # noqa: B023
            train,
            measures,
            name,
        )
        suffix = f"_{label}" if label else ""
        results |= {f"{key}{suffix}": value for key, value in found.items()}
        lines += [f"{label}:", *rows] if label else rows
    if found := filled_in(jax.random.fold_in(key, len(groups)), model, dataset, part, train):
        results["filled_in"] = found
        lines += _table("right leg filled in, squared error per angle and RMS (degrees)", found)
    return results, "\n".join(lines) + "\n"


def _by_label(dataset, part):
    """Labels, and numbers of their sequences; all of them under "" if there are no labels."""
    labels = np.array(dataset.labels[part] if dataset.labels else [""] * len(dataset.parts()[part]))
    return [(label, np.flatnonzero(labels == label)) for label in sorted(set(labels))]


def _measure(key, model, dataset, frames, memories, train, measures, name):
    gibbs_key, likelihood_key, ahead_key = jax.random.split(key, 3)
    results, lines = {}, []
    if dataset.kind != "binary":
        clip = (0, 1) if dataset.kind == "grey" else None
        rows = baselines.squared_errors(train, frames, clip=clip)
        for way, predict in PREDICTIONS.items():
            predictions = evaluation.for_each(predict, gibbs_key, model, frames, memories=memories)
            rows[f"{name}, {way}"] = baselines.squared_error(predictions, frames)
        lines += _table("squared error per frame", rows)
        results["squared_errors"] = {row: list(values) for row, values in rows.items()}
        results["squared_error"] = rows[f"{name}, mean field"][0]
        ahead = errors_ahead(ahead_key, model, frames, memories)
        results["errors_ahead"] = {row: errors.tolist() for row, errors in ahead.items()}
    if dataset.kind != "grey" and measures.ais_steps:
        rows = baselines.log_probs(train, frames) if dataset.kind == "binary" else {}
        found = evaluation.log_likelihood(
            likelihood_key,
            model,
            frames,
            num_steps=measures.ais_steps,
            num_chains=measures.ais_chains,
            memories=memories,
            num_frames=measures.ais_frames,
        )
        rows |= {name: found[:2], f"{name}, conservative": (found.conservative, found[1])}
        lines += _table("log p, nats per frame", rows)
        results["log_likelihoods"] = {row: list(values) for row, values in rows.items()}
        results |= {f"log_likelihood_{key}": value for key, value in found._asdict().items()}
    return results, lines


def watch(
    model: temporal.TemporalRBM,
    dataset: data.SequenceSet,
    part: str,
    watched: np.ndarray,
    measures: Measures,
) -> dict[str, float]:
    """What is measured after every epoch, on a few held-out sequences by number; always alike."""
    key, frames = jax.random.key(0), [dataset.parts()[part][i] for i in watched]
    memories = jax.tree.map(lambda x: x[watched], starts(model, dataset, part))
    found = {}
    if dataset.kind != "binary":
        predict = PREDICTIONS["mean field"]
        predictions = evaluation.for_each(predict, key, model, frames, memories=memories)
        found["squared_error"] = baselines.squared_error(predictions, frames)[0]
    if dataset.kind != "grey" and measures.ais_steps:
        found["log_likelihood"] = evaluation.log_likelihood(
            key,
            model,
            frames,
            num_steps=_WATCHED_STEPS,
            num_chains=_WATCHED_CHAINS,
            memories=memories,
            num_frames=_WATCHED_FRAMES,
        ).mean
    return found


def stops(
    patience: int | None, dataset: data.SequenceSet, measures: Measures
) -> training.EarlyStopping | None:
    """When training ends by what `watch` measures: log p, a score of the whole distribution."""
    if dataset.kind != "grey" and measures.ais_steps:
        return early_stopping.rule(patience, "log_likelihood", maximise=True)
    if patience is not None and dataset.kind == "binary":
        raise ValueError(
            f"--patience={patience} looks at log p of {dataset.name}, which --ais_steps=0 leaves "
            "unmeasured; leave that out"
        )
    return early_stopping.rule(patience, "squared_error")


def refuse_annealing(settings: Declared, name: str) -> None:
    """Refuses settings of log p, which is not measured of grey levels."""
    why = f"with --dataset={name}, of whose grey levels log p is not measured"
    settings.refuse(("ais_steps", "ais_chains", "ais_frames"), why)


def starts(model: temporal.TemporalRBM, dataset: data.SequenceSet, part: str) -> Any:
    """The memories before the first frames, of a model that has styles; else None."""
    first = model.layers[0] if isinstance(model, temporal.Stack) else model
    if not (isinstance(first, temporal.ConditionalRBM) and first.style_size):
        return None
    return jax.vmap(model.start)(jnp.asarray(sequence_data.styles(dataset, part)))


def errors_ahead(
    key: jax.Array,
    model: temporal.TemporalRBM,
    frames: tuple[np.ndarray, ...],
    memories: Any,
    num_ahead: int = NUM_AHEAD,
) -> dict[str, np.ndarray]:
    """Squared errors of frames further and further ahead, from the middle of each sequence.

    Of the model's own continuation, by means, and of the last frame again; sequences that are too
    short are left out.
    """
    chosen = [i for i, x in enumerate(frames) if len(x) >= 2 * num_ahead]
    if not chosen:
        return {}
    cut = [frames[i][: len(frames[i]) // 2 + num_ahead] for i in chosen]
    known = [np.arange(len(x))[:, None] < len(x) - num_ahead for x in cut]
    observed = [np.broadcast_to(k, x.shape) for x, k in zip(cut, known, strict=True)]
    starts = jax.tree.map(lambda x: x[np.array(chosen)], memories)
    dreams = evaluation.for_each(_continued, key, model, cut, observed, memories=starts)
    errors = {"model": [], "last frame": []}
    for x, dream in zip(cut, dreams, strict=True):
        real = x[-num_ahead:].astype(np.float64)
        last = x[-num_ahead - 1].astype(np.float64)
        errors["model"].append(np.sum((dream[-num_ahead:] - real) ** 2, axis=1))
        errors["last frame"].append(np.sum((last - real) ** 2, axis=1))
    return {name: np.mean(rows, axis=0) for name, rows in errors.items()}


def filled_in(
    key: jax.Array,
    model: temporal.TemporalRBM,
    dataset: data.SequenceSet,
    part: str,
    train: tuple[np.ndarray, ...],
) -> dict[str, tuple[float, float]]:
    """Fills in the right leg of the first walk that is long enough; empty for other data.

    By the model, which sees the past and the rest of the body; and by the training frame whose rest
    of the body is nearest. The error is the sum over the frames of squared errors in standardised
    units, averaged over the angles; and the root mean square in degrees.
    """
    leg = np.array([column.split(".")[0] in _LEG for column in dataset.columns])
    labels = dataset.labels[part] if dataset.labels else ()
    long = [
        i
        for i, (x, label) in enumerate(zip(dataset.parts()[part], labels, strict=False))
        if label == "walk" and len(x) > _MISSING_FROM
    ]
    if not leg.any() or not long:
        return {}
    v = dataset.parts()[part][long[0]]
    observed = np.ones(v.shape, bool)
    observed[_MISSING_FROM:, leg] = False
    memory = jax.tree.map(lambda x: x[long[0]], starts(model, dataset, part))
    draws = [
        temporal.complete(
            jax.random.fold_in(key, i),
            model,
            jnp.asarray(v),
            jnp.asarray(observed),
            means=True,
            memory=memory,
        )
        for i in range(_FILLED_CHAINS)
    ]
    frames = np.concatenate(train)
    rest = v[_MISSING_FROM:, ~leg]
    gaps = ((rest[:, None] - frames[None, :, ~leg]) ** 2).sum(axis=2)
    guesses = {
        "the model": np.mean(draws, axis=0)[_MISSING_FROM:, leg],
        "nearest neighbour": frames[gaps.argmin(axis=1)][:, leg],
    }
    found = {}
    for row, guess in guesses.items():
        error = np.asarray(guess, np.float64) - v[_MISSING_FROM:, leg]
        degrees = error * dataset.scale[leg]
        found[row] = (
            float((error**2).sum(axis=0).mean()),
            float(np.sqrt((degrees**2).mean())),
        )
    return found


def _table(what, rows):
    width = max(map(len, rows))
    return [f"{what}:"] + [
        f"  {row:<{width}}  {value:9.3f}" + (f" ± {error:.3f}" if error == error else "")
        for row, (value, error) in rows.items()
    ]
