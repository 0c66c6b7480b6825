"""Baselines of sequences: measures by hand, linear functions that are known, notes counted."""

import math

import numpy as np
import pytest

from experiments.baseline_models import sequences


def waves(random, count, num_frames, noise=0.0):
    """Two units that obey x_t = 1.6 x_{t−1} − 0.9 x_{t−2} + 3, from random first frames."""
    found = []
    for _ in range(count):
        x = list(random.normal(10, 20, (2, 2)))
        while len(x) < num_frames:
            x.append(1.6 * x[-1] - 0.9 * x[-2] + 3 + noise * random.normal(size=2))
        found.append(np.array(x))
    return found


def test_the_squared_error_by_hand():
    frames = [np.array([[9.0, 9.0], [1.0, 2.0], [0.0, 0.0]]), np.array([[9, 9], [1, 1]], np.uint8)]
    predictions = [np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 1.0]]), np.array([[0, 0], [1, 3]])]
    errors = sequences.next_frame_errors(predictions[0], frames[0])
    np.testing.assert_array_equal(errors, [5, 1])
    # 3 and 4: each sequence counts alike, however long; one of a single frame does not count.
    alone = np.array([[7.0, 7.0]])
    found = sequences.squared_error([*predictions, alone], [*frames, 0 * alone])
    assert found == (3.5, 0.5)
    with pytest.raises(ValueError, match="no sequence has a second frame, so that there is none"):
        sequences.squared_error([alone], [alone])


def test_a_mean_over_all_frames_has_the_standard_error_of_a_ratio():
    assert sequences.per_frame([2.0, 10.0], [1, 3]) == (3.0, math.sqrt(2 * (1 + 1)) / 4)
    mean, error = sequences.per_frame([6.0], [3])
    assert mean == 2
    assert math.isnan(error)
    # Against the scatter of many repetitions, of sequences of different lengths and frames that
    # depend on each other.
    random = np.random.RandomState(0)
    found = []
    for _ in range(2000):
        lengths = random.randint(1, 20, 50)
        found.append(sequences.per_frame(lengths * random.normal(3, 1, 50), lengths))
    means, errors = np.array(found).T
    # The standard deviation of 2,000 is known to 1/√4000 = 1.6 %.
    assert errors.mean() == pytest.approx(means.std(), rel=0.07)


def test_a_linear_function_is_recovered_and_the_first_frames_are_predicted_from_fewer():
    random = np.random.RandomState(0)
    train, test = waves(random, 40, 30), waves(random, 5, 12)
    errors = sequences.squared_errors(train, test)
    coefficients = sequences._fit(train, None)[1]
    by_frame = np.array([[3, 3], [1.6, 0], [0, 1.6], [-0.9, 0], [0, -0.9]])
    np.testing.assert_allclose(coefficients, by_frame, atol=1e-4)
    # What is left of it is the error of each second frame, which order 1 predicts.
    predictions = [sequences._predict(sequences._fit(train, None)[:1], x, None) for x in test]
    seconds = [sequences.next_frame_errors(p, x)[0] for p, x in zip(predictions, test, strict=True)]
    assert errors["linear, order 2"][0] == pytest.approx(np.mean(seconds) / 11, rel=1e-4)
    assert errors["linear, order 1"][0] > 3 * errors["linear, order 2"][0]
    # Mean and copy, by hand.
    mean = np.concatenate(train).mean(0)
    wanted = [np.mean(((x[1:] - mean) ** 2).sum(1)) for x in test]
    assert errors["mean frame"] == pytest.approx((np.mean(wanted), np.std(wanted) / 2))
    wanted = [np.mean((np.diff(x, axis=0) ** 2).sum(1)) for x in test]
    assert errors["last frame"] == pytest.approx((np.mean(wanted), np.std(wanted) / 2))


def test_the_sums_of_products_are_those_of_all_rows_however_many_at_once(monkeypatch):
    train = waves(np.random.RandomState(1), 7, 9)
    rows = [np.hstack([np.ones((6, 1)), x[2:-1], x[1:-2], x[:-3], x[3:]]) for x in train]
    wanted = sum(z[:4].T @ z[:4] for z in rows)  # 4 of the 6 come before the cut
    for at_once in (1, 20, 1000):
        monkeypatch.setattr(sequences, "_ROWS", at_once)
        found = sequences._moments(train, sequences._before_cut)
        np.testing.assert_allclose(found, wanted)
        both = found + sequences._moments(train, sequences._after_cut)
        np.testing.assert_allclose(both, sum(z.T @ z for z in rows))


def in_a_box(random):
    """Waves that leave the box from 0 to 1, and are held at its walls."""
    return [np.clip(0.05 * x, 0, 1) for x in waves(random, 4, 24)]


def with_other_ends(random):
    """Frames that change their sign, until they do not: the less is learnt of them, the better."""
    del random
    signs = np.where(np.arange(20) < 16, (-1.0) ** np.arange(20), -1)
    return [np.stack([signs, -signs], 1)] * 4


@pytest.mark.parametrize(
    ("make", "clip", "ridge"),
    [
        (lambda random: waves(random, 4, 12), None, 0.1),
        (with_other_ends, None, 1000.0),
        (in_a_box, None, 1.0),
        (in_a_box, (0, 1), 0.1),  # what overshoots does no harm
    ],
    ids=["waves", "other ends", "box", "clipped"],
)
def test_the_ridge_is_the_best_on_the_ends_of_the_training_sequences(make, clip, ridge):
    train = make(np.random.RandomState(1))
    before = sequences._moments(train, sequences._before_cut)
    tried = [sequences._solve(before, 7, candidate) for candidate in sequences._RIDGES]
    wanted = np.zeros(len(tried))
    for x in train:
        cut = int(0.8 * (len(x) - 3))
        for i, coefficients in enumerate(tried):
            predictions = sequences._past(x, 3)[cut:] @ coefficients
            if clip:
                predictions = np.clip(predictions, *clip)
            wanted[i] += np.sum((predictions - x[3 + cut :]) ** 2)
    found = sequences._held_out_errors(tried, train, clip)
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)
    assert sequences._RIDGES[np.argmin(wanted)] == ridge
    everything = sequences._moments(train, lambda rows: rows)
    expected = sequences._solve(everything, 7, ridge)
    np.testing.assert_allclose(sequences._fit(train, clip)[2], expected, atol=1e-8)


def test_linear_predictions_are_clipped_and_bytes_are_numbers():
    train = [np.array([[0], [1]] * 10, np.uint8)] * 3
    wrong = [np.array([[0.5], [1.5]])]  # the function of order 1 says 0.5, then −0.5, …
    free = sequences._predict(sequences._fit(train, None), np.array([[3.0], [0.0]]), None)
    assert free[1] == pytest.approx(-2, abs=0.05)
    clipped = sequences._predict(sequences._fit(train, None), np.array([[3.0], [0.0]]), (0, 1))
    assert clipped[1] == 0
    loose = sequences.squared_errors(train, wrong)["linear, order 1"][0]
    tight = sequences.squared_errors(train, wrong, clip=(0, 0.25))["linear, order 1"][0]
    assert loose == pytest.approx(1, abs=0.05)
    assert tight == 1.25**2


@pytest.mark.parametrize("of", [sequences.squared_errors, sequences.log_probs])
def test_no_training_sequences_are_refused(of):
    message = "baselines learn from training sequences, but there are none: simulate those of balls"
    with pytest.raises(ValueError, match=message):
        of((), [np.zeros((9, 2))])


def test_sequences_too_short_for_three_frames_are_refused():
    with pytest.raises(
        ValueError,
        match="a linear prediction from 3 frames is learnt from sequences of 5 or more, but the "
        "longest of 2 has 4: give longer ones",
    ):
        sequences.squared_errors([np.zeros((4, 2)), np.zeros((3, 2))], [np.zeros((9, 2))])


def test_notes_by_hand():
    """Two notes; frequencies are (n + 1) / (N + 2)."""
    train = [np.array([[1, 0], [1, 0], [0, 0]], np.uint8), np.array([[1, 1]], np.uint8)]
    test = [np.array([[1, 0], [0, 0]], np.uint8), np.array([[0, 0]], np.uint8)]
    on, off = np.log([4 / 6, 2 / 6]), np.log([2 / 6, 4 / 6])
    found = sequences.log_probs(train, test)
    alone = off[0] + off[1]
    wanted = sequences.per_frame([on[0] + off[1] + alone, alone], [2, 1])
    assert found["independent units"] == pytest.approx(wanted)
    # The first, after on, was on once and off once; the second, after off, was off twice.
    totals = [on[0] + off[1] + np.log(2 / 4) + np.log(3 / 4), alone]
    wanted = sequences.per_frame(totals, [2, 1])
    assert found["each unit after its own last state"] == pytest.approx(wanted)
