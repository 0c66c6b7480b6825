"""How much estimates of the bound's gradient vary, for a net that was learnt.

    python -m experiments.train_dbn --workdir=runs/digits
    python -m experiments.estimator_variance --workdir=runs/variance --pretrained=runs/digits

draws the gradient of `dbn_jax.learning.bound_gradient` by the recognition weights of all layers
again and again, for one mini-batch of training images, by each estimator. table.txt has the
variance of an estimate, summed over the weights, beside the squared length of the gradient itself:
learning needs the former to be small beside the latter. What is estimated is the same for all. The
number of paths says how often the top RBM's free energy is asked for; slopes ask for it once more,
and for its derivative. For the net of `flagfiles/dbn_500_2000.flags` it takes 15 s on 2 cores, and
slopes leave a four-thousandth of the variance.
"""

import dataclasses
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from dbn_jax import dbn, learning
from dbn_jax.learning import bound_gradient
from dbn_jax.training import workdir
from experiments.common import finetuning, models, shared

ESTIMATORS = {
    "score function, no baseline": bound_gradient.LeaveOneOut(1, takes_slopes=False),
    "leave one out": bound_gradient.LeaveOneOut(2, takes_slopes=False),
    "leave one out (4 paths)": bound_gradient.LeaveOneOut(4, takes_slopes=False),
    "antithetic (DisARM)": bound_gradient.Antithetic(),
    "leave one out, slopes": bound_gradient.LeaveOneOut(2),
    "leave one out, slopes (4 paths)": bound_gradient.LeaveOneOut(4),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that decides the result.

    Attributes:
      pretrained: workdir of the net.
      data_dir: where its data are; None: where they were when it learnt.
      batch_size: examples of the mini-batch.
      num_estimates: of each estimator, at least 2.
      seed: of everything random.
    """

    pretrained: str
    data_dir: str | None = None
    batch_size: int = 100
    num_estimates: int = 100
    seed: int = 0


def run(settings: Settings, path: str) -> dict:
    """Measures the variances of all estimators.

    Returns:
      The summary, as `workdir.Workdir.write_summary` returns it.

    Raises:
      ValueError: the net is a single RBM, which recognises exactly.
    """
    net, data_settings = models.load(settings.pretrained, models.NETS, settings.data_dir)
    if not net.recognition:
        raise ValueError(
            f"--pretrained={settings.pretrained} has a single layer, which recognises exactly: "
            "there is nothing to estimate"
        )
    dataset, transform = data_settings.load()
    models.check_data(dataset, dbn.num_pixels(net), dbn.num_labels(net))
    run_dir = workdir.open_workdir(
        path,
        shared.flag_values(settings),
        program="experiments.estimator_variance",
        needed_bytes=1_000_000,
    )
    if run_dir.is_done:
        print((run_dir.path / "table.txt").read_text(), end="")
        return run_dir.summary()
    rows = {"images": dataset.train.images, "labels": dataset.train.labels}
    rows = {name: jnp.asarray(x[: settings.batch_size]) for name, x in rows.items()}
    view_key, key = jax.random.split(jax.random.key(settings.seed))
    examples = finetuning.Examples(transform, dbn.num_labels(net))
    batch = shared.transformed(examples, view_key, rows)
    keys = jax.random.split(key, settings.num_estimates)
    results = {name: measure(keys, net, batch, value) for name, value in ESTIMATORS.items()}
    text = table(results, settings)
    (run_dir.path / "table.txt").write_text(text)
    print(text, end="")
    flat = {
        f"{name}: {what}": value
        for name, result in results.items()
        for what, value in result.items()
    }
    return run_dir.write_summary(flat, seed=settings.seed)


def measure(
    keys: jax.Array, net: dbn.Net, batch: tuple, estimator: bound_gradient.Estimator
) -> dict[str, float]:
    """Draws estimates of one gradient.

    Args:
      keys: (n,), consumed.
      net: the net.
      batch: pixels (B, V), and labels (B, L) or None.
      estimator: what is looked at.

    Returns:
      `variance` of an estimate, summed over the recognition weights; `squared_length` of the
      gradient, without bias (and so negative now and then, if it drowns in noise); `milliseconds`
      of an estimate, the other weights' included.
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
    # The surest estimate of the length that they all estimate.
    best = min(results.values(), key=lambda result: result["variance"])["squared_length"]
    lines += [
        f"{name:34}{result['variance']:>12.4g}{result['variance'] / best:>12.3g}"
        f"{result['milliseconds']:>8.1f}"
        for name, result in results.items()
    ]
    return "\n".join(lines) + "\n"


def define_flags() -> None:
    """Defines the flags of this binary; only the binary itself does, not who imports it."""
    default = Settings(pretrained="")
    shared.define_run_flags(checkpoints=False)
    models.define_pretrained_flags("the net")
    flags.DEFINE_integer("batch_size", default.batch_size, "Of the mini-batch.", lower_bound=1)
    flags.DEFINE_integer(
        "num_estimates", default.num_estimates, "Of each estimator.", lower_bound=2
    )


def main(argv: list[str]) -> None:
    """Makes settings of the flags, and runs."""
    shared.call(argv, run, lambda: shared.from_flags(Settings))


if __name__ == "__main__":
    define_flags()
    app.run(main)
