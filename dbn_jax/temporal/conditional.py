"""The conditional RBM: the last frames change the biases, linearly.

    a_t = a + Σ_q A_q s(v_{t−q}),      b_t = b + Σ_q B_q s(v_{t−q}),      q = 1, …, order

A is autoregression, B is what hidden units see of the past. Frames are independent given their
past, so that they may be learnt in any order. A *style*, such as one-hot labels, stands beside the
past and acts like one more frame. Without past and style it is an RBM, which knows no time.

Reference: Taylor, Hinton, Roweis, "Modeling human motion using binary latent variables" (2006).
"""

import jax.numpy as jnp

from dbn_jax import pytrees, rbm, units
from dbn_jax.temporal.base import TemporalRBM
from dbn_jax.typing import Array, Float, Key


@pytrees.dataclass
class ConditionalRBM(TemporalRBM):
    """A conditional RBM of any order; the context is past frames, and S numbers of a style.

    The past is the statistics of the last frames, the latest first, and zeros where there was none.
    Without past and style there are no weights to the context: they are None.
    """

    rbm: rbm.RBM
    to_visible: Float[Array, "context V"] | None
    to_hidden: Float[Array, "context H"] | None
    order: int = pytrees.static(1)

    @property
    def style_size(self) -> int:
        """Number of numbers of a style."""
        size = 0 if self.to_visible is None else len(self.to_visible)
        return size - self.order * self.rbm.visible.num_units

    def start(self, style: Float[Array, " S"] | None = None) -> tuple[Array, Array]:
        """The memory before the first frame: no past, and the style of the sequence."""
        given = 0 if style is None else len(style)
        if given != self.style_size:
            raise ValueError(
                f"the style has {given} numbers; the model's styles have {self.style_size}"
            )
        dtype = self.rbm.weights.dtype
        zeros = jnp.zeros((self.order, self.rbm.visible.num_units), dtype)
        return zeros, jnp.zeros(0, dtype) if style is None else style.astype(dtype)

    def update(self, key: Key[Array, ""], memory, v):
        """The past moves on by one frame."""
        del key
        past, style = memory
        return jnp.concatenate([self.rbm.visible.statistic(v)[None], past])[: self.order], style

    def frame(self, memory):
        """The RBM of the next frame."""
        if self.to_visible is None:
            return self.rbm
        past, style = memory
        context = jnp.concatenate([past.reshape(-1), style])
        return rbm.RBM(
            self.rbm.weights,
            self.rbm.visible.add_to_bias(context @ self.to_visible),
            self.rbm.hidden.add_to_bias(context @ self.to_hidden),
        )


def init_conditional(
    key: Key[Array, ""],
    num_visible: int,
    num_hidden: int,
    *,
    order: int = 1,
    style_size: int = 0,
    visible: units.Units = units.Bernoulli(),
    hidden: units.Units = units.Bernoulli(),
    weight_scale: float = 0.01,
) -> ConditionalRBM:
    """Makes a conditional RBM that knows no time yet; arguments as those of `rbm.init_params`.

    >>> model = init_conditional(jax.random.key(0), 49, 100, order=3, visible=units.Gaussian())
    >>> model.to_hidden.shape
    (147, 100)
    """
    if order < 0:
        raise ValueError(f"order is {order}; it is a number of frames, at least 0")
    params = rbm.init_params(
        key, num_visible, num_hidden, visible=visible, hidden=hidden, weight_scale=weight_scale
    )
    size = order * num_visible + style_size
    weights = [jnp.zeros((size, n)) if size else None for n in (num_visible, num_hidden)]
    return ConditionalRBM(params, *weights, order)
