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

Everything but `sample` and `as_belief_net` enumerates both layers. Below: S and T are the numbers
of states of the visible and of the hidden units, 2^V and 2^H.

References: Hinton, Osindero, Teh, "A fast learning algorithm for deep belief nets" (2006), sections
2 and 3, and appendix A; for the eigenvalues Diaconis, Khare, Saloff-Coste, "Gibbs sampling,
exponential families and orthogonal polynomials" (2008), section 2.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax import dbn, random, rbm, units
from dbn_jax.belief_nets import sbn
from dbn_jax.likelihood import bound, partition
from dbn_jax.typing import Array, Float, Key

MAX_UNITS = 12  # of a layer that is enumerated: a matrix of 2^12 × 2^12 numbers


def sample(
    key: Key[Array, ""], params: rbm.RBM, top: Float[Array, "*batch V"], depth: int
) -> tuple[Float[Array, "depths *batch V"], Float[Array, "depth *batch H"]]:
    """One top-down pass of the net.

    Args:
      key: consumed.
      params: an RBM of binary units.
      top: (..., V) states of V_T.
      depth: T, at least 1; the number of Gibbs steps.

    Returns:
      The visible states (T + 1, ..., V) and the hidden states (T, ..., H), both from the pixels up:
      ``visible[0]`` are the pixels and ``visible[-1]`` is `top`.

    Raises:
      ValueError: `depth` is below 1.
      TypeError: the units are not binary.
    """
    _check_net(params, depth)

    def down(v, key):
        hidden_key, visible_key = random.split(key)
        h = rbm.sample_hidden(hidden_key, params, v)
        below = rbm.sample_visible(visible_key, params, h)
        return below, (below, h)

    _, (visible, hidden) = jax.lax.scan(down, top, random.split(key, depth))
    return jnp.concatenate([visible[::-1], top[None]]), hidden[::-1]


def as_belief_net(
    params: rbm.RBM, depth: int, top_bias: Float[Array, " V"] | None = None
) -> sbn.BeliefNet:
    """The net cut off above V_T, as a sigmoid belief net of 2T + 1 layers.

    Args:
      params: an RBM of binary units.
      depth: T, at least 1.
      top_bias: (V,) biases of V_T, whose units are independent; None: those of the pixels.

    Returns:
      Its units are those of V_T, H_{T−1}, V_{T−1}, …, H₀, V₀.

    Raises:
      ValueError: `depth` is below 1.
      TypeError: the units are not binary.
    """
    _check_net(params, depth)
    visible, hidden = params.visible.bias, params.hidden.bias
    top = visible if top_bias is None else top_bias
    return sbn.layered(
        (params.weights, params.weights.T) * depth, (top, *(hidden, visible) * depth)
    )


@functools.partial(jax.jit, inline=True)
def kernel(params: rbm.RBM) -> Float[Array, "S S"]:
    """The probabilities of v_t, in columns, given v_{t+1}, in rows: one Gibbs step."""
    _, _, up, down = _tables(params)
    return up @ down


@functools.partial(jax.jit, inline=True)
def equilibrium(params: rbm.RBM) -> Float[Array, " S"]:
    """The RBM's p(v) of all its states, which the infinitely deep net has: (S,)."""
    v, _ = _states(params)
    return jax.nn.softmax(-rbm.free_energy(params, v))


@functools.partial(jax.jit, static_argnames="depth", inline=True)
def laws(params: rbm.RBM, top: Float[Array, " S"], depth: int) -> Float[Array, "depths S"]:
    """The pixels' distribution in nets of every depth up to a given one.

    Args:
      params: an RBM of at most `MAX_UNITS` binary units in each layer.
      top: (S,) the distribution of the top layer.
      depth: of the deepest net.

    Returns:
      (depth + 1, S), the first one `top` itself.

    Raises:
      ValueError: a layer is too large to be enumerated.
      TypeError: the units are not binary.
    """
    step = kernel(params)
    _, below = jax.lax.scan(lambda p, _: (p @ step, p @ step), top, length=depth)
    return jnp.concatenate([top[None], below])


@functools.partial(jax.jit, static_argnames="depth", inline=True)
def total_variation(
    params: rbm.RBM, top: Float[Array, " S"], depth: int
) -> Float[Array, " depths"]:
    """How far the pixels' distribution is from the RBM's: half the sum of absolute differences.

    It falls by the factor ``spectrum(params)[1]`` from layer to layer in the end; always it is at
    most ½ √χ² times that factor's power, χ² = Σ (top − p)²/p.

    Args and errors are those of `laws`; returns (depth + 1,).
    """
    gap = laws(params, top, depth) - equilibrium(params)[None]
    return jnp.sum(jnp.abs(gap), axis=-1) / 2


@functools.partial(jax.jit, inline=True)
def spectrum(params: rbm.RBM) -> Float[Array, " eigenvalues"]:
    """The eigenvalues of `kernel` that are not zero for lack of states, largest first.

    Block Gibbs sampling is reversible, so that they are real, and it looks at the other layer and
    back, so that none is negative: they are the squared singular values of the matrix
    p(v, h) / √(p(v) p(h)). The first is 1; the second is the squared largest correlation of any
    function of v with any of h, and the rate of convergence. Returns (min(S, T),).
    """
    _, _, up, down = _tables(params)
    # p(v, h)² / (p(v) p(h)) = p(h | v) p(v | h): the improbable states' p(v) and p(h) may be 0.
    scaled = jnp.sqrt(up) * jnp.sqrt(down.T)
    return jnp.linalg.svd(scaled, compute_uv=False) ** 2


class ComplementaryPrior(NamedTuple):
    """Bayes' rule for all states of H₀ given an image, in nats.

    Attributes:
      states: (T, H) the states.
      log_likelihood: (T,) log p(v | h).
      log_prior: (T,) log p(h), which the layers above give.
      log_posterior: (T,) log p(h | v), the sum of both, normalised.
    """

    states: Array
    log_likelihood: Array
    log_prior: Array
    log_posterior: Array


@functools.partial(jax.jit, inline=True)
def complementary_prior(params: rbm.RBM, v: Float[Array, " V"]) -> ComplementaryPrior:
    """Shows why inference is exact: likelihood and prior apart, neither of them factorial.

    With the RBM's free energy of h, F(h) = −c·h − Σ_i log(1 + exp(b_i + W_i·h)),

        log p(v | h) = b·v + vᵀWh − Σ_i log(1 + exp(b_i + W_i·h)),    log p(h) = −F(h) − log Z:

    what couples the hidden units appears in both, with opposite signs.

    Args:
      params: see `laws`.
      v: (V,) an image, 0 and 1.
    """
    _, h = _states(params)
    inputs = rbm.visible_inputs(params, h)
    cumulant = params.visible.cumulant(inputs)
    log_likelihood = inputs @ v - params.visible.energy(v) - cumulant
    log_prior = jax.nn.log_softmax(cumulant - params.hidden.energy(h))
    log_posterior = jax.nn.log_softmax(log_likelihood + log_prior)
    return ComplementaryPrior(h, log_likelihood, log_prior, log_posterior)


def gradient_terms(params: rbm.RBM, v: Float[Array, "batch V"], num_steps: int) -> rbm.RBM:
    """The delta rule of each layer of weights, in expectation over what is inferred from the data.

    In the order of the module's docstring: weights from H₀ to V₀, from V₁ to H₀, from H₁ to V₁, and
    so on. Each is a descent direction, the negative of what stands there. The first of each pair
    teaches the visible biases too, the second the hidden ones.

    Args:
      params: see `laws`.
      v: (B, V) data, 0 and 1; all terms are averages over them.
      num_steps: n, of the Gibbs chain.

    Returns:
      A tree like `params` whose leaves have a leading axis of 2n terms. Their sum is the expected
      gradient of CD-n, ``rbm.cd_gradient``.

    Raises:
      ValueError: a layer is too large to be enumerated, the data have another number of pixels; or
        values are known, and not 0 or 1.
      TypeError: the units are not binary.
    """
    num_visible = params.weights.shape[0]
    if v.shape[-1] != num_visible:
        raise ValueError(
            f"the data have {v.shape[-1]} pixels, and the RBM has {num_visible} visible units"
        )
    if not isinstance(v, jax.core.Tracer) and not np.isin(np.asarray(v), (0, 1)).all():
        raise ValueError(
            f"the data go from {np.min(v):g} to {np.max(v):g}; enumeration is for 0 and 1 alone: "
            "binarise them"
        )
    return _gradient_terms(params, v, num_steps)


@functools.partial(jax.jit, static_argnames="num_steps", inline=True)
def _gradient_terms(params, v, num_steps):
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
    """A net whose layers above H₀ have weights of their own, in nats.

    Attributes:
      bound: (...) the variational bound on log p(v).
      log_likelihood: (...) log p(v) itself; the difference is KL(q(h | v) ‖ p(h | v)).
    """

    bound: Array
    log_likelihood: Array


@functools.partial(jax.jit, inline=True)
def untied(lower: rbm.RBM, upper: rbm.RBM, v: Float[Array, "*batch V"]) -> Untied:
    """log p(v), and its variational bound, when the prior of H₀ is another RBM.

    p(v, h) = p(v | h) p(h), with W below and the RBM `upper` above. With q(h | v) the posterior
    under the tied prior, which one step up by W draws from,

        log p(v) ≥ E_q[log p(v | h) + log p(h) − log q(h | v)].

    With `upper` as ``dbn.upside_down`` makes it of `lower`, the net is still the tied one, and the
    bound is tight. Whatever raises the bound then raises log p(v) at least as much: its slack began
    at zero, and cannot become negative.

    Args:
      lower: (V, H), of at most `MAX_UNITS` binary units in each layer.
      upper: (H, U), whose visible units are H₀.
      v: (..., V) images, 0 and 1.

    Raises:
      ValueError: the RBMs do not fit, or a layer is too large to be enumerated.
      TypeError: the units are not binary.
    """
    _states(lower)  # refuses what is too large
    _check_binary(upper)
    terms, log_p = bound.exact(dbn.stack((lower, upper)), v)
    log_z = partition.exact_log_partition(upper)
    return Untied(terms.total - log_z, log_p - log_z)


def _add(table, row):
    """Adds a row to each row of a table: (..., T), (T,) -> (..., T)."""
    return table + jnp.broadcast_to(row, table.shape)


def _states(params):
    """All states of the visible and of the hidden units: (S, V), (T, H)."""
    _check_binary(params)
    sizes = params.weights.shape
    if max(sizes) > MAX_UNITS:
        raise ValueError(
            f"layers of {sizes[0]} and {sizes[1]} units cannot be enumerated here, at most "
            f"{MAX_UNITS} can; look at samples instead (`sample`)"
        )
    visible, hidden = params.visible, params.hidden
    return (
        visible.states(jnp.arange(visible.num_states)),
        hidden.states(jnp.arange(hidden.num_states)),
    )


def _tables(params):
    """All states (S, V) and (T, H), p(h | v) (S, T) and p(v | h) (T, S)."""
    v, h = _states(params)

    def conditional(side, states, inputs):
        return jax.nn.softmax(_add(inputs @ states.T, -side.energy(states)), axis=-1)

    up = conditional(params.hidden, h, rbm.hidden_inputs(params, v))
    down = conditional(params.visible, v, rbm.visible_inputs(params, h))
    return v, h, up, down


def _check_net(params, depth):
    _check_binary(params)
    if depth < 1:
        raise ValueError(f"depth is {depth}; a net has at least one hidden layer")


def _check_binary(params):
    for side in (params.visible, params.hidden):
        if not isinstance(side, units.Bernoulli):
            raise TypeError(
                f"a sigmoid belief net has Bernoulli units; these are {type(side).__name__}"
            )
