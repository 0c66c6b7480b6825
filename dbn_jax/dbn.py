"""Deep belief nets: a stack of RBMs, learnt one layer at a time.

The net's generative model is directed down to the pixels but for its top RBM, which is an
associative memory:

    p(v, h¹, …, hᴸ) = p(v | h¹) ⋯ p(hᴸ⁻² | hᴸ⁻¹) p(hᴸ⁻¹, hᴸ).

Layer l of the stack is an RBM whose visible units are the hidden units of layer l − 1. Going down,
its weights generate; going up, they recognise, which is exact only for the layer's own RBM.

Keys are consumed; "..." are batch axes; V pixels, H units of the last hidden layer;
log-probabilities in nats. The top RBM sees *features*, F of them: the hidden units of the layer
below, or the pixels of a net of one layer. It may see label units beside them, L of them
(`dbn_jax.label_units`); x stands for both, X = F + L. The states or means of several layers are a
tuple, pixels first.

References: Hinton, Osindero, Teh, "A fast learning algorithm for deep belief nets" (2006); Hinton,
"To recognize shapes, first learn to generate images" (2007).
"""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from dbn_jax import convolutional, label_units, linear, pytrees, random, rbm, units
from dbn_jax.compilation import jit, jit_checking
from dbn_jax.examples import Batch, Examples
from dbn_jax.typing import AnyArray, Array, Float, Int, Key


@pytrees.dataclass
class DBN:
    """A stack of RBMs, from the pixels up; the same weights recognise and generate."""

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
      recognition: of these RBMs the weights and the hidden units' parameters are used, on the way
        up, and any learnt σ of the visible units, by which their values are divided.
      generative: of these the weights and the visible units' parameters, on the way down, and any
        learnt σ of the hidden units.
      top: the top RBM, whose weights work both ways.
    """

    recognition: tuple[rbm.RBM, ...]
    generative: tuple[rbm.RBM, ...]
    top: rbm.RBM


Net = DBN | UntiedDBN


def stack(layers: tuple[rbm.RBM, ...]) -> DBN:
    """Makes a net of RBMs that were learnt one after the other."""
    if not layers:
        raise ValueError("a deep belief net needs at least one layer")
    features = (*layers[:-1], label_units.without(layers[-1]))
    for i, (below, above) in enumerate(itertools.pairwise(features)):
        sizes = below.hidden.num_pooled, above.visible.num_units
        if all(isinstance(layer.weights, convolutional.Local) for layer in (below, above)):
            shapes = convolutional.pooled_shape(below), convolutional.local(above).image_shape
            sizes = tuple("×".join(map(str, shape)) for shape in shapes)
        lower, upper = (
            (sizes[0], kind_of_units(below.hidden)),
            (sizes[1], kind_of_units(above.visible)),
        )
        if lower != upper:
            raise ValueError(
                f"layer {i} has {' '.join(map(str, lower))} hidden units, but layer {i + 1} has "
                f"{' '.join(map(str, upper))} visible ones; they are the same units"
            )
    return DBN(tuple(layers))


def kind_of_units(side: units.Units) -> str:
    """The type of units by name; of those in maps, what they are for the layer above."""
    kind = type(side.each) if isinstance(side, units.Maps) else type(side)
    return "Bernoulli" if kind is units.MaxPooled else kind.__name__


def upside_down(params: rbm.RBM, below: rbm.RBM) -> rbm.RBM:
    """Starts a layer as the one below turned upside down, so that the net's model stays what it is.

    The features get the biases of the hidden units below, the first V hidden units the transposed
    weights and the biases of the V visible units below; all else stays. With zero weights there,
    the variational bound begins at the log-likelihood that the layers below have by themselves, and
    with small ones close to it; learning raises it from there (Hinton, Osindero, Teh 2006, sections
    3 and 4).
    """
    features = label_units.without(params)
    _check_upside_down(features, below)

    def replace_first(x, y):
        return x.at[: len(y)].set(y)

    weights, turned_up = linear.dense(features.weights), linear.dense(below.weights).T
    turned = rbm.RBM(
        weights.at[:, : turned_up.shape[1]].set(turned_up),
        jax.tree.map(replace_first, features.visible, below.hidden),
        jax.tree.map(replace_first, features.hidden, below.visible),
    )
    return label_units.with_features(params, turned)


def _check_upside_down(features, below):
    for layer in (features, below):
        if isinstance(layer.weights, linear.LinearMap):
            raise ValueError(
                f"weights of type {type(layer.weights).__name__} cannot be turned upside down; "
                "only a matrix can"
            )
    num_features, num_hidden = features.weights.shape
    num_visible, num_needed = below.weights.shape
    if num_features != num_needed or num_hidden < num_visible:
        raise ValueError(
            f"a layer of {num_features} features and {num_hidden} hidden units cannot start as one "
            f"of {num_visible} visible and {num_needed} hidden units turned upside down: it needs "
            f"{num_needed} features and at least {num_visible} hidden units"
        )
    new = [type(part).__name__ for part in (features.visible, features.hidden)]
    old = [type(part).__name__ for part in (below.hidden, below.visible)]
    if new != old:
        raise ValueError(
            f"a layer of {new[0]} features and {new[1]} hidden units cannot start as one of "
            f"{old[1]} visible and {old[0]} hidden units turned upside down"
        )


def untie(net: Net) -> UntiedDBN:
    """Gives recognition and generation weights of their own, equal at first."""
    return UntiedDBN(net.recognition, net.generative, net.top)


def num_labels(net: Net) -> int:
    """Number of label units; 0 without."""
    return label_units.num_labels(net.top)


def num_pixels(net: Net) -> int:
    """Number of units that see an image: the visible ones of the first layer."""
    return _first(net).visible.num_units


def as_pixels(net: Net, v: Batch) -> Examples:
    """Checks images, as `rbm.as_batch` does, and gives them the parameters' dtype."""
    return rbm.as_batch(_first(net), v)


def _first(net):
    return net.recognition[0] if net.recognition else label_units.without(net.top)


# Up and down the layers below the top RBM.


@jit
def recognise(net: Net, v: Float[AnyArray, "*batch V"]) -> tuple[Float[Array, "*batch _"], ...]:
    """Mean-field recognition up to the features: each layer's means given the means below."""
    means = [rbm.as_visible(_first(net), v)]
    for layer in net.recognition:
        means.append(layer.hidden.pool(rbm.hidden_mean(layer, means[-1])))
    return tuple(means)


@jit
def sample_recognition(
    key: Key[Array, ""], net: Net, v: Float[AnyArray, "*batch V"]
) -> tuple[Float[Array, "*batch _"], ...]:
    """Stochastic recognition up to the features: each layer's states given the states below."""
    states = [rbm.as_visible(_first(net), v)]
    keys = random.split(key, len(net.recognition))
    for layer, layer_key in zip(net.recognition, keys, strict=True):
        states.append(layer.hidden.pool(rbm.sample_hidden(layer_key, layer, states[-1])))
    return tuple(states)


@jit
def sample_generation(
    key: Key[Array, ""], net: Net, features: Float[AnyArray, "*batch F"]
) -> tuple[Float[Array, "*batch _"], ...]:
    """Ancestral sampling from the features down: each layer's states given the states above.

    Of the pixels it has the means instead, as the tutorial shows them.
    """
    states = [jnp.asarray(features)]
    keys = random.split(key, len(net.generative))
    for i, (layer, layer_key) in reversed(list(enumerate(zip(net.generative, keys, strict=True)))):
        unpool_key, layer_key = random.split(layer_key)
        x = rbm.visible_inputs(layer, layer.hidden.unpool(unpool_key, states[0]))
        states.insert(0, layer.visible.sample(layer_key, x) if i else layer.visible.mean(x))
    return tuple(states)


def log_recognition(
    layers: Sequence[rbm.RBM], states: Sequence[Float[Array, "*batch _"]]
) -> Float[Array, "*batch"]:
    """Σ_l log q(hˡ | hˡ⁻¹) of the layers' states: what recognition draws them by."""
    _check_unpooled(layers)
    total = jnp.zeros_like(states[0][..., 0])
    for layer, (below, above) in zip(layers, itertools.pairwise(states), strict=True):
        above = rbm.as_hidden(layer, above)
        total += layer.hidden.log_prob(above, rbm.hidden_inputs(layer, below))
    return total


def log_generative(
    layers: Sequence[rbm.RBM], states: Sequence[Float[Array, "*batch _"]]
) -> Float[Array, "*batch"]:
    """Σ_l log p(hˡ⁻¹ | hˡ) of the layers' states: what generation draws them by."""
    _check_unpooled(layers)
    total = jnp.zeros_like(states[0][..., 0])
    for layer, (below, above) in zip(layers, itertools.pairwise(states), strict=True):
        below = rbm.as_visible(layer, below)
        total += layer.visible.log_prob(below, rbm.visible_inputs(layer, above))
    return total


def _check_unpooled(layers):
    for i, layer in enumerate(layers):
        if layer.hidden.num_pooled != layer.hidden.num_units:
            raise ValueError(
                f"layer {i} pools its hidden units: the net's probabilities, and so its bound and "
                "what ascends it, are for layers that do not; learn it greedily, or take block=1"
            )


# Through the whole net, the top RBM included.


@jit
def up_pass(net: Net, v: Float[AnyArray, "*batch V"]) -> tuple[Float[Array, "*batch _"], ...]:
    """The means of every hidden layer, first to last, given the means of the layer below.

    Label units are neutral (`label_units.join`).
    """
    means = recognise(net, v)
    return *means[1:], rbm.hidden_mean(net.top, label_units.join(net.top, means[-1]))


@jit
def down_pass(net: Net, h: Float[AnyArray, "*batch H"]) -> Float[Array, "*batch V"]:
    """The pixels' means given states or means of the last hidden layer, layer by layer."""
    x, _ = label_units.split(net.top, rbm.visible_mean(net.top, h))
    for layer in reversed(net.generative):
        x = rbm.visible_mean(layer, layer.hidden.unpool_mean(x))
    return x


def reconstruct(net: Net, v: Float[AnyArray, "*batch V"]) -> Float[Array, "*batch V"]:
    """Mean-field recognition up the whole stack and generation down it."""
    return down_pass(net, up_pass(net, v)[-1])


def pixel_means(
    key: Key[Array, ""], net: Net, x: Float[Array, "*batch X"], h: Float[AnyArray, "*batch H"]
) -> Float[Array, "*batch V"]:
    """One pass down from states of the top RBM: the pixels' means given the states above them.

    These are the features in x, or in a net of one layer the hidden states h.
    """
    if not net.generative:
        return down_pass(net, h)
    return sample_generation(key, net, label_units.split(net.top, x)[0])[0]


@jit_checking({"num_gibbs_steps": rbm.check_steps})
def generate(
    key: Key[Array, ""],
    net: Net,
    h: Float[AnyArray, "*batch H"],
    num_gibbs_steps: int | Int[Array, ""],
) -> tuple[Float[Array, "*batch V"], Float[Array, "*batch H"]]:
    """Generates: Gibbs sampling in the top RBM, any label units free, then one top-down pass.

    The chains start at h, such as ``rbm.init_chains(key, net.top, num_samples)``; those of a good
    net need hundreds of steps to forget their start.

    Returns:
      The pixels' means, and the h from which the chains can go on.
    """
    gibbs_key, top_key, down_key = random.split(key, 3)
    x, _, inputs = rbm.gibbs_from_hidden(gibbs_key, net.top, h, num_gibbs_steps)
    h = net.top.hidden.sample(top_key, inputs)
    return pixel_means(down_key, net, x, h), h


def feature_images(net: Net, layer: int) -> Float[Array, "V H"]:
    """What each hidden unit of a layer, 0 for the first, stands for, projected to pixel space.

    The product of the weight matrices below: exact to first order for the inputs of the pixels
    (Lee, Ekanadham, Ng 2008; Erhan et al. 2009, section 3).
    """
    if not 0 <= layer <= len(net.generative):
        raise ValueError(f"layer is {layer}; the net's are 0 to {len(net.generative)}")
    layers = (*net.generative, label_units.without(net.top))
    *below, last = layers[: layer + 1]
    x = linear.matrix(last.weights).T
    for each in reversed(below):
        x = linear.product_transposed(each.hidden.pool_transposed(x), each.weights)
    return x.T
