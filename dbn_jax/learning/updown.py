"""Contrastive wake-sleep, the up-down algorithm: fine-tuning of a whole deep belief net.

Greedy learning does not change a layer once the layers above it are trained. Up-down trains all
layers together, with separate weights for recognition and for generation:

- wake: images are recognised, layer by layer, and the generative weights learn to predict each
  layer from the layer above, by the delta rule;
- at the top, the RBM learns by contrastive divergence from the recognised states, labels included;
- sleep: from the end of that chain the net generates an image, and the recognition weights learn to
  predict each generated layer from the layer below.

The sleep phase of plain wake-sleep starts at a sample of the model. Here it starts near the data:
recognition is not trained on images that only a bad model generates, and it does not average modes.

Two terms can make the net a better classifier. `label_cost` adds −log p(label | recognised states)
of the top RBM, as in a hybrid of generative and discriminative learning. This changes the top RBM
alone; below it, recognition still learns in the sleep phase only. `adversarial_radius` lets the
recognition weights learn from the labels too, and adds virtual adversarial training for them and
for the top RBM: a penalty on answers that change with the worst small perturbation of an image.

Keys are consumed; "..." are batch axes; V pixels, L labels; losses in nats.

References: Hinton, Osindero, Teh, "A fast learning algorithm for deep belief nets" (2006), section
5 and appendix B; Larochelle and Bengio, "Classification using discriminative restricted Boltzmann
machines" (2008), section 5, for the hybrid; Miyato et al., "Distributional smoothing with virtual
adversarial training" (2016).
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax

from dbn_jax import dbn, label_units, random, rbm, sharded
from dbn_jax.compilation import jit
from dbn_jax.examples import Examples
from dbn_jax.learning import virtual_adversarial
from dbn_jax.typing import AnyArray, Array, Float, Int, Key, Num


def gradient(
    key: Key[Array, ""],
    net: dbn.UntiedDBN,
    v: Num[AnyArray, "*batch V"] | Examples[AnyArray],
    labels: Float[Array, "*batch L"] | None = None,
    *,
    num_gibbs_steps: int | Int[Array, ""] = 1,
    label_cost: float = 0.0,
    adversarial_radius: float = 0.0,
) -> tuple[dbn.UntiedDBN, rbm.Metrics]:
    """The up-down estimate of a descent direction for all weights.

    Recognised states are samples, as published; the top RBM's statistics and the generated pixels
    are probabilities. Not compiled by itself: call it inside `jax.jit`, as `step` does.

    Args:
      v: images, or `Examples` with weights; raises as `rbm.as_batch`.
      labels: one-hot, for a net with label units.
      num_gibbs_steps: of the top RBM, from the wake states; published: 3, later 6, then 10. It
        may be traced.
      label_cost: weight of the label terms; 0 is the published algorithm.
      adversarial_radius: length of the perturbations of images. Above 0 it adds two label terms to
        −log p(label | wake states): −log p(label | v) by mean-field recognition, which trains the
        recognition weights only, and `virtual_adversarial.penalty`. As the radius tends to 0 the
        penalty vanishes, but the former term stays.

    Returns:
      A tree like `net`, and the metrics `reconstruction_error` (of the pixels' means given the
      first hidden states; squared, summed over the pixels), `wake_loss` and `sleep_loss`
      (−log-probabilities of the states that the generative and recognition weights predict,
      summed over the layers), those of the top RBM, as `rbm.contrastive_gradient` names them, and,
      where they have a cost, `label_loss` and `adversarial_divergence`.
    """
    examples = dbn.as_pixels(net, v)
    v = examples.values
    label_units.check(net.top, labels)
    _check_settings(num_gibbs_steps, label_cost, adversarial_radius)
    up_key, top_key, gibbs_key, down_key, label_key = random.split(key, 5)

    wake = dbn.sample_recognition(up_key, net, v)
    x = label_units.join(net.top, wake[-1], labels)
    inputs = rbm.hidden_inputs(net.top, x)
    h = net.top.hidden.sample(top_key, inputs)
    end, _, end_inputs = rbm.gibbs_from_hidden(gibbs_key, net.top, h, num_gibbs_steps)
    sleep = dbn.sample_generation(down_key, net, label_units.split(net.top, end)[0])

    varying = sharded.match_varying(v, net)

    def wake_loss(generative):
        return -examples.mean(dbn.log_generative(generative, wake))

    def sleep_loss(recognition):
        return -examples.mean(dbn.log_recognition(recognition, sleep))

    wake_value, generative = jax.value_and_grad(wake_loss)(varying.generative)
    sleep_value, recognition = jax.value_and_grad(sleep_loss)(varying.recognition)
    data, fantasies = examples.with_values(x), examples.with_values(end)
    top, metrics = rbm.contrastive_gradient(net.top, data, inputs, fantasies, end_inputs)
    change = dbn.UntiedDBN(recognition, generative, top)
    if label_cost:
        loss = functools.partial(
            _label_loss, label_key, examples, labels, wake[-1], adversarial_radius
        )
        more, label_metrics = jax.grad(loss, has_aux=True)(varying)
        change = jax.tree.map(lambda a, b: a + label_cost * b, change, more)
        metrics |= label_metrics

    if net.generative:
        means = rbm.visible_mean(net.generative[0], wake[1])
    else:
        means = dbn.down_pass(net, h)
    return change, metrics | {
        "reconstruction_error": examples.mean(jnp.sum((v - means) ** 2, axis=-1)),
        "wake_loss": wake_value,
        "sleep_loss": sleep_value,
    }


def _check_settings(num_gibbs_steps, label_cost, adversarial_radius):
    rbm.check_steps(num_gibbs_steps)
    if adversarial_radius and not label_cost:
        raise ValueError(
            f"adversarial_radius is {adversarial_radius}, but label_cost, its weight, is 0: set "
            "a label_cost above 0, or leave the radius at 0"
        )


def _label_loss(key, examples, labels, features, adversarial_radius, net):
    """The loss that `label_cost` multiplies, and the metrics."""

    def cross_entropy(log_p):
        return -examples.mean(jnp.sum(labels * log_p, axis=-1))

    loss, v = cross_entropy(_log_posterior(net.top, features)), examples.values
    metrics = {"label_loss": loss}
    if adversarial_radius:
        # The top RBM has learnt from the features already: here the label is for recognition.
        fixed = dataclasses.replace(net, top=jax.lax.stop_gradient(net.top))
        log_p = _classify(fixed, v)
        classify = functools.partial(_classify, net)
        penalty = virtual_adversarial.penalty(key, classify, v, log_p, adversarial_radius)
        metrics["adversarial_divergence"] = examples.mean(penalty)
        loss += metrics["adversarial_divergence"] + cross_entropy(log_p)
    return loss, metrics


def _log_posterior(top, features):
    inputs = rbm.hidden_inputs(label_units.without(top), features)
    return jax.nn.log_softmax(-label_units.free_energies_given(top, features, inputs))


def _classify(net, v):
    return _log_posterior(net.top, dbn.recognise(net, v)[-1])


def init_state(
    net: dbn.Net, optimizer: optax.GradientTransformation
) -> rbm.State[dbn.UntiedDBN, None]:
    """Starts fine-tuning of a net, untied: `State.params` is a `dbn.UntiedDBN`."""
    return rbm.init_state(dbn.untie(net), optimizer)


@jit(static_argnames=("optimizer", "num_gibbs_steps", "label_cost", "adversarial_radius"))
def step(
    key: Key[Array, ""],
    state: rbm.State[dbn.UntiedDBN, None],
    v: Num[AnyArray, "*batch V"] | Examples[AnyArray],
    labels: Float[Array, "*batch L"] | None = None,
    *,
    optimizer: optax.GradientTransformation,
    num_gibbs_steps: int = 1,
    label_cost: float = 0.0,
    adversarial_radius: float = 0.0,
) -> tuple[rbm.State[dbn.UntiedDBN, None], rbm.Metrics]:
    """One update along `gradient`, whose settings and metrics these are.

    If the number of Gibbs steps changes while learning, trace it: call `gradient` and
    `rbm.apply_gradient` in a compiled function of your own.
    """
    change, metrics = gradient(
        key,
        state.params,
        v,
        labels,
        num_gibbs_steps=num_gibbs_steps,
        label_cost=label_cost,
        adversarial_radius=adversarial_radius,
    )
    return rbm.apply_gradient(state, change, optimizer), metrics
