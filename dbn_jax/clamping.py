"""Gibbs sampling with some of the visible units held: recall, and missing values filled in.

Keys are consumed; "..." are batch axes; V visible, H hidden units.
"""

import jax
import jax.numpy as jnp

from dbn_jax import random, rbm
from dbn_jax.compilation import jit_checking
from dbn_jax.typing import AnyArray, Array, Bool, Float, Int, Key


@jit_checking({"num_gibbs_steps": rbm.check_steps})
def gibbs(
    key: Key[Array, ""],
    params: rbm.RBM,
    x: Float[AnyArray, "*batch V"],
    clamped: Bool[AnyArray, "..."],
    num_gibbs_steps: int | Int[Array, ""],
) -> tuple[Float[Array, "*batch V"], Float[Array, "*batch H"]]:
    """Gibbs sampling of any RBM with any subset of its visible units held as they are.

    Args:
      x: where the chains start, and what is clamped. A free unit that is NaN or infinite starts at
        its mean without input; a chain in which one is clamped comes to nothing but NaN.
      clamped: (V,), or (..., V) for subsets of each chain's own: True where x stays, such as
        ``label_units.mask(params)``. A group of softmax units is clamped whole or not at all.
      num_gibbs_steps: see `rbm.check_steps`.

    Returns:
      The last x, and the hidden states from which it was drawn.
    """
    if clamped.dtype != bool:
        raise TypeError(f"clamped is {clamped.dtype}; give a boolean for each visible unit")
    x = rbm.as_visible(params, x)
    clamped = jnp.broadcast_to(clamped, x.shape)
    unknown = ~jnp.isfinite(x)
    x = jnp.where(unknown & ~clamped, params.visible.mean(jnp.zeros_like(x)), x)

    def step(t, carry):
        x, _ = carry
        up_key, down_key = random.split(random.fold_in(key, t))
        h = rbm.sample_hidden(up_key, params, x)
        return jnp.where(clamped, x, rbm.sample_visible(down_key, params, h)), h

    h = jnp.zeros_like(x, shape=(*x.shape[:-1], params.hidden.num_units))
    x, h = jax.lax.fori_loop(0, num_gibbs_steps, step, (x, h))
    # Sampled states are finite even where what is clamped is not.
    lost = jnp.any(unknown & clamped, axis=-1, keepdims=True)
    return jnp.where(lost, jnp.nan, x), jnp.where(lost, jnp.nan, h)


def impute(
    key: Key[Array, ""],
    params: rbm.RBM,
    v: Float[AnyArray, "*batch V"],
    observed: Bool[AnyArray, "..."],
    num_gibbs_steps: int | Int[Array, ""],
) -> Float[Array, "*batch V"]:
    """Fills in what is missing of examples: after many steps a draw from p(missing | observed).

    For the mean of what is missing, average over several keys.

    Args:
      v: what stands where a value is missing is not used.
      observed: (V,), or (..., V): True where a value is known; as `gibbs` has it.
    """
    holes = jnp.where(jnp.broadcast_to(observed, v.shape), v, jnp.nan)
    return gibbs(key, params, holes, observed, num_gibbs_steps)[0]
