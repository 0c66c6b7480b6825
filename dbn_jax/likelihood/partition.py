"""Partition functions and likelihoods: by enumeration, and by annealed importance sampling.

log Z = log Σ_v exp(−F(v)) = log Σ_h exp(−U_h(h) + A_v(W s_h(h))): only one layer has to be
enumerated, whichever has fewer states. Where that is too much, `ais` estimates log Z, `reverse_ais`
bounds it from the other side, and `log_pseudo_likelihood` does without it.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax import numerics, random, rbm, units
from dbn_jax.typing import Array, Float, Key, Num
from dbn_jax.units import normalisable

MAX_STATES = 2**25
_BLOCK = 2**12


@functools.partial(jax.jit, inline=True)
def exact_log_partition(params: rbm.RBM) -> Float[Array, ""]:
    """log Z by enumerating the layer with fewer states, block by block.

    Differentiable: the gradient is the exact model expectation that learning needs.

    Args:
      params: an RBM of which one layer has at most `MAX_STATES` states (25 binary units).

    Returns:
      log Z, in nats; in single precision at least, whatever the parameters are.

    Raises:
      ValueError: neither layer can be enumerated; the cost is named.
    """
    params = _wide(params)
    num_visible_states = _num_states(params.visible)
    num_hidden_states = _num_states(params.hidden)
    num_states = min(num_visible_states, num_hidden_states)
    if num_states > MAX_STATES:
        many = "infinitely many" if num_states == math.inf else f"2^{math.log2(num_states):.3g}"
        raise ValueError(
            f"exact enumeration is limited to 2^{math.log2(MAX_STATES):.3g} states, and the "
            f"smaller layer of this RBM has {many}; estimate log Z with `ais`, and learn by CD or "
            "PCD"
        )

    def log_weight(index):
        if num_visible_states < num_hidden_states:
            return -rbm.free_energy(params, params.visible.states(index))
        h = params.hidden.states(index)
        return params.visible.cumulant(rbm.visible_inputs(params, h)) - params.hidden.energy(h)

    block = min(_BLOCK, num_states)

    @jax.checkpoint  # the backward pass enumerates again instead of storing every state
    def log_sum(start):
        index = start + jnp.arange(block)
        return jax.nn.logsumexp(jnp.where(index < num_states, log_weight(index), -jnp.inf))

    # All blocks are summed at once: added one after the other to a large log Z they would be
    # rounded each time, which adds up to a tenth of a nat.
    return jax.nn.logsumexp(jax.lax.map(log_sum, jnp.arange(0, num_states, block)))


@functools.partial(jax.jit, inline=True)
def log_likelihood(
    params: rbm.RBM, v: Float[Array, "*batch V"], log_z: Float[Array, "..."]
) -> Float[Array, "*batch"]:
    """log p(v) = −F(v) − log Z, in nats: (..., V) -> (...).

    Args:
      params: the RBM.
      v: (..., V).
      log_z: () log Z; or (...), a value for each example, as `reverse_ais` gives.
    """
    params = _wide(params)
    free_energy = rbm.free_energy(params, v.astype(params.weights.dtype))
    return -free_energy - log_z.astype(free_energy.dtype)


class Estimate(NamedTuple):
    """An estimate of log Z by annealed importance sampling.

    Attributes:
      log_z: () log of the mean of the chains' importance weights, nats. The mean itself is unbiased
        for Z, so that log_z errs on the low side.
      standard_error: () of log_z, nats, by the delta method; an honest one only while
        `effective_sample_size` is more than a few.
      effective_sample_size: () (Σw)²/Σw², between 1 and the number of chains.
      log_weights: (chains,) log of each chain's unbiased estimate of Z, nats.
    """

    log_z: Array
    standard_error: Array
    effective_sample_size: Array
    log_weights: Array


def published_betas(num_steps: int = 14_500) -> Float[Array, " steps_and_one"]:
    """The schedule of Salakhutdinov and Murray (2008): most steps where β is nearly one.

    500 of 14,500 steps from 0 to 0.5, 4,000 to 0.9 and 10,000 to 1; other numbers of steps are
    shared out in the same ratio.

    Args:
      num_steps: at least 3.

    Returns:
      (num_steps + 1,), from 0 to 1.

    Raises:
      ValueError: `num_steps` is below 3.
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


def ais(
    key: Key[Array, ""],
    params: rbm.RBM,
    *,
    base: units.Units | None = None,
    betas: Float[Array, " steps_and_one"] | None = None,
    num_chains: int = 100,
) -> Estimate:
    """Annealed importance sampling of log Z, for any unit types.

    The path's models are RBMs themselves: at β the weights are βW, the visible units' parameters
    lie between those of `base` and the RBM's own, and the hidden units are the RBM's. At β = 0
    visible units are independent of hidden ones, log Z is known, and samples are exact. Each chain
    goes from there to β = 1, one Gibbs step at every β.

    Args:
      key: consumed.
      params: the RBM.
      base: visible units of the base model; ``params.visible.fit(data)`` has the data's means
        (their base rates) and is a much better start than None, the RBM's own biases.
      betas: rising from 0 to 1; None is `published_betas()`.
      num_chains: number of independent chains, at least 2.

    Returns:
      The estimate; its error falls with more steps much faster than with more chains.

    Raises:
      ValueError: `num_chains` is below 2; `base` is not of the RBM's visible type and size; or,
        where known and not traced, `betas` does not rise from 0 to 1, or the RBM has no finite Z
        (`dbn_jax.units.normalisable.check`).

    References: Neal, "Annealed importance sampling" (2001); Salakhutdinov and Murray, "On the
    quantitative analysis of deep belief networks" (2008), section 4.
    """
    if num_chains < 2:
        raise ValueError(f"num_chains is {num_chains}; a standard error takes at least 2")
    params, base, betas = _path(params, base, betas)
    return _ais(key, params, base, betas, num_chains)


@functools.partial(jax.jit, static_argnames=("num_chains",), inline=True)
def _ais(key, params, base, betas, num_chains):
    start_key, chain_key = random.split(key)
    zeros = jnp.zeros((num_chains, params.visible.num_units), params.weights.dtype)

    def step(carry, x):
        v, log_weights = carry
        t, last, beta = x
        log_weights += _log_weight(params, base, beta, v) - _log_weight(params, base, last, v)
        return (_sweep(random.fold_in(chain_key, t), params, base, beta, v), log_weights), None

    start = base.sample(start_key, zeros), jnp.zeros_like(zeros[:, 0])
    steps = jnp.arange(len(betas) - 1), betas[:-1], betas[1:]
    (_, log_weights), _ = jax.lax.scan(step, start, steps)
    mean, standard_error, effective = _summary(log_weights)
    log_z = _base_log_z(params, base)
    return Estimate(mean + log_z, standard_error, effective, log_weights + log_z)


def reverse_ais(
    key: Key[Array, ""],
    params: rbm.RBM,
    v: Num[Array, "*batch V"],
    *,
    base: units.Units | None = None,
    betas: Float[Array, " steps_and_one"] | None = None,
) -> Float[Array, "*batch"]:
    """The path of `ais` walked backwards, from given visible states down to the base model.

    Returns r(v) with two uses. If v is a draw of the RBM itself, exp(−r) is unbiased for 1/Z, and
    so the mean of r lies above log Z, where `ais` lies below: the two bracket it. For any v,
    ``log_likelihood(params, v, r)`` is the log of an unbiased estimate of the probability that
    *the annealing itself* ends in v, and so on average a lower bound on the log-likelihood of that
    sampler, a model in its own right that tends to the RBM as steps are added: a conservative
    figure, where a log Z that is too low flatters the RBM (RAISE).

    Args:
      key: consumed.
      params: the RBM.
      v: (..., V) states, not means.
      base: see `ais`.
      betas: see `ais`.

    Returns:
      (...), nats. Several estimates for one v are combined by −log mean exp(−r).

    Raises:
      ValueError: see `ais`.

    References: Burda, Grosse, Salakhutdinov, "Accurate and conservative estimates of MRF
    log-likelihood using reverse annealing" (2015), section 3.
    """
    params, base, betas = _path(params, base, betas)
    if v.shape[-1:] != (params.visible.num_units,):
        raise ValueError(
            f"v has shape {v.shape}; its last axis must hold the RBM's {params.visible.num_units} "
            "visible units"
        )
    return _reverse_ais(key, params, v.astype(params.weights.dtype), base, betas)


@functools.partial(jax.jit, inline=True)
def _reverse_ais(key, params, v, base, betas):
    def step(carry, x):
        v, total = carry
        t, last, beta = x
        v = _sweep(random.fold_in(key, t), params, base, beta, v)
        total += _log_weight(params, base, beta, v) - _log_weight(params, base, last, v)
        return (v, total), None

    start = v, jnp.zeros_like(v[..., 0])
    steps = jnp.arange(len(betas) - 1), betas[:-1], betas[1:]
    (_, total), _ = jax.lax.scan(step, start, steps, reverse=True)
    return total + _base_log_z(params, base)


def _path(params, base, betas):
    """Checks the RBM, and checks and completes what describes the path; all in wide numbers."""
    if not isinstance(params.weights, jax.core.Tracer):
        normalisable.check(params)  # annealing would give a plausible number
    own = params.visible
    base = own if base is None else base
    if jax.tree.map(jnp.shape, base) != jax.tree.map(jnp.shape, own):
        raise ValueError(
            f"base is {jax.tree.map(jnp.shape, base)}, the RBM's visible units are "
            f"{jax.tree.map(jnp.shape, own)}; make it with params.visible.fit(data)"
        )
    betas = published_betas() if betas is None else betas
    if betas.shape[0] < 2:
        raise ValueError(f"betas has {betas.shape[0]} entry; a path needs at least 0 and 1")
    if not isinstance(betas, jax.core.Tracer):
        known = np.asarray(betas)
        if known[0] != 0 or known[-1] != 1 or not (np.diff(known) >= 0).all():
            raise ValueError(f"betas is {known}; it must rise from 0 to 1")
    params = _wide(params)
    return params, _wide(base), betas.astype(params.weights.dtype)


def _wide(tree):
    # In half precision thousands of small log weights add up to nats of error.
    return jax.tree.map(numerics.widen, tree)


def _visible_at(params, base, beta):
    return jax.tree.map(lambda x, y: (1 - beta) * x + beta * y, base, params.visible)


def _inputs_at(params, visible, beta, v):
    # Scaled after the product: where the statistic has no parameters, XLA then finds that the
    # products for neighbouring β are one.
    return beta * (visible.statistic(v) @ params.weights)


def _log_weight(params, base, beta, v):
    """log of the unnormalised probability of v in the path's model at β."""
    visible = _visible_at(params, base, beta)
    return params.hidden.cumulant(_inputs_at(params, visible, beta, v)) - visible.energy(v)


def _sweep(key, params, base, beta, v):
    """One Gibbs step at β, hidden and visible; reversible, as `reverse_ais` needs it."""
    hidden_key, visible_key = random.split(key)
    visible = _visible_at(params, base, beta)
    h = params.hidden.sample(hidden_key, _inputs_at(params, visible, beta, v))
    return visible.sample(visible_key, beta * rbm.visible_inputs(params, h))


def _base_log_z(params, base):
    visible = base.cumulant(jnp.zeros(params.visible.num_units, params.weights.dtype))
    return visible + params.hidden.cumulant(
        jnp.zeros(params.hidden.num_units, params.weights.dtype)
    )


def _summary(log_weights):
    """log mean exp, its standard error by the delta method, and the effective sample size."""
    count = log_weights.shape[0]
    largest = jnp.max(log_weights)
    ratios = jnp.exp(log_weights - jnp.broadcast_to(largest, log_weights.shape))
    mean = jnp.mean(ratios)
    standard_error = jnp.std(ratios, ddof=min(1, count - 1)) / (mean * math.sqrt(count))
    effective = jnp.sum(ratios) ** 2 / jnp.sum(ratios**2)
    return largest + jnp.log(mean), standard_error, effective


@functools.partial(jax.jit, static_argnames=("num_units",), inline=True)
def log_pseudo_likelihood(
    key: Key[Array, ""],
    params: rbm.RBM,
    v: Float[Array, "*batch V"],
    *,
    num_units: int = 1,
) -> Float[Array, "*batch"]:
    """Σ_i log p(v_i | all other v), from a few units i drawn anew for every example.

    A cheap monitor that needs no log Z: V / num_units times the sum over the drawn units, which lie
    evenly spaced from a random one on. That is unbiased, and with ``num_units=V`` it is exact.

    Args:
      key: consumed.
      params: an RBM with visible units of two values.
      v: (..., V) states, not means.
      num_units: how many units are looked at in each example.

    Returns:
      (...), nats.

    Raises:
      TypeError: the visible units are neither Bernoulli nor Spin.
      ValueError: `num_units` is not in 1..V.

    Reference: Besag, "Statistical analysis of non-lattice data" (1975).
    """
    if not isinstance(params.visible, (units.Bernoulli, units.Spin)):
        raise TypeError(
            f"the pseudo-likelihood is for visible units of two values, Bernoulli or Spin; these "
            f"are {type(params.visible).__name__}"
        )
    total_units = v.shape[-1]
    if not 1 <= num_units <= total_units:
        raise ValueError(f"num_units is {num_units}; it must lie in 1..{total_units}")
    low, high = params.visible.support
    inputs = rbm.hidden_inputs(params, v)
    start = jax.random.randint(key, v.shape[:-1], 0, total_units)
    # In 64 bits, which their products may need.
    steps = jnp.asarray(np.arange(num_units) * total_units // num_units, jnp.int32)

    def gain(index):
        """How much −F rises if one unit of each example takes its other value: (...) -> (...)."""
        x = jnp.take_along_axis(v, index[..., None], axis=-1)[..., 0]
        change = low + high - 2 * x
        flipped = inputs + change[..., None] * params.weights[index]
        rise = params.hidden.cumulant(flipped) - params.hidden.cumulant(inputs)
        return rise + change * params.visible.bias[index]

    gains = jax.lax.map(lambda step: gain((start + step) % total_units), steps)
    return total_units / num_units * jnp.sum(jax.nn.log_sigmoid(-gains), axis=0)


def _num_states(side):
    try:
        return side.num_states
    except TypeError:
        return math.inf
