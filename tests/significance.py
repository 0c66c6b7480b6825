"""Statistical tests: how far samples may lie from what is expected.

A test draws with a fixed key, so that it passes always or never; its threshold states how often a
correct program would fail it over keys (`false_alarm`), and is never picked by eye.
"""

import math

import numpy as np
import scipy.special
import scipy.stats


def total_variation(p, q):
    """Half the sum of absolute differences of two distributions over the same states."""
    return 0.5 * np.abs(np.asarray(p) - np.asarray(q)).sum()


def total_variation_bound(p, num_samples, false_alarm=1e-6):
    """A bound on the total variation between p and the frequencies of independent draws from p.

    The mean is at most ½ Σ √(p(1 − p)/n), by Jensen's inequality; a draw moves the total variation
    by at most 1/n, so that it exceeds its mean by t with probability below exp(−2nt²) (McDiarmid).
    """
    mean = 0.5 * np.sqrt(p * (1 - p) / num_samples).sum()
    return mean + math.sqrt(-math.log(false_alarm) / (2 * num_samples))


def drift(counts, p, false_alarm=1e-6):
    """Total variation of counts from p, as a share of its bound for independent draws from p."""
    size = counts.sum()
    return total_variation(counts / size, p) / total_variation_bound(p, size, false_alarm)


def chi_squared(counts, p):
    """p-value of counts of independent draws under probabilities p (Pearson's test).

    States with an expected count below 10 are pooled. A state that p forbids gives 0.
    """
    counts, p = np.asarray(counts, np.float64), np.asarray(p, np.float64)
    if counts[p == 0].sum():
        return 0.0
    expected = counts.sum() * p / p.sum()
    rare = expected < 10
    observed = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    if expected[-1] < 10:  # too few even together: into the neighbour
        observed[-2], expected[-2] = observed[-2:].sum(), expected[-2:].sum()
        observed, expected = observed[:-1], expected[:-1]
    assert len(expected) > 1, "nothing to test: a single cell"
    return scipy.stats.chisquare(observed, expected).pvalue


def z_scores(samples, expected):
    """How many standard errors the mean over the first axis lies from what is expected.

    Entries that do not vary must be right to rounding: they score 0 or infinity.
    """
    samples = np.asarray(samples, np.float64)
    gap = samples.mean(axis=0) - expected
    error = samples.std(axis=0, ddof=1) / math.sqrt(len(samples))
    constant = error <= 1e-7 * (1 + np.abs(expected))
    sure = np.where(np.abs(gap) <= 1e-5 * (1 + np.abs(expected)), 0.0, np.inf)
    return np.where(constant, sure, gap / np.where(constant, 1.0, error))


def largest_z(samples, expected):
    """The largest |z| of all entries of dicts of the same names; see `z_scores`."""
    return max(np.abs(z_scores(samples[name], expected[name])).max() for name in samples)


def z_bound(num_scores, false_alarm=1e-6):
    """The bound that the largest of so many |z| exceeds with the stated probability or less."""
    return scipy.stats.norm.isf(false_alarm / (2 * num_scores))


def assert_mean(samples, expected, false_alarm=1e-6):
    """Fails unless the mean over the first axis is as expected, entry by entry.

    Args:
      samples: (n, ...) independent draws, or a dict of them.
      expected: (...), or a dict of the same names.
      false_alarm: probability that a correct program fails, over all entries together.
    """
    if not isinstance(samples, dict):
        samples, expected = {"": samples}, {"": expected}
    assert samples.keys() == expected.keys()
    scores = {name: np.abs(z_scores(samples[name], expected[name])) for name in samples}
    bound = z_bound(sum(z.size for z in scores.values()), false_alarm)
    largest = {name: z.max() for name, z in scores.items() if z.size}
    assert max(largest.values()) < bound, f"largest |z| {largest} above {bound:.2f}"
