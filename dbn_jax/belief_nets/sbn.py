"""Sigmoid belief nets: directed nets of binary units, whose causes explain each other away.

The units are in an order in which causes stand before their effects. Unit j is on with probability

    p(x_j = 1 | x_1, …, x_{j−1}) = σ(a_j),    a_j = b_j + Σ_{i<j} x_i w_ij,

so that log p(x) = Σ_j [x_j a_j − log(1 + exp a_j)], with nothing to normalise. Generation is easy:
one pass along the order. Inference is not: given their effects, causes that are independent
beforehand become dependent. Either of them explains the effect, and once one is known to be on, the
other need not be.

For a few hidden units everything can be enumerated (`posterior`, `log_likelihood`); for more, Gibbs
sampling draws one unit after the other (`gibbs`). If the states of all units are given, learning is
the delta rule (`gradient`); with states drawn from the posterior it ascends the likelihood, as the
gradient of `log_likelihood` does. `wake_sleep` draws the states from a second net.

Below, ... are batch axes, x holds states of all N units, 0 and 1, and `observed` says which of them
are observed; the states of the others do not matter. Probabilities are in nats, keys are consumed.

References: Pearl, "Probabilistic reasoning in intelligent systems" (1988), for explaining away;
Neal, "Connectionist learning of belief networks" (1992); Hinton, "To recognize shapes, first learn
to generate images" (2007).
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from dbn_jax import numerics, precision, pytrees, random
from dbn_jax.compilation import jit
from dbn_jax.typing import AnyArray, Array, Bool, Float, Int, Key

MAX_HIDDEN = 20  # units that are enumerated at most


@pytrees.dataclass
class BeliefNet:
    """A sigmoid belief net of N units, causes before effects.

    Every unit may be caused by every one before it; with `layers`, their sizes from the top down,
    by those of the layer above alone. Entries where there is no connection have no effect.
    """

    weights: Float[Array, "from to"]
    bias: Float[Array, " N"]
    layers: tuple[int, ...] | None = pytrees.static(default=None)

    @property
    def num_units(self) -> int:
        """N."""
        return self.bias.shape[-1]

    @property
    def connections(self) -> np.ndarray:
        """Where there can be a weight: (N, N) bool."""
        sizes = (1,) * self.num_units if self.layers is None else self.layers
        layer = np.repeat(np.arange(len(sizes)), sizes)
        above = layer - layer[:, None]
        return above > 0 if self.layers is None else above == 1


def make(weights: Float[Array, "from to"], bias: Float[Array, " N"]) -> BeliefNet:
    """Makes a net of its arrays; no unit is its own cause or that of an earlier one."""
    _check_arrays(weights, bias)
    return BeliefNet(weights, bias)


def layered(
    weights: tuple[Float[Array, "_ _"], ...], biases: tuple[Float[Array, " _"], ...]
) -> BeliefNet:
    """Makes a net of layers, from the top down; each is caused by the one above it alone.

    There is one more bias than there are weights; those of the first layer are its prior.
    """
    sizes = [len(bias) for bias in biases]
    _check_layers(weights, sizes)
    starts = np.cumsum([0, *sizes])
    bias = jnp.concatenate(biases)
    whole = jnp.zeros((len(bias), len(bias)), bias.dtype)
    for w, (above, below) in zip(weights, itertools.pairwise(starts), strict=False):
        whole = whole.at[above:below, below : below + w.shape[1]].set(w)
    return BeliefNet(whole, bias, tuple(sizes))


@precision.full
def inputs(net: BeliefNet, x: Float[AnyArray, "*batch N"]) -> Float[Array, "*batch N"]:
    """a, each unit's input from its causes."""
    a = _as_states(net, x) @ _connected(net)
    return a + numerics.per_unit(net.bias, a)


def _as_states(net, x):
    return numerics.as_states(x, net.num_units, net.bias.dtype, "units of the net")


def _connected(net):
    # Where there is no connection gradients must be zero, and noise on all weights joins nothing.
    return jnp.where(net.connections, net.weights, 0)


@jit
def log_prob(net: BeliefNet, x: Float[AnyArray, "*batch N"]) -> Float[Array, "*batch"]:
    """log p(x)."""
    x = _as_states(net, x)
    a = inputs(net, x)
    return jnp.sum(x * a - numerics.softplus(a), axis=-1)


def sample(
    key: Key[Array, ""], net: BeliefNet, shape: tuple[int, ...] = ()
) -> Float[Array, "*shape N"]:
    """Ancestral sampling, unit by unit along the order, with these batch axes."""
    return complete(key, net, jnp.zeros((*shape, 0), net.bias.dtype))


@jit
def complete(
    key: Key[Array, ""], net: BeliefNet, first: Float[AnyArray, "*batch K"]
) -> Float[Array, "*batch N"]:
    """Ancestral sampling of all other units, given the K that stand first in the order."""
    weights = _connected(net)

    def draw(j, x):
        a = net.bias[j] + x @ weights[:, j]
        on = random.bernoulli(random.fold_in(key, j), jax.nn.sigmoid(a))
        return x.at[..., j].set(on)

    first = numerics.as_floats(first, net.bias.dtype)
    *batch, given = first.shape
    rest = jnp.zeros((*batch, net.num_units - given), first.dtype)
    x = jnp.concatenate([first, rest], axis=-1)
    return jax.lax.fori_loop(given, net.num_units, draw, x)


def completions(
    x: Float[AnyArray, " N"], observed: Bool[np.ndarray, " N"]
) -> Float[Array, "states N"]:
    """All 2^H states that agree with the observed units; the last hidden unit changes fastest."""
    _check_observed(observed, len(x))
    hidden = np.flatnonzero(~np.asarray(observed))
    _check_enumerable(len(hidden))
    numbers = np.arange(2 ** len(hidden))[:, None]
    states = np.zeros((len(numbers), len(x)), bool)
    states[:, hidden] = (numbers >> np.arange(len(hidden))[::-1]) & 1
    return jnp.where(observed[None], x[None], states.astype(x.dtype))


def log_likelihood(
    net: BeliefNet, x: Float[AnyArray, " N"], observed: Bool[np.ndarray, " N"]
) -> Float[Array, ""]:
    """log p of the observed units, the others summed out by enumeration (`completions`).

    Its gradient by the net is that of maximum likelihood.
    """
    return jax.nn.logsumexp(log_prob(net, completions(x, observed)))


def posterior(
    net: BeliefNet, x: Float[AnyArray, " N"], observed: Bool[np.ndarray, " N"]
) -> tuple[Float[Array, "states N"], Float[Array, " states"]]:
    """The `completions` of x, and their exact probabilities given the observed units."""
    states = completions(x, observed)
    return states, jax.nn.softmax(log_prob(net, states))


@jit
def gibbs(
    key: Key[Array, ""],
    net: BeliefNet,
    x: Float[AnyArray, "*batch N"],
    observed: Bool[AnyArray, " N"],
    num_sweeps: int | Int[Array, ""],
) -> Float[Array, "*batch N"]:
    """Gibbs sampling of the hidden units given the observed ones, from x on.

    A sweep draws each hidden unit in turn given all others: causes, effects, and through these the
    other causes of its effects,

        log p(x_j = 1 | rest) / p(x_j = 0 | rest)
            = a_j + Σ_k [x_k w_jk − log(1 + exp(ã_k + w_jk)) + log(1 + exp ã_k)],

    where ã_k is unit k's input without unit j. A sweep costs three passes over the weights.
    """
    _check_observed(observed, net.num_units)
    x, weights = _as_states(net, x), _connected(net)

    def draw(t, carry):
        x, a = carry
        j = t % net.num_units
        w = weights[j]
        without = a - x[..., j, None] * numerics.per_unit(w, x)
        shifted = without + numerics.per_unit(w, x)
        effects = (
            x * numerics.per_unit(w, x) - numerics.softplus(shifted) + numerics.softplus(without)
        )
        # A unit is not among its effects: there w is 0.
        odds = a[..., j] + jnp.sum(effects, axis=-1)
        on = random.bernoulli(random.fold_in(key, t), jax.nn.sigmoid(odds))
        on = jnp.where(observed[j], x[..., j], on)
        return x.at[..., j].set(on), without + on[..., None] * numerics.per_unit(w, x)

    def sweep(i, x):
        # The inputs anew each time: kept up to date alone, they would drift with rounding.
        first = i * net.num_units
        return jax.lax.fori_loop(first, first + net.num_units, draw, (x, inputs(net, x)))[0]

    return jax.lax.fori_loop(0, num_sweeps, sweep, x)


@jit
def gradient(net: BeliefNet, x: Float[AnyArray, "*batch N"]) -> BeliefNet:
    """The delta rule: the descent direction −∂ log p(x) / ∂ net, averaged over the batch.

    For w_ij it is −x_i (x_j − σ(a_j)), and zero where there can be no weight. With hidden states
    drawn from the posterior it is unbiased for the gradient of the observed units' −log p.
    """
    x = _as_states(net, x).reshape(-1, net.num_units)
    surprise = x - jax.nn.sigmoid(inputs(net, x))
    weights = jnp.where(net.connections, x.T @ surprise, 0) / len(x)
    return dataclasses.replace(net, weights=-weights, bias=-jnp.mean(surprise, axis=0))


def _check_arrays(weights, bias):
    count = len(bias)
    if weights.shape != (count, count):
        raise ValueError(f"weights are {weights.shape}, but {count} biases need {(count, count)}")
    if isinstance(weights, Tracer):
        return
    backward = np.argwhere(np.tril(np.asarray(weights)) != 0)
    if len(backward):
        i, j = backward[0]
        raise ValueError(
            f"there is a weight from unit {i} to unit {j}; a cause must stand before its effects: "
            "put the units in another order"
        )


def _check_layers(weights, sizes):
    shapes, expected = [w.shape for w in weights], list(itertools.pairwise(sizes))
    if shapes != expected:
        raise ValueError(f"weights are {shapes}, but layers of {sizes} units need {expected}")


def _check_observed(observed, count):
    # Numbers would be negated bit by bit, and JAX leaves out what is written beyond an array's end.
    if observed.shape != (count,) or observed.dtype != bool:
        raise ValueError(
            f"observed is {observed.dtype} {observed.shape}; it must be bool ({count},), whether "
            "each unit is observed"
        )


def _check_enumerable(num_hidden):
    if num_hidden > MAX_HIDDEN:
        raise ValueError(
            f"{num_hidden} hidden units have {2.0**num_hidden:.3g} states; at most {MAX_HIDDEN} "
            "units are enumerated: sample them with `gibbs` instead"
        )
