"""How probable a model finds the images of a data set, in nats. Keys are consumed."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax import data, dbn, label_units, precision, rbm
from dbn_jax.compilation import jit
from dbn_jax.examples import Examples
from dbn_jax.likelihood import annealing, bound, partition

# Values of the visible units (N, V), such as binary pixels, which may have weights; and one-hot
# labels (N, L), or None for a net without label units.
Labelled = tuple[jax.Array | Examples, jax.Array | None]


def as_net(model: rbm.RBM | dbn.Net) -> dbn.Net:
    """Returns the net; of an RBM alone, the net of one layer, whose bound is its likelihood."""
    return dbn.stack((model,)) if isinstance(model, rbm.RBM) else model


def log_ratios(
    key: jax.Array, net: dbn.Net, examples: Labelled, num_passes: int
) -> tuple[np.ndarray, np.ndarray]:
    """The bounds on log p(image) and on log p(image, label), less the top RBM's −log Z: (N,) each.

    The same for a net without label units. `num_passes` samples of the recognition distribution are
    drawn for each image; their mean is the bound without bias. A net of one layer needs one: there
    the bound is the likelihood.
    """
    ratios = functools.partial(_log_ratios, net=net, num_passes=num_passes)
    return data.in_blocks(ratios, key, examples)


@jax.jit
@precision.full
def _log_ratios(key, examples, net, num_passes):
    v, labels = Examples.of(examples[0]).values, examples[1]

    def add(t, totals):
        pass_key = jax.random.fold_in(key, t)
        joint = images = bound.sample_terms(pass_key, net, v, labels).total
        if labels is not None:
            # The label units are summed out beside the same features: p(h) = p(h, l) / p(l | h).
            features = dbn.sample_recognition(pass_key, net, v)[-1]
            log_posterior = label_units.log_posterior(net.top, features)
            images = joint - jnp.sum(labels * log_posterior, axis=-1)
        return totals[0] + images, totals[1] + joint

    zeros = jnp.zeros_like(v[:, 0])
    images, joint = jax.lax.fori_loop(0, num_passes, add, (zeros, zeros))
    return images / num_passes, joint / num_passes


@jit
@precision.full
def top_states(key: jax.Array, net: dbn.Net, examples: Labelled) -> Examples:
    """What the top RBM sees of examples, drawn: (N, F + L)."""
    v, labels = Examples.of(examples[0]), examples[1]
    features = dbn.sample_recognition(key, net, v.values)[-1]
    return v.with_values(label_units.join(net.top, features, labels))


def evaluate(
    key: jax.Array,
    model: rbm.RBM | dbn.Net,
    train: Labelled,
    held_out: Labelled,
    *,
    num_steps: int = 14_500,
    num_chains: int = 100,
    num_passes: int = 20,
    num_reverse: int = 100,
) -> dict[str, float]:
    """Estimates the mean log-likelihood of held-out images, or a lower bound on it.

    Args:
      train: for the base rates of annealing.
      num_steps: of annealing.
      num_chains: of annealing.
      num_passes: see `log_ratios`; an RBM and a net of one layer take one.
      num_reverse: held-out examples from which the path is walked backwards.

    Returns:
      Each but the effective sample size with its `…_standard_error`:

      - `log_z` of the top RBM, and its `log_z_effective_sample_size` (chains); without an error
        `log_z_exact`, if one of its layers has at most 2²⁰ states;
      - `log_likelihood` of images, for one layer; for more, `log_likelihood_bound`; with the exact
        log Z, if that is known, `log_likelihood_exact` for one layer;
      - `joint_log_likelihood` (or `…_bound`) of images and labels, if the net has label units;
      - of the one of these two that is about all that the top RBM sees, the conservative value
        `…_reverse`: with the annealing's own probabilities instead of the top RBM's.
    """
    net = as_net(model)
    base_key, ais_key, ratio_key, state_key, reverse_key = jax.random.split(key, 5)
    base = net.top.visible.fit(top_states(base_key, net, train))
    betas = annealing.published_betas(num_steps)
    estimate = annealing.ais(ais_key, net.top, base=base, betas=betas, num_chains=num_chains)
    log_z, log_z_error = float(estimate.log_z), float(estimate.standard_error)
    num_passes = num_passes if net.recognition else 1
    images, joint = log_ratios(ratio_key, net, held_out, num_passes)
    name = "log_likelihood_bound" if net.recognition else "log_likelihood"
    results = {
        "log_z": log_z,
        "log_z_standard_error": log_z_error,
        "log_z_effective_sample_size": float(estimate.effective_sample_size),
    }

    weights = Examples.of(held_out[0]).weights

    def add(name, log_ratio, log_z, log_z_error):
        mean, error = _mean(log_ratio, weights)
        results[name] = mean - log_z
        results[f"{name}_standard_error"] = math.hypot(error, log_z_error)

    add(name, images, log_z, log_z_error)
    if partition.num_states(net.top) <= partition.FEW_STATES:
        exact = results["log_z_exact"] = float(partition.exact_log_partition(net.top))
        if not net.recognition:
            add(f"{name}_exact", images, exact, 0.0)
    if dbn.num_labels(net):
        name = f"joint_{name}"
        add(name, joint, log_z, log_z_error)
    x = top_states(state_key, net, data.spread(held_out, num_reverse))
    reverse = annealing.reverse_ais(reverse_key, net.top, x.values, base=base, betas=betas)
    # Images differ much more in their free energy than in what takes the place of log Z, so that
    # few of them are enough for the mean of that.
    add(f"{name}_reverse", joint, *_mean(np.asarray(reverse), x.weights))
    return results


def _mean(values, weights):
    """The weighted mean, and its standard error: σ/√n, with the effective number of examples n."""
    shares = np.ones(len(values)) if weights is None else np.asarray(weights, np.float64)
    shares = shares / shares.sum()
    mean = np.sum(shares * values)
    variance = np.sum((shares * (values - mean)) ** 2) / (1 - np.sum(shares**2))
    return float(mean), math.sqrt(variance)
