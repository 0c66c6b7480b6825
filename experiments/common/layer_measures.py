"""What each layer of a net keeps of images, and how many of its units are on."""

import functools

import jax
import jax.numpy as jnp

from dbn_jax import data, dbn, rbm


def measure(
    key: jax.Array, net: dbn.DBN, split: data.Split, transform: data.Transform
) -> dict[str, float]:
    """Of each layer the error of images reconstructed from it, and the mean activity.

    Returns:
      `reconstruction_error_layer_<i>`: the squared error of images that went up to the layer and
      down again, summed over the pixels, averaged over the images; `hidden_activity_layer_<i>`: the
      mean probability of its units, before they are pooled.
    """
    values = data.in_blocks(functools.partial(_measure, transform, net), key, split.images)
    return {name: float(x.mean()) for name, x in values.items()}


@functools.partial(jax.jit, static_argnums=0)
def _measure(transform, net, key, images):
    v = transform(key, images)
    below, found = v, {}
    for i, layer in enumerate(net.layers):
        h = rbm.hidden_mean(layer, below)
        below = layer.hidden.pool(h)
        error = jnp.sum((v - dbn.reconstruct(dbn.DBN(net.layers[: i + 1]), v)) ** 2, axis=-1)
        found[f"reconstruction_error_layer_{i + 1}"] = error
        found[f"hidden_activity_layer_{i + 1}"] = jnp.mean(h, axis=-1)
    return found
