"""Contrastive wake-sleep, the up-down algorithm: fine-tuning of a whole deep belief net.

Greedy learning leaves every layer as it was before the layers above it existed. Up-down goes on
with recognition and generation untied:

- up (wake): images are recognised by stochastic passes; the generative weights learn to predict
  each layer from the layer above, by the delta rule;
- at the top, the RBM learns by contrastive divergence from the wake states, labels included;
- down (sleep): from the end of that chain the net dreams down to the pixels, and the recognition
  weights learn to predict each dreamt layer from the layer below.

Unlike the wake-sleep algorithm, the dream starts near the data, so that recognition is not learnt
for images that only a bad generative model makes, and modes are not averaged.

The net can learn to tell labels apart as well, a hybrid of generative and discriminative learning:
the top RBM from the exact posterior of the label given the wake states (`label_cost`). Recognition
below it stays what the sleep phase makes of it, unless there is an `adversarial_radius`: then the
recognition weights learn from the label too, and both learn answers that stay the same when an
image moves the worst way.

References: Hinton, Osindero, Teh, "A fast learning algorithm for deep belief nets" (2006), section
5 and appendix B; Larochelle and Bengio, "Classification using discriminative restricted Boltzmann
machines" (2008), section 5, for the hybrid; Miyato et al., "Distributional smoothing with virtual
adversarial training" (2016).
"""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import optax

from dbn_jax import associative_memory, dbn, label_units, random, rbm
from dbn_jax.learning import virtual_adversarial
from dbn_jax.typing import Array, Float, Int, Key, Num


def gradient(
    key: Key[Array, ""],
    net: dbn.UntiedDBN,
    v: Num[Array, "*batch V"],
    labels: Float[Array, "*batch L"] | None = None,
    *,
    num_gibbs_steps: int | Int[Array, ""] = 1,
    label_cost: float = 0.0,
    adversarial_radius: float = 0.0,
) -> tuple[dbn.UntiedDBN, rbm.Metrics]:
    """The up-down estimate of a descent direction for all weights.

    Recognised states are samples, as published; the top RBM's statistics and the dreamt pixels
    are probabilities.

    Args:
      key: consumed.
      net: from `dbn.untie`.
      v: (..., V) pixels.
      labels: (..., L) one-hot labels, for a net with label units.
      num_gibbs_steps: of the top RBM, from the wake states; published: 3, later 6, then 10. It
        may be traced.
      label_cost: times −log p(label | wake features), in the top RBM, is added to what it
        descends; 0 is the published algorithm.
      adversarial_radius: above 0, with p(label | v) by mean-field recognition
        (`associative_memory.classify`), `label_cost` times −log p(label | v) is added for the
        recognition weights, and times `smoothness.penalty` of this radius for these and the top
        RBM. A radius that tends to 0 still leaves the former, which a radius of 0 does not have.

    Returns:
      A tree like `net`, and the metrics `reconstruction_error` (of the pixels' means given the
      first hidden states; squared, summed over the pixels), `wake_loss` and `sleep_loss` (nats,
      −log-probabilities of the states that the generative and recognition weights predict,
      summed over the layers), those of the top RBM, as `rbm.contrastive_gradient` names them, and,
      where they have a cost, `label_loss` and `adversarial_divergence` (nats).

    Raises:
      ValueError: the net has label units, and `labels` is missing; or it has none, and they have
        a cost; or there is an adversarial radius without a cost; or the number of pixels is
        another, or that of iterations is known, and below 1.
      TypeError: the pixels are integers.
    """
    rbm.check_steps(num_gibbs_steps)
    return _gradient(key, net, v, labels, num_gibbs_steps, label_cost, adversarial_radius)


@functools.partial(jax.jit, static_argnums=(5, 6), inline=True)
def _gradient(key, net, v, labels, num_gibbs_steps, label_cost, adversarial_radius):
    v = dbn.as_pixels(net, v)
    label_units.check(net.top, labels)
    if adversarial_radius and not label_cost:
        raise ValueError(
            f"adversarial_radius is {adversarial_radius}, but label_cost, its weight, is 0: set "
            "a label_cost above 0, or leave the radius at 0"
        )
    up_key, top_key, fantasy_key, down_key, label_key = random.split(key, 5)
    wake = dbn.sample_recognition(up_key, net, v)

    x = label_units.join(net.top, wake[-1], labels)
    inputs = rbm.hidden_inputs(net.top, x)
    h = net.top.hidden.sample(top_key, inputs)
    fantasy, _, fantasy_inputs = rbm.gibbs_from_hidden(fantasy_key, net.top, h, num_gibbs_steps)
    top, metrics = rbm.contrastive_gradient(net.top, x, inputs, fantasy, fantasy_inputs)

    dream = dbn.sample_generation(down_key, net, label_units.split(net.top, fantasy)[0])

    def wake_loss(generative):
        losses = [
            -jnp.mean(layer.visible.log_prob(below, rbm.visible_inputs(layer, above)))
            for layer, (below, above) in zip(generative, itertools.pairwise(wake), strict=True)
        ]
        return sum(losses, start=jnp.zeros((), v.dtype))

    def sleep_loss(recognition):
        losses = [
            -jnp.mean(layer.hidden.log_prob(above, rbm.hidden_inputs(layer, below)))
            for layer, (below, above) in zip(recognition, itertools.pairwise(dream), strict=True)
        ]
        return sum(losses, start=jnp.zeros((), v.dtype))

    wake_value, generative = jax.value_and_grad(wake_loss)(net.generative)
    sleep_value, recognition = jax.value_and_grad(sleep_loss)(net.recognition)
    if net.generative:
        means = rbm.visible_mean(net.generative[0], wake[1])
    else:
        means = label_units.split(net.top, net.top.visible.mean(rbm.visible_inputs(net.top, h)))[0]
    metrics |= {
        "reconstruction_error": jnp.mean(jnp.sum((v - means) ** 2, axis=-1)),
        "wake_loss": wake_value,
        "sleep_loss": sleep_value,
    }
    change = dbn.UntiedDBN(recognition, generative, top)
    if label_cost:
        more, label_metrics = _label_gradient(
            label_key, net, v, labels, wake[-1], adversarial_radius
        )
        change = jax.tree.map(lambda a, b: a + label_cost * b, change, more)
        metrics |= label_metrics
    return change, metrics


def _label_gradient(key, net, v, labels, features, adversarial_radius):
    """Of what label_cost weighs: a tree like `net`, and the metrics."""

    def loss(net):
        value = _cross_entropy(labels, label_units.log_posterior(net.top, features))
        metrics = {"label_loss": value}
        if adversarial_radius:
            # The top RBM has learnt from the features already: here the label is for recognition.
            fixed = dataclasses.replace(net, top=jax.lax.stop_gradient(net.top))
            log_p = associative_memory.classify(fixed, v)
            classify = functools.partial(associative_memory.classify, net)
            divergence = jnp.mean(
                virtual_adversarial.penalty(key, classify, v, log_p, adversarial_radius)
            )
            metrics["adversarial_divergence"] = divergence
            value += divergence + _cross_entropy(labels, log_p)
        return value, metrics

    return jax.grad(loss, has_aux=True)(net)


def _cross_entropy(labels, log_p):
    return -jnp.mean(jnp.sum(labels * log_p, axis=-1))


def init_state(net: dbn.Net, optimizer: optax.GradientTransformation) -> rbm.State:
    """Starts fine-tuning of a net, untied: `State.params` is a `dbn.UntiedDBN`."""
    net = dbn.untie(net)
    return rbm.State(net, optimizer.init(net), jnp.zeros((), jnp.int32))


def step(
    key: Key[Array, ""],
    state: rbm.State,
    v: Num[Array, "*batch V"],
    labels: Float[Array, "*batch L"] | None = None,
    *,
    optimizer: optax.GradientTransformation,
    num_gibbs_steps: int | Int[Array, ""] = 1,
    label_cost: float = 0.0,
    adversarial_radius: float = 0.0,
) -> tuple[rbm.State, rbm.Metrics]:
    """One update by the up-down algorithm (`gradient`).

    Args:
      key: consumed.
      state: from `init_state`.
      v: (..., V) pixels.
      labels: (..., L) one-hot labels, for a net with label units.
      optimizer: the one that `state` was made with.
      num_gibbs_steps: of the top RBM.
      label_cost: see `gradient`.
      adversarial_radius: likewise.

    Returns:
      The new state, and the metrics of `gradient`.
    """
    rbm.check_steps(num_gibbs_steps)
    return _step(key, state, v, labels, optimizer, num_gibbs_steps, label_cost, adversarial_radius)


@functools.partial(jax.jit, static_argnums=(4, 6, 7), inline=True)
def _step(key, state, v, labels, optimizer, num_gibbs_steps, label_cost, adversarial_radius):
    change, metrics = _gradient(
        key, state.params, v, labels, num_gibbs_steps, label_cost, adversarial_radius
    )
    return rbm.apply_gradient(state, change, optimizer), metrics
