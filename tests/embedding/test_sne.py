"""What the updates of a map are, and what maps depend on; clusters come apart."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax.embedding import affinities, objective, pairwise, sne
from tests.embedding.test_objective import joint, positions


@pytest.mark.usefixtures("x64")
def test_steps_follow_the_published_rules():
    """Momentum, gains and λ by a loop in numpy."""
    method = sne.Method(background=0.3, exaggeration=4.0, num_steps=20, step_size=0.03)
    p = joint()
    y = positions(scale=0.5)
    y -= y.mean(axis=0)
    zeros = np.zeros_like(y)
    state = sne.State(*map(jnp.asarray, (y, zeros, zeros + 1)), jnp.int32(0))
    velocity, gains = zeros, zeros + 1
    turns = 0
    for t in range(20):
        background = 0.3 * np.clip((t / 20 - 0.5) / 0.25, 0, 1)
        exaggeration = 4.0 if t < 5 else 1.0
        slope = np.asarray(
            objective.gradient(
                jnp.asarray(y), jnp.asarray(p), background, kernel="gaussian",
                exaggeration=exaggeration,
            )
        )  # fmt: skip
        same = np.sign(slope) == np.sign(velocity)
        turns += same.sum()
        gains = np.maximum(np.where(same, gains * 0.8, gains + 0.2), 0.01)
        velocity = (0.5 if t < 5 else 0.8) * velocity - 0.03 * len(p) * gains * slope
        y = y + velocity
        y -= y.mean(axis=0)
        state, metrics = sne.step(state, jnp.asarray(p), method=method)
        np.testing.assert_allclose(state.positions, y, rtol=1e-7, atol=1e-12)
        assert float(metrics["background"]) == pytest.approx(background)
        assert float(metrics["gradient_norm"]) == pytest.approx(np.linalg.norm(slope))
    assert int(state.step) == 20
    assert 0 < turns < 20 * y.size


def three_clusters(n=20, dims=10):
    centres = 8 * np.eye(3, dims)
    x = np.concatenate([c + np.random.default_rng(7).normal(size=(n, dims)) for c in centres])
    return jnp.asarray(x, jnp.float32), np.repeat(np.arange(3), n)


def moved(state, p, method):
    for _ in range(method.num_steps):
        state, _ = sne.step(state, p, method=method)
    return state


@pytest.mark.parametrize("name", list(sne.METHODS))
@pytest.mark.parametrize("start", sne.STARTS)
def test_clusters_come_apart(name, start):
    x, labels = three_clusters()
    method = dataclasses.replace(sne.METHODS[name], num_steps=300)
    state = sne.init_state(jax.random.key(0), x, start=start)
    p = affinities.joint_probabilities(x, 10.0)
    first = sne.state_objective(state, p, method=method)
    state = moved(state, p, method)
    assert pairwise.leave_one_out_error(state.positions, labels) == 0
    assert sne.state_objective(state, p, method=method) < 0.5 * first
    np.testing.assert_allclose(state.positions.mean(axis=0), 0, atol=1e-3)


def test_background_opens_gaps():
    """Between clusters that touch, in units of the kernel's width: what UNI-SNE is for."""
    labels = np.repeat(np.arange(4), 100)
    noise = np.random.default_rng(7).normal(size=(400, 10))
    x = jnp.asarray(3 * np.eye(4, 10)[labels] + noise, jnp.float32)

    def gap(name):
        method = dataclasses.replace(sne.METHODS[name], num_steps=200)
        y = np.asarray(sne.embed(jax.random.key(0), x, perplexity=15.0, method=method))
        distances = np.sqrt(((y[:, None] - y[None]) ** 2).sum(axis=-1))
        apart = labels[:, None] != labels[None, :]
        return np.median(np.where(apart, distances, np.inf).min(axis=1))

    assert gap("unisne") > 1.5 * gap("sne")


@pytest.mark.parametrize("name", list(sne.METHODS))
def test_fast_forces_make_maps_as_good_as_exact_ones(name):
    """By the objective over all pairs, at rest."""
    x, labels = three_clusters(n=60)
    method = dataclasses.replace(sne.METHODS[name], num_steps=500)
    all_pairs = sne.probabilities(x, 15.0, "exact")
    objectives = {}
    for forces in sne.FORCES:
        state = sne.init_state(jax.random.key(0), x, start="pca")
        state = moved(state, sne.probabilities(x, 15.0, forces), method)
        assert pairwise.leave_one_out_error(state.positions, labels) == 0
        objectives[forces] = float(sne.state_objective(state, all_pairs, method=method))
    assert objectives["fast"] == pytest.approx(objectives["exact"], rel=0.03)


def test_forces_are_chosen_by_the_number_of_points():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2001, 2)), jnp.float32)
    assert sne.probabilities(x[:2000], 2.0).shape == (2000, 2000)
    assert isinstance(sne.probabilities(x, 2.0), affinities.NearProbabilities)
    with pytest.raises(ValueError, match="forces 'quick' is none of exact, fast"):
        sne.probabilities(x, 2.0, "quick")


@pytest.mark.parametrize("name", list(sne.METHODS))
def test_new_points_lie_where_the_forces_of_the_map_add_up_to_zero(name):
    x, labels = three_clusters(n=60)
    method = dataclasses.replace(sne.METHODS[name], num_steps=300)
    settings = {"perplexity": 10.0, "method": method}
    y = sne.embed(jax.random.key(0), x, **settings)
    new = x[::7] + 0.1
    found = sne.place(new, x, y, **settings, num_steps=100)
    assert pairwise.classification_error(y, labels, found, labels[::7], num_neighbours=1) == 0
    p, near = affinities.conditional_near(x, 10.0, new)

    def w(distances):
        return jnp.exp(-distances) if method.kernel == "gaussian" else 1 / (1 + distances)

    n, background = len(y), method.background
    between = jnp.sum((y[:, None] - y[None]) ** 2, axis=-1)
    total = jnp.sum(jnp.where(jnp.eye(n, dtype=bool), 0, w(between)))

    @jax.value_and_grad
    def objective(places):
        to_map = w(jnp.sum((places[:, None] - y[None]) ** 2, axis=-1))
        own = (1 - background) * jnp.take_along_axis(to_map, near, axis=1) / total
        q = own + background / (n * (n - 1))
        share = jax.lax.stop_gradient(jnp.sum(p * own / q, axis=1))  # for R, the mean of all
        return jnp.sum(share * n / total * jnp.sum(to_map, axis=1)) - jnp.sum(p * jnp.log(q))

    reached, slope = objective(found)
    assert np.abs(slope).max() < 0.02
    assert reached < objective(jnp.median(y[near], axis=1))[0]
    alone = sne.place(new[:1], x, y, **settings, num_steps=100)
    np.testing.assert_allclose(alone, found[:1], atol=0.02)


@pytest.mark.usefixtures("unchecked_annotations")
def test_positions_of_another_map_are_refused():
    x, _ = three_clusters()
    with pytest.raises(
        ValueError, match=r"positions has shape \(59, 2\) for 60 points; give a map in"
    ):
        sne.place(x, x, jnp.zeros((59, 2)))
    with pytest.raises(ValueError, match="positions: 1 of 60 rows hold NaN"):
        sne.place(x, x, jnp.zeros((60, 2)).at[3, 1].set(jnp.nan))
    with pytest.raises(ValueError, match="queries hold 4 numbers each, and x 10"):
        sne.place(x[:, :4], x, jnp.zeros((60, 2)), perplexity=5.0)


def test_equal_keys_give_equal_maps():
    x, _ = three_clusters()
    method = dataclasses.replace(sne.UNI_SNE, num_steps=60)
    first, again, other = (
        sne.embed(jax.random.key(seed), x, perplexity=10.0, method=method) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    state = sne.init_state(jax.random.key(3), x)
    p = affinities.joint_probabilities(x, 10.0)
    np.testing.assert_array_equal(moved(state, p, method).positions, first)


def test_starts():
    x, _ = three_clusters()
    random = sne.init_state(jax.random.key(0), x, num_dims=3).positions
    assert random.shape == (60, 3)
    np.testing.assert_allclose(np.std(random), 0.01, rtol=0.3)
    state = sne.init_state(jax.random.key(0), x, start="pca")
    centred = np.float64(x) - np.float64(x).mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    expected = (u * s)[:, :2] / (u * s)[:, 0].std() * 0.01
    signs = np.sign(np.sum(expected * np.asarray(state.positions), axis=0))
    np.testing.assert_allclose(state.positions, signs * expected, atol=1e-5)
    assert not np.any(state.velocity)
    with pytest.raises(ValueError, match=r"num_components is 11, but x of shape \(60, 10\)"):
        sne.init_state(jax.random.key(0), x, num_dims=11, start="pca")
    with pytest.raises(ValueError, match=r"all points of x are equal, .*; start at random"):
        sne.init_state(jax.random.key(0), 0 * x + 3, start="pca")
    with pytest.raises(ValueError, match="start 'middle' is none of random, pca"):
        sne.init_state(jax.random.key(0), x, start="middle")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kernel": "cauchy"}, "kernel 'cauchy' is none of gaussian, student"),
        ({"background": 1.0}, "background is 1.0"),
        ({"num_steps": 0}, "num_steps is 0"),
        ({"step_size": float("nan")}, "step_size is nan; it must be a positive number"),
        ({"exaggeration": -3.0}, "exaggeration is -3.0"),
    ],
)
def test_methods_that_make_no_sense(changes, message):
    with pytest.raises(ValueError, match=message):
        sne.Method(**changes)


def test_bad_points_are_refused_before_any_update():
    x, _ = three_clusters()
    with pytest.raises(ValueError, match="NaN or infinity, the first at row 5"):
        sne.embed(jax.random.key(0), x.at[5, 2].set(jnp.nan))
    with pytest.raises(ValueError, match="perplexity is 30"):
        sne.embed(jax.random.key(0), x[:20])
