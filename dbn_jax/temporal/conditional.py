"""The conditional RBM: the last frames change the biases, linearly.

    a_t = a + Σ_q A_q s(v_{t−q}),      b_t = b + Σ_q B_q s(v_{t−q}),      q = 1, …, order

A is autoregression, B is what hidden units see of the past. Frames are independent given their
past, so that they may be learnt in any order. A *style*, such as one-hot labels, stands beside the
past and acts like one more frame. Without past and style it is an RBM, which knows no time.

Reference: Taylor, Hinton, Roweis, "Modeling human motion using binary latent variables" (2006).
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax import precision, pytrees, rbm, units
from dbn_jax.temporal.base import TemporalRBM, begin, recall
from dbn_jax.typing import Array, Float, Key


@pytrees.dataclass
class ConditionalRBM(TemporalRBM):
    """A conditional RBM of any order; the context is past frames, and S numbers of a style.

    The past is the statistics of the last frames, the latest first. Where there was none it is the
    first frame again, as if nothing had moved; before the first frame, zeros.
    Without past and style there are no weights to the context: they are None.
    """

    rbm: rbm.RBM
    to_visible: Float[Array, "context V"] | None
    to_hidden: Float[Array, "context H"] | None
    order: int = pytrees.static(default=1)

    @property
    def style_size(self) -> int:
        """Number of numbers of a style."""
        size = 0 if self.to_visible is None else len(self.to_visible)
        return size - self.order * self.rbm.visible.num_units

    def start(self, style: Float[Array, " S"] | None = None) -> tuple[Array, Array, Array]:
        """The memory before the first frame: no past, that it is none, and the sequence's style."""
        given = 0 if style is None else len(style)
        if given != self.style_size:
            raise ValueError(
                f"the style has {given} numbers; the model's styles have {self.style_size}"
            )
        dtype = self.rbm.weights.dtype
        zeros = jnp.zeros((self.order, self.rbm.visible.num_units), dtype)
        style = jnp.zeros(0, dtype) if style is None else style.astype(dtype)
        return zeros, jnp.ones((), bool), style

    def update(self, key: Key[Array, ""], memory, v):
        """The past moves on by one frame."""
        del key
        past, is_blank, style = memory
        seen = self.rbm.visible.statistic(v)[None]
        past = jnp.where(is_blank, jnp.broadcast_to(seen, past.shape), past)
        past = jnp.concatenate([seen, past])[: self.order]
        return past, jnp.zeros_like(is_blank), style

    def frame(self, memory):
        """The RBM of the next frame."""
        if self.to_visible is None or self.to_hidden is None:
            return self.rbm
        past, _, style = memory
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
    to_visible = jnp.zeros((size, num_visible)) if size else None
    to_hidden = jnp.zeros((size, num_hidden)) if size else None
    return ConditionalRBM(params, to_visible, to_hidden, order)


@precision.full
def fit_autoregression(
    model: ConditionalRBM,
    sequences: Sequence[Float[Array | np.ndarray, "frames V"]],
    *,
    ridge: float = 1.0,
    styles: Float[Array | np.ndarray, "B S"] | None = None,
) -> ConditionalRBM:
    """Gives Gaussian visible units the linear autoregression of the data, by ridge regression.

    As `rbm.fit_visible` does with the means: at zero weights the model is then the best linear one,
    and the weights need not learn first what a regression can say. A learnt σ becomes that of the
    residuals.

    Args:
      ridge: added to the diagonal of the regression's matrix, in units of the statistic's squares.
      styles: of the sequences, if the model has styles.
    """
    visible = model.rbm.visible
    if not isinstance(visible, units.Gaussian):
        raise TypeError(f"{type(visible).__name__} units have no linear autoregression")
    values = [jnp.asarray(v, model.rbm.weights.dtype) for v in sequences]
    given = [None] * len(values) if styles is None else list(jnp.asarray(styles))

    def regress(visible):
        changed = dataclasses.replace(model, rbm=dataclasses.replace(model.rbm, visible=visible))
        contexts = [_contexts(changed, *each) for each in zip(values, given, strict=True)]
        x = jnp.concatenate(contexts)
        x = jnp.concatenate([x, jnp.ones_like(x[:, :1])], axis=1)
        y = jnp.concatenate([visible.statistic(v) for v in values])
        penalty = ridge * jnp.diag(jnp.ones_like(x[0]).at[-1].set(0))
        solution = jnp.linalg.solve(x.T @ x + penalty, x.T @ y)
        return solution, jnp.std(y - x @ solution, axis=0)

    if visible.learn_sigma:
        _, spread = regress(visible)
        visible = dataclasses.replace(visible, log_sigma=visible.log_sigma + jnp.log(spread))
    solution, _ = regress(visible)
    visible = dataclasses.replace(visible, bias=solution[-1])
    params = dataclasses.replace(model.rbm, visible=visible)
    return dataclasses.replace(model, rbm=params, to_visible=solution[:-1])


def _contexts(model, v, style):
    """What acts on the biases of each frame: (T, V) -> (T, context)."""
    (past, _, styles), _ = recall(jax.random.key(0), model, v, begin(model, style))
    return jnp.concatenate([past.reshape(len(v), -1), styles], axis=1)
