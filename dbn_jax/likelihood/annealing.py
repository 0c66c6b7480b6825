"""Annealed importance sampling of log Z, forwards and backwards.

The path's models are RBMs themselves: at β the weights are βW, the visible units' parameters lie
between those of a base model and the RBM's own, and the hidden units are the RBM's. At β = 0
visible units are independent of hidden ones, log Z is known, and samples are exact. A chain walks
from there to β = 1, or back, one Gibbs step at every β.

`ais` errs on the low side of log Z and `reverse_ais` on the high side; all results are in nats, and
in single precision at least. Keys are consumed. In both,

- `base` are the visible units of the base model. ``params.visible.fit(data)`` has the data's means
  (their base rates) and is a much better start than None, the RBM's own biases;
- `betas` rise from 0 to 1; None is `published_betas()`.

Both raise ValueError if `base` is not of the RBM's visible type and size; and, where these are
known and not traced, if `betas` do not rise from 0 to 1 or the RBM has no finite Z
(`dbn_jax.units.normalisable.check`).

References: Neal, "Annealed importance sampling" (2001); Salakhutdinov and Murray, "On the
quantitative analysis of deep belief networks" (2008), section 4; Burda, Grosse, Salakhutdinov,
"Accurate and conservative estimates of MRF log-likelihood using reverse annealing" (2015), section
3.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from dbn_jax import linear, numerics, parallel, precision, random, rbm, units
from dbn_jax.compilation import jit
from dbn_jax.typing import AnyArray, Array, Float, Key
from dbn_jax.units import normalisable

# Examples whose means are the base rates: more do not change them much.
NUM_BASE = 10_000
# Fewer effective chains of many, and the standard error of log Z says nothing.
_FEW_CHAINS = 10


class Estimate(NamedTuple):
    """An estimate of log Z.

    Attributes:
      log_z: log of the mean of the chains' importance weights. The mean itself is unbiased for Z,
        so that log_z errs on the low side.
      standard_error: of log_z, by the delta method; an honest one only while
        `effective_sample_size` is more than a few.
      effective_sample_size: (Σw)²/Σw², between 1 and the number of chains.
      log_weights: log of each chain's unbiased estimate of Z.
    """

    log_z: Float[Array, ""]
    standard_error: Float[Array, ""]
    effective_sample_size: Float[Array, ""]
    log_weights: Float[Array, " chains"]


def published_betas(num_steps: int = 14_500) -> Float[Array, " steps_and_one"]:
    """The schedule of Salakhutdinov and Murray (2008): most steps where β is nearly one.

    500 of 14,500 steps from 0 to 0.5, 4,000 to 0.9 and 10,000 to 1; other numbers of steps, at
    least 3, are shared out in the same ratio.
    """
    if num_steps < 3:
        raise ValueError(f"num_steps is {num_steps}; the schedule has three parts: give at least 3")
    first = max(1, round(num_steps * 500 / 14_500))
    second = max(1, round(num_steps * 4_000 / 14_500))
    parts = [
        np.linspace(0, 0.5, first, endpoint=False),
        np.linspace(0.5, 0.9, second, endpoint=False),
        np.linspace(0.9, 1, num_steps - first - second + 1),
    ]
    return jnp.asarray(np.concatenate(parts), jnp.float32)


def few_chains(effective_sample_size: float, num_chains: int) -> str:
    """What is wrong with an estimate of log Z that few of its chains carry; "" of any other."""
    if effective_sample_size >= min(_FEW_CHAINS, num_chains / 2):
        return ""
    return (
        f"only {effective_sample_size:.1f} of {num_chains} chains carry the estimate of log Z, so "
        "that it is too low, its standard error too small, and every log-likelihood too high"
    )


def ais(
    key: Key[Array, ""],
    params: rbm.RBM,
    *,
    base: units.Units | None = None,
    betas: Float[Array, " steps_and_one"] | None = None,
    num_chains: int = 100,
) -> Estimate:
    """Annealed importance sampling of log Z, for any unit types.

    The error falls with more steps much faster than with more chains.
    """
    if num_chains < 2:
        raise ValueError(f"num_chains is {num_chains}; a standard error takes at least 2")
    params, base, betas = _path(params, base, betas)
    return _ais(key, params, base, betas, num_chains=num_chains)


@jit(static_argnames="num_chains")
@precision.full
def _ais(key, params, base, betas, *, num_chains):
    start_key, chain_key = random.split(key)
    zeros = jnp.zeros((num_chains, params.visible.num_units), params.weights.dtype)

    def step(carry, x):
        v, log_weights = carry
        t, last, beta = x
        log_weights += _log_ratio(params, base, last, beta, v)
        return (_sweep(random.fold_in(chain_key, t), params, base, beta, v), log_weights), None

    v = parallel.shard(base.sample(start_key, zeros))
    (_, log_weights), _ = jax.lax.scan(step, (v, jnp.zeros_like(v[:, 0])), _steps(betas))
    log_weights = parallel.whole(log_weights)
    mean, standard_error, effective = _summary(log_weights)
    log_z = _base_log_z(params, base)
    return Estimate(mean + log_z, standard_error, effective, log_weights + log_z)


def reverse_ais(
    key: Key[Array, ""],
    params: rbm.RBM,
    v: Float[AnyArray, "*batch V"],
    *,
    base: units.Units | None = None,
    betas: Float[Array, " steps_and_one"] | None = None,
) -> Float[Array, "*batch"]:
    """The path of `ais` walked backwards, from visible states (not means) down to the base model.

    Returns r(v) with two uses. If v is a draw of the RBM itself, exp(−r) is unbiased for 1/Z, and
    so the mean of r lies above log Z, where `ais` lies below: the two bracket it. For any v,
    ``log_likelihood(params, v, r)`` is the log of an unbiased estimate of the probability that
    *the annealing itself* ends in v, and so on average a lower bound on the log-likelihood of that
    sampler, a model in its own right that tends to the RBM as steps are added: a conservative
    figure, where a log Z that is too low flatters the RBM (RAISE).

    Several estimates for one v are combined by −log mean exp(−r).
    """
    params, base, betas = _path(params, base, betas)
    return _reverse_ais(key, params, rbm.as_visible(params, v), base, betas)


@jit
@precision.full
def _reverse_ais(key, params, v, base, betas):
    def step(carry, x):
        v, total = carry
        t, last, beta = x
        v = _sweep(random.fold_in(key, t), params, base, beta, v)
        return (v, total + _log_ratio(params, base, last, beta, v)), None

    start = v, jnp.zeros_like(v[..., 0])
    (_, total), _ = jax.lax.scan(step, start, _steps(betas), reverse=True)
    return total + _base_log_z(params, base)


def _path(params, base, betas):
    """Checks and completes what describes the path; all in wide numbers."""
    base = params.visible if base is None else base
    betas = published_betas() if betas is None else betas
    _check_path(params, base, betas)
    params, base = numerics.widen((params, base))
    return params, base, betas.astype(params.weights.dtype)


def _check_path(params, base, betas):
    if not isinstance(jax.tree.leaves(params)[0], Tracer):
        normalisable.check(params)  # annealing would give a plausible number
    given, own = (jax.tree.map(jnp.shape, side) for side in (base, params.visible))
    if given != own:
        raise ValueError(
            f"base is {given}, the RBM's visible units are {own}; "
            "make it with params.visible.fit(data)"
        )
    if betas.shape[0] < 2:
        raise ValueError(f"betas has {betas.shape[0]} entry; a path needs at least 0 and 1")
    if not isinstance(betas, Tracer):
        known = np.asarray(betas)
        if known[0] != 0 or known[-1] != 1 or not (np.diff(known) >= 0).all():
            raise ValueError(f"betas is {known}; it must rise from 0 to 1")


def _steps(betas):
    """What one step of the path takes: its number, β before it, β after it."""
    return jnp.arange(len(betas) - 1), betas[:-1], betas[1:]


def _visible_at(params, base, beta):
    return jax.tree.map(lambda x, y: (1 - beta) * x + beta * y, base, params.visible)


def _inputs_at(params, visible, beta, v):
    # Scaled after the product: where the statistic has no parameters, XLA then finds that the
    # products for neighbouring β are one.
    return beta * linear.product(visible.statistic(v), params.weights)


def _log_weight(params, base, beta, v):
    """log of the unnormalised probability of v in the path's model at β."""
    visible = _visible_at(params, base, beta)
    return params.hidden.cumulant(_inputs_at(params, visible, beta, v)) - visible.energy(v)


def _log_ratio(params, base, last, beta, v):
    """log of the factor that the step between two neighbouring β adds to the weight."""
    return _log_weight(params, base, beta, v) - _log_weight(params, base, last, v)


def _sweep(key, params, base, beta, v):
    """One Gibbs step at β, hidden and visible; reversible, as `reverse_ais` needs it."""
    hidden_key, visible_key = random.split(key)
    visible = _visible_at(params, base, beta)
    h = params.hidden.sample(hidden_key, _inputs_at(params, visible, beta, v))
    return visible.sample(visible_key, beta * rbm.visible_inputs(params, h))


def _base_log_z(params, base):
    def cumulant(side):
        return side.cumulant(jnp.zeros(side.num_units, params.weights.dtype))

    return cumulant(base) + cumulant(params.hidden)


def _summary(log_weights):
    """log mean exp, its standard error by the delta method, and the effective sample size."""
    count = log_weights.shape[0]
    largest = jnp.max(log_weights)
    ratios = jnp.exp(log_weights - jnp.broadcast_to(largest, log_weights.shape))
    mean = jnp.mean(ratios)
    standard_error = jnp.std(ratios, ddof=1) / (mean * math.sqrt(count))
    effective = jnp.sum(ratios) ** 2 / jnp.sum(ratios**2)
    return largest + jnp.log(mean), standard_error, effective
