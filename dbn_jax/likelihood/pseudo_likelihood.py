"""The pseudo-likelihood of an RBM: a cheap monitor of learning that needs no log Z.

References: Besag, "Statistical analysis of non-lattice data" (1975); Trefethen and Weideman, "The
exponentially convergent trapezoidal rule" (2014).
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from dbn_jax import linear, precision, random, rbm, sharded, units
from dbn_jax.compilation import jit
from dbn_jax.typing import AnyArray, Array, Float, Key

# Of the trapezoidal rule, in units of σ: with these the integral of a normal density is exact to
# exp(−2π²/spacing²) and exp(−margin²/2), the rounding of double precision.
_SPACING, _MARGIN = 0.75, 8.5


@jit(static_argnames="num_units")
@precision.full
def log_pseudo_likelihood(
    key: Key[Array, ""],
    params: rbm.RBM,
    v: Float[AnyArray, "*batch V"],
    *,
    num_units: int = 1,
) -> Float[Array, "*batch"]:
    """Σ_i log p(v_i | all other v), nats, from a few units i drawn anew for every example.

    A group of softmax units is one unit here, and its v_i one-hot. The N / num_units-fold sum over
    the drawn ones of N units, which lie evenly spaced from a random one on, is unbiased, and with
    ``num_units=N`` it is exact. Of `units.Concat` so many units of each part are drawn, or all that
    it has. v are states, not means.

    For units of finitely many values the conditional is a sum over these. For Gaussian units,
    beside hidden units of limited values, it is a mixture of normal densities of one width σ, which
    the trapezoidal rule integrates to rounding; its cost grows with the largest Σ_j |W_ij|.
    """
    v = rbm.as_visible(params, v)
    parts = params.visible.elements()
    _check(parts, params.hidden, num_units)
    inputs = rbm.hidden_inputs(params, v)
    ends = np.cumsum([part.num_units for part in parts])[:-1]
    shares = zip(
        random.split(key, len(parts)),
        parts,
        jnp.split(linear.matrix(params.weights), ends),
        jnp.split(v, ends, axis=-1),
        strict=True,
    )
    of_part = functools.partial(_of_part, num_units=num_units)
    of_part = sharded.automatic(of_part, v, P(*sharded.spec(v)[:-1]))
    totals = (
        of_part(key, rbm.RBM(weights, part, params.hidden), x, inputs)
        for key, part, weights, x in shares
    )
    return functools.reduce(jnp.add, totals)


def _of_part(key, params, v, inputs, num_units):
    """The sum over units of one type; `inputs` are the hidden ones, from all parts."""
    total = _num_variables(params.visible)
    num_units = min(num_units, total)
    start = jax.random.randint(key, v.shape[:-1], 0, total, jnp.int32)
    # In numpy's 64 bits, which the products may need.
    steps = jnp.asarray(np.arange(num_units) * total // num_units, jnp.int32)
    of_examples = jnp.vectorize(
        lambda v, inputs, i: _log_conditional(params, v, inputs, i), signature="(v),(h),()->()"
    )
    each = jax.lax.map(lambda step: of_examples(v, inputs, (start + step) % total), steps)
    return total / num_units * jnp.sum(each, axis=0)


def _log_conditional(params, v, inputs, i):
    """log p(v_i | all other v) of one example, v (V,)."""
    width = params.visible.num_units // _num_variables(params.visible)
    # What unit i, on its own, makes of the RBM: the others are part of the hidden inputs.
    weights, unit, own = jax.tree.map(
        lambda x: jax.lax.dynamic_slice_in_dim(x, width * i, width),
        (params.weights, params.visible, v),
    )

    def into_hidden(x):
        # No product of matrices: beside the one in `energy`, XLA:CPU (jaxlib 0.10.2) leaves NaN in
        # some rows of the two when they are mapped over examples and values.
        return jnp.sum(unit.statistic(x)[:, None] * weights, axis=0)

    others = inputs - into_hidden(own)

    def log_weight(x):
        return params.hidden.cumulant(others + into_hidden(x)) - unit.energy(x)

    if isinstance(unit, units.Gaussian):
        return log_weight(own) - _log_integral(log_weight, unit, weights[0], params.hidden)
    values = unit.states(jnp.arange(unit.num_states))
    return log_weight(own) - jax.nn.logsumexp(jax.vmap(log_weight)(values))


def _log_integral(log_weight, unit, weights, hidden):
    """log ∫ exp(log_weight(x)) dx over a Gaussian unit with so many weights."""
    support = [np.full((part.num_units, 2), part.support) for part in hidden.elements()]
    ends = weights[:, None] * jnp.asarray(np.concatenate(support), weights.dtype)
    # z given the hidden units is N(b + W_i·s_h, 1).
    low = unit.bias[0] + jnp.sum(jnp.min(ends, axis=1)) - _MARGIN
    high = unit.bias[0] + jnp.sum(jnp.max(ends, axis=1)) + _MARGIN
    num_nodes = 1 + jnp.ceil((high - low) / _SPACING).astype(jnp.int32)

    def add_node(k, total):
        z = low + _SPACING * k.astype(weights.dtype)
        return jnp.logaddexp(total, log_weight(unit.value(z[None])))

    total = jax.lax.fori_loop(0, num_nodes, add_node, jnp.full_like(low, -jnp.inf))
    return total + jnp.log(unit.scale[0]) + math.log(_SPACING)


def _num_variables(part):
    """Number of units, each group of softmax units being one."""
    return part.num_units // getattr(part, "num_classes", 1)


def _check(parts, hidden, num_units):
    for part in parts:
        if part.tail != "bounded" and not isinstance(part, units.Gaussian):
            raise TypeError(
                f"the visible units are {type(part).__name__}; the pseudo-likelihood is for units "
                "of finitely many values, and for Gaussian ones"
            )
        for other in hidden.elements():
            if isinstance(part, units.Gaussian) and other.tail != "bounded":
                raise TypeError(
                    f"the hidden units are {type(other).__name__}; beside Gaussian visible units "
                    "the pseudo-likelihood is for hidden units of finitely many values"
                )
    most = max(map(_num_variables, parts))
    if not 1 <= num_units <= most:
        raise ValueError(f"num_units is {num_units}; it must lie in 1..{most}")
