"""Models whose parameters are all drawn at random, by numpy: nothing is compiled for them."""

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax import dbn, label_units, rbm, units

BINARY = units.Bernoulli()


def jolt(seed, tree, scale=1.0):
    """Adds normal noise to all arrays of a tree, so that every distribution differs from uniform.

    In numpy, which compiles nothing. Shapes in place of arrays count as zeros.
    """
    random = np.random.default_rng(seed)

    def move(x):
        start = 0.0 if isinstance(x, jax.ShapeDtypeStruct) else np.asarray(x)
        return jax.device_put((start + scale * random.normal(size=x.shape)).astype(x.dtype))

    return jax.tree.map(move, tree)


def at_random(seed, make, scale=1.0):
    """What `make()` returns, with normal noise in all its arrays; `make` is only traced."""
    return jolt(seed, jax.eval_shape(make), scale)


def random_net(seed, sizes, num_labels=0, *, scale=1.0, visible=BINARY, code=BINARY, dtype=None):
    """A net, pixels first, of binary units but for pixels and code; label units are at the top."""
    types = [visible, *[BINARY] * (len(sizes) - 2), code]

    def layer(key, i):
        options = {"hidden": types[i + 1], "dtype": dtype or jnp.float32}
        if num_labels and i == len(sizes) - 2:
            return label_units.init_params(
                key, *sizes[i:], num_labels, features=types[i], **options
            )
        return rbm.init_params(key, *sizes[i : i + 2], visible=types[i], **options)

    def blank():
        return dbn.stack(tuple(layer(jax.random.key(0), i) for i in range(len(sizes) - 1)))

    return at_random(seed, blank, scale)


def random_rbm(visible, hidden, *, seed=0, scale=0.3, weight_scale=None, dtype=jnp.float32):
    """An RBM of two layers, each given as (its type, its number of units).

    The noise of biases (and of learnt σ) about where they begin has this scale, and so has that of
    the weights if they have none of their own.
    """
    (visible, num_visible), (hidden, num_hidden) = visible, hidden
    random = np.random.default_rng(seed)

    def move(x, scale=scale):
        return jax.device_put((np.asarray(x) + scale * random.normal(size=x.shape)).astype(dtype))

    weight_scale = scale if weight_scale is None else weight_scale
    weights = move(np.zeros((num_visible, num_hidden)), weight_scale)
    biases = (visible.init(num_visible, dtype), hidden.init(num_hidden, dtype))
    return rbm.RBM(weights, *jax.tree.map(move, biases))
