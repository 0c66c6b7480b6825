"""Gibbs sampling with some of the visible units held: recall, and missing values filled in.

Keys are consumed; "..." are batch axes; V visible, H hidden units.
"""

import jax
import jax.numpy as jnp

from dbn_jax import label_units, rbm
from dbn_jax.compilation import jit_checking
from dbn_jax.typing import Array, Bool, Float, Int, Key


@jit_checking({"num_gibbs_steps": rbm.check_steps})
def impute(
    key: Key[Array, ""],
    params: rbm.RBM,
    v: Float[Array, "*batch V"],
    observed: Bool[Array, "..."],
    num_gibbs_steps: int | Int[Array, ""],
) -> Float[Array, "*batch V"]:
    """Fills in what is missing of examples, by a draw from p(missing | observed).

    The chains start at draws from the visible biases alone; of many steps the draw is one from the
    conditional distribution. For its mean, average several.

    Args:
      v: what stands where a value is missing is not used.
      observed: (V,), or (..., V): True where a value is known. A group of softmax units is known
        whole or not at all.
    """
    start_key, gibbs_key = jax.random.split(key)
    start = params.visible.sample(start_key, jnp.zeros_like(v))
    observed = jnp.broadcast_to(observed, v.shape)
    v = jnp.where(observed, v, start)
    return label_units.clamped_gibbs(gibbs_key, params, v, observed, num_gibbs_steps)[0]
