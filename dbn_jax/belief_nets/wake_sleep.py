"""The wake-sleep algorithm: a sigmoid belief net learns with a recognition net of its own.

A Helmholtz machine has two nets over the same units (`dbn_jax.belief_nets.sbn`). The generative one
p goes from causes to effects; its last V units are observed. The recognition one q has the same
units in the *reverse* order, so that it goes from what is observed to its causes: one pass draws
the hidden units, where Gibbs sampling of p's posterior would need many.

- Wake: hidden states of a datum are drawn from q, and the delta rule teaches p to generate them and
  the datum. It descends −E_q log p(v, h): for a fixed q, it ascends the variational bound

      log p(v) ≥ E_q[log p(v, h) − log q(h | v)] = log p(v) − KL(q(h | v) ‖ p(h | v)).

- Sleep: p dreams, and the delta rule teaches q to find the causes of the dream, which are known. It
  descends −E_p log q(h | v), that is KL(p(h | v) ‖ q(h | v)) averaged over what p dreams of.

The sleep phase minimises the wrong divergence, on dreams instead of data. So the two phases descend
no common function, and a q that cannot represent the posterior covers all of its modes, and what
lies between them, instead of one. Learning works all the same, since the wake phase favours a p
whose posterior q can represent.

Below, ... are batch axes, v holds states of the V observed units, 0 and 1, and keys are consumed.

References: Hinton, Dayan, Frey, Neal, "The wake-sleep algorithm for unsupervised neural networks"
(1995); Dayan, Hinton, Neal, Zemel, "The Helmholtz machine" (1995).
"""

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dbn_jax import numerics, pytrees, random, rbm
from dbn_jax.belief_nets import sbn
from dbn_jax.compilation import jit
from dbn_jax.train_state import Chains, State, apply_gradient, init_state  # noqa: F401, users find it here
from dbn_jax.typing import AnyArray, Array, Float, Key


@pytrees.dataclass
class HelmholtzMachine:
    """Two nets (`sbn.BeliefNet`) of the same units, in opposite orders.

    The observed units come last in the generative net and first in the recognition net, whose
    weights and biases for them are not used, and are not trained.
    """

    generative: Any  # a `sbn.BeliefNet`, or in optax's trees a word
    recognition: Any


def init(
    key: Key[Array, ""], sizes: tuple[int, ...], *, weight_scale: float = 0.1
) -> HelmholtzMachine:
    """Makes a machine of layers, from the top down to the observed one.

    Weights are drawn from N(0, weight_scale²), biases are zero. A layered recognition net takes the
    units of a layer to be independent given the layer below. To represent explaining away, replace
    it by an ``sbn.make(...)`` with connections within layers.
    """
    if len(sizes) < 2:
        raise ValueError(f"sizes is {sizes}; a machine needs a hidden and an observed layer")

    def net(key, sizes):
        shapes = list(itertools.pairwise(sizes))
        weights = tuple(
            weight_scale * jax.random.normal(layer_key, shape)
            for layer_key, shape in zip(random.split(key, len(shapes)), shapes, strict=True)
        )
        return sbn.layered(weights, tuple(jnp.zeros(size) for size in sizes))

    generative_key, recognition_key = random.split(key)
    return HelmholtzMachine(net(generative_key, sizes), net(recognition_key, sizes[::-1]))


def recognise(
    key: Key[Array, ""], machine: HelmholtzMachine, v: Float[AnyArray, "*batch V"]
) -> Float[Array, "*batch N"]:
    """Draws the hidden units from q(h | v); all units in the generative net's order, v the last."""
    return sbn.complete(key, machine.recognition, v[..., ::-1])[..., ::-1]


@jit
def log_recognition(
    machine: HelmholtzMachine, h: Float[AnyArray, "*batch H"], v: Float[AnyArray, "*batch V"]
) -> Float[Array, "*batch"]:
    """log q(h | v), nats."""
    x = numerics.as_floats(jnp.concatenate([h, v], axis=-1), machine.recognition.bias.dtype)
    x = x[..., ::-1]
    x, a = (y[..., v.shape[-1] :] for y in (x, sbn.inputs(machine.recognition, x)))
    return jnp.sum(x * a - numerics.softplus(a), axis=-1)


@jit
def bound(machine: HelmholtzMachine, v: Float[AnyArray, " V"]) -> Float[Array, ""]:
    """The variational bound on log p(v), nats, by enumeration (`sbn.completions`)."""
    num_hidden = machine.generative.num_units - len(v)
    x = jnp.concatenate([jnp.zeros(num_hidden, v.dtype), v])
    states = sbn.completions(x, np.arange(len(x)) >= num_hidden)
    log_q = log_recognition(machine, states[:, :num_hidden], states[:, num_hidden:])
    return jnp.sum(jnp.exp(log_q) * (sbn.log_prob(machine.generative, states) - log_q))


@jit(static_argnames="num_dreams")
def gradient(
    key: Key[Array, ""],
    machine: HelmholtzMachine,
    v: Float[AnyArray, "*batch V"],
    *,
    num_dreams: int | None = None,
) -> tuple[HelmholtzMachine, rbm.Metrics]:
    """The wake-sleep estimate of a descent direction for both nets.

    There are as many dreams as data, unless `num_dreams` says otherwise.

    Returns:
      A tree like `machine`, and the metrics `wake_loss` and `sleep_loss` (nats, what the phases
      descend, means of −log p(v, h) and of −log q(h | v)) and `bound` (nats, an unbiased estimate
      of the variational bound, averaged over the data).
    """
    num_visible = v.shape[-1]
    _check_nets(machine, num_visible)
    wake_key, sleep_key = random.split(key)
    wake = recognise(wake_key, machine, v)
    dreams = v.size // num_visible if num_dreams is None else num_dreams
    dream = sbn.sample(sleep_key, machine.generative, (dreams,))

    recognition = sbn.gradient(machine.recognition, dream[..., ::-1])
    hidden = jnp.arange(recognition.num_units) >= num_visible  # in the recognition net's order
    recognition = dataclasses.replace(
        recognition,
        weights=jnp.where(hidden[None, :], recognition.weights, 0),
        bias=jnp.where(hidden, recognition.bias, 0),
    )
    change = HelmholtzMachine(sbn.gradient(machine.generative, wake), recognition)

    def mean_log_q(x):
        return jnp.mean(log_recognition(machine, x[..., :-num_visible], x[..., -num_visible:]))

    log_p = jnp.mean(sbn.log_prob(machine.generative, wake))
    log_q, dream_log_q = mean_log_q(wake), mean_log_q(dream)
    return change, {"wake_loss": -log_p, "sleep_loss": -dream_log_q, "bound": log_p - log_q}


@jit(static_argnames=("optimizer", "num_dreams"))
def step(
    key: Key[Array, ""],
    state: State[HelmholtzMachine, Chains],
    v: Float[AnyArray, "*batch V"],
    *,
    optimizer: optax.GradientTransformation,
    num_dreams: int | None = None,
) -> tuple[State[HelmholtzMachine, Chains], rbm.Metrics]:
    """One update by wake-sleep; with the metrics of `gradient`."""
    change, metrics = gradient(key, state.params, v, num_dreams=num_dreams)
    return apply_gradient(state, change, optimizer), metrics


def _check_nets(machine, num_visible):
    sizes = machine.generative.num_units, machine.recognition.num_units
    if sizes[0] != sizes[1] or num_visible >= sizes[0]:
        raise ValueError(
            f"the nets have {sizes[0]} and {sizes[1]} units, and {num_visible} are observed; both "
            "need the same, and at least one hidden unit"
        )
