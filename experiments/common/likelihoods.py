"""How probable a model finds images, in nats."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax import associative_memory, dbn, rbm
from dbn_jax.likelihood import annealing, bound

_BLOCK = 1000

# Values of the visible units (N, V), such as binary pixels; and one-hot labels (N, L), or None for
# a net without label units.
Examples = tuple[jax.Array, jax.Array | None]


def as_net(model: rbm.RBM | dbn.Net) -> dbn.Net:
    """Returns the net; of an RBM alone, the net of one layer, whose bound is its likelihood."""
    return dbn.stack((model,)) if isinstance(model, rbm.RBM) else model


def log_ratios(
    key: jax.Array, net: dbn.Net, examples: Examples, num_passes: int
) -> tuple[np.ndarray, np.ndarray]:
    """The bounds on log p(image) and on log p(image, label), less the top RBM's −log Z.

    Args:
      key: consumed.
      net: the net.
      examples: what is evaluated.
      num_passes: samples of the recognition distribution for each image; their mean is the bound
        without bias. A net of one layer needs one: there the bound is the likelihood.

    Returns:
      (N,) and (N,), nats; the same for a net without label units.
    """
    v, labels = examples
    blocks = []
    for start in range(0, len(v), _BLOCK):
        rows = slice(start, start + _BLOCK)
        block = v[rows], None if labels is None else labels[rows]
        blocks.append(_log_ratios(jax.random.fold_in(key, start), net, block, num_passes))
    images, joint = zip(*blocks, strict=True)
    return np.concatenate(images), np.concatenate(joint)


@jax.jit
def _log_ratios(key, net, examples, num_passes):
    v, labels = examples

    def add(t, totals):
        pass_key = jax.random.fold_in(key, t)
        joint = images = bound.sample_terms(pass_key, net, v, labels).total
        if labels is not None:
            # The label units are summed out beside the same features: p(h) = p(h, l) / p(l | h).
            features = dbn.sample_recognition(pass_key, net, v)[-1]
            log_posterior = associative_memory.label_log_posterior(net, features)
            images = joint - jnp.sum(labels * log_posterior, axis=-1)
        return totals[0] + images, totals[1] + joint

    zeros = jnp.zeros_like(v[:, 0])
    images, joint = jax.lax.fori_loop(0, num_passes, add, (zeros, zeros))
    return images / num_passes, joint / num_passes


@jax.jit
def top_states(key: jax.Array, net: dbn.Net, examples: Examples) -> jax.Array:
    """What the top RBM sees of examples, drawn: (N, F + L); the key is consumed."""
    v, labels = examples
    return dbn.join(net, dbn.sample_recognition(key, net, v)[-1], labels)


def evaluate(
    key: jax.Array,
    net: dbn.Net,
    train: Examples,
    held_out: Examples,
    *,
    num_steps: int,
    num_chains: int,
    num_passes: int,
    num_reverse: int,
) -> dict[str, float]:
    """Estimates the mean log-likelihood of held-out images, or a lower bound on it.

    Args:
      key: consumed.
      net: the net.
      train: for the base rates of annealing.
      held_out: what is evaluated.
      num_steps: of annealing.
      num_chains: of annealing.
      num_passes: see `log_ratios`.
      num_reverse: held-out examples from which the path is walked backwards.

    Returns:
      In nats, each but the effective sample size with its `…_standard_error`:

      - `log_z` of the top RBM, and its `log_z_effective_sample_size` (chains);
      - `log_likelihood` of images, for one layer; for more, `log_likelihood_bound`;
      - `joint_log_likelihood` (or `…_bound`) of images and labels, if the net has label units;
      - of the one of these two that is about all that the top RBM sees, the conservative value
        `…_reverse`: with the annealing's own probabilities instead of the top RBM's.
    """
    base_key, ais_key, ratio_key, state_key, reverse_key = jax.random.split(key, 5)
    base = net.top.visible.fit(top_states(base_key, net, train))
    betas = annealing.published_betas(num_steps)
    estimate = annealing.ais(ais_key, net.top, base=base, betas=betas, num_chains=num_chains)
    log_z, log_z_error = float(estimate.log_z), float(estimate.standard_error)
    images, joint = log_ratios(ratio_key, net, held_out, num_passes)
    name = "log_likelihood_bound" if net.recognition else "log_likelihood"
    results = {
        "log_z": log_z,
        "log_z_standard_error": log_z_error,
        "log_z_effective_sample_size": float(estimate.effective_sample_size),
    }

    def add(name, log_ratio, log_z, log_z_error):
        results[name] = float(log_ratio.mean()) - log_z
        results[f"{name}_standard_error"] = math.hypot(_standard_error(log_ratio), log_z_error)

    add(name, images, log_z, log_z_error)
    if dbn.num_labels(net):
        name = f"joint_{name}"
        add(name, joint, log_z, log_z_error)
    # Spread over the data set, which may be in an order.
    some = np.linspace(0, len(images) - 1, min(num_reverse, len(images))).astype(int)
    x = top_states(state_key, net, jax.tree.map(lambda rows: rows[some], held_out))
    reverse = np.asarray(annealing.reverse_ais(reverse_key, net.top, x, base=base, betas=betas))
    # Images differ much more in their free energy than in what takes the place of log Z, so that
    # few of them are enough for the mean of that.
    add(f"{name}_reverse", joint, float(reverse.mean()), _standard_error(reverse))
    return results


def _standard_error(values):
    return float(values.std(ddof=1) / math.sqrt(len(values)))
