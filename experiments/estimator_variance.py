"""Measures the variance of estimators of the variational bound's gradient, for a trained net.

    python -m experiments.train_dbn --workdir=runs/digits
    python -m experiments.estimator_variance --workdir=runs/variance --pretrained=runs/digits

estimates the gradient with respect to the recognition weights of all layers
(`dbn_jax.learning.bound_gradient`) many times, for one mini-batch of training images, by each
estimator. table.txt gives the variance of an estimate, summed over the weights, and its ratio to
the squared length of the gradient; learning needs a small ratio. All estimators estimate the same
gradient. Each path costs one evaluation of the top RBM's free energy; slopes cost one more, with
its derivative. For the net of `flagfiles/dbn_500_2000.flags` it takes 15 s on 2 cores, and with
slopes a four-thousandth of the variance is left.
"""

import time

import jax
import numpy as np

from dbn_jax import data, dbn, learning
from dbn_jax.learning import bound_gradient
from experiments.common import data_settings, finetuning, pretrained, runs
from experiments.common.settings import setting

ESTIMATORS = {
    "score function, no baseline": bound_gradient.LeaveOneOut(1, takes_slopes=False),
    "leave one out": bound_gradient.LeaveOneOut(2, takes_slopes=False),
    "leave one out (4 paths)": bound_gradient.LeaveOneOut(4, takes_slopes=False),
    "antithetic (DisARM)": bound_gradient.Antithetic(),
    "leave one out, slopes": bound_gradient.LeaveOneOut(2),
    "leave one out, slopes (4 paths)": bound_gradient.LeaveOneOut(4),
}


class Settings(runs.RunSettings, pretrained.Pretrained):
    """Everything that decides the result."""

    batch_size: int = setting(100, "Number of examples in the mini-batch.", at_least=1)
    num_estimates: int = setting(
        100, "Number of estimates drawn from each estimator.", at_least=2, at_most=100_000
    )


def run(settings: Settings, workdir: str) -> dict:
    """Measures the variances of all estimators."""
    net, dataset, transform = finetuning.load_net(settings)
    if not net.recognition:
        raise ValueError(
            f"--pretrained={settings.pretrained} has a single layer, which recognises exactly: "
            "there is nothing to estimate"
        )
    data_settings.check_batch_size(settings.batch_size, len(dataset.train.labels))
    run = runs.open(settings, workdir)
    if run.is_done:
        return run.report()
    rows = dataset.train.arrays()
    view_key, key = jax.random.split(run.key)
    examples = finetuning.PixelsAndLabels(transform, dbn.num_labels(net))
    batch = data.apply(examples, view_key, data.spread(rows, settings.batch_size))
    keys = jax.random.split(key, settings.num_estimates)
    results = {name: measure(keys, net, batch, value) for name, value in ESTIMATORS.items()}
    run.save_table(table(results, settings))
    return run.finish({"estimators": results})


def measure(
    keys: jax.Array, net: dbn.Net, batch: tuple, estimator: bound_gradient.Estimator
) -> dict[str, float]:
    """Draws an estimate of one gradient for each key; the batch is pixels, and labels or None.

    Returns:
      `variance` of an estimate, summed over the recognition weights; `squared_length` of the
      gradient, an unbiased estimate, which noise can make negative; `milliseconds` for an estimate
      of the gradient of all weights.
    """
    net = dbn.untie(net)

    @jax.jit
    def estimate(key, net, batch):
        gradient, _, _ = bound_gradient.gradient(
            key, net, None, *batch, learner=learning.CD(), estimator=estimator
        )
        return [layer.weights for layer in gradient.recognition]

    jax.block_until_ready(estimate(keys[0], net, batch))
    # Welford's sums: the estimates are too large to be kept.
    mean, squares, seconds = 0.0, 0.0, 0.0
    for n, key in enumerate(keys, 1):
        start = time.perf_counter()
        parts = jax.block_until_ready(estimate(key, net, batch))
        seconds += time.perf_counter() - start
        flat = np.concatenate([np.asarray(x, np.float64).ravel() for x in parts])
        gap = flat - mean
        mean = mean + gap / n
        squares = squares + gap * (flat - mean)
    variance = float(np.sum(squares)) / (len(keys) - 1)
    return {
        "variance": variance,
        "squared_length": float(mean @ mean) - variance / len(keys),
        "milliseconds": 1e3 * seconds / len(keys),
    }


def table(results: dict[str, dict[str, float]], settings: Settings) -> str:
    """Lays the results out as plain text."""
    lines = [
        f"The bound's gradient by the recognition weights, batch of {settings.batch_size}, "
        f"{settings.num_estimates} estimates each",
        f"{'estimator':34}{'variance':>12}{'/ length²':>12}{'ms':>8}",
    ]
    # The most precise estimate of the length, which is the same for all.
    best = min(results.values(), key=lambda result: result["variance"])["squared_length"]
    lines += [
        f"{name:34}{result['variance']:>12.4g}{result['variance'] / best:>12.3g}"
        f"{result['milliseconds']:>8.1f}"
        for name, result in results.items()
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    runs.main(run, Settings)
