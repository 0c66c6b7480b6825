"""A stack of RBMs as one undirected model, in which every layer gets input from below and above.

With x⁰ = v the image and xˡ what the layer above sees of the states hˡ of hidden layer l (`pool`),

    E(v, h¹, …, hᴸ) = U_v(v) + Σ_l [U_l(hˡ) − s(xˡ⁻¹)ᵀ W_l s(hˡ)].

The visible biases of the RBMs above the first have no part in it: a unit has one bias, that of the
RBM whose hidden unit it is. Given the layers next to it, the units of a layer are independent, with
the sum of both inputs; so layers that are not neighbours are drawn at once. Of a deep belief net,
where only the top is undirected, this is another model with the same weights; in it, what is seen
of an image decides what the hidden parts are taken for, through all layers (Lee et al. 2009).

Keys are consumed; "..." are batch axes; V pixels; H_l units of hidden layer l.

References: Lee, Grosse, Ranganath, Ng, "Convolutional deep belief networks for scalable
unsupervised learning of hierarchical representations" (2009), section 3.6; Salakhutdinov, Hinton,
"Deep Boltzmann machines" (2009).
"""

import jax
import jax.numpy as jnp

from dbn_jax import dbn, precision, random, rbm
from dbn_jax.compilation import jit, jit_checking
from dbn_jax.typing import AnyArray, Array, Bool, Float, Int, Key

States = tuple[Float[Array, "*batch _"], ...]


@jit
@precision.full
def energy(net: dbn.DBN, states: States) -> Float[Array, "*batch"]:
    """E of the states (v, h¹, …, hᴸ)."""
    first = net.layers[0]
    total = first.visible.energy(rbm.as_visible(first, states[0]))
    for i, layer in enumerate(net.layers):
        h = rbm.as_hidden(layer, states[i + 1])
        inputs = rbm.hidden_inputs(layer, _seen(net, states, i))
        total += layer.hidden.energy(h) - jnp.sum(inputs * layer.hidden.statistic(h), axis=-1)
    return total


@jit(static_argnames="layer")
def mean(net: dbn.DBN, states: States, layer: int) -> Float[Array, "*batch _"]:
    """The means of a layer given the others: of the image (0) or of hidden layer 1 to L."""
    units, inputs = _given_others(net, states, layer)
    return units.mean(inputs)


@jit_checking({"num_steps": rbm.check_steps})
def gibbs(
    key: Key[Array, ""],
    net: dbn.DBN,
    v: Float[AnyArray, "*batch V"],
    clamped: Bool[Array, "..."],
    num_steps: int | Int[Array, ""],
) -> States:
    """Gibbs sampling of all layers, with some of the pixels held as they are.

    Args:
      v: where the image starts, and what is clamped. A free pixel that is NaN starts at its mean
        without input. The hidden layers start at states drawn from the bottom up.
      clamped: (V,), or (..., V) for pixels of each image's own: True where v stays.
      num_steps: how often each layer is drawn.

    Returns:
      The states (v, h¹, …, hᴸ). For a smoother image, ``mean(net, states, 0)``.
    """
    if clamped.dtype != bool:
        raise TypeError(f"clamped is {clamped.dtype}; give a boolean for each pixel")
    first = net.layers[0]
    v = rbm.as_visible(first, v)
    clamped = jnp.broadcast_to(clamped, v.shape)
    v = jnp.where(jnp.isnan(v) & ~clamped, first.visible.mean(jnp.zeros_like(v)), v)
    start_key, chain_key = random.split(key)

    def step(t, states):
        keys = random.split(random.fold_in(chain_key, t), len(states))
        states = list(states)
        # Layers of even number, the image among them, do not meet; nor do those of odd number.
        for i in (*range(0, len(states), 2), *range(1, len(states), 2)):
            units, inputs = _given_others(net, states, i)
            states[i] = units.sample(keys[i], inputs)
            if i == 0:
                states[i] = jnp.where(clamped, v, states[i])
        return tuple(states)

    return jax.lax.fori_loop(0, num_steps, step, _start(start_key, net, v))


def _start(key, net, v):
    states = [v]
    for i, layer in enumerate(net.layers):
        layer_key = random.fold_in(key, i)
        states.append(rbm.sample_hidden(layer_key, layer, _seen(net, states, i)))
    return tuple(states)


def _seen(net, states, i):
    """What RBM i, from 0, sees: the image, or what the hidden units below make visible."""
    return net.layers[i - 1].hidden.pool(states[i]) if i else states[0]


def _given_others(net, states, i):
    """The units of layer i, 0 for the image, and the sum of their inputs from below and above."""
    if i == 0:
        return net.layers[0].visible, rbm.visible_inputs(net.layers[0], states[1])
    units = net.layers[i - 1].hidden
    inputs = rbm.hidden_inputs(net.layers[i - 1], _seen(net, states, i - 1))
    if i < len(net.layers):
        from_above = rbm.visible_inputs(net.layers[i], states[i + 1])
        inputs += units.pool_transposed(from_above)
    return units, inputs
