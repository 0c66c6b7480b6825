"""Chains that keep their labels: their equilibrium and their gradient, by enumeration."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from dbn_jax import label_units, learning, rbm
from dbn_jax.learning.labelled_pcd import LabelledChains, LabelledPCD
from tests import oracles, significance
from tests.random_models import random_net

NUM_LABELS = 3
NUM_CHAINS = 21_000
NAMES = ("weights", "visible.bias", "hidden.bias")
# Labels 0 and 2 twice as often as in the chains, which are shared out evenly, and none of label 1.
LABELS = np.eye(NUM_LABELS)[[0, 2, 2, 0, 2]]


def memory():
    """3 features beside 3 labels, and 3 hidden units."""
    return random_net(1, (3, 3), NUM_LABELS).top


@jax.jit
def draw_batch(params):
    """Examples that are not drawn from the model: (5, F + L)."""
    part = params.visible.parts[0]
    features = part.sample(jax.random.key(2), jnp.zeros((len(LABELS), part.num_units)))
    return jnp.concatenate([features, jnp.asarray(LABELS, jnp.float32)], axis=-1)


def joint_given(model, label):
    """p(x, h | label): (S, T), from the enumerated p(x, h)."""
    joint = np.where(model.visible.states[:, [-NUM_LABELS + label]] == 1, model.joint(), 0)
    return joint / joint.sum()


def equilibrium(model, num_chains, seed=0):
    """Chains in equilibrium: independent draws from p(h | label), each label as often."""
    rng, labels = np.random.default_rng(seed), np.arange(num_chains) % NUM_LABELS
    hidden = np.zeros((num_chains, model.hidden.num_units))
    for label in range(NUM_LABELS):
        p = joint_given(model, label).sum(axis=0)
        chosen = rng.choice(len(p), size=np.sum(labels == label), p=p)
        hidden[labels == label] = model.hidden.states[chosen]
    one_hot = np.eye(NUM_LABELS)[labels]
    return LabelledChains(jnp.asarray(hidden, jnp.float32), jnp.asarray(one_hot, jnp.float32))


def drifts(params, learner, *, kernel_params=None):
    """Total variation of p(x, h | label) from equilibrium, in units of its bound.

    For each label after 1, 4, 16 updates. Labels must not have moved, in x either.

    Args:
      params: of the model whose equilibrium is meant.
      learner: keeps labelled chains.
      kernel_params: those that the learner is given, where they differ.
    """
    kernel_params = params if kernel_params is None else kernel_params
    model = oracles.Model.of(params)
    chains = equilibrium(model, NUM_CHAINS)
    labels = np.asarray(chains.labels)
    sample = jax.jit(lambda key, chains: learner.sample(key, kernel_params, chains))
    for t in range(16):
        x, h = sample(jax.random.fold_in(jax.random.key(3), t), chains)
        np.testing.assert_array_equal(x[:, -NUM_LABELS:], labels)
        chains = chains._replace(hidden=h)
        if t + 1 not in (1, 4, 16):
            continue
        for label in range(NUM_LABELS):
            own = labels[:, label] == 1
            yield significance.drift(
                model.joint_counts(x[own], h[own]), joint_given(model, label).ravel()
            )


@pytest.mark.parametrize("num_gibbs_steps", [1, 3])
def test_chains_stay_in_the_equilibrium_of_their_label(num_gibbs_steps):
    params = memory()
    learner = LabelledPCD(NUM_CHAINS, num_gibbs_steps)
    assert max(drifts(params, learner)) < 1
    # Power: weights smaller by 3/10 are noticed.
    weakened = dataclasses.replace(params, weights=0.7 * params.weights)
    assert any(x > 1.3 for x in drifts(params, learner, kernel_params=weakened))


def test_updates_move_the_states_and_never_the_labels():
    params, optimizer = memory(), optax.sgd(0.1)
    learner = LabelledPCD(num_chains=7, num_gibbs_steps=2)
    state = learning.init_state(jax.random.key(4), params, learner=learner, optimizer=optimizer)
    before = state.chains
    np.testing.assert_array_equal(before.labels, np.eye(NUM_LABELS)[[0, 1, 2, 0, 1, 2, 0]])
    for t in range(5):
        state, _ = learning.step(
            jax.random.key(t), state, draw_batch(params), learner=learner, optimizer=optimizer
        )
    np.testing.assert_array_equal(state.chains.labels, before.labels)
    assert np.any(state.chains.hidden != before.hidden)


# The gradient, against differences of the objective as its definition has it.


def objective(parameters, model, batch, label_cost):
    """−mean log p(features | label) − label_cost · mean log p(label | features), enumerated."""
    weights, visible_bias, hidden_bias = parameters
    states = model.visible.states

    def log_weight(x):
        """log Σ_h exp(−E(x, h)) of any x, all units binary or one-hot: (..., V) -> (...)."""
        h = model.hidden.states
        return x @ visible_bias + scipy.special.logsumexp((x @ weights + hidden_bias) @ h.T, -1)

    total = 0.0
    for x in batch:
        same_label = np.all(states[:, -NUM_LABELS:] == x[-NUM_LABELS:], axis=-1)
        same_features = np.all(states[:, :-NUM_LABELS] == x[:-NUM_LABELS], axis=-1)
        given_label = log_weight(x) - scipy.special.logsumexp(log_weight(states[same_label]))
        given_features = log_weight(x) - scipy.special.logsumexp(log_weight(states[same_features]))
        total -= (given_label + label_cost * given_features) / len(batch)
    return total


def slopes(params, batch, label_cost):
    """Central differences of `objective`: the dict of `oracles.leaves`, less log σ."""
    at, model = {name: oracles.leaves(params)[name] for name in NAMES}, oracles.Model.of(params)
    return {
        name: oracles.differences(
            lambda x, name=name: objective((at | {name: x}).values(), model, batch, label_cost), own
        )
        for name, own in at.items()
    }


def gradients(params, batch, learner, num_replicas=4_000):
    """Independent estimates, each with chains in equilibrium: the dict of leaves, less log σ."""
    everything = equilibrium(oracles.Model.of(params), num_replicas * learner.num_chains)

    def estimate(key, chains):
        return learner.estimate(key, params, chains, batch)[0]

    keys = jax.random.split(jax.random.key(5), num_replicas)
    chains = jax.tree.map(lambda x: x.reshape(num_replicas, learner.num_chains, -1), everything)
    leaves = oracles.leaves(jax.jit(jax.vmap(estimate))(keys, chains))
    return {name: leaves[name] for name in NAMES}


@pytest.mark.parametrize("label_cost", [0.0, 1.0, 5.0])
def test_expected_gradient_is_that_of_both_conditional_likelihoods(label_cost):
    params = memory()
    batch = draw_batch(params)
    expected = slopes(params, np.asarray(batch, np.float64), label_cost)
    found = gradients(params, batch, LabelledPCD(6, label_cost=label_cost))
    significance.assert_mean(found, expected)
    # Clamped chains say nothing about how probable the labels are.
    labels = expected["visible.bias"][-NUM_LABELS:]
    assert np.abs(labels).max() < 1e-9 if label_cost == 0 else np.abs(labels).min() > 1e-2
    # Power: another cost would be noticed, and so would chains that count alike whatever the batch.
    with pytest.raises(AssertionError):
        significance.assert_mean(
            found, slopes(params, np.asarray(batch, np.float64), label_cost + 0.2)
        )
    evenly = np.concatenate([batch[:3, :-NUM_LABELS], np.eye(NUM_LABELS)], axis=-1)
    with pytest.raises(AssertionError):
        significance.assert_mean(found, slopes(params, np.float64(evenly), label_cost))


def test_metrics_are_what_they_are_called():
    params, learner = memory(), LabelledPCD(6, label_cost=2.0)
    batch, model = draw_batch(params), oracles.Model.of(params)
    chains = equilibrium(model, 6)
    key = jax.random.key(6)
    gradient, _, metrics = jax.jit(learner.estimate)(key, params, chains, batch)
    x, _ = jax.jit(learner.sample)(key, params, chains)
    share = LABELS.mean(axis=0) / 2  # of the two chains of each label
    weights = np.tile(share, 2)
    data = model.free_energy(np.asarray(batch, np.float64)).mean()
    fantasies = weights @ model.free_energy(np.asarray(x, np.float64))
    np.testing.assert_allclose(metrics["free_energy_data"], data, rtol=1e-5)
    np.testing.assert_allclose(metrics["free_energy_fantasies"], fantasies, rtol=1e-5)
    np.testing.assert_allclose(metrics["gradient_norm"], optax.tree.norm(gradient), rtol=1e-6)
    parameters = [oracles.leaves(params)[name] for name in NAMES]
    batch = np.asarray(batch, np.float64)
    loss = objective(parameters, model, batch, 1.0) - objective(parameters, model, batch, 0.0)
    np.testing.assert_allclose(metrics["label_loss"], loss, rtol=1e-5)


def test_memories_without_labels_and_too_few_chains_are_refused():
    plain = rbm.init_params(jax.random.key(0), 4, 3)
    with pytest.raises(ValueError, match=r"no label units.*label_units\.init_params"):
        LabelledPCD().init(jax.random.key(0), plain)
    with pytest.raises(ValueError, match="num_chains is 2, but there are 3 labels"):
        LabelledPCD(num_chains=2).init(jax.random.key(0), memory())


def test_in_shard_map_the_gradient_is_the_shards_own():
    params = label_units.init_params(jax.random.key(0), 4, 3, 2, weight_scale=1.0)
    learner, key = LabelledPCD(num_chains=6), jax.random.key(1)
    chains = learner.init(key, params)
    batch = jnp.array([[1.0, 0, 1, 0, 1, 0], [0, 1, 1, 0, 0, 1]])

    def weights(params, chains, batch):
        return learner.estimate(key, params, chains, batch)[0].weights

    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    specs = {"in_specs": (P(), P(), P("data")), "out_specs": P("data")}
    sharded = jax.shard_map(
        lambda *arguments: weights(*arguments)[None], mesh=mesh, **specs, check_vma=True
    )
    found = jax.jit(sharded)(params, chains, batch)
    for i in range(2):
        rows = batch[i : i + 1]
        expected = jax.jit(weights)(params, chains, rows)
        np.testing.assert_allclose(found[i], expected, rtol=1e-5, atol=1e-6)
