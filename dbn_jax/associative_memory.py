"""The associative memory: a net whose top RBM sees features of an image beside the image's label.

The top RBM, made by `label_units.init_params`, models images and labels jointly, and the net is
asked in three ways. Clamp a label, and Gibbs sampling generates images of that class. Clamp the
features of an image, and the label units recognise it. Clamp neither, and it dreams.

Keys are consumed; "..." are batch axes; V pixels, F features, L labels; x stands for the visible
states of the top RBM, X = F + L: features, then labels (`label_units.join`, `label_units.split`);
log-probabilities in nats. Label units that are needed and missing are a ValueError. The chains of a
good net need hundreds of Gibbs steps to forget their start.

References: Hinton, Osindero, Teh, "A fast learning algorithm for deep belief nets" (2006), section
6; Hinton, "To recognize shapes, first learn to generate images" (2007).
"""

import jax
import jax.numpy as jnp

from dbn_jax import clamping, dbn, label_units, numerics, precision, random, rbm
from dbn_jax.compilation import jit, jit_checking
from dbn_jax.typing import AnyArray, Array, Bool, Float, Int, Key


@precision.full
def classify(net: dbn.Net, v: Float[AnyArray, "*batch V"]) -> Float[Array, "*batch L"]:
    """log p(label | image): mean-field recognition, then the exact posterior given the features."""
    return label_units.log_posterior(net.top, dbn.recognise(net, v)[-1])


@jit(static_argnames="num_passes")
@precision.full
def classify_by_sampling(
    key: Key[Array, ""], net: dbn.Net, v: Float[AnyArray, "*batch V"], num_passes: int = 20
) -> Float[Array, "*batch L"]:
    """log p(label | image), its probabilities averaged over stochastic recognition passes."""

    def one_pass(key):
        return label_units.log_posterior(net.top, dbn.sample_recognition(key, net, v)[-1])

    return _average(key, one_pass, num_passes, v)


@jit(static_argnames=("num_gibbs_steps", "num_passes"))
@precision.full
def classify_by_gibbs(
    key: Key[Array, ""],
    net: dbn.Net,
    v: Float[AnyArray, "*batch V"],
    num_gibbs_steps: int = 10,
    num_passes: int = 20,
) -> Float[Array, "*batch L"]:
    """The tutorial's way: neutral labels, a stochastic pass up, a few iterations at the top.

    The features are clamped to their states; the label units start at 1/L and are then driven by
    the top layer and drive it, back and forth. The log is that of their probabilities, averaged
    over the second half of the iterations and over the passes.
    """
    rbm.check_steps(num_gibbs_steps)
    of_features, of_labels = label_units.parts(net.top)
    hidden, label = net.top.hidden, of_labels.visible

    def one_pass(key):
        up_key, label_key, top_key = random.split(key, 3)
        features = dbn.sample_recognition(up_key, net, v)[-1]
        from_features = rbm.hidden_inputs(of_features, features)

        def step(t, carry):
            labels, total = carry
            from_both = from_features + rbm.hidden_inputs(of_labels, labels)
            h = hidden.sample(random.fold_in(top_key, t), from_both)
            inputs = rbm.visible_inputs(of_labels, h)
            log_p = jax.nn.log_softmax(inputs + jnp.broadcast_to(label.bias, inputs.shape))
            labels = label.sample(random.fold_in(label_key, t), inputs)
            return labels, jnp.where(t < num_gibbs_steps // 2, total, jnp.logaddexp(total, log_p))

        _, neutral = label_units.split(net.top, label_units.join(net.top, features))
        start = neutral, jnp.full_like(neutral, -jnp.inf)
        return jax.nn.log_softmax(jax.lax.fori_loop(0, num_gibbs_steps, step, start)[1])

    return _average(key, one_pass, num_passes, v)


def _average(key, one_pass, num_passes, v):
    """Log of the mean probability over passes, of which each has a key."""
    if num_passes < 1:
        raise ValueError(f"num_passes is {num_passes}; it must be at least 1")

    def add(t, total):
        return jnp.logaddexp(total, one_pass(random.fold_in(key, t)))

    total = jax.lax.fori_loop(1, num_passes, add, one_pass(random.fold_in(key, 0)))
    answers = total - jnp.log(jnp.asarray(num_passes, total.dtype))
    # Sampled states are finite even where the image is not.
    return jnp.where(jnp.all(jnp.isfinite(v), axis=-1, keepdims=True), answers, jnp.nan)


@jit_checking({"num_gibbs_steps": rbm.check_steps})
def generate(
    key: Key[Array, ""],
    net: dbn.Net,
    x: Float[AnyArray, "*batch X"],
    clamped: Bool[Array, "..."],
    num_gibbs_steps: int | Int[Array, ""],
) -> tuple[Float[Array, "*batch V"], Float[Array, "*batch X"]]:
    """Generates images: Gibbs sampling in the top RBM with units clamped, then one pass down.

    With ``label_units.mask(net.top)`` clamped: images of chosen classes. With nothing clamped and x
    from an image (``label_units.join(net.top, dbn.sample_recognition(key, net, v)[-1])``): what the
    image makes the net think of.

    Returns:
      The pixels' means, and the x from which the chains can go on.
    """
    gibbs_key, down_key = random.split(key)
    x, h = clamping.gibbs(gibbs_key, net.top, x, clamped, num_gibbs_steps)
    return dbn.pixel_means(down_key, net, x, h), x


@jit_checking({"num_gibbs_steps": rbm.check_steps}, static_argnames="num_samples")
def generate_classes(
    key: Key[Array, ""], net: dbn.Net, num_samples: int, num_gibbs_steps: int | Int[Array, ""]
) -> Float[Array, "L samples V"]:
    """Generates images of every class, each by its own chain, which starts at random features."""
    start_key, chain_key = random.split(key)
    labels = jnp.repeat(jnp.arange(dbn.num_labels(net)), num_samples)
    x = start_from_labels(start_key, net, labels)
    pixels, _ = generate(chain_key, net, x, label_units.mask(net.top), num_gibbs_steps)
    return pixels.reshape(-1, num_samples, pixels.shape[-1])


def start_from_labels(
    key: Key[Array, ""], net: dbn.Net, labels: Int[Array, "*batch"]
) -> Float[Array, "*batch X"]:
    """Features drawn from their biases alone, beside chosen labels: starts label-clamped chains."""
    num_labels, dtype = label_units.require(net.top), net.top.weights.dtype
    features = label_units.without(net.top).visible
    inputs = jnp.zeros((*labels.shape, features.num_units), dtype)
    labels = numerics.one_hot(labels, num_labels, dtype)
    return label_units.join(net.top, features.sample(key, inputs), labels)
