"""What a model of sequences has to beat: copies, linear predictors, notes that know little.

*The squared error per frame* is summed over the units of a frame, averaged over frames 2 to T of a
sequence, then over sequences (Sutskever, Hinton, Taylor 2008, and all after them). It is measured
in the same way for models (`squared_error`), and for every baseline on the same frames.

*Nats per step* are summed over all frames of all sequences and divided by the number of frames
(Boulanger-Lewandowski, Bengio, Vincent 2012): `per_frame`.
"""

from collections.abc import Sequence

import numpy as np
import scipy.linalg

from dbn_jax.typing import Float, Num

_ORDERS = (1, 2, 3)
_RIDGES = (0.1, 1.0, 10.0, 100.0, 1000.0)
_FITTED = 0.8  # of the frames of a training sequence, while the ridge is chosen on those after
_ROWS = 2048  # about so many frames have their products summed at once

Frames = Sequence[Num[np.ndarray, "_ V"]]  # sequences, each of its own length
Estimate = tuple[float, float]  # and its standard error, NaN where there is but one sequence


def squared_errors(
    train: Frames, test: Frames, *, clip: tuple[float, float] | None = None
) -> dict[str, Estimate]:
    """The squared error per frame of each baseline.

    - The mean frame of the training sequences.
    - The last frame again.
    - A linear function of the last 1, 2 or 3 frames and a constant, by ridge regression. The ridge
      is the power of ten with the least error in the ends of the training sequences, when fitted to
      what comes before; the coefficients are then fitted to all. A frame that has fewer before it
      is predicted from these.

    Args:
      train: sequences to learn from.
      test: sequences to predict.
      clip: the least and the largest value of a unit, to which linear predictions are cut off.
    """
    _check_any(train)
    mean = np.sum([np.sum(x, axis=0, dtype=np.float64) for x in train], axis=0)
    mean /= sum(len(x) for x in train)
    found = {
        "mean frame": squared_error([np.broadcast_to(mean, x.shape) for x in test], test),
        "last frame": squared_error([np.concatenate([x[:1], x[:-1]]) for x in test], test),
    }
    coefficients = _fit(train, clip)
    for order in _ORDERS:
        predictions = [_predict(coefficients[:order], x, clip) for x in test]
        found[f"linear, order {order}"] = squared_error(predictions, test)
    return found


def log_probs(train: Frames, test: Frames) -> dict[str, Estimate]:
    """log p in nats per step of binary frames, such as piano rolls.

    Units are independent of each other. Their probabilities are frequencies in the training
    sequences, to which one more frame with the unit on was added and one with it off: of all
    frames, or of those that follow a frame with the unit in the same state. The first frame of a
    sequence follows none.
    """
    _check_any(train)
    # (previous state, its own state, units): numbers of frames.
    after = 1 + sum(_transitions(x) for x in train)
    everywhere = 1 + sum(np.stack([np.sum(x == state, axis=0) for state in (0, 1)]) for x in train)
    log_after = np.log(after / after.sum(1, keepdims=True))
    log_everywhere = np.log(everywhere / everywhere.sum(0))

    def alone(x):
        return float(np.sum(np.where(x == 1, log_everywhere[1], log_everywhere[0])))

    def following(x):
        return alone(x[:1]) + float(np.sum(_transitions(x) * log_after))

    lengths = [len(x) for x in test]
    return {
        "independent units": per_frame([alone(x) for x in test], lengths),
        "each unit after its own last state": per_frame([following(x) for x in test], lengths),
    }


def next_frame_errors(
    predictions: Num[np.ndarray, "T V"], frames: Num[np.ndarray, "T V"]
) -> Float[np.ndarray, " T_less_1"]:
    """Squared errors of frames 2 to T, summed over units; no one predicts the first."""
    difference = np.asarray(predictions[1:], np.float64) - np.asarray(frames[1:], np.float64)
    return np.sum(difference**2, axis=1)


def squared_error(predictions: Frames, frames: Frames) -> Estimate:
    """The squared error per frame: mean over sequences, of at least two frames, and standard error.

    Args:
      predictions: of every frame; those of first frames do not matter.
      frames: sequences.
    """
    each = [
        next_frame_errors(p, x).mean()
        for p, x in zip(predictions, frames, strict=True)
        if len(x) > 1
    ]
    if not each:
        raise ValueError(
            "no sequence has a second frame, so that there is none to predict: give longer ones"
        )
    return per_frame(each, [1] * len(each))


def per_frame(totals: Sequence[float], lengths: Sequence[int]) -> Estimate:
    """The sum of totals over the sum of lengths, each of a sequence: a mean over all frames.

    Sequences are independent, their frames are not: the standard error is that of a ratio, from
    what each total differs from the mean times its length.
    """
    totals, lengths = np.asarray(totals, np.float64), np.asarray(lengths, np.float64)
    mean = totals.sum() / lengths.sum()
    count = len(totals)
    if count == 1:
        return float(mean), float("nan")
    scatter = np.sum((totals - mean * lengths) ** 2) * count / (count - 1)
    return float(mean), float(np.sqrt(scatter) / lengths.sum())


def _check_any(train):
    if not len(train):
        raise ValueError(
            "baselines learn from training sequences, but there are none: simulate those of balls "
            "(balls.simulate)"
        )


def _transitions(x):
    """How often each unit in each state came to each state: (2, 2, V)."""
    pairs = [[(x[:-1] == last) & (x[1:] == now) for now in (0, 1)] for last in (0, 1)]
    return np.sum(pairs, axis=2)


def _fit(train, clip):
    """Coefficients (1 + order V, V) of the linear functions of each order."""
    most = max(_ORDERS)
    long = [x for x in train if len(x) >= most + 2]
    if not long:
        raise ValueError(
            f"a linear prediction from {most} frames is learnt from sequences of {most + 2} or "
            f"more, but the longest of {len(train)} has {max(map(len, train))}: give longer ones"
        )
    first, last = (_moments(long, part) for part in (_before_cut, _after_cut))
    coefficients = []
    for order in _ORDERS:
        past = 1 + order * train[0].shape[1]
        tried = [_solve(first, past, ridge) for ridge in _RIDGES]
        best = np.argmin(_held_out_errors(tried, long, clip))
        coefficients.append(_solve(first + last, past, _RIDGES[best]))
    return coefficients


def _before_cut(rows):
    return rows[: int(_FITTED * len(rows))]


def _after_cut(rows):
    return rows[int(_FITTED * len(rows)) :]


def _blocks(train, part):
    """A part of the rows (1, last frame, …, last but two, frame) of all sequences, some at once."""
    most = max(_ORDERS)
    together = max(1, _ROWS // max(map(len, train)))
    for i in range(0, len(train), together):
        rows = [np.hstack([_past(x, most), x[most:]]) for x in train[i : i + together]]
        yield np.concatenate([part(r) for r in rows])


def _moments(train, part):
    """Σ zᵀz over rows z: all that ridge regression needs, however many there are."""
    return sum(z.T @ z for z in _blocks(train, part))


def _solve(moments, past, ridge):
    """The coefficients of the first columns, by which they tell the frame; the constant is free."""
    units = (len(moments) - 1) // (max(_ORDERS) + 1)
    penalty = np.diag(np.concatenate([[0.0], np.full(past - 1, ridge)]))
    return scipy.linalg.solve(
        moments[:past, :past] + penalty, moments[:past, -units:], assume_a="pos"
    )


def _held_out_errors(tried, train, clip):
    """The squared error of each, in the ends of the sequences."""
    past, units = tried[0].shape
    errors = np.zeros(len(tried))
    for z in _blocks(train, _after_cut):
        for i, coefficients in enumerate(tried):
            errors[i] += np.sum((_clipped(z[:, :past] @ coefficients, clip) - z[:, -units:]) ** 2)
    return errors


def _past(x, order):
    """1 and the frames before, last first, of each frame that has so many."""
    lags = [x[order - lag : len(x) - lag] for lag in range(1, order + 1)]
    ones = np.ones((len(x) - order, 1))
    return np.concatenate([ones, *lags], axis=1, dtype=np.float64)


def _predict(coefficients, x, clip):
    """From as many frames as there are and as a function takes; the first one stands for itself."""
    predictions = np.array(x, np.float64)
    for order, function in enumerate(coefficients, 1):
        if len(x) > order:
            predictions[order:] = _past(x, order) @ function
    return _clipped(predictions, clip)


def _clipped(predictions, clip):
    return predictions if clip is None else np.clip(predictions, *clip)
