"""Deep belief nets: a stack of RBMs, learnt one layer at a time.

The net's generative model is directed down to the pixels but for its top RBM, which is an
associative memory:

    p(v, h¹, …, hᴸ) = p(v | h¹) ⋯ p(hᴸ⁻² | hᴸ⁻¹) p(hᴸ⁻¹, hᴸ).

Layer l of the stack is an RBM whose visible units are the hidden units of layer l − 1. Going down,
its weights generate; going up, they recognise, which is exact only for the layer's own RBM.

References: Hinton, Osindero, Teh, "A fast learning algorithm for deep belief nets" (2006); Hinton,
"To recognize shapes, first learn to generate images" (2007).
"""

import itertools

import jax

from dbn_jax import pytrees, rbm
from dbn_jax.shapes import Array, Float, Int, Key


@pytrees.dataclass
class DBN:
    """A stack of RBMs.

    Attributes:
      layers: the RBMs, from the pixels up; the top one is the associative memory.
    """

    layers: tuple[rbm.RBM, ...]


def stack(layers: tuple[rbm.RBM, ...]) -> DBN:
    """Makes a net of RBMs that were learnt one after the other.

    Raises:
      ValueError: there is no layer, or neighbours do not fit each other.
    """
    if not layers:
        raise ValueError("a deep belief net needs at least one layer")
    for i, (below, above) in enumerate(itertools.pairwise(layers)):
        if below.hidden.num_units != above.visible.num_units:
            raise ValueError(
                f"layer {i} has {below.hidden.num_units} hidden units, but layer {i + 1} has "
                f"{above.visible.num_units} visible ones; they are the same units"
            )
    return DBN(tuple(layers))


def up_pass(net: DBN, v: Float[Array, "*batch V"]) -> tuple[Float[Array, "..."], ...]:
    """Mean-field recognition: each layer's means given the means of the layer below.

    Args:
      net: the net.
      v: (..., V) pixels.

    Returns:
      The means of every hidden layer, first to last, (..., H_l).
    """
    means = []
    for layer in net.layers:
        v = rbm.hidden_mean(layer, v)
        means.append(v)
    return tuple(means)


def sample_up(
    key: Key[Array, ""], net: DBN, v: Float[Array, "*batch V"]
) -> tuple[Float[Array, "..."], ...]:
    """Stochastic recognition: each layer's states given the states of the layer below.

    Args:
      key: consumed.
      net: the net.
      v: (..., V) pixels.

    Returns:
      The states of every hidden layer, first to last, (..., H_l).
    """
    states = []
    for layer, layer_key in zip(net.layers, jax.random.split(key, len(net.layers)), strict=True):
        v = rbm.sample_hidden(layer_key, layer, v)
        states.append(v)
    return tuple(states)


def down_pass(net: DBN, h: Float[Array, "*batch H"]) -> Float[Array, "*batch V"]:
    """Mean-field generation: the pixels' means, each layer driven by the means of that above.

    Args:
      net: the net.
      h: (..., H) states or means of the last hidden layer.

    Returns:
      (..., V) means of the pixels.
    """
    for layer in reversed(net.layers):
        h = rbm.visible_mean(layer, h)
    return h


def sample_down(
    key: Key[Array, ""], net: DBN, h: Float[Array, "*batch H"]
) -> tuple[Float[Array, "*batch V"], tuple[Float[Array, "..."], ...]]:
    """Ancestral sampling from given states of the last hidden layer.

    Args:
      key: consumed.
      net: the net.
      h: (..., H) states of the last hidden layer.

    Returns:
      The pixels' means given the states above them, (..., V), as the tutorial shows them; and the
      states of every hidden layer, first to last, (..., H_l).
    """
    states = [h]
    keys = jax.random.split(key, len(net.layers))
    for layer, layer_key in zip(net.layers[:0:-1], keys[1:], strict=True):
        states.insert(0, rbm.sample_visible(layer_key, layer, states[0]))
    return rbm.visible_mean(net.layers[0], states[0]), tuple(states)


def generate(
    key: Key[Array, ""],
    net: DBN,
    h: Float[Array, "*batch H"],
    num_gibbs_steps: int | Int[Array, ""],
) -> tuple[Float[Array, "*batch V"], Float[Array, "*batch H"]]:
    """Generates: Gibbs sampling in the top RBM, then one top-down pass.

    Args:
      key: consumed.
      net: the net.
      h: (..., H) states of the last hidden layer where the chains start, such as
        ``rbm.init_chains(key, net.layers[-1], num_samples)``.
      num_gibbs_steps: of the top RBM, at least 1; a good net needs hundreds to forget its start.

    Returns:
      The pixels' means, (..., V), and the states of the last hidden layer, (..., H), from which
      the chains can go on.
    """
    fantasy_key, top_key, down_key = jax.random.split(key, 3)
    top = net.layers[-1]
    x, _, inputs = rbm.fantasy(fantasy_key, top, h, num_gibbs_steps)
    h = top.hidden.sample(top_key, inputs)
    below = DBN(net.layers[:-1])
    # The states x of the layer below the top are in equilibrium with h; the rest is ancestral.
    v = (
        sample_down(down_key, below, x)[0]
        if below.layers
        else top.visible.mean(rbm.visible_inputs(top, h))
    )
    return v, h


def reconstruct(net: DBN, v: Float[Array, "*batch V"]) -> Float[Array, "*batch V"]:
    """Mean-field recognition up the whole stack and generation down it: (..., V) -> (..., V)."""
    return down_pass(net, up_pass(net, v)[-1])


def feature_images(net: DBN, layer: int) -> Float[Array, "V H"]:
    """What each hidden unit of a layer stands for, projected to pixel space.

    The product of the weight matrices below: exact to first order for the inputs of the pixels
    (Lee, Ekanadham, Ng 2008; Erhan et al. 2009, section 3).

    Args:
      net: the net.
      layer: number of the layer, 0 for the first.

    Returns:
      (V, H_layer).
    """
    images = net.layers[0].weights
    for above in net.layers[1 : layer + 1]:
        images = images @ above.weights
    return images
