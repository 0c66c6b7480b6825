"""Deep belief nets: a stack of RBMs, learnt one layer at a time.

The net's generative model is directed down to the pixels but for its top RBM, which is an
associative memory:

    p(v, h¹, …, hᴸ) = p(v | h¹) ⋯ p(hᴸ⁻² | hᴸ⁻¹) p(hᴸ⁻¹, hᴸ).

Layer l of the stack is an RBM whose visible units are the hidden units of layer l − 1. Going down,
its weights generate; going up, they recognise, which is exact only for the layer's own RBM.

References: Hinton, Osindero, Teh, "A fast learning algorithm for deep belief nets" (2006); Hinton,
"To recognize shapes, first learn to generate images" (2007).
"""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp

from dbn_jax import pytrees, random, rbm, units
from dbn_jax.typing import Array, Float, Int, Key


@pytrees.dataclass
class DBN:
    """A stack of RBMs; what recognises and what generates are the same weights.

    Attributes:
      layers: the RBMs, from the pixels up; the top one is the associative memory. Its visible
        units may be ``Concat(parts=(features, Softmax(...)), ...)``, label units beside the last
        features (`dbn_jax.associative_memory`).
    """

    layers: tuple[rbm.RBM, ...]

    @property
    def recognition(self) -> tuple[rbm.RBM, ...]:
        """The layers below the top RBM, as they are used on the way up."""
        return self.layers[:-1]

    @property
    def generative(self) -> tuple[rbm.RBM, ...]:
        """The layers below the top RBM, as they are used on the way down."""
        return self.layers[:-1]

    @property
    def top(self) -> rbm.RBM:
        """The top RBM."""
        return self.layers[-1]


@pytrees.dataclass
class UntiedDBN:
    """A net whose weights for recognition and for generation have parted (`learning.updown`).

    Attributes:
      recognition: of these RBMs only weights and hidden biases are used, on the way up.
      generative: of these only weights and visible units' parameters, on the way down.
      top: the top RBM, whose weights work both ways.
    """

    recognition: tuple[rbm.RBM, ...]
    generative: tuple[rbm.RBM, ...]
    top: rbm.RBM


Net = DBN | UntiedDBN


def stack(layers: tuple[rbm.RBM, ...]) -> DBN:
    """Makes a net of RBMs that were learnt one after the other.

    Raises:
      ValueError: there is no layer, or neighbours do not fit each other.
    """
    if not layers:
        raise ValueError("a deep belief net needs at least one layer")
    for i, (below, above) in enumerate(itertools.pairwise(layers)):
        features = above.visible.num_units
        if i + 2 == len(layers):
            features -= _num_labels(above)
        if below.hidden.num_units != features:
            raise ValueError(
                f"layer {i} has {below.hidden.num_units} hidden units, but layer {i + 1} has "
                f"{features} visible ones; they are the same units"
            )
    return DBN(tuple(layers))


@functools.partial(jax.jit, inline=True)
def upside_down(params: rbm.RBM, below: rbm.RBM) -> rbm.RBM:
    """Starts a layer as the one below turned upside down, so that the net's model stays what it is.

    The features get the biases of the hidden units below, the first V hidden units the transposed
    weights and the biases of the visible units below; all else stays. With zero weights there, the
    variational bound begins at the log-likelihood that the layers below have by themselves, and
    with small ones close to it; learning raises it from there (Hinton, Osindero, Teh 2006, sections
    3 and 4).

    Args:
      params: the new layer, (F, H) or with label units (F + L, H), such as `rbm.init_params` makes.
      below: the layer below, (V, F), with V ≤ H.

    Raises:
      ValueError: sizes or types of units do not fit.
    """
    labels = _num_labels(params)
    features = params.visible.parts[0] if labels else params.visible
    hidden = params.hidden
    num_visible, num_features = below.weights.shape
    size, num_hidden = params.weights.shape[0] - labels, params.weights.shape[1]
    if size != num_features or num_hidden < num_visible:
        raise ValueError(
            f"a layer of {size} features and {num_hidden} hidden units cannot start as one of "
            f"{num_visible} visible and {num_features} hidden units turned upside down: it needs "
            f"{num_features} features and at least {num_visible} hidden units"
        )
    if type(features) is not type(below.hidden) or type(hidden) is not type(below.visible):
        raise ValueError(
            f"a layer of {type(features).__name__} features and {type(hidden).__name__} hidden "
            f"units cannot start as one of {type(below.visible).__name__} visible and "
            f"{type(below.hidden).__name__} hidden units turned upside down"
        )

    def replace_first(x, y):
        return x.at[: y.shape[0]].set(y)

    features = jax.tree.map(replace_first, features, below.hidden)
    return rbm.RBM(
        weights=params.weights.at[:num_features, :num_visible].set(below.weights.T),
        visible=dataclasses.replace(params.visible, parts=(features, *params.visible.parts[1:]))
        if labels
        else features,
        hidden=jax.tree.map(replace_first, hidden, below.visible),
    )


def untie(net: Net) -> UntiedDBN:
    """Gives recognition and generation weights of their own, equal at first."""
    return UntiedDBN(net.recognition, net.generative, net.top)


def num_labels(net: Net) -> int:
    """Number of label units beside the features of the top RBM; 0 without."""
    return _num_labels(net.top)


def num_pixels(net: Net) -> int:
    """Number of units that see an image: the visible ones of the first layer."""
    if net.generative:
        return net.generative[0].visible.num_units
    return net.top.visible.num_units - num_labels(net)


def as_pixels(net: Net, v: Array) -> Float[Array, "*batch V"]:
    """Checks images and gives them the parameters' dtype; raises what `rbm.as_batch` does."""
    weights = net.recognition[0].weights if net.recognition else net.top.weights
    return rbm.as_batch(dataclasses.replace(net.top, weights=weights[: num_pixels(net)]), v)


def _num_labels(top):
    match top.visible:
        case units.Concat(parts=(_, units.Softmax()), sizes=(_, count)):
            return count
    return 0


def check_labels(net: Net, labels: Array | None) -> None:
    """Raises ValueError if the net has label units, and their states are not given."""
    if labels is None and num_labels(net):
        raise ValueError(f"the net has {num_labels(net)} label units: give the labels' states")


@functools.partial(jax.jit, inline=True)
def recognise(net: Net, v: Float[Array, "*batch V"]) -> tuple[Float[Array, "..."], ...]:
    """Mean-field recognition up to the top RBM's features.

    Args:
      net: the net.
      v: (..., V) pixels.

    Returns:
      The pixels, then each layer's means given the means of the layer below; the last are the
      features that the top RBM sees.
    """
    means = [v]
    for layer in net.recognition:
        means.append(rbm.hidden_mean(layer, means[-1]))
    return tuple(means)


@functools.partial(jax.jit, inline=True)
def sample_recognition(
    key: Key[Array, ""], net: Net, v: Float[Array, "*batch V"]
) -> tuple[Float[Array, "..."], ...]:
    """Stochastic recognition up to the top RBM's features.

    Args:
      key: consumed.
      net: the net.
      v: (..., V) pixels.

    Returns:
      The pixels, then each layer's states given the states of the layer below.
    """
    states = [v]
    for layer, layer_key in zip(net.recognition, _keys(key, net), strict=True):
        states.append(rbm.sample_hidden(layer_key, layer, states[-1]))
    return tuple(states)


@functools.partial(jax.jit, inline=True)
def sample_generation(
    key: Key[Array, ""], net: Net, features: Float[Array, "*batch F"]
) -> tuple[Float[Array, "..."], ...]:
    """Ancestral sampling from the top RBM's features down to the pixels.

    Args:
      key: consumed.
      net: the net.
      features: (..., F) states of the top RBM's features.

    Returns:
      The pixels' means given the states above them, as the tutorial shows them; then the states of
      each layer up to `features`. As many as `sample_recognition` returns.
    """
    states = [features]
    layers_and_keys = list(zip(net.generative, _keys(key, net), strict=True))
    for i, (layer, layer_key) in reversed(list(enumerate(layers_and_keys))):
        x = rbm.visible_inputs(layer, states[0])
        states.insert(0, layer.visible.sample(layer_key, x) if i else layer.visible.mean(x))
    return tuple(states)


def _keys(key, net):
    return random.split(key, len(net.recognition)) if net.recognition else ()


def join(
    net: Net, features: Float[Array, "*batch F"], labels: Float[Array, "*batch L"] | None = None
) -> Float[Array, "*batch V"]:
    """Visible states of the top RBM: features and, where the net has label units, labels.

    Args:
      net: the net.
      features: (..., F).
      labels: (..., L) states of the label units; None is the neutral state, 1/L each.

    Returns:
      (..., F + L).
    """
    count = num_labels(net)
    if not count:
        return features
    if labels is None:
        labels = jnp.full((*features.shape[:-1], count), 1 / count, features.dtype)
    return jnp.concatenate([features, labels], axis=-1)


def split(net: Net, x: Float[Array, "*batch V"]) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """The features and the labels (none: an empty axis) of the top RBM's visible states."""
    features = x.shape[-1] - num_labels(net)
    return x[..., :features], x[..., features:]


@functools.partial(jax.jit, inline=True)
def up_pass(
    net: Net, v: Float[Array, "*batch V"], labels: Float[Array, "*batch L"] | None = None
) -> tuple[Float[Array, "..."], ...]:
    """Mean-field recognition: each layer's means given the means of the layer below.

    Args:
      net: the net.
      v: (..., V) pixels.
      labels: see `join`.

    Returns:
      The means of every hidden layer, first to last, (..., H_l).
    """
    means = recognise(net, v)
    return *means[1:], rbm.hidden_mean(net.top, join(net, means[-1], labels))


@functools.partial(jax.jit, inline=True)
def sample_up(
    key: Key[Array, ""],
    net: Net,
    v: Float[Array, "*batch V"],
    labels: Float[Array, "*batch L"] | None = None,
) -> tuple[Float[Array, "..."], ...]:
    """Stochastic recognition: each layer's states given the states of the layer below.

    Args:
      key: consumed.
      net: the net.
      v: (..., V) pixels.
      labels: see `join`.

    Returns:
      The states of every hidden layer, first to last, (..., H_l).
    """
    up_key, top_key = random.split(key)
    states = sample_recognition(up_key, net, v)
    return *states[1:], rbm.sample_hidden(top_key, net.top, join(net, states[-1], labels))


@functools.partial(jax.jit, inline=True)
def down_pass(net: Net, h: Float[Array, "*batch H"]) -> Float[Array, "*batch V"]:
    """Mean-field generation: the pixels' means, each layer driven by the means of that above.

    Args:
      net: the net.
      h: (..., H) states or means of the last hidden layer.

    Returns:
      (..., V) means of the pixels.
    """
    x, _ = split(net, rbm.visible_mean(net.top, h))
    for layer in reversed(net.generative):
        x = rbm.visible_mean(layer, x)
    return x


@functools.partial(jax.jit, inline=True)
def sample_down(
    key: Key[Array, ""], net: Net, h: Float[Array, "*batch H"]
) -> tuple[Float[Array, "*batch V"], tuple[Float[Array, "..."], ...]]:
    """Ancestral sampling from given states of the last hidden layer.

    Args:
      key: consumed.
      net: the net.
      h: (..., H) states of the last hidden layer.

    Returns:
      The pixels' means given the states above them, (..., V); and the states of every hidden
      layer, first to last, (..., H_l).
    """
    top_key, down_key = random.split(key)
    if not net.generative:
        return split(net, rbm.visible_mean(net.top, h))[0], (h,)
    features, _ = split(net, rbm.sample_visible(top_key, net.top, h))
    pixels, *states = sample_generation(down_key, net, features)
    return pixels, (*states, h)


@functools.partial(jax.jit, inline=True)
def pixel_means(
    key: Key[Array, ""], net: Net, x: Float[Array, "*batch X"], h: Float[Array, "*batch H"]
) -> Float[Array, "*batch V"]:
    """One pass down from states of the top RBM: the pixels' means given the states above them.

    Args:
      key: consumed.
      net: the net.
      x: (..., X) visible states of the top RBM; the pass starts at their features.
      h: (..., H) hidden states of the top RBM; used in a net of one layer alone.

    Returns:
      (..., V).
    """
    if not net.generative:
        return split(net, rbm.visible_mean(net.top, h))[0]
    return sample_generation(key, net, split(net, x)[0])[0]


def generate(
    key: Key[Array, ""],
    net: Net,
    h: Float[Array, "*batch H"],
    num_gibbs_steps: int | Int[Array, ""],
) -> tuple[Float[Array, "*batch V"], Float[Array, "*batch H"]]:
    """Generates: Gibbs sampling in the top RBM, then one top-down pass.

    Args:
      key: consumed.
      net: the net.
      h: (..., H) states of the last hidden layer where the chains start, such as
        ``rbm.init_chains(key, net.top, num_samples)``.
      num_gibbs_steps: of the top RBM, at least 1; a good net needs hundreds to forget its start.

    Returns:
      The pixels' means, (..., V), and the states of the last hidden layer, (..., H), from which
      the chains can go on.
    """
    fantasy_key, top_key, down_key = random.split(key, 3)
    x, _, inputs = rbm.gibbs_from_hidden(fantasy_key, net.top, h, num_gibbs_steps)
    h = net.top.hidden.sample(top_key, inputs)
    return pixel_means(down_key, net, x, h), h


@functools.partial(jax.jit, inline=True)
def reconstruct(net: Net, v: Float[Array, "*batch V"]) -> Float[Array, "*batch V"]:
    """Mean-field recognition up the whole stack and generation down it: (..., V) -> (..., V)."""
    return down_pass(net, up_pass(net, v)[-1])


def weight_mask(net: Net) -> Net:
    """True for the weights and False for all else: a mask for optax."""
    return jax.tree.map(rbm.weight_mask, net, is_leaf=lambda part: isinstance(part, rbm.RBM))


@functools.partial(jax.jit, static_argnames="layer", inline=True)
def feature_images(net: Net, layer: int) -> Float[Array, "V H"]:
    """What each hidden unit of a layer stands for, projected to pixel space.

    The product of the weight matrices below: exact to first order for the inputs of the pixels
    (Lee, Ekanadham, Ng 2008; Erhan et al. 2009, section 3).

    Args:
      net: the net.
      layer: number of the layer, 0 for the first.

    Returns:
      (V, H_layer).

    Raises:
      ValueError: the net has no such layer.
    """
    if not 0 <= layer <= len(net.generative):
        raise ValueError(f"layer is {layer}; the net's are 0 to {len(net.generative)}")
    weights = [below.weights for below in net.generative]
    # Label units have no pixels.
    weights.append(net.top.weights[: net.top.weights.shape[-2] - num_labels(net)])
    images = weights[0]
    for above in weights[1 : layer + 1]:
        images = images @ above
    return images
