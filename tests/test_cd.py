"""Contrastive divergence, plain and persistent: expectations against the transition matrix."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dbn_jax import rbm
from tests import oracles, significance
from tests.small_rbms import FALSE_ALARM, allclose, make, some_states, trees_allclose

NUM_KEYS = 20_000


@functools.partial(jax.jit, static_argnums=(1, 2))
def estimates(params, num_gibbs_steps, sample_visible, batch):
    def one(key):
        return rbm.cd_gradient(
            key, params, batch, num_gibbs_steps=num_gibbs_steps, sample_visible=sample_visible
        )

    return jax.vmap(one)(jax.random.split(jax.random.key(0), NUM_KEYS))


@pytest.fixture(scope="module")
def strong():
    """A binary RBM whose numbers of Gibbs steps differ, one to four, and data, also grey."""
    params = make("bernoulli", "bernoulli", weight_scale=3.0, seed=1)
    return params, oracles.Model.of(params), np.array([[1.0, 0.0, 0.0], [0.2, 0.7, 1.0]])


@pytest.mark.parametrize("num_gibbs_steps", [1, 2, 3])
def test_expected_cd_gradient_is_that_of_the_transition_matrix(strong, num_gibbs_steps):
    params, model, batch = strong
    gradients, metrics = estimates(params, num_gibbs_steps, True, jnp.asarray(batch, jnp.float32))
    found = oracles.leaves(gradients)
    significance.assert_mean(found, model.cd_gradient(batch, num_gibbs_steps), FALSE_ALARM)

    # The twin: another number of steps would be noticed.
    bound = significance.z_bound(sum(x[0].size for x in found.values()), FALSE_ALARM)
    for other in {1, 2, 3, 4, 5, 6} - {num_gibbs_steps}:
        assert significance.largest_z(found, model.cd_gradient(batch, other)) > bound

    # Squared error of the means of the first reconstruction, summed over units.
    means = model.visible_given(model.hidden.states) @ model.visible.states
    errors = np.sum((batch[:, None] - means) ** 2, axis=-1)
    expected = np.mean(np.sum(model.hidden_given(batch) * errors, axis=1))
    significance.assert_mean(metrics["reconstruction_error"], expected, FALSE_ALARM)
    after = model.after_gibbs(batch, num_gibbs_steps)
    expected = after @ model.free_energy(model.visible.states)
    significance.assert_mean(metrics["free_energy_fantasies"], expected, FALSE_ALARM)
    allclose(metrics["free_energy_data"], model.free_energy(batch).mean(), rtol=1e-5)
    active = (model.hidden_given(batch) @ model.hidden.states).mean()
    allclose(metrics["hidden_activity"], active, rtol=1e-5)
    squares = sum((x.reshape(NUM_KEYS, -1) ** 2).sum(1) for x in found.values())
    allclose(metrics["gradient_norm"], np.sqrt(squares), rtol=1e-4)


@pytest.mark.parametrize(
    ("visible", "hidden"),
    [("gaussian learnt", "bernoulli"), ("softmax", "relu"), ("binomial", "gaussian")],
)
def test_expected_cd_gradient_of_other_types(visible, hidden):
    params = make(visible, hidden, weight_scale=0.7)
    model = oracles.Model.of(params, max_input=8.0)
    batch = some_states(model.visible, 3)
    gradients, _ = estimates(params, 2, True, jnp.asarray(batch, jnp.float32))
    significance.assert_mean(oracles.leaves(gradients), model.cd_gradient(batch, 2), FALSE_ALARM)


@pytest.mark.parametrize("visible", ["bernoulli", "gaussian learnt"])
def test_expected_cd_gradient_with_means_as_reconstructions(visible):
    params = make(visible, "bernoulli", weight_scale=1.5)
    model = oracles.Model.of(params, max_input=8.0)
    batch = some_states(model.visible, 3)
    gradients, _ = estimates(params, 1, False, jnp.asarray(batch, jnp.float32))
    found = oracles.leaves(gradients)
    significance.assert_mean(found, model.mean_field_cd_gradient(batch), FALSE_ALARM)
    bound = significance.z_bound(sum(x[0].size for x in found.values()), FALSE_ALARM)
    assert (
        significance.largest_z(found, model.cd_gradient(batch, 1)) > bound
    )  # samples would be noticed


# Persistent chains.


def test_each_phase_is_averaged_over_its_own_examples():
    """The short last batch: 3 examples against 7 fantasies, without any chance."""
    params = make("gaussian learnt", "bernoulli")
    model = oracles.Model.of(params)
    data, fantasies = some_states(model.visible, 3), some_states(model.visible, 7, seed=1)
    v, w = jnp.asarray(data, jnp.float32), jnp.asarray(fantasies, jnp.float32)

    @jax.jit
    def contrast(params, v, w):
        return rbm.contrastive_gradient(
            params, v, rbm.hidden_inputs(params, v), w, rbm.hidden_inputs(params, w)
        )

    gradient, metrics = contrast(params, v, w)
    positive, negative = model.free_energy_gradient(data), model.free_energy_gradient(fantasies)
    found = oracles.leaves(gradient)
    for name in found:
        allclose(found[name], positive[name] - negative[name], rtol=1e-4, atol=1e-5)
    allclose(metrics["free_energy_data"], model.free_energy(data).mean(), rtol=1e-5)
    allclose(metrics["free_energy_fantasies"], model.free_energy(fantasies).mean(), rtol=1e-5)


@pytest.mark.parametrize("hidden", ["softmax", "spin"])
def test_first_chains_are_drawn_from_the_hidden_biases(hidden):
    params = make("bernoulli", hidden)
    model = oracles.Model.of(params)
    chains = rbm.init_chains(jax.random.key(0), params, 20_000)
    assert chains.dtype == jnp.float32
    p = model.hidden.given(np.zeros(model.hidden.num_units))
    assert significance.chi_squared(model.hidden.counts(chains), p) > FALSE_ALARM


def test_pcd_step_moves_its_chains_and_cd_step_keeps_them():
    params = make("bernoulli", "bernoulli")
    optimizer = optax.sgd(0.1)
    chains = rbm.init_chains(jax.random.key(0), params, 50)
    state = rbm.init_state(params, optimizer, chains=chains)
    batch = jnp.ones((4, 3))
    after, _ = rbm.pcd_step(jax.random.key(1), state, batch, optimizer=optimizer)
    assert after.chains.shape == chains.shape
    assert not np.array_equal(after.chains, chains)
    gradient, moved, _ = rbm.pcd_gradient(jax.random.key(1), params, chains, batch)
    np.testing.assert_array_equal(after.chains, moved)
    trees_allclose(after.params, jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient))
    after, _ = rbm.cd_step(jax.random.key(1), state, batch, optimizer=optimizer)
    np.testing.assert_array_equal(after.chains, chains)
    assert rbm.init_state(params, optimizer).chains is None


@pytest.mark.parametrize("num_gibbs_steps", [1, 2, 3])
def test_all_reconstructions_are_means_or_all_are_samples(num_gibbs_steps):
    params = make("bernoulli", "bernoulli")
    batch = jnp.ones((1, params.visible.num_units))
    for sample_visible in (True, False):
        gradient, _ = rbm.cd_gradient(
            jax.random.key(0),
            params,
            batch,
            num_gibbs_steps=num_gibbs_steps,
            sample_visible=sample_visible,
        )
        last = np.asarray(gradient.visible.bias + batch[0])  # ∂F/∂b = −v
        assert np.isin(last, (0, 1)).all() == sample_visible
