"""Factorial approximations against a fine grid of all of them, and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.demos import mean_field
from tests.oracles import binary, sigmoid


def kl(q, p):
    return np.sum(q * (np.log(q) - np.log(p)), axis=-1)


def on_grid(num_points):
    """Every factorial distribution over two units, on a grid of log odds: (points², 4)."""
    on = sigmoid(np.linspace(-8, 8, num_points))
    one = np.stack([1 - on, on], axis=1)
    return np.einsum("ai,bj->abij", one, one).reshape(-1, 4)


@pytest.mark.parametrize(
    "p", [[0.02, 0.6, 0.3, 0.08], [0.3, 0.2, 0.1, 0.4], [0.2, 0.01, 0.01, 0.78]]
)
def test_the_two_nearest(p):
    """`best` minimises KL(q ‖ p) over all grid points, the product of marginals KL(p ‖ q)."""
    with jax.enable_x64(True):
        states, p = jnp.asarray(binary(2)), jnp.array(p)
        q = mean_field.product(states, mean_field.best(states, p))
        grid = on_grid(401)
        found = float(mean_field.divergence(q, p))
        assert found == pytest.approx(kl(np.asarray(q), np.asarray(p)), abs=1e-12)
        least = kl(grid, np.asarray(p)).min()
        assert least - 3e-4 < found <= least
        on = mean_field.marginals(states, p)
        np.testing.assert_allclose(on, [p[2] + p[3], p[1] + p[3]])
        q = mean_field.product(states, on)
        found = float(mean_field.divergence(p, q))
        least = kl(np.asarray(p), grid).min()
        assert least - 3e-4 < found <= least


def test_of_two_exclusive_causes_the_best_keeps_one():
    """log 2 nats: the half of the posterior that it gives up. Marginals give a half to nonsense."""
    with jax.enable_x64(True):
        states = jnp.asarray(binary(2))
        p = jnp.array([1e-4, 0.4999, 0.4999, 1e-4])
        q = mean_field.product(states, mean_field.best(states, p))
        assert np.sort(q)[-1] > 0.999
        assert float(mean_field.divergence(q, p)) == pytest.approx(np.log(2), abs=1e-3)
        apart = mean_field.product(states, mean_field.marginals(states, p))
        np.testing.assert_allclose(apart, 0.25)


def test_units_that_do_not_vary_stay():
    """As the observed ones among the states of `sbn.posterior`; others that are independent."""
    with jax.enable_x64(True):
        states = np.insert(binary(2), 1, 1.0, axis=1)
        p = np.outer([0.3, 0.7], [0.9, 0.1]).ravel()
        on = mean_field.best(jnp.asarray(states), jnp.asarray(p))
        np.testing.assert_allclose(on, [0.7, 1.0, 0.1], atol=1e-12)
        np.testing.assert_allclose(mean_field.product(jnp.asarray(states), on), p, atol=1e-12)


def test_divergence_counts_what_cannot_be():
    q, p = jnp.array([0.5, 0.5, 0.0]), jnp.array([0.5, 0.0, 0.5])
    assert mean_field.divergence(q, p) == jnp.inf
    assert mean_field.divergence(q, q) == 0
    with pytest.raises(ValueError, match=r"smallest probability is 0\.0.*enable_x64"):
        mean_field.best(jnp.asarray(binary(1), jnp.float32), jnp.array([0.0, 1.0]))
