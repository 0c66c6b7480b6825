"""The matrix products of an update along the bound's gradient.

The update is that of `finetune_bound`: K recognised paths with slopes (`LeaveOneOut`), and CD-n at
the top. For a net with the top RBM T, and recognition weights R and generative weights G of each of
M ≥ 1 layers below, an update by B examples needs

    paths        v R           M        P = K B rows; B in the first layer, whose input they share
    means        m R           M − 1    B rows; in the first layer that of the paths will do
                 m Gᵀ          M        B rows; e is the layer below less what this predicts of it
                 x T           1        B rows
    slopes       h Tᵀ          1        B rows, back from the prior
                 e G           M        B rows, back from the predictions
                 δ Rᵀ          M − 1    B rows; no slope by the pixels is needed
    generative   h Gᵀ, eᵀ h    2 M      P rows
    recognition  vᵀ δ          M        P rows; B in the first layer, δ summed over the paths
    top          x T;  n times  h Tᵀ, x T;  then  xᵀ h  of both phases;  3 + 2n, P rows

which are 8 M + 3 + 2n products. Nothing else needs one. The rewards use the same h Gᵀ, and the same
x T as the positive phase of the top; the states are drawn from the total inputs that the
recognition gradient uses; and the reconstruction error, among the metrics, uses an h Gᵀ.
`bound_gradient` writes several of these products twice, and XLA merges them.
"""

import functools

import jax
import jax.numpy as jnp

from dbn_jax import learning
from dbn_jax.learning import bound_gradient
from experiments.benchmarks import net_updates

_ESTIMATOR = bound_gradient.LeaveOneOut()


def _products(recognition, generative, top, v, labels, num_gibbs_steps):
    def per_path(x):
        return jnp.tile(x, (_ESTIMATOR.num_samples, 1))

    paths, means = [per_path(v)], [v]
    for i, r in enumerate(recognition):
        means.append(means[-1] @ r)
        paths.append(paths[-1] @ r if i else per_path(means[-1]))

    x = jnp.concatenate([means[-1], labels], axis=-1)
    slope = ((x @ top) @ top.T)[:, : means[-1].shape[-1]]
    kept = []
    pairs = list(zip(recognition, generative, strict=True))
    for i, (r, g) in reversed(list(enumerate(pairs))):
        slope = slope + (means[i] - means[i + 1] @ g.T) @ g
        change = paths[i + 1] + per_path(slope)
        if i:
            kept.append(paths[i].T @ change)
            slope = slope @ r.T
        else:
            kept.append(v.T @ change.reshape(-1, *slope.shape).sum(axis=0))
        kept.append((paths[i] - paths[i + 1] @ g.T).T @ paths[i + 1])

    x = jnp.concatenate([paths[-1], per_path(labels)], axis=-1)
    return kept + net_updates.contrastive_products(top, x, num_gibbs_steps)[1]


def _init_state(net, optimizer):
    return bound_gradient.init_state(jax.random.key(1), net, optimizer, learner=learning.CD())


def _step(num_gibbs_steps):
    learner = learning.CD(num_gibbs_steps)
    return functools.partial(bound_gradient.step, learner=learner, estimator=_ESTIMATOR)


BOUND = net_updates.Method(
    name="bound",
    title=f"Ascent of the bound, {_ESTIMATOR.num_samples} paths",
    products=_products,
    init_state=_init_state,
    step=_step,
)
