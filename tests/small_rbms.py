"""Small RBMs of every pair of unit types, for the oracles, and comparisons with them."""

import jax
import numpy as np

from dbn_jax import units
from tests.random_models import random_rbm

# Of each p-value or of all z-scores of a comparison together; about 60 of them are tested.
FALSE_ALARM = 1e-7

# A description of each type, and how many units oracles can afford of it: beside a layer that can
# be enumerated, and beside one that needs quadrature.
TYPES = {
    "bernoulli": (units.Bernoulli(), 3, 3),
    "spin": (units.Spin(), 3, 3),
    "softmax": (units.Softmax(num_classes=3), 6, 6),
    "binomial": (units.Binomial(num_trials=3), 2, 2),
    "poisson": (units.Poisson(), 2, 1),
    "gaussian": (units.Gaussian(sigma=0.6), 2, 1),
    "gaussian learnt": (units.Gaussian(sigma=1.7, learn_sigma=True), 2, 1),
    "relu": (units.ReLU(), 2, 1),
    "concat": (
        units.Concat(
            parts=(units.Gaussian(learn_sigma=True), units.Softmax(num_classes=3)), sizes=(1, 3)
        ),
        4,
        4,
    ),
}
QUADRATIC = ["gaussian", "gaussian learnt", "relu", "concat"]
INFINITE = ["poisson", *QUADRATIC]
FORBIDDEN = [("poisson", t) for t in INFINITE] + [(t, "poisson") for t in QUADRATIC]
PAIRS = [(v, h) for v in TYPES for h in TYPES if (v, h) not in FORBIDDEN]


def make(visible, hidden, **options):
    """An RBM of two of TYPES with all its parameters drawn at random; see `random_rbm`."""
    column = 2 if visible in INFINITE and hidden in INFINITE else 1
    layers = (TYPES[visible][0], TYPES[visible][1]), (TYPES[hidden][0], TYPES[hidden][column])
    return random_rbm(*layers, **options)


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
