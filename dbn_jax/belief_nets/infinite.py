"""The infinite directed net with tied weights, which is a restricted Boltzmann machine.

Copies of an RBM's two layers alternate for ever, each depending on the layer above it alone:

    … → V₂ → H₁ → V₁ → H₀ → V₀
    p(h_t | v_{t+1}) = σ(c + Wᵀ v_{t+1}),    p(v_t | h_t) = σ(b + W h_t).

Generation starts far above, and a pass from V_T down to V₀ is T steps of alternating Gibbs
sampling. So the distribution of the pixels tends to that of the RBM, geometrically
(`total_variation`, `spectrum`).

**Inference** is exact in one step up, although the units of H₀ have common effects. The layers
above give H₀ a *complementary prior*, whose correlations cancel those of the likelihood p(v | h);
the product of both is factorial (`complementary_prior`).

**Learning** by the delta rule, layer by layer, has the terms

    h₀(v₀ − v₁),  v₁(h₀ − h₁),  h₁(v₁ − v₂),  …

in expectation over the Gibbs chain that starts at a datum v₀. All layers share W, so that the terms
add up, and neighbours cancel: the sum of the first 2n is v₀h₀ − v_n h_n, contrastive divergence,
and the sum of all is the learning rule of Boltzmann machines (`gradient_terms`).

**Untied**, the layers above H₀ may become any prior, such as a second RBM's. Inference by W is then
approximate, and the likelihood is at least a variational bound (`untied`).

Everything but `as_belief_net` enumerates both layers. Below, `params` is an RBM of at most
`MAX_UNITS` units in each layer (else a ValueError), all of them binary (else a TypeError); S and T
are the numbers of states of its visible and of its hidden units, 2^V and 2^H.

References: Hinton, Osindero, Teh, "A fast learning algorithm for deep belief nets" (2006), sections
2 and 3, and appendix A; for the eigenvalues Diaconis, Khare, Saloff-Coste, "Gibbs sampling,
exponential families and orthogonal polynomials" (2008), section 2.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from dbn_jax import dbn, linear, numerics, precision, rbm, units
from dbn_jax.belief_nets import sbn
from dbn_jax.compilation import jit
from dbn_jax.likelihood import bound, partition
from dbn_jax.typing import AnyArray, Array, Float

MAX_UNITS = 12  # of a layer that is enumerated: a matrix of 2^12 × 2^12 numbers


def as_belief_net(
    params: rbm.RBM, depth: int, top_bias: Float[Array, " V"] | None = None
) -> sbn.BeliefNet:
    """The net cut off above V_T, as a sigmoid belief net of 2T + 1 layers of any size.

    Its units are those of V_T, H_{T−1}, V_{T−1}, …, H₀, V₀; those of V_T are independent, with the
    pixels' biases by default. `sbn.complete` comes down from given states of V_T, which is T steps
    of Gibbs sampling. T, the depth, is at least 1.
    """
    _check_net(params, depth)
    visible, hidden = params.visible.bias, params.hidden.bias
    top = visible if top_bias is None else top_bias
    weights = linear.dense(params.weights)
    return sbn.layered((weights, weights.T) * depth, (top, *(hidden, visible) * depth))


@precision.full
def kernel(params: rbm.RBM) -> Float[Array, "S S"]:
    """The probabilities of v_t, in columns, given v_{t+1}, in rows: one Gibbs step."""
    _, _, up, down = _tables(params)
    return up @ down


@jit
def equilibrium(params: rbm.RBM) -> Float[Array, " S"]:
    """The RBM's p(v) of all its states, which the infinitely deep net has."""
    v, _ = _states(params)
    return jax.nn.softmax(-rbm.free_energy(params, v))


@jit(static_argnames="depth")
@precision.full
def laws(params: rbm.RBM, top: Float[Array, " S"], depth: int) -> Float[Array, "depths S"]:
    """The pixels' distribution in nets of depth 0, 1, 2, …, up to a given one, below `top`."""
    step = kernel(params)
    _, below = jax.lax.scan(lambda p, _: (p @ step, p @ step), top, length=depth)
    return jnp.concatenate([top[None], below])


def total_variation(
    params: rbm.RBM, top: Float[Array, " S"], depth: int
) -> Float[Array, " depths"]:
    """How far `laws` are from the RBM's distribution: half the sum of absolute differences.

    It falls by the factor ``spectrum(params)[1]`` from layer to layer in the end; always it is at
    most ½ √χ² times that factor's power, χ² = Σ (top − p)²/p.
    """
    gap = laws(params, top, depth) - equilibrium(params)[None]
    return jnp.sum(jnp.abs(gap), axis=-1) / 2


def spectrum(params: rbm.RBM) -> Float[Array, " eigenvalues"]:
    """The min(S, T) eigenvalues of `kernel` that are not zero for lack of states, largest first.

    Block Gibbs sampling is reversible, so that they are real, and it looks at the other layer and
    back, so that none is negative: they are the squared singular values of the matrix
    p(v, h) / √(p(v) p(h)). The first is 1; the second is the squared largest correlation of any
    function of v with any of h, and the rate of convergence.
    """
    _, _, up, down = _tables(params)
    # p(v, h)² / (p(v) p(h)) = p(h | v) p(v | h): the improbable states' p(v) and p(h) may be 0.
    scaled = jnp.sqrt(up) * jnp.sqrt(down.T)
    return jnp.linalg.svd(scaled, compute_uv=False) ** 2


class ComplementaryPrior(NamedTuple):
    """Bayes' rule for all states of H₀ given an image, in nats."""

    states: Float[Array, "T H"]
    log_likelihood: Float[Array, " T"]  # log p(v | h)
    log_prior: Float[Array, " T"]  # log p(h), which the layers above give
    log_posterior: Float[Array, " T"]  # log p(h | v), the sum of both, normalised


@jit
@precision.full
def complementary_prior(params: rbm.RBM, v: Float[Array, " V"]) -> ComplementaryPrior:
    """Shows why inference is exact: likelihood and prior apart, neither of them factorial.

    With the RBM's free energy of h, F(h) = −c·h − Σ_i log(1 + exp(b_i + W_i·h)),

        log p(v | h) = b·v + vᵀWh − Σ_i log(1 + exp(b_i + W_i·h)),    log p(h) = −F(h) − log Z:

    what couples the hidden units appears in both, with opposite signs.
    """
    _, h = _states(params)
    inputs = rbm.visible_inputs(params, h)
    cumulant = params.visible.cumulant(inputs)
    log_likelihood = inputs @ v - params.visible.energy(v) - cumulant
    log_prior = jax.nn.log_softmax(cumulant - params.hidden.energy(h))
    log_posterior = jax.nn.log_softmax(log_likelihood + log_prior)
    return ComplementaryPrior(h, log_likelihood, log_prior, log_posterior)


def gradient_terms(params: rbm.RBM, v: Float[AnyArray, "batch V"], num_steps: int) -> rbm.RBM:
    """The delta rule of each layer of weights, in expectation over what is inferred from the data.

    In the order of the module's docstring: weights from H₀ to V₀, from V₁ to H₀, from H₁ to V₁, and
    so on. Each is a descent direction, the negative of what stands there, averaged over the data (0
    and 1). The first of each pair teaches the visible biases too, the second the hidden ones.

    Returns:
      A tree like `params` whose leaves have a leading axis of 2n terms, n the number of Gibbs
      steps. Their sum is the expected gradient of CD-n, ``rbm.cd_gradient``.
    """
    return _terms(params, _as_binary(params, v), num_steps)


@jax.jit(static_argnames="num_steps")
@precision.full
def _terms(params, v, num_steps):
    states, h, up, down = _tables(params)
    h_mean, v_mean = up @ h, down @ states
    powers = 2.0 ** jnp.arange(v.shape[-1])[::-1].astype(v.dtype)
    number = jnp.round(v @ powers).astype(jnp.int32)
    data = jnp.zeros(len(states), v.dtype).at[number].add(1 / len(v))
    no_visible, no_hidden = jnp.zeros_like(params.visible.bias), jnp.zeros_like(params.hidden.bias)

    def step(p_v, _):
        p_h = p_v @ up
        p_below = p_h @ down  # the law of the next V, one layer further up
        together = p_v[:, None] * up  # of v_t and h_t
        lower = states.T @ together @ h - v_mean.T @ (p_h[:, None] * h)
        together = p_h[:, None] * down  # of h_t and v_{t+1}
        upper = states.T @ together.T @ h - states.T @ (p_below[:, None] * h_mean)
        visible = p_v @ states - p_h @ v_mean
        hidden = p_h @ h - p_below @ h_mean
        pair = (
            jnp.stack([lower, upper]),
            jnp.stack([visible, no_visible]),
            jnp.stack([no_hidden, hidden]),
        )
        return p_below, pair

    _, pairs = jax.lax.scan(step, data, length=num_steps)
    weights, visible, hidden = (-x.reshape(2 * num_steps, *x.shape[2:]) for x in pairs)
    return rbm.RBM(weights, units.Bernoulli(bias=visible), units.Bernoulli(bias=hidden))


class Untied(NamedTuple):
    """The bound on log p(v), and log p(v) itself, KL(q(h | v) ‖ p(h | v)) above it; nats."""

    bound: Float[Array, "*batch"]
    log_likelihood: Float[Array, "*batch"]


@jit
def untied(lower: rbm.RBM, upper: rbm.RBM, v: Float[AnyArray, "*batch V"]) -> Untied:
    """log p(v), and its variational bound, when the prior of H₀ is another RBM.

    p(v, h) = p(v | h) p(h), with W below and the RBM `upper` above. With q(h | v) the posterior
    under the tied prior, which one step up by W draws from,

        log p(v) ≥ E_q[log p(v | h) + log p(h) − log q(h | v)].

    With `upper` as ``dbn.upside_down`` makes it of `lower`, the net is still the tied one, and the
    bound is tight. Whatever raises the bound then raises log p(v) at least as much: its slack began
    at zero, and cannot become negative.
    """
    _check_size(lower)
    _check_binary(upper)
    terms, log_p = bound.exact(dbn.stack((lower, upper)), v)
    log_z = partition.exact_log_partition(upper)
    return Untied(terms.total - log_z, log_p - log_z)


def _states(params):
    """All states of the visible and of the hidden units: (S, V), (T, H)."""
    _check_size(params)
    return tuple(
        side.states(jnp.arange(side.num_states)) for side in (params.visible, params.hidden)
    )


@jax.jit
@precision.full
def _tables(params):
    """All states (S, V) and (T, H), p(h | v) (S, T) and p(v | h) (T, S)."""
    v, h = _states(params)

    def conditional(side, states, inputs):
        table = inputs @ states.T
        return jax.nn.softmax(table - numerics.per_unit(side.energy(states), table), axis=-1)

    up = conditional(params.hidden, h, rbm.hidden_inputs(params, v))
    down = conditional(params.visible, v, rbm.visible_inputs(params, h))
    return v, h, up, down


def _check_net(params, depth):
    _check_binary(params)
    if depth < 1:
        raise ValueError(f"depth is {depth}; a net has at least one hidden layer")


def _as_binary(params, v):
    v = rbm.as_visible(params, v)
    if not isinstance(v, Tracer) and not np.isin(np.asarray(v), (0, 1)).all():
        raise ValueError(
            f"the data go from {np.min(v):g} to {np.max(v):g}; enumeration is for 0 and 1 alone: "
            "binarise them"
        )
    return v


def _check_size(params):
    _check_binary(params)
    sizes = params.weights.shape
    if max(sizes) > MAX_UNITS:
        raise ValueError(
            f"layers of {sizes[0]} and {sizes[1]} units cannot be enumerated here, at most "
            f"{MAX_UNITS} can; look at samples instead (`rbm.gibbs`)"
        )


def _check_binary(params):
    for side in (params.visible, params.hidden):
        if not isinstance(side, units.Bernoulli):
            raise TypeError(
                f"a sigmoid belief net has Bernoulli units; these are {type(side).__name__}"
            )
