"""The matrix products of the up-down update.

An update of a net with the top RBM T, and recognition weights R and generative weights G of each
layer below, needs for n Gibbs iterations at the top

    up     v R           for each lower layer
    top    x T;  n times  h Tᵀ, x T;  then  xᵀ h  of both phases
    down   h Gᵀ          for each lower layer
    wake   h Gᵀ, hᵀ v    for each lower layer
    sleep  v R, vᵀ h     for each lower layer

which are 6 (layers − 1) + 3 + 2n products.
"""

import functools

import jax.numpy as jnp

from dbn_jax.learning import updown
from experiments.benchmarks import net_updates


def _products(recognition, generative, top, v, labels, num_gibbs_steps):
    wake = [v]
    for r in recognition:
        wake.append(wake[-1] @ r)
    x = jnp.concatenate([wake[-1], labels], axis=-1)
    fantasy, kept = net_updates.contrastive_products(top, x, num_gibbs_steps)
    dream = [fantasy[:, : wake[-1].shape[-1]]]
    for g in reversed(generative):
        dream.insert(0, dream[0] @ g.T)
    for i, (r, g) in enumerate(zip(recognition, generative, strict=True)):
        # Differences, as learning takes them: what is predicted feeds a statistic.
        kept.append((wake[i] - wake[i + 1] @ g.T).T @ wake[i + 1])
        kept.append(dream[i].T @ (dream[i + 1] - dream[i] @ r))
    return kept


UPDOWN = net_updates.Method(
    name="updown",
    title="Up-down",
    products=_products,
    init_state=updown.init_state,
    step=lambda n: functools.partial(updown.step, num_gibbs_steps=n),
)
