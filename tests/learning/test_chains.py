"""What learners tell of their persistent chains, and how these are moved to examples."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import label_units, learning
from dbn_jax.data import blocks

PIXELS, LABELS = np.array([0, 1, 2, 3, 1]), np.array([0, 1, 2, 0, 1])
X = jnp.concatenate([jnp.eye(4)[PIXELS], jnp.eye(3)[LABELS]], axis=-1)


@pytest.fixture
def params():
    """Couplings so strong that each example turns on the hidden unit of its own pixel alone."""
    params = label_units.init_params(jax.random.key(0), 4, 4, 3)
    weights = jnp.concatenate([200 * jnp.eye(4) - 100, jnp.zeros((3, 4))])
    return dataclasses.replace(params, weights=weights)


@pytest.mark.parametrize(
    "learner",
    [
        learning.PCD(7),
        learning.FastPCD(7),
        learning.ParallelTempering(7, 3),
        learning.Sparse(learning.Centred(learning.PCD(7)), 0.1, 0.1),
        learning.LabelledPCD(7),
        learning.Centred(learning.LabelledPCD(7)),
    ],
    ids=str,
)
def test_chains_start_at_examples(params, learner):
    before = learner.init(jax.random.key(1), params)
    chains = learner.start_at(jax.random.key(2), params, before, X)
    assert jax.tree.structure(chains) == jax.tree.structure(before)
    expected = PIXELS[np.arange(7) % 5]
    if "Labelled" in str(learner):
        # Chain i keeps label i % 3, and takes the examples of that label in turn.
        expected = np.array([0, 1, 2, 3, 1, 2, 0])
    np.testing.assert_array_equal(learner.hidden_chains(chains), np.eye(4)[expected])
    # All else stays: fast parameters, offsets, labels, and what a learner holds besides.
    changed = jax.tree.map(lambda a, b: bool(np.any(a != b)), before, chains)
    assert sum(jax.tree.leaves(changed)) == 1


@pytest.mark.parametrize(
    "learner",
    [
        learning.PCD(3),
        learning.FastPCD(3),
        learning.ParallelTempering(3, 2),
        learning.LabelledPCD(6),
    ],
    ids=str,
)
def test_few_chains_are_spread_over_many_examples(params, learner):
    """Files may be sorted by class, and the first examples then be all of one."""
    pixels, labels = np.arange(10) % 4, np.array([0, 1, 2, 0, 1, 2, 0, 2, 0, 1])
    x = jnp.concatenate([jnp.eye(4)[pixels], jnp.eye(3)[labels]], axis=-1)
    before = learner.init(jax.random.key(1), params)
    chains = learner.start_at(jax.random.key(2), params, before, x)
    rows = blocks.spread_numbers(10, 3)
    if isinstance(learner, learning.LabelledPCD):  # two chains of each label
        of_label = [np.flatnonzero(labels == label) for label in range(3)]
        rows = np.array([x[blocks.spread_numbers(len(x), 2)] for x in of_label]).T.ravel()
    np.testing.assert_array_equal(learner.hidden_chains(chains), np.eye(4)[pixels[rows]])


def test_hotter_levels_stay(params):
    learner = learning.ParallelTempering(7, 3)
    before = learner.init(jax.random.key(1), params)
    chains = learner.start_at(jax.random.key(2), params, before, X)
    np.testing.assert_array_equal(chains[:2], before[:2])


@pytest.mark.parametrize("learner", [learning.CD(), learning.Exact()], ids=str)
def test_without_chains_nothing_starts(params, learner):
    wrapped = learning.Sparse(learner)
    chains = wrapped.init(jax.random.key(1), params)
    assert wrapped.hidden_chains(chains) is None
    after = wrapped.start_at(jax.random.key(2), params, chains, X)
    jax.tree.map(np.testing.assert_array_equal, after, chains)


def test_chains_of_a_label_without_examples_start_all_the_same(params):
    learner = learning.LabelledPCD(7)
    before = learner.init(jax.random.key(1), params)
    chains = learner.start_at(jax.random.key(2), params, before, X[:2])
    np.testing.assert_array_equal(chains.labels, before.labels)
    expected = np.array([0, 1, 0, 0, 1, 0, 0])
    np.testing.assert_array_equal(chains.hidden, np.eye(4)[expected])
