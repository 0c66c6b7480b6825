"""The slow, sure way: small RBMs by enumeration and quadrature, in numpy float64.

Everything here comes from the definition

    p(v, h) ∝ exp(−U_v(v) − U_h(h) + s_v(v)ᵀ W s_h(h))

and from lists of states; it shares no code with the package and uses none of its formulae for
cumulants, means or free energies. A layer becomes a table of states with log weights −U. Sums over
finitely many values are exact; Poisson counts are cut where nothing is left; for real-valued units
the states are quadrature nodes, their log weights include the nodes', and sums are integrals (to
about 1e-12: the trapezoidal rule for Gaussian units, Gauss-Legendre's for rectified ones).

    model = oracles.Model.of(params)             # from an RBM, or Model(weights, Layer, Layer)
    model.log_z(), model.log_likelihood(v)       # exact
    model.log_likelihood_gradient(v)             # a dict; compare with oracles.leaves(gradient)
    model.gibbs(1)                               # transition matrix on v
    model.cd_gradient(v, n)                      # expectation of CD-n's estimate

Below: S and T are numbers of states, V, H, N numbers of units.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable

import numpy as np
import scipy.special
import scipy.stats

from tests import convolutional_oracle

_POISSON_STATES = 80
_RELU_NODES = 80


@dataclasses.dataclass(frozen=True)
class Block:
    """Units of one type.

    Attributes:
      kind: name of the type, as in dbn_jax.units.
      bias: (N,).
      sigma: (N,), of Gaussian units; else 1.
      location: (N,), likewise; else 0.
      learnt: whether log σ is a parameter.
      count: num_classes or num_trials, where the type has them.
    """

    kind: str
    bias: np.ndarray
    sigma: np.ndarray
    location: np.ndarray
    learnt: bool = False
    count: int = 0

    def log_density(self, x):
        """−U(x): (..., N) -> (...)."""
        own = np.sum(self.bias * self.statistic(x), axis=-1)
        if self.kind in ("Gaussian", "ReLU"):
            own = own - np.sum(self.statistic(x) ** 2, axis=-1) / 2
        elif self.kind == "Binomial":
            own = own + np.sum(np.log(scipy.special.binom(self.count, x)), axis=-1)
        elif self.kind == "Poisson":
            own = own - np.sum(np.log(scipy.special.factorial(x)), axis=-1)
        return own

    def statistic(self, x):
        """s(x): (..., N) -> (..., N)."""
        return (x - self.location) / self.sigma

    def variables(self, max_input):
        """Per independent variable: its values (T, width) and their log node weights (T,)."""
        if self.kind == "Softmax":
            groups = len(self.bias) // self.count
            return [(np.eye(self.count), np.zeros(self.count))] * groups
        return [self._values(i, max_input) for i in range(len(self.bias))]

    def _values(self, i, max_input):
        if self.kind == "Gaussian":
            # The trapezoidal rule's error is exp(−2π²σ²/spacing²) for a normal density.
            spacing = self.sigma[i] / 2
            half = math.ceil((9 + max_input) * 2)
            centre = self.location[i] + self.sigma[i] * self.bias[i]
            values = centre + spacing * np.arange(-half, half + 1)
            return values[:, None], np.full(len(values), np.log(spacing))
        if self.kind == "ReLU":
            end = 10 + max(self.bias[i], 0) + max_input
            nodes, weights = np.polynomial.legendre.leggauss(_RELU_NODES)
            return end * (nodes[:, None] + 1) / 2, np.log(end * weights / 2)
        values = {
            "Bernoulli": [0, 1],
            "Spin": [-1, 1],
            "Binomial": range(self.count + 1),
            "Poisson": range(_POISSON_STATES),
        }[self.kind]
        return np.array(values, np.float64)[:, None], np.zeros(len(values))


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer as a table of its states.

    Attributes:
      blocks: its units.
      states: (S, N) all joint states, or quadrature nodes.
      log_weights: (S,) −U(x), with the log weight of the node.
      places: how many units share each parameter.
    """

    blocks: tuple[Block, ...]
    states: np.ndarray
    log_weights: np.ndarray
    places: int = 1

    @classmethod
    def of(cls, units, max_input=4.0):
        """From an instance of dbn_jax.units: reads its parameters and the name of its class.

        Args:
          units: with parameters.
          max_input: largest input (absolute) for which quadrature nodes must suffice.
        """
        layer = dataclasses.replace(cls.make(_blocks(units), max_input), places=_num_places(units))
        if not hasattr(units, "block"):
            return layer
        kept = convolutional_oracle.allowed(layer.states, units.shape, units.block)
        return cls(layer.blocks, layer.states[kept], layer.log_weights[kept], layer.places)

    @classmethod
    def make(cls, blocks, max_input=4.0):
        """From a sequence of `Block`."""
        variables = [v for block in blocks for v in block.variables(max_input)]
        index = itertools.product(*(range(len(weights)) for _, weights in variables))
        index = np.array(list(index))
        columns = [values[i] for (values, _), i in zip(variables, index.T, strict=True)]
        layer = cls(tuple(blocks), np.concatenate(columns, axis=1), np.zeros(len(index)))
        nodes = sum(weights[i] for (_, weights), i in zip(variables, index.T, strict=True))
        return dataclasses.replace(layer, log_weights=layer.log_density(layer.states) + nodes)

    @property
    def num_units(self):
        return self.states.shape[1]

    @property
    def sigma(self):
        return np.concatenate([block.sigma for block in self.blocks])

    def spread(self, x):
        """Gives each unit what it shares with others: (..., K) -> (..., N)."""
        return np.tile(x, self.places)

    def total(self, x):
        """Sums over the units that share: (..., N) -> (..., K)."""
        return x.reshape(*x.shape[:-1], self.places, -1).sum(axis=-2)

    def split(self, x):
        """Each block's share of (..., N)."""
        return np.split(x, np.cumsum([len(block.bias) for block in self.blocks])[:-1], axis=-1)

    def _each(self, method, x):
        shares = zip(self.blocks, self.split(x), strict=True)
        return [getattr(block, method)(share) for block, share in shares]

    def log_density(self, x):
        """−U(x) of any values: (..., N) -> (...)."""
        return sum(self._each("log_density", x))

    def statistic(self, x):
        """s(x), which is −∂U/∂b too: (..., N) -> (..., N)."""
        return np.concatenate(self._each("statistic", x), axis=-1)

    def log_sigma_derivative(self, x, inputs):
        """∂(I·s − U)/∂log σ, zero where σ is not learnt: (..., N), (..., N) -> (..., N)."""
        bias = np.concatenate([block.bias for block in self.blocks])
        learnt = np.concatenate([np.full(len(b.bias), b.learnt) for b in self.blocks])
        z = self.statistic(x)
        return learnt * z * (z - bias - inputs)

    def given(self, inputs):
        """Probabilities of the states given inputs: (..., N) -> (..., S)."""
        logits = self.log_weights + inputs @ self.statistic(self.states).T
        return np.exp(logits - scipy.special.logsumexp(logits, axis=-1, keepdims=True))

    def cumulant(self, inputs):
        """log Σ_x exp(I·s(x) − U(x)): (..., N) -> (...)."""
        logits = self.log_weights + inputs @ self.statistic(self.states).T
        return scipy.special.logsumexp(logits, axis=-1)

    def mean(self, inputs):
        """E[x | I]: (..., N) -> (..., N)."""
        return self.given(inputs) @ self.states

    def log_prob(self, x, inputs):
        """log p(x | I) of any values: (..., N), (..., N) -> (...)."""
        interaction = np.sum(inputs * self.statistic(x), axis=-1)
        return self.log_density(x) + interaction - self.cumulant(inputs)

    def number(self, x):
        """Which row of `states` each value is, for discrete units: (..., N) -> (...)."""
        distance = np.abs(np.asarray(x)[..., None, :] - self.states).sum(-1)
        assert np.all(distance.min(-1) == 0), "not a state of this layer"
        return distance.argmin(-1)

    def counts(self, x):
        """How often each state occurs among values of shape (..., N): (S,)."""
        rows = np.asarray(x).reshape(-1, self.num_units)
        whole = rows.astype(np.int64)
        assert np.array_equal(whole, rows), "not states of this layer"
        assert np.ptp(whole) < 256, "there are too many values"
        assert self.num_units <= 8, "there are too many units"
        # As one number each: to sort rows would take several times as long.
        numbers = whole @ 256 ** np.arange(self.num_units)
        _, first, how_often = np.unique(numbers, return_index=True, return_counts=True)
        counts = np.bincount(self.number(rows[first]), how_often, minlength=len(self.states))
        return counts.astype(int)


@dataclasses.dataclass(frozen=True)
class Model:
    """A small RBM.

    Attributes:
      weights: (V, H).
      visible: a layer.
      hidden: a layer.
      fold: what is said of the matrix, summed over entries that are tied.
    """

    weights: np.ndarray
    visible: Layer
    hidden: Layer
    fold: Callable[[np.ndarray], np.ndarray] = lambda of_matrix: of_matrix

    @classmethod
    def of(cls, params, max_input=4.0):
        """From a dbn_jax RBM; `max_input` as for `Layer.of`."""
        visible, hidden = (Layer.of(side, max_input) for side in (params.visible, params.hidden))
        if not hasattr(params.weights, "filters"):
            return cls(np.asarray(params.weights, np.float64), visible, hidden)
        fold = functools.partial(convolutional_oracle.fold, params.weights)
        return cls(convolutional_oracle.matrix(params.weights), visible, hidden, fold)

    def energy(self, v, h):
        """E(v, h) of any values: (..., V), (..., H) -> (...)."""
        interaction = np.einsum(
            "...i,ij,...j->...", self.visible.statistic(v), self.weights, self.hidden.statistic(h)
        )
        return -self.visible.log_density(v) - self.hidden.log_density(h) - interaction

    def log_joint(self):
        """log of the unnormalised joint probability of each pair of states: (S, T)."""
        v, h = (side.statistic(side.states) for side in (self.visible, self.hidden))
        interaction = v @ self.weights @ h.T
        return self.visible.log_weights[:, None] + self.hidden.log_weights + interaction

    def log_z(self):
        """log Z."""
        return scipy.special.logsumexp(self.log_joint())

    def joint(self):
        """p(v, h): (S, T)."""
        return np.exp(self.log_joint() - self.log_z())

    def joint_counts(self, v, h):
        """How often each pair of states occurs, in the order of ``joint().ravel()``: (S · T,)."""
        size = len(self.hidden.states)
        pairs = self.visible.number(v) * size + self.hidden.number(h)
        return np.bincount(pairs, minlength=len(self.visible.states) * size)

    def visible_marginal(self):
        """p(v): (S,)."""
        return self.joint().sum(axis=1)

    def hidden_marginal(self):
        """p(h): (T,)."""
        return self.joint().sum(axis=0)

    def hidden_given(self, v):
        """p(h | v) for any values v: (..., V) -> (..., T)."""
        return self.hidden.given(self.visible.statistic(v) @ self.weights)

    def visible_given(self, h):
        """p(v | h) for any values h: (..., H) -> (..., S)."""
        return self.visible.given(self.hidden.statistic(h) @ self.weights.T)

    def free_energy(self, v):
        """−log Σ_h exp(−E(v, h)) of any values: (..., V) -> (...)."""
        inputs = self.visible.statistic(v) @ self.weights
        return -self.visible.log_density(v) - self.hidden.cumulant(inputs)

    def log_likelihood(self, v):
        """log p(v) of any values: (..., V) -> (...)."""
        return -self.free_energy(v) - self.log_z()

    def free_energy_gradient(self, v, probability=None):
        """Mean of ∂F/∂θ, by its definition E[∂E/∂θ | v].

        Args:
          v: (S, V) any values.
          probability: (S,) their probabilities; equal when left out.

        Returns:
          The dict of `leaves`.
        """
        if probability is None:
            probability = np.full(len(v), 1 / len(v))
        joint = probability[:, None] * self.hidden_given(v)  # (S, T)
        h = self.hidden.states
        v_statistic, h_statistic = self.visible.statistic(v), self.hidden.statistic(h)
        h_mean = joint @ h_statistic / np.maximum(probability, 1e-300)[:, None]
        v_mean = joint.T @ v_statistic / np.maximum(joint.sum(0), 1e-300)[:, None]
        v_sigma = self.visible.log_sigma_derivative(v, h_mean @ self.weights.T)
        h_sigma = self.hidden.log_sigma_derivative(h, v_mean @ self.weights)
        return {
            "weights": self.fold(-v_statistic.T @ joint @ h_statistic),
            "visible.bias": self.visible.total(-probability @ v_statistic),
            "hidden.bias": self.hidden.total(-joint.sum(0) @ h_statistic),
            "visible.log_sigma": self.visible.total(-probability @ v_sigma),
            "hidden.log_sigma": self.hidden.total(-joint.sum(0) @ h_sigma),
        }

    def log_likelihood_gradient(self, v):
        """∂/∂θ of the mean log p(v) over rows (B, V): the dict of `leaves`."""
        data = self.free_energy_gradient(v)
        model = self.free_energy_gradient(self.visible.states, self.visible_marginal())
        return {name: model[name] - data[name] for name in data}

    def gibbs(self, num_steps, side="visible"):
        """Transition matrix of block Gibbs sampling on one layer's states: row -> column."""
        up, down = self.hidden_given(self.visible.states), self.visible_given(self.hidden.states)
        step = up @ down if side == "visible" else down @ up
        return np.linalg.matrix_power(step, num_steps)

    def after_gibbs(self, v, num_steps):
        """p(v′) after Gibbs steps from the rows of (B, V), any values, equally likely: (S,)."""
        start = self.hidden_given(v).mean(axis=0)
        start = start @ self.gibbs(num_steps - 1, side="hidden")
        return start @ self.visible_given(self.hidden.states)

    def cd_gradient(self, v, num_steps):
        """Expectation of CD-n's estimate for the batch (B, V): a descent direction."""
        data = self.free_energy_gradient(v)
        model = self.free_energy_gradient(self.visible.states, self.after_gibbs(v, num_steps))
        return {name: data[name] - model[name] for name in data}

    def mean_field_cd_gradient(self, v):
        """Expectation of CD-1's estimate whose reconstructions are means, for the batch (B, V)."""
        data = self.free_energy_gradient(v)
        means = self.visible.mean(self.hidden.statistic(self.hidden.states) @ self.weights.T)
        model = self.free_energy_gradient(means, self.hidden_given(v).mean(axis=0))
        return {name: data[name] - model[name] for name in data}


def net_terms(net, v, label=()):
    """Terms of an `UntiedDBN` for an example, at all states h of its recognised layers: (S,) each.

    log q(h | v), log p(v, h | the top RBM's features), and log p(features, label) + log Z.
    """
    sizes = [len(layer.hidden.bias) for layer in net.recognition]
    states = np.split(binary(sum(sizes)), np.cumsum(sizes), axis=1)[:-1]
    below, log_q, log_p = np.broadcast_to(v, (2 ** sum(sizes), len(v))), 0.0, 0.0
    for up, down, h in zip(net.recognition, net.generative, states, strict=True):
        up, down = Model.of(up), Model.of(down)
        log_q = log_q + up.hidden.log_prob(h, up.visible.statistic(below) @ up.weights)
        log_p = log_p + down.visible.log_prob(below, down.hidden.statistic(h) @ down.weights.T)
        below = h
    x = np.concatenate([below, np.broadcast_to(label, (len(below), len(label)))], axis=1)
    return log_q, log_p, -Model.of(net.top).free_energy(x)


sigmoid = scipy.special.expit


def binary(num_units):
    """All states of binary units, the last changing fastest: (2^N, N)."""
    return np.array(list(itertools.product([0.0, 1.0], repeat=num_units)))


def factorial(on):
    """Probabilities of the `binary` states of independent units: (..., N) -> (..., 2^N)."""
    on = np.asarray(on, np.float64)[..., None, :]
    return np.prod(np.where(binary(on.shape[-1]) == 1, on, 1 - on), axis=-1)


def differences(function, x, step=1e-5):
    """The gradient of a function of one array, by central differences."""
    slope = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        shift = np.zeros_like(x)
        shift[index] = step
        slope[index] = (function(x + shift) - function(x - shift)) / (2 * step)
    return slope


def leaves(params):
    """The parameters (or gradient) of a dbn_jax RBM by name, float64; Concat's side by side.

    `log_sigma` holds zeros for units that have none, so that every model has the same names. Takes
    leading axes, such as those of a vmapped gradient.
    """
    sides = {side: unit_leaves(getattr(params, side)) for side in ("visible", "hidden")}
    named = {f"{side}.{name}": x for side, own in sides.items() for name, x in own.items()}
    weights = getattr(params.weights, "filters", params.weights)
    return {"weights": np.asarray(weights, np.float64), **named}


def unit_leaves(units):
    """The parameters (or gradient) of one layer: `bias` and `log_sigma`, as for `leaves`."""
    biases = [np.asarray(part.bias, np.float64) for part in _parts(units)]
    sigmas = [getattr(part, "log_sigma", None) for part in _parts(units)]
    sigmas = [
        np.zeros_like(bias) if sigma is None else np.asarray(sigma, np.float64)
        for bias, sigma in zip(biases, sigmas, strict=True)
    ]
    return {
        "bias": np.concatenate(biases, axis=-1),
        "log_sigma": np.concatenate(sigmas, axis=-1),
    }


def _num_places(units):
    return getattr(units, "num_places", math.prod(getattr(units, "shape", ())))


def _parts(units):
    units = getattr(units, "each", units)
    nested = getattr(units, "parts", None)
    return [units] if nested is None else [p for part in nested for p in _parts(part)]


def _blocks(units):
    blocks = []
    for part in _parts(units):
        kind, bias = type(part).__name__, np.asarray(part.bias, np.float64)
        sigma, location, learnt = np.ones_like(bias), np.zeros_like(bias), False
        if kind == "Gaussian":
            learnt = part.learn_sigma
            sigma = sigma * part.sigma
            if learnt:
                log_sigma, log_bound, location = (
                    np.asarray(x, np.float64)
                    for x in (part.log_sigma, part.log_bound, part.location)
                )
                sigma = np.exp(np.maximum(log_sigma, log_bound))
        count = getattr(part, "num_classes", 0) or getattr(part, "num_trials", 0)
        arrays = (np.tile(x, _num_places(units)) for x in (bias, sigma, location))
        blocks.append(Block("Bernoulli" if kind == "MaxPooled" else kind, *arrays, learnt, count))
    return blocks
