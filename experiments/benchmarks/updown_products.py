"""The matrix products of the up-down update, for `benchmark_nets`.

An update of a net with the top RBM T, and recognition weights R and generative weights G of each
layer below, needs for n Gibbs iterations at the top

    up     v R           for each lower layer
    top    x T;  n times  h Tᵀ, x T;  then  xᵀ h  of both phases
    down   h Gᵀ          for each lower layer
    wake   h Gᵀ, hᵀ v    for each lower layer
    sleep  v R, vᵀ h     for each lower layer

which are 6 (layers − 1) + 3 + 2n products.
"""

import jax
import jax.numpy as jnp

from dbn_jax.learning import updown
from experiments.benchmarks import net_updates


def _num_products(num_lower, num_gibbs_steps):
    return 6 * num_lower + 3 + 2 * num_gibbs_steps


def _products(weights: net_updates.Weights, v: jax.Array, labels: jax.Array, num_gibbs_steps):
    wake = [v]
    for r in weights.recognition:
        wake.append(wake[-1] @ r)
    x = jnp.concatenate([wake[-1], labels], axis=-1)
    fantasy, kept = net_updates.contrast_products(weights.top, x, num_gibbs_steps)
    dream = [fantasy[:, : wake[-1].shape[-1]]]
    for g in reversed(weights.generative):
        dream.insert(0, dream[0] @ g.T)
    for i, (r, g) in enumerate(zip(weights.recognition, weights.generative, strict=True)):
        # Differences, as learning takes them: what is predicted feeds a statistic.
        kept.append((wake[i] - wake[i + 1] @ g.T).T @ wake[i + 1])
        kept.append(dream[i].T @ (dream[i + 1] - dream[i] @ r))
    return kept


def _step(key, state, v, labels, num_gibbs_steps, optimizer):
    return updown.step(key, state, v, labels, optimizer=optimizer, num_gibbs_steps=num_gibbs_steps)


UPDOWN = net_updates.Method(
    name="updown",
    title="Up-down",
    num_products=_num_products,
    products=_products,
    init_state=updown.init_state,
    step=_step,
)
