"""The pseudo-likelihood of an RBM: a cheap monitor of learning that needs no log Z.

Reference: Besag, "Statistical analysis of non-lattice data" (1975).
"""

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax import rbm, units
from dbn_jax.compilation import jit
from dbn_jax.typing import Array, Float, Key


@jit(static_argnames="num_units")
def log_pseudo_likelihood(
    key: Key[Array, ""],
    params: rbm.RBM,
    v: Float[Array, "*batch V"],
    *,
    num_units: int = 1,
) -> Float[Array, "*batch"]:
    """Σ_i log p(v_i | all other v), nats, from a few units i drawn anew for every example.

    V / num_units times the sum over the drawn units, which lie evenly spaced from a random one on.
    That is unbiased, and with ``num_units=V`` it is exact. v are states, not means, of units of two
    values.
    """
    v = rbm.as_visible(params, v)
    total_units = v.shape[-1]
    _check(params.visible, num_units, total_units)
    low, high = params.visible.support
    inputs = rbm.hidden_inputs(params, v)
    start = jax.random.randint(key, v.shape[:-1], 0, total_units)
    # In numpy's 64 bits, which the products may need.
    steps = jnp.asarray(np.arange(num_units) * total_units // num_units, jnp.int32)

    def gain(index):
        """How much −F rises if one unit of each example takes its other value."""
        x = jnp.take_along_axis(v, index[..., None], axis=-1)[..., 0]
        change = low + high - 2 * x
        flipped = inputs + change[..., None] * params.weights[index]
        rise = params.hidden.cumulant(flipped) - params.hidden.cumulant(inputs)
        return rise + change * params.visible.bias[index]

    gains = jax.lax.map(lambda step: gain((start + step) % total_units), steps)
    return total_units / num_units * jnp.sum(jax.nn.log_sigmoid(-gains), axis=0)


def _check(visible, num_units, total_units):
    if not isinstance(visible, (units.Bernoulli, units.Spin)):
        raise TypeError(
            f"the visible units are {type(visible).__name__}; the pseudo-likelihood is for units "
            "of two values, Bernoulli or Spin"
        )
    if not 1 <= num_units <= total_units:
        raise ValueError(f"num_units is {num_units}; it must lie in 1..{total_units}")
