"""One small layer of each unit type, and RBMs of two of them."""

from dbn_jax import units
from tests.random_models import random_rbm

# By name: what the layer is, and its number of units.
FINITE = {
    "bernoulli": (units.Bernoulli(), 4),
    "spin": (units.Spin(), 3),
    "softmax": (units.Softmax(num_classes=3), 6),
    "binomial": (units.Binomial(num_trials=3), 2),
    "concat": (units.Concat((units.Bernoulli(), units.Softmax(num_classes=3)), (2, 3)), 5),
}
INFINITE = {
    "poisson": (units.Poisson(), 2),
    "gaussian": (units.Gaussian(sigma=1.7), 2),
    "gaussian_learnt": (units.Gaussian(sigma=0.6, learn_sigma=True), 2),
    "relu": (units.ReLU(), 2),
    "concat_infinite": (units.Concat((units.Spin(), units.Poisson()), (2, 1)), 3),
}
LAYERS = FINITE | INFINITE


def make(visible, hidden, *, seed=0, scale=0.25):
    """An RBM of two layers like those of LAYERS, all its parameters drawn at random."""
    return random_rbm(visible, hidden, seed=seed, scale=scale, weight_scale=scale)
