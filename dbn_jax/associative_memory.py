"""The associative memory: a top RBM that sees features of an image beside the image's label.

The visible units of the top RBM are ``Concat(parts=(features, Softmax(num_labels)))``: the last
features of the stack below, and one group of label units. It models images and labels jointly, and
is asked in three ways. Clamp a label, and Gibbs sampling generates images of that class. Clamp the
features of an image, and the label units recognise it. Clamp neither, and it dreams.

Nets are `dbn.DBN` or `dbn.UntiedDBN` whose top RBM `init_params` made; x stands for the visible
states of the top RBM, (..., F + L): features, then labels (`dbn.join`, `dbn.split`).

References: Hinton, Osindero, Teh, "A fast learning algorithm for deep belief nets" (2006), section
6; Hinton, "To recognize shapes, first learn to generate images" (2007).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax import dbn, random, rbm, units
from dbn_jax.typing import Array, Bool, Float, Int, Key


def visible_units(
    num_features: int, num_labels: int = 10, *, features: units.Units = units.Bernoulli()
) -> units.Concat:
    """Describes the visible units of an associative memory: features, then one label group.

    Args:
      num_features: F.
      num_labels: L.
      features: type of the features.
    """
    return units.Concat(
        parts=(features, units.Softmax(num_classes=num_labels)), sizes=(num_features, num_labels)
    )


def init_params(
    key: Key[Array, ""],
    num_features: int,
    num_hidden: int,
    num_labels: int = 10,
    *,
    features: units.Units = units.Bernoulli(),
    hidden: units.Units = units.Bernoulli(),
    weight_scale: float = 0.01,
    dtype=jnp.float32,
) -> rbm.RBM:
    """Makes a top RBM over features and a label; see `rbm.init_params`.

    Args:
      key: consumed.
      num_features: F, the hidden units of the layer below (or pixels, for a net of one layer).
      num_hidden: H.
      num_labels: L, the classes.
      features: type of the features.
      hidden: type of the hidden units.
      weight_scale: standard deviation of the initial weights.
      dtype: of all parameters.

    >>> top = init_params(jax.random.key(0), 500, 2000)
    >>> top.weights.shape
    (510, 2000)
    """
    return rbm.init_params(
        key,
        num_features + num_labels,
        num_hidden,
        visible=visible_units(num_features, num_labels, features=features),
        hidden=hidden,
        weight_scale=weight_scale,
        dtype=dtype,
    )


def require_labels(net: dbn.Net) -> int:
    """Returns the number of label units.

    Raises:
      ValueError: the net has none.
    """
    count = dbn.num_labels(net)
    if not count:
        raise ValueError(
            "the net has no label units: its top RBM must come from associative_memory.init_params"
        )
    return count


@functools.partial(jax.jit, inline=True)
def label_free_energies(net: dbn.Net, features: Float[Array, "*batch F"]) -> Float[Array, "..."]:
    """The top RBM's free energies of the features beside each label.

    Args:
      net: the net.
      features: (..., F) states of the features, or their means in their place.

    Returns:
      (..., L), nats: ``rbm.free_energy(net.top, dbn.join(net, features, one_hot))`` for each label.

    Raises:
      ValueError: the net has no label units.
    """
    num_labels = require_labels(net)
    top = net.top
    from_features, from_labels = _hidden_inputs(top, features, num_labels)
    features_part, labels_part = top.visible.parts

    def log_weight(label):
        weights, bias = label
        inputs = from_features + jnp.broadcast_to(weights, from_features.shape)
        return bias + top.hidden.cumulant(inputs)

    # One label after the other: all of them at once would need L times the hidden layer's memory.
    log_weights = jax.lax.map(log_weight, (from_labels, labels_part.bias))
    return features_part.energy(features)[..., None] - jnp.moveaxis(log_weights, 0, -1)


@functools.partial(jax.jit, inline=True)
def label_log_posterior(net: dbn.Net, features: Float[Array, "*batch F"]) -> Float[Array, "..."]:
    """log p(label | features) in the top RBM, exact: from the free energy beside each label.

    Args:
      net: the net.
      features: (..., F) states of the features, or their means in their place.

    Returns:
      (..., L), nats; exp of it sums to one.

    Raises:
      ValueError: the net has no label units.
    """
    return jax.nn.log_softmax(-label_free_energies(net, features))


@functools.partial(jax.jit, inline=True)
def classify(net: dbn.Net, v: Float[Array, "*batch V"]) -> Float[Array, "..."]:
    """log p(label | image): mean-field recognition, then exact free energies: (..., V) -> (..., L).

    Raises:
      ValueError: the net has no label units.
    """
    return label_log_posterior(net, dbn.recognise(net, v)[-1])


@functools.partial(jax.jit, static_argnames="num_passes", inline=True)
def classify_by_sampling(
    key: Key[Array, ""], net: dbn.Net, v: Float[Array, "*batch V"], num_passes: int = 20
) -> Float[Array, "..."]:
    """log p(label | image), its probabilities averaged over stochastic recognition passes.

    Args:
      key: consumed.
      net: the net.
      v: (..., V) pixels.
      num_passes: number of passes, at least 1.

    Returns:
      (..., L), nats.

    Raises:
      ValueError: the net has no label units, or there is no pass.
    """
    require_labels(net)

    def one_pass(key):
        return label_log_posterior(net, dbn.sample_recognition(key, net, v)[-1])

    return _average(key, one_pass, num_passes)


@functools.partial(jax.jit, static_argnames=("num_gibbs_steps", "num_passes"), inline=True)
def classify_by_gibbs(
    key: Key[Array, ""],
    net: dbn.Net,
    v: Float[Array, "*batch V"],
    num_gibbs_steps: int = 10,
    num_passes: int = 20,
) -> Float[Array, "..."]:
    """The tutorial's way: neutral labels, a stochastic pass up, a few iterations at the top.

    The features are clamped to their states; the label units start at 1/L and are then driven by
    the top layer and drive it, back and forth.

    Args:
      key: consumed.
      net: the net.
      v: (..., V) pixels.
      num_gibbs_steps: iterations after each pass, at least 1.
      num_passes: number of passes up, at least 1; each has features and iterations of its own.

    Returns:
      (..., L) log of the label units' probabilities, averaged over the second half of the
      iterations and over the passes.

    Raises:
      ValueError: the net has no label units, or there is no pass or no iteration.
    """
    num_labels = require_labels(net)
    rbm.check_steps(num_gibbs_steps)
    top = net.top
    _, labels_part = top.visible.parts

    def one_pass(key):
        up_key, label_key, top_key = random.split(key, 3)
        features = dbn.sample_recognition(up_key, net, v)[-1]
        from_features, from_labels = _hidden_inputs(top, features, num_labels)

        def step(t, carry):
            labels, total = carry
            h_key = random.fold_in(top_key, t)
            h = top.hidden.sample(h_key, from_features + labels @ from_labels)
            inputs = top.hidden.statistic(h) @ from_labels.T
            log_p = jax.nn.log_softmax(inputs + jnp.broadcast_to(labels_part.bias, inputs.shape))
            labels = labels_part.sample(random.fold_in(label_key, t), inputs)
            return labels, jnp.where(t < num_gibbs_steps // 2, total, jnp.logaddexp(total, log_p))

        neutral = dbn.split(net, dbn.join(net, features))[1]
        start = neutral, jnp.full_like(neutral, -jnp.inf)
        return jax.nn.log_softmax(jax.lax.fori_loop(0, num_gibbs_steps, step, start)[1])

    return _average(key, one_pass, num_passes)


def labels_mask(net: dbn.Net) -> Bool[Array, " V"]:
    """True at the label units among the visible units of the top RBM: (F + L,)."""
    num_labels = require_labels(net)
    size = net.top.visible.num_units
    return jnp.arange(size) >= size - num_labels


def clamped_gibbs(
    key: Key[Array, ""],
    params: rbm.RBM,
    x: Float[Array, "*batch V"],
    clamped: Bool[Array, "..."],
    num_steps: int | Int[Array, ""],
) -> tuple[Float[Array, "*batch V"], Float[Array, "*batch H"]]:
    """Gibbs sampling of an RBM with any subset of its visible units held as they are.

    Args:
      key: consumed.
      params: any RBM.
      x: (..., V) visible states; where the chains start, and what is clamped.
      clamped: (V,), or (..., V) for subsets of each chain's own: True where x stays. A group of
        softmax units is clamped whole or not at all.
      num_steps: alternations of hidden and visible units, at least 1. It may be traced.

    Returns:
      The last x (..., V), and the hidden states h (..., H) from which it was drawn.

    Raises:
      ValueError: `num_steps` is known, and below 1.
    """
    rbm.check_steps(num_steps)
    clamped = jnp.broadcast_to(clamped, x.shape)

    def step(t, carry):
        x, _ = carry
        up_key, down_key = random.split(random.fold_in(key, t))
        h = rbm.sample_hidden(up_key, params, x)
        return jnp.where(clamped, x, rbm.sample_visible(down_key, params, h)), h

    shape = (*x.shape[:-1], params.hidden.num_units)
    return jax.lax.fori_loop(0, num_steps, step, (x, jnp.zeros(shape, x.dtype)))


def generate(
    key: Key[Array, ""],
    net: dbn.Net,
    x: Float[Array, "*batch V"],
    clamped: Bool[Array, "..."],
    num_gibbs_steps: int | Int[Array, ""],
) -> tuple[Float[Array, "..."], Float[Array, "*batch V"]]:
    """Generates images: Gibbs sampling in the top RBM with units clamped, then one pass down.

    With ``labels_mask(net)`` clamped: images of chosen classes. With nothing clamped and x from an
    image (``dbn.join(net, dbn.sample_recognition(key, net, v)[-1])``): what the image makes the net
    think of.

    Args:
      key: consumed.
      net: the net.
      x: (..., F + L), where the chains start.
      clamped: see `clamped_gibbs`.
      num_gibbs_steps: of the top RBM.

    Returns:
      The pixels' means, (..., V), and x, (..., F + L), from which the chains can go on.
    """
    gibbs_key, down_key = random.split(key)
    x, h = clamped_gibbs(gibbs_key, net.top, x, clamped, num_gibbs_steps)
    return dbn.pixel_means(down_key, net, x, h), x


def start_from_labels(
    key: Key[Array, ""], net: dbn.Net, labels: Int[Array, "*batch"]
) -> Float[Array, "..."]:
    """Random features beside chosen labels, to start label-clamped chains: (...) -> (..., F + L).

    Features are drawn from their biases alone.

    Raises:
      ValueError: the net has no label units, or none for one of the labels.
    """
    num_labels = require_labels(net)
    if not isinstance(labels, jax.core.Tracer):
        unknown = np.setdiff1d(labels, np.arange(num_labels))
        if unknown.size:
            raise ValueError(f"there is no label {unknown[0]}; the net's are 0 to {num_labels - 1}")
    features_part, _ = net.top.visible.parts
    inputs = jnp.zeros((*labels.shape, features_part.num_units), net.top.weights.dtype)
    one_hot = jax.nn.one_hot(labels, num_labels, dtype=inputs.dtype)
    return dbn.join(net, features_part.sample(key, inputs), one_hot)


def _hidden_inputs(top, features, num_labels):
    """The top layer's inputs from features, (..., H), and from each label alone, (L, H)."""
    features_part, _ = top.visible.parts
    return features_part.statistic(features) @ top.weights[:-num_labels], top.weights[-num_labels:]


def _average(key, one_pass, num_passes):
    """Log of the mean probability over passes, of which each has a key: (..., L)."""
    if num_passes < 1:
        raise ValueError(f"num_passes is {num_passes}; it must be at least 1")

    def add(t, total):
        return jnp.logaddexp(total, one_pass(random.fold_in(key, t)))

    total = jax.lax.fori_loop(1, num_passes, add, one_pass(random.fold_in(key, 0)))
    return total - jnp.log(jnp.asarray(num_passes, total.dtype))
