"""One small layer of each unit type, RBMs of two of them, and comparisons with oracles."""

import jax
import numpy as np

from dbn_jax import units
from tests.random_models import random_rbm

# Of each p-value or of all z-scores of a comparison together; about 60 of them are tested.
FALSE_ALARM = 1e-7

# By name: what the layer is, and its number of units.
FINITE = {
    "bernoulli": (units.Bernoulli(), 3),
    "spin": (units.Spin(), 3),
    "softmax": (units.Softmax(num_classes=3), 6),
    "binomial": (units.Binomial(num_trials=3), 2),
    "concat": (units.Concat((units.Bernoulli(), units.Softmax(num_classes=3)), (2, 3)), 5),
    "maps": (units.Maps(units.Bernoulli(), 2), 4),
    "pooled": (units.MaxPooled(shape=(2, 2)), 4),
}
QUADRATIC = {
    "gaussian": (units.Gaussian(sigma=0.6), 2),
    "gaussian learnt": (units.Gaussian(sigma=1.7, learn_sigma=True), 2),
    "relu": (units.ReLU(), 2),
    "real concat": (
        units.Concat((units.Gaussian(learn_sigma=True), units.Softmax(num_classes=3)), (1, 3)),
        4,
    ),
}
LAYERS = {**FINITE, **QUADRATIC, "poisson": (units.Poisson(), 2)}
FORBIDDEN = [("poisson", layer) for layer in LAYERS if layer not in FINITE]
FORBIDDEN += [(layer, "poisson") for layer in QUADRATIC]
# Beside each other, and the values of any type.
IN_MAPS = [("maps", "pooled"), ("gaussian learnt", "pooled"), ("maps", "relu")]
PLAIN = [name for name in LAYERS if name not in ("maps", "pooled")]
PAIRS = [(v, h) for v in PLAIN for h in PLAIN if (v, h) not in FORBIDDEN] + IN_MAPS


def make(visible, hidden, **options):
    """An RBM of two of LAYERS, by name or like them, its parameters random; see `random_rbm`."""
    return random_rbm(LAYERS.get(visible, visible), LAYERS.get(hidden, hidden), **options)


def allclose(actual, expected, rtol=1e-9, atol=1e-9):
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)


def trees_allclose(actual, expected, rtol=1e-5, atol=1e-6):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    jax.tree.map(lambda a, b: allclose(a, b, rtol, atol), actual, expected)


def some_states(layer, shape, seed=0):
    """Likely values of a layer: nodes of quadrature among them."""
    p = np.exp(layer.log_weights - layer.log_weights.max())
    random = np.random.default_rng(seed)
    return layer.states[random.choice(len(p), shape, p=p / p.sum())]
