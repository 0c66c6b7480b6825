"""Ascent of the variational bound of a deep belief net in all its weights at once.

Contrastive wake-sleep (`dbn_jax.learning.updown`) only imitates this: its sleep phase descends
another divergence, and on generated images instead of data. Here the generative weights get the
delta rule, the top RBM the gradient of its likelihood from any learner, such as persistent chains,
and the recognition weights the bound's own gradient (`dbn_jax.likelihood.bound` has its terms).

The sampled states depend on the recognition weights, so that the gradient with respect to these
needs an estimator: `LeaveOneOut` or `Antithetic`. Both are unbiased: they compute the entropy of
each layer given the layer below, and estimate the rest from samples. The variance of `LeaveOneOut`
with slopes was a four-thousandth of that of the others for a 784-500-2000 net of digits, and half
to a quarter of it for a 784-500-500-2000 net (`experiments.estimator_variance`).

Keys are consumed; V pixels, L labels, K recognised paths of each example, H units of a hidden
layer; all terms in nats.

References: Hinton, "To recognize shapes, first learn to generate images" (2007), which proposes it;
Kool, van Hoof, Welling, "Buy 4 REINFORCE samples, get a baseline for free!" (2019); Dong, Mnih,
Tucker, "DisARM: an antithetic gradient estimator for binary latent variables" (2020); Gu, Levine,
Sutskever, Mnih, "MuProp: unbiased backpropagation for stochastic neural networks" (2016).
"""

import dataclasses
import itertools
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax

from dbn_jax import dbn, label_units, learning, numerics, random, rbm, sharded, units
from dbn_jax.compilation import jit
from dbn_jax.examples import Examples
from dbn_jax.learning import learners
from dbn_jax.typing import AnyArray, Array, Float, Key, Num, PyTree


@runtime_checkable
class Estimator(Protocol):
    """Estimates the gradient with respect to the recognition weights; an immutable value.

    On each path it gives every total input a of a unit a coefficient: an estimate of the gradient
    with respect to a, without that of the entropies.

    Attributes:
      takes_slopes: whether `coefficients` uses the slopes, which cost a mean-field pass up and
        back.
    """

    @property
    def takes_slopes(self) -> bool: ...

    def sample(
        self, key: Key[Array, ""], net: dbn.UntiedDBN, v: Float[AnyArray, "batch V"]
    ) -> tuple[Float[Array, "paths batch _"], ...]:
        """Draws the states of each hidden layer on all paths."""
        ...

    def coefficients(
        self,
        layer: int,
        a: Float[Array, "paths batch H"],
        h: Float[AnyArray, "paths batch H"],
        rewards: Float[Array, "paths batch"],
        slopes: Float[Array, "batch H"] | None,
    ) -> Float[Array, "paths batch H"]:
        """Estimates the gradient of the mean reward, to be summed over the paths.

        Args:
          layer: number of the layer, 0 for the first hidden one.
          a: total inputs of its units.
          h: their states.
          rewards: all of the bound's terms that depend on them.
          slopes: derivatives of the reward with respect to the states, at the mean-field states
            of all layers, where the layers above follow; None unless `takes_slopes`.
        """
        ...


@dataclasses.dataclass(frozen=True)
class LeaveOneOut:
    """Score function, with a baseline for each path's reward from the other paths.

    Attributes:
      num_samples: K; with a single path nothing is subtracted.
      takes_slopes: False subtracts the mean of the other paths' rewards (Kool et al. 2019). True
        first subtracts from all rewards what is linear in the states, by the slopes at their means,
        and then adds its known expectation (MuProp; Gu et al. 2016).
    """

    num_samples: int = 2
    takes_slopes: bool = True

    def __post_init__(self):
        if self.num_samples < 1:
            raise ValueError(f"num_samples is {self.num_samples}; it must be at least 1")

    def sample(self, key, net, v):
        """Independent paths."""
        states, below, keys = [], v, random.split(key, len(net.recognition))
        for layer, layer_key in zip(net.recognition, keys, strict=True):
            on = rbm.hidden_mean(layer, below)
            on = jnp.broadcast_to(on, (self.num_samples, *on.shape[-2:]))
            below = random.bernoulli(layer_key, on)
            states.append(below)
        return tuple(states)

    def coefficients(self, layer, a, h, rewards, slopes):
        del layer
        on, linear = jax.nn.sigmoid(a), 0.0
        if self.takes_slopes:
            slopes = jnp.broadcast_to(slopes, a.shape)
            linear = slopes * on * (1 - on)
            rewards = rewards - jnp.sum(slopes * h, axis=-1)
        if self.num_samples > 1:
            # r − mean of the others = K/(K − 1)·(r − mean of all).
            gap = rewards - jnp.mean(rewards, axis=0, keepdims=True)
            rewards = gap * (self.num_samples / (self.num_samples - 1))
        return ((h - on) * rewards[..., None] + linear) / self.num_samples


@dataclasses.dataclass(frozen=True)
class Antithetic:
    """Pairs of states from the uniform numbers u and 1 − u (DisARM; Dong et al. 2020).

    The first path is drawn by u in every layer. For each layer there is one more path: below that
    layer it is the first path, in it the states are drawn by 1 − u, and above it by u again. The
    gradient of a unit whose two states are equal is zero; that of the others is in proportion to
    the difference of the two rewards (equation 7).
    """

    takes_slopes: ClassVar[bool] = False

    def sample(self, key, net, v):
        """One path more than layers; path 1 + l parts from path 0 in hidden layer l."""
        states, below, keys = [], v, random.split(key, len(net.recognition))
        for layer, layer_key in zip(net.recognition, keys, strict=True):
            on = rbm.hidden_mean(layer, below).reshape(1 + len(states), len(v), -1)
            u = random.uniform(layer_key, on.shape[1:]).astype(on.dtype)
            plain = (jnp.broadcast_to(u, on.shape) < on).astype(on.dtype)
            antithetic = (1 - u < on[0]).astype(on.dtype)
            # The new path was the first one so far.
            states = [jnp.concatenate([h, h[:1]]) for h in states]
            below = jnp.concatenate([plain, antithetic[None]])
            states.append(below)
        return tuple(states)

    def coefficients(self, layer, a, h, rewards, slopes):
        del slopes
        b, opposite = h[0], h[1 + layer]
        gap = 0.5 * (rewards[0] - rewards[1 + layer])
        change = (b - opposite) * jax.nn.sigmoid(jnp.abs(a[0])) * gap[..., None]
        return jnp.zeros_like(a).at[0].set(change)


@jit(static_argnames=("learner", "estimator"))
def gradient(
    key: Key[Array, ""],
    net: dbn.UntiedDBN,
    chains: PyTree,
    v: Num[AnyArray, "batch V"] | Examples[AnyArray],
    labels: Float[Array, "batch L"] | None = None,
    *,
    learner: learning.Learner = learning.PCD(),
    estimator: Estimator = LeaveOneOut(),
) -> tuple[dbn.UntiedDBN, PyTree, rbm.Metrics]:
    """Estimates the bound's gradient with respect to all weights, as a descent direction.

    It is unbiased except for log Z of the top RBM, whose gradient `learner` estimates: persistent
    chains approach it as learning slows down, and `learning.Exact` computes it.

    Args:
      net: hidden units below the top RBM's are Bernoulli; TypeError if others are.
      chains: from ``learner.init(key, net.top)``.
      v: images, or `Examples` with weights; raises as `rbm.as_batch`.
      labels: one-hot, for a net with label units: then the bound is that on log p(v, label).
      learner: of the top RBM; its data are the recognised states of all paths.
      estimator: of the gradient with respect to the recognition weights.

    Returns:
      A tree like `net`; the chains moved on; and the metrics `reconstruction_error` (of the pixels'
      means given the first hidden states; squared, summed over the pixels), the terms
      `reconstruction`, `entropy` and `prior` (see `bound.Terms`) and those of the learner.
    """
    examples = dbn.as_pixels(net, v)
    v = examples.values
    label_units.check(net.top, labels)
    _check_units(net.recognition)
    sample_key, top_key = random.split(key)
    states = estimator.sample(sample_key, net, v)
    features = states[-1] if states else v[None]

    def per_path(x):
        return jnp.broadcast_to(x, (len(features), *x.shape[-2:]))

    def mean(each):
        return examples.mean(jnp.mean(each, axis=0))

    x = label_units.join(net.top, features, None if labels is None else per_path(labels))
    prior = -rbm.free_energy_given(net.top, x, rbm.hidden_inputs(net.top, x))
    zeros = jnp.zeros_like(prior)
    slopes = _slopes(net, v, labels) if estimator.takes_slopes else [None] * len(states)

    def surrogate(recognition, generative):
        """Its gradient is the estimate; its value has no meaning, but its terms have."""
        pairs = itertools.pairwise((per_path(v), *states))
        log_p = [
            dbn.log_generative((layer,), pair)
            for layer, pair in zip(generative, pairs, strict=True)
        ]
        # The pixels are the same on every path, and so are the inputs that they give.
        inputs = [
            per_path(_total_input(layer, below))
            for layer, below in zip(recognition, (v, *states), strict=False)
        ]
        entropies = [_entropy(a) for a in inputs]
        value = mean(sum([*log_p, *entropies], start=zeros))
        # From the top down, all the terms that depend on a layer's states.
        reward = prior
        for i in reversed(range(len(inputs))):
            reward = reward + log_p[i]
            known = jax.lax.stop_gradient((inputs[i], states[i], reward))
            weights = estimator.coefficients(i, *known, slopes[i])
            value += examples.mean(jnp.sum(weights * inputs[i], axis=(0, 2)))
            reward = reward + entropies[i]
            if estimator.takes_slopes:
                # Chance alone, as far as the layers below are concerned: its mean is zero.
                noise = (states[i] - jax.nn.sigmoid(inputs[i])) * per_path(slopes[i])
                reward = reward - jnp.sum(noise, axis=-1)
        terms = {
            "reconstruction": mean(sum(log_p, start=zeros)),
            "entropy": mean(sum(entropies, start=zeros)),
            "prior": mean(prior),
        }
        return -value, terms

    varying = sharded.match_varying(v, net)
    (recognition, generative), terms = jax.grad(surrogate, argnums=(0, 1), has_aux=True)(
        varying.recognition, varying.generative
    )
    weights = examples.weights
    data = Examples(x, None if weights is None else jnp.broadcast_to(weights, x.shape[:-1]))
    top, chains, metrics = learner.estimate(top_key, net.top, chains, data)
    if states:
        means = rbm.visible_mean(net.generative[0], states[0])
    else:
        means = dbn.down_pass(net, rbm.hidden_mean(net.top, x))
    error = mean(jnp.sum((per_path(v) - means) ** 2, axis=-1))
    metrics = metrics | terms | {"reconstruction_error": error}
    return dbn.UntiedDBN(recognition, generative, top), chains, metrics


def _check_units(recognition):
    for i, layer in enumerate(recognition):
        if not isinstance(layer.hidden, units.Bernoulli):
            raise TypeError(
                f"hidden layer {i} has {type(layer.hidden).__name__} units; the bound's gradient "
                "by recognition weights is estimated for Bernoulli units"
            )


def _total_input(layer, below):
    """Of a layer's units, biases included."""
    inputs = rbm.hidden_inputs(layer, below)
    return inputs + numerics.per_unit(layer.hidden.bias, inputs)


def _entropy(a):
    return jnp.sum(numerics.softplus(a) - a * jax.nn.sigmoid(a), axis=-1)


def _slopes(net, v, labels):
    """Derivatives of the bound's terms by each layer's states, all layers at their means."""

    def terms(shifts):
        states, entropy = [v], jnp.zeros_like(v[:, 0])
        for layer, shift in zip(net.recognition, shifts, strict=True):
            a = _total_input(layer, states[-1])
            entropy += _entropy(a)
            states.append(jax.nn.sigmoid(a) + shift)
        log_p = dbn.log_generative(net.generative, states)
        x = label_units.join(net.top, states[-1], labels)
        prior = -rbm.free_energy_given(net.top, x, rbm.hidden_inputs(net.top, x))
        return jnp.sum(log_p + entropy + prior)

    sizes = [layer.hidden.num_units for layer in net.recognition]
    return jax.grad(terms)([jnp.zeros_like(v, shape=(len(v), size)) for size in sizes])


def init_state(
    key: Key[Array, ""],
    net: dbn.Net,
    optimizer: optax.GradientTransformation,
    *,
    learner: learning.Learner = learning.PCD(),
) -> rbm.State[dbn.UntiedDBN, Any]:
    """Starts fine-tuning of a net, untied: `State.params` is a `dbn.UntiedDBN`.

    To start the chains at data, replace `State.chains` by those of ``learner.start_at``.
    """
    net = dbn.untie(net)
    return rbm.init_state(net, optimizer, chains=learner.init(key, net.top))


@jit(static_argnames=("optimizer", "learner", "estimator"))
def step(
    key: Key[Array, ""],
    state: rbm.State[dbn.UntiedDBN, Any],
    v: Num[AnyArray, "batch V"] | Examples[AnyArray],
    labels: Float[Array, "batch L"] | None = None,
    *,
    optimizer: optax.GradientTransformation,
    learner: learning.Learner = learning.PCD(),
    estimator: Estimator = LeaveOneOut(),
) -> tuple[rbm.State[dbn.UntiedDBN, Any], rbm.Metrics]:
    """One update of all weights along the bound's gradient; see `gradient`, and its metrics."""
    learners.check_chains(learner, state.params.top, state.chains)
    change, chains, metrics = gradient(
        key, state.params, state.chains, v, labels, learner=learner, estimator=estimator
    )
    return rbm.apply_gradient(state, change, optimizer, chains=chains), metrics
