"""Networks made from a stack of RBMs, to be fine-tuned by backpropagation.

A *classifier* is the stack's recognition weights, logistic layers or convolutional ones, with a
softmax layer on top. A *deep autoencoder* is the stack unrolled: the recognition weights encode an
image in the code layer, which is linear, and the transposed generative weights decode it (Hinton
and Salakhutdinov 2006, figure 1). Both also start from random weights: that comparison is what
motivates pretraining.

Models are Flax NNX modules, and these are pytrees: they pass through `jax.jit`, `jax.grad` and
`jax.vmap` as they are, and an ensemble is one module of stacked arrays. Nothing in them changes or
is random when they are called. `dbn_jax.learning.backprop` is how they learn.

Keys are consumed; "..." are batch axes; V pixels, H_l units of hidden layer l, L classes, C units
of the code. Layers are numbered from the pixels up; those that do not fit each other, a net of
units that the network has no place for, and too few sizes are a ValueError.

References: Hinton, Salakhutdinov, "Reducing the dimensionality of data with neural networks"
(2006); Hinton, "To recognize shapes, first learn to generate images" (2007).
"""

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from dbn_jax import convolutional, dbn, label_units, linear, numerics, precision, random, units
from dbn_jax.compilation import jit
from dbn_jax.typing import AnyArray, Array, Float, Key

# Uniform weights for units with a logistic non-linearity, within ±4·sqrt(6 / (inputs + outputs)),
# which keep the variance of activities and of gradients through the layers; without the 4, that of
# its slope at 0, for linear units (Glorot and Bengio 2010, equation 16; Bengio, "Practical
# recommendations for gradient-based training of deep architectures" 2012, equations 15 and 16).
_LOGISTIC = jax.nn.initializers.variance_scaling(16.0, "fan_avg", "uniform")
_LINEAR = jax.nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")


class _Weighted(nnx.Module):
    """What layers of any kind share; `kernel` holds their weights."""

    kernel: nnx.Param
    shape: tuple[int, ...]

    def as_input(self, x: AnyArray) -> Float[Array, "*batch I"]:
        """Gives an input the weights' dtype; raises as `rbm.as_visible`."""
        return numerics.as_states(x, self.shape[-2], self.kernel[...].dtype, "inputs of the layer")


class Layer(_Weighted):
    """x ↦ x·kernel + bias."""

    def __init__(self, kernel: Float[Array, "I O"], bias: Float[Array, " O"]):
        self.kernel = nnx.Param(kernel)
        self.bias = nnx.Param(bias)

    def __call__(self, x: Float[AnyArray, "*batch I"]) -> Float[Array, "*batch O"]:
        """The outputs of an input."""
        y = self.as_input(x) @ self.kernel[...]
        return y + numerics.per_unit(self.bias[...], y)

    def activities(self, x: Float[AnyArray, "*batch I"]) -> Float[Array, "*batch O"]:
        """Those of logistic units."""
        return jax.nn.sigmoid(self(x))

    @property
    def shape(self) -> tuple[int, ...]:
        """(*models, I, O)."""
        return self.kernel[...].shape

    def parts(self) -> dict[str, Any]:
        """What it is made of, by the names of the constructor's arguments."""
        return {"kernel": self.kernel[...], "bias": self.bias[...]}


class ConvolutionalLayer(_Weighted):
    """A hidden layer of maps: x ↦ the probabilities of its units, of each block if pooled.

    Of the weights and units that it is made of, `kernel` are the filters and `bias` the biases.
    """

    def __init__(self, weights: convolutional.Local, maps: units.Units):
        (kernel,), self._kind_of_weights = jax.tree.flatten(weights)
        (bias,), self._kind_of_maps = jax.tree.flatten(maps)
        self.kernel = nnx.Param(kernel)
        self.bias = nnx.Param(bias)

    def activities(self, x: Float[AnyArray, "*batch I"]) -> Float[Array, "*batch O"]:
        """The probabilities."""
        weights, maps = self.parts().values()
        return maps.pool(maps.mean(weights.up(self.as_input(x))))

    @property
    def shape(self) -> tuple[int, ...]:
        """(*models, I, O)."""
        weights, maps = self.parts().values()
        return *weights.shape[:-1], maps.num_pooled

    def parts(self) -> dict[str, Any]:
        """What it is made of, by the names of the constructor's arguments."""
        return {
            "weights": jax.tree.unflatten(self._kind_of_weights, [self.kernel[...]]),
            "maps": jax.tree.unflatten(self._kind_of_maps, [self.bias[...]]),
        }


class Classifier(nnx.Module):
    """Hidden layers, then a softmax layer."""

    def __init__(self, hidden: Sequence[Layer | ConvolutionalLayer], softmax: Layer):
        _check_chain((*hidden, softmax))
        self.hidden = nnx.List(hidden)
        self.softmax = softmax

    def __call__(self, v: Float[AnyArray, "*batch V"]) -> Float[Array, "*batch L"]:
        """Logits of the classes; their log-softmax is log p(class | v)."""
        return self.softmax(self.features(v)[-1])

    def features(self, v: Float[AnyArray, "*batch V"]) -> tuple[Float[Array, "*batch _"], ...]:
        """The activities of every hidden layer, first to last."""
        return _activities(self.hidden, v)

    def layers(self) -> tuple[Layer | ConvolutionalLayer, ...]:
        """All layers, first to last."""
        return *self.hidden, self.softmax

    def parts(self) -> dict[str, Any]:
        """What it is made of, by the names of the constructor's arguments."""
        return {"hidden": tuple(self.hidden), "softmax": self.softmax}


class Autoencoder(nnx.Module):
    """Logistic layers down to a linear code, `encoder`, and up to the pixels' logits, `decoder`."""

    def __init__(self, encoder: Sequence[Layer], decoder: Sequence[Layer]):
        _check_chain((*encoder, *decoder))
        self.encoder = nnx.List(encoder)
        self.decoder = nnx.List(decoder)

    def __call__(self, v: Float[AnyArray, "*batch V"]) -> Float[Array, "*batch V"]:
        """Logits of the reconstruction's pixels."""
        return self.logits(self.encode(v))

    def encode(self, v: Float[AnyArray, "*batch V"]) -> Float[Array, "*batch C"]:
        """The code of an image."""
        *below, code = self.encoder
        return code((v, *_activities(below, v))[-1])

    def logits(self, code: Float[Array, "*batch C"]) -> Float[Array, "*batch V"]:
        """Logits of the pixels that a code stands for."""
        *below, pixels = self.decoder
        return pixels((code, *_activities(below, code))[-1])

    def decode(self, code: Float[Array, "*batch C"]) -> Float[Array, "*batch V"]:
        """The image that a code stands for, pixels in [0, 1]."""
        return jax.nn.sigmoid(self.logits(code))

    def layers(self) -> tuple[Layer, ...]:
        """All layers, first to last."""
        return *self.encoder, *self.decoder

    def parts(self) -> dict[str, Any]:
        """What it is made of, by the names of the constructor's arguments."""
        return {"encoder": tuple(self.encoder), "decoder": tuple(self.decoder)}


Network = Classifier | Autoencoder


def as_input(model: Network, v: AnyArray) -> Float[Array, "*batch V"]:
    """Gives images the dtype of a network's weights; raises as `rbm.as_visible`."""
    return model.layers()[0].as_input(v)


def _activities(layers, x):
    states = []
    for layer in layers:
        x = layer.activities(x)
        states.append(x)
    return tuple(states)


def _check_chain(layers):
    shapes = [layer.shape for layer in layers]
    for i, (below, above) in enumerate(itertools.pairwise(shapes)):
        if below[-1] != above[-2]:
            raise ValueError(
                f"layer {i} has {below[-1]} outputs, but layer {i + 1} takes {above[-2]} inputs"
            )


def init_classifier(key: Key[Array, ""], sizes: Sequence[int]) -> Classifier:
    """Makes a classifier of random weights (Glorot and Bengio 2010) and zero biases.

    The sizes are those of the pixels, of each hidden layer, and the number of classes.

    >>> model = init_classifier(jax.random.key(0), (784, 500, 500, 2000, 10))
    >>> model(jnp.zeros((3, 784))).shape
    (3, 10)
    """
    _check_sizes(sizes, 3, "pixels, hidden units, classes")
    inits = (_LOGISTIC,) * (len(sizes) - 2) + (_LINEAR,)
    *hidden, softmax = _random_layers(key, tuple(sizes), inits)
    return Classifier(hidden, softmax)


def init_autoencoder(key: Key[Array, ""], sizes: Sequence[int]) -> Autoencoder:
    """Makes a deep autoencoder of random weights (Glorot and Bengio 2010) and zero biases.

    The sizes are those of the pixels, of each hidden layer of the encoder, and of the code; the
    decoder has the same layers in reverse order. Without hidden layers it is logistic PCA whose
    codes are linear in the pixels.

    >>> model = init_autoencoder(jax.random.key(0), (784, 1000, 500, 250, 30))
    >>> model.encode(jnp.zeros((3, 784))).shape
    (3, 30)
    """
    _check_sizes(sizes, 2, "pixels, units of any hidden layers, code")
    half = len(sizes) - 1
    inits = (_LOGISTIC,) * (half - 1) + (_LINEAR,) + (_LOGISTIC,) * half
    layers = _random_layers(key, (*sizes, *reversed(sizes[:-1])), inits)
    return Autoencoder(layers[:half], layers[half:])


def _check_sizes(sizes, least, what):
    if len(sizes) < least or min(sizes) < 1:
        raise ValueError(f"sizes are {tuple(sizes)}; expected {what}, each at least 1")


@jit(static_argnames=("sizes", "inits"))
def _random_layers(key, sizes, inits):
    keys = random.split(key, len(inits))
    return [
        Layer(init(layer_key, shape, jnp.float32), jnp.zeros(shape[1]))
        for init, layer_key, shape in zip(inits, keys, itertools.pairwise(sizes), strict=True)
    ]


def classifier_of(net: dbn.Net, num_classes: int) -> Classifier:
    """Makes a classifier of the recognition weights of a net of Bernoulli hidden units.

    The softmax layer of a net without label units starts at zero: all classes are equally
    probable, and nothing is random. That of a net with label units starts with their weights and
    biases, and the hidden biases take in the input from neutral labels, 1/L each; so its first
    answers are those of the associative memory after one mean-field iteration from there. A
    convolutional layer becomes one of the same maps.
    """
    num_labels = dbn.num_labels(net)
    if num_labels not in (0, num_classes):
        raise ValueError(
            f"the net has {num_labels} label units, but there are {num_classes} classes: are these "
            "its data?"
        )
    hidden = _recognition(net)
    _check_bernoulli([above for *_, above in hidden], len(hidden), "a classifier")
    if num_labels:
        _, of_labels = label_units.parts(net.top)
        softmax = Layer(linear.dense(of_labels.weights).T, of_labels.visible.bias)
    else:
        num_hidden, dtype = net.top.hidden.num_pooled, net.top.weights.dtype
        softmax = Layer(jnp.zeros((num_hidden, num_classes), dtype), jnp.zeros(num_classes, dtype))
    return Classifier([_hidden_layer(*each) for each in hidden], softmax)


def with_random_weights(key: Key[Array, ""], model: Classifier) -> Classifier:
    """A classifier of the same layers with random weights (Glorot and Bengio 2010), zero biases."""
    *hidden_keys, key = random.split(key, len(model.hidden) + 1)
    hidden = [
        _with_random_weights(layer_key, layer, _LOGISTIC)
        for layer_key, layer in zip(hidden_keys, model.hidden, strict=True)
    ]
    return Classifier(hidden, _with_random_weights(key, model.softmax, _LINEAR))


def _with_random_weights(key, layer, init):
    parts = layer.parts()
    if isinstance(parts.get("weights"), convolutional.LocalConnections):  # each place by itself
        init = functools.partial(_by_place, init)

    def redrawn(x):
        return init(key, x.shape, x.dtype) if x.ndim > 1 else jnp.zeros_like(x)

    return type(layer)(**jax.tree.map(redrawn, parts))


def _by_place(init, key, shape, dtype):
    return jax.vmap(lambda key: init(key, shape[1:], dtype))(jax.random.split(key, shape[0]))


def unroll(net: dbn.Net) -> Autoencoder:
    """Makes a deep autoencoder of a net: recognition weights up, generative weights down.

    Its reconstruction is `dbn.reconstruct`. The net has no label units; the hidden units of its top
    RBM, the code, are Gaussian, all others Bernoulli.
    """
    _check_dense((*net.generative, net.top))
    up, down = _recognition(net), _generation(net)
    _check_unrolled(net, [above for *_, above in up], [above for *_, above in down])
    return Autoencoder([_layer(*each) for each in up], [_layer(*each) for each in down])


def _recognition(net):
    """Weights, units below and units above of each layer from the pixels up."""
    top = label_units.without(net.top)
    if dbn.num_labels(net):
        # Neutral label units act as a bias.
        _, of_labels = label_units.parts(net.top)
        bias = jnp.mean(linear.dense(of_labels.weights), axis=0)
        top = dataclasses.replace(top, hidden=top.hidden.add_to_bias(bias))
    return [(layer.weights, layer.visible, layer.hidden) for layer in (*net.recognition, top)]


def _generation(net):
    """Weights, units that send and units that receive of each layer from the top down."""
    layers = (net.top, *reversed(net.generative))
    return [(layer.weights.T, layer.hidden, layer.visible) for layer in layers]


def _hidden_layer(weights, below, above):
    if isinstance(weights, linear.LinearMap):
        return _convolutional_layer(weights, below, above)
    return _layer(weights, below, above)


@precision.full
def _convolutional_layer(weights, below, above):
    # As in `_layer`; what units send up while they are 0 is the same at all places, and so a bias,
    # only if these share filters that lie within the image.
    zero = jnp.zeros(weights.shape[-2], weights.dtype)
    offset = below.statistic(zero)
    slope = below.statistic(zero + 1) - offset
    alike = isinstance(weights, convolutional.Convolution) and weights.border == "valid"
    if not alike and bool(jnp.any(offset != 0)):
        raise ValueError(
            "the pixels have a learnt sigma and a mean that is not 0; a classifier can be made of "
            "them only below shared filters within the image: train with the border valid, or with "
            "pixels of a fixed sigma"
        )
    bias = above.total_shared(weights.up(offset)) / (above.num_units // above.bias.shape[-1])
    slope = slope[: weights.image_shape[-1]]  # the same at all places
    filters = weights.filters.reshape(-1, len(slope), weights.filters.shape[-1])
    filters = (filters * slope[None, :, None]).reshape(weights.filters.shape)
    return ConvolutionalLayer(
        dataclasses.replace(weights, filters=filters), above.add_to_bias(bias)
    )


@precision.full
def _layer(weights, below, above):
    """x ↦ the mean of `above` given x in `below`, but for the logistic function of binary units."""
    # What the units below send up is linear in their values, (x − m)/σ if they are Gaussian.
    zero = jnp.zeros_like(weights[:, 0])
    offset = below.statistic(zero)
    slope = below.statistic(zero + 1) - offset
    bias = above.bias + offset @ weights
    weights = slope[:, None] * weights
    if isinstance(above, units.Gaussian):
        weights, bias = weights * above.scale[None], above.value(bias)
    return Layer(weights, bias)


def _check_bernoulli(hidden, count, what):
    for i, part in enumerate(hidden[:count]):
        kind = part.each if isinstance(part, units.Maps) else part
        if not isinstance(kind, (units.Bernoulli, units.MaxPooled)):
            raise ValueError(
                f"hidden layer {i + 1} of {len(hidden)} has {type(part).__name__} units; {what} is "
                "made of Bernoulli ones"
            )


def _check_dense(layers):
    for i, layer in enumerate(layers):
        if isinstance(layer.weights, linear.LinearMap):
            raise ValueError(
                f"layer {i} has weights of type {type(layer.weights).__name__}; an autoencoder is "
                "made of dense layers: train a net without convolutions"
            )


def _check_unrolled(net, up, down):
    if dbn.num_labels(net):
        raise ValueError(
            f"the net has {dbn.num_labels(net)} label units, which an autoencoder cannot use: "
            "learn it without labels"
        )
    _check_bernoulli(up, len(up) - 1, "below the code, the top of the stack, an autoencoder")
    if not isinstance(up[-1], units.Gaussian):
        raise ValueError(
            f"the top RBM has {type(up[-1]).__name__} hidden units; the code of an autoencoder is "
            "linear: learn the top RBM with Gaussian hidden units"
        )
    for part in down:
        if not isinstance(part, units.Bernoulli):
            raise ValueError(
                f"the net has {type(part).__name__} units where an autoencoder has Bernoulli ones, "
                "pixels included: its cost is their cross-entropy"
            )


@jit
@precision.full
def reconstruction_error(model: Autoencoder, v: Float[AnyArray, "N V"]) -> Float[Array, ""]:
    """Squared error of the images encoded and decoded, summed over pixels, averaged over images.

    The measure of Hinton and Salakhutdinov (2006), for grey levels in [0, 1].
    """
    v = as_input(model, v)
    return jnp.mean(jnp.sum((v - model.decode(model.encode(v))) ** 2, axis=-1))
