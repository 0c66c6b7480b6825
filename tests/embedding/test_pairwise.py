"""Distances, however far apart the points; nearest neighbours against scikit-learn; votes."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from sklearn.neighbors import NearestNeighbors

from dbn_jax.embedding import affinities, logistic_pca, pairwise, pca, sne


def points(n=23, dims=5, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dims)).astype(np.float32)


def distances(a, b):
    return ((np.float64(a)[:, None] - np.float64(b)[None]) ** 2).sum(axis=-1)


def all_distances(x, n=None):
    """From `squared_distances`, in units of the points."""
    x = jnp.asarray(x, jnp.float32)
    of_point = pairwise.squared_distances(pairwise.scaled(x), n or len(x))
    unit = np.float64(pairwise.scaled(x)[0, 0]) / np.float64(x[0, 0])
    return np.float64(jax.vmap(of_point)(jnp.arange(len(x)))) / unit**2


def clusters(separation, dims=5):
    """Twenty points in each of four clusters, some of them copies, and one point far out.

    The first cluster stands at 0, where float32 holds its differences whatever the separation.
    """
    x = np.repeat(separation * np.eye(4, dims, k=-1), 20, axis=0) + 0.5 * points(80, dims)
    x[5:8] = x[4]
    return np.append(x, np.full((1, dims), 30 * separation), axis=0).astype(np.float32)


@pytest.mark.parametrize("separation", [0, 10, 100, 1e3, 1e4, 1e5, 1e12])
@pytest.mark.parametrize("dims", [3, 300])
def test_squared_distances(separation, dims):
    """To float32 accuracy of the differences: those of a product would be lost from 100 on."""
    x = clusters(separation, dims)
    expected = distances(x, x)
    np.fill_diagonal(expected, np.inf)
    found = all_distances(x)
    # 32 times the errors of a sum, which are some 10 ulp at most.
    np.testing.assert_allclose(found, expected, rtol=32 * 10 * 2**-23)
    np.testing.assert_array_equal(found[expected == 0], 0)
    np.testing.assert_allclose(all_distances(x, 30), expected[:, :30], rtol=32 * 10 * 2**-23)


@pytest.mark.parametrize("separation", [10, 100, 1e3, 1e4, 1e5, 1e12])
def test_nearest_of_clusters_far_apart(separation):
    x = clusters(separation)
    others = distances(x, x)
    np.fill_diagonal(others, np.inf)
    queries = x + np.float32(0.3) * points(len(x), 5, seed=2)
    for found, among in (
        (pairwise.nearest(jnp.asarray(x), count=3), others),
        (pairwise.nearest(jnp.asarray(x), jnp.asarray(queries), count=3), distances(queries, x)),
    ):
        chosen = np.take_along_axis(among, np.asarray(found), axis=1)
        np.testing.assert_allclose(chosen, np.sort(among, axis=1)[:, :3], rtol=1e-6)


def test_only_rows_that_need_it_are_summed_from_differences(monkeypatch):
    summed = []

    def mended(is_blurred, by_product, x, point):
        summed.append(bool(is_blurred))
        return by_product

    monkeypatch.setattr(pairwise, "_mended", mended)
    x = clusters(0, dims=300)
    of_point = pairwise.squared_distances(jnp.asarray(x[8:80]), 72)
    for i in range(72):
        of_point(i)
    assert not any(summed)
    pairwise.squared_distances(jnp.asarray(x), 81)(4)
    assert summed[-1]


@pytest.mark.parametrize("unit", [1e-30, 1.0, 1e38])
def test_scaling_is_exact_and_leaves_room_for_squares(unit):
    x = np.float32(unit) * np.random.default_rng(0).uniform(-1, 1, (23, 5)).astype(np.float32)
    found = np.asarray(pairwise.scaled(jnp.asarray(x)))
    factors = np.float64(found) / np.float64(x)
    assert np.ptp(factors) == 0
    assert np.log2(factors[0, 0]) % 1 == 0
    assert 2.0**39 <= np.abs(found).max() <= 2.0**40
    np.testing.assert_array_equal(pairwise.scaled(jnp.zeros((5, 2))), 0)


@pytest.mark.parametrize("block", [1, 4, 23, 100])
def test_nearest_are_those_of_scikit_learn(block):
    """Among others, for queries of their own; and among themselves, where none is its own."""
    x, queries = points(40), points(23, seed=1)
    neighbours = NearestNeighbors(n_neighbors=6).fit(x)
    found = pairwise.nearest(jnp.asarray(x), jnp.asarray(queries), count=6, block=block)
    np.testing.assert_array_equal(found, neighbours.kneighbors(queries)[1])
    found = pairwise.nearest(jnp.asarray(x), count=6, block=block)
    np.testing.assert_array_equal(found, neighbours.kneighbors()[1])


def test_of_equally_near_points_the_first_counts():
    x = jnp.asarray([[0.0], [1.0], [-1.0], [1.0]])
    np.testing.assert_array_equal(pairwise.nearest(x)[:, 0], [1, 3, 0, 1])


def test_memory_is_bounded_by_the_block():
    x = jnp.zeros((2048, 4))
    sizes = [
        jax.jit(functools.partial(pairwise.nearest, block=block))
        .lower(x)
        .compile()
        .memory_analysis()
        .temp_size_in_bytes
        for block in (16, 2048)
    ]
    assert sizes[0] < 12 * 16 * 2048 * 4 < 2048 * 2048 * 4 < sizes[1]


def test_leave_one_out_error():
    x = jnp.asarray([[0.0, 0.0], [0.1, 0.0], [5.0, 0.0], [5.1, 0.0], [5.25, 0.0]])
    assert pairwise.leave_one_out_error(x, np.array([0, 0, 1, 1, 1])) == 0
    # The last one's neighbour is of another class, and it is nobody's.
    assert pairwise.leave_one_out_error(x, np.array([0, 0, 1, 1, 7])) == pytest.approx(0.2)


def test_votes_and_ties():
    votes = np.array([[3, 1, 1, 0], [1, 2, 2, 1], [2, 1, 1, 2], [0, 1, 2, 3], [4, 0, 0, 0]])
    np.testing.assert_array_equal(pairwise._elected(votes), [1, 1, 2, 0, 0])
    np.testing.assert_array_equal(pairwise._elected(votes[:, :1]), [3, 1, 2, 0, 4])
    # However many there are: 25 votes against 25, of which one has the nearest.
    many = np.tile([1, 0], (1, 25))
    np.testing.assert_array_equal(pairwise._elected(many), [1])
    np.testing.assert_array_equal(pairwise._elected(1 - many), [0])


def test_classification_error():
    x, labels = np.float32([[0], [1], [2], [9]]), np.array([5, 7, 7, 5])
    queries, wanted = np.float32([[0.1], [8.0]]), np.array([5, 5])
    for num_neighbours, error in ((1, 0.0), (3, 1.0), (4, 0.0)):  # of four, two votes each
        found = pairwise.classification_error(
            x, labels, queries, wanted, num_neighbours=num_neighbours
        )
        assert found == error
    with pytest.raises(ValueError, match="x holds 4 points; there must be at least 5"):
        pairwise.classification_error(x, labels, queries, wanted, num_neighbours=5)
    with pytest.raises(ValueError, match="queries: 2 of 2 rows hold NaN"):
        pairwise.classification_error(x, labels, queries * np.nan, wanted, num_neighbours=1)


@dataclasses.dataclass
class Frame:
    """What a data frame is to numpy."""

    values: np.ndarray

    def __array__(self, dtype=None, copy=None):
        return self.values


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize(
    "kind", [bool, np.uint8, np.int64, np.float16, jnp.bfloat16, np.float64, "list", "frame"]
)
def test_points_of_any_type(kind):
    x = np.random.default_rng(0).integers(0, 2, (12, 9))
    labels = np.arange(12) % 3
    if kind == "list":
        given, names = x.tolist(), labels.tolist()
    elif kind == "frame":
        given, names = Frame(x), Frame(labels)
    else:
        given, names = x.astype(kind), labels
    expected = pairwise.nearest(x.astype(np.float32), count=4)
    np.testing.assert_array_equal(pairwise.nearest(given, count=4), expected)
    error = pairwise.leave_one_out_error(x.astype(np.float32), labels)
    assert pairwise.leave_one_out_error(given, names) == error
    found = pairwise.classification_error(given, names, given, names, num_neighbours=1)
    assert found == pairwise.classification_error(
        x.astype(np.float32), labels, x.astype(np.float32), labels, num_neighbours=1
    )
    p = affinities.joint_probabilities(x.astype(np.float32), 3.0)
    np.testing.assert_array_equal(affinities.joint_probabilities(given, 3.0), p)
    method, key = dataclasses.replace(sne.T_SNE, num_steps=2), jax.random.key(0)
    positions = sne.embed(key, x.astype(np.float32), perplexity=3.0, method=method)
    np.testing.assert_array_equal(sne.embed(key, given, perplexity=3.0, method=method), positions)


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (
            scipy.sparse.csr_matrix(np.eye(5)),
            "no array of numbers but a csr_matrix; make one of it",
        ),
        ([[1, 2], [3]], "x is no array of numbers but a list"),
        (np.array([["a"]] * 5), "x is no array of numbers but a ndarray"),
        (np.zeros((5, 1), complex), "x is no array of numbers"),
        (np.zeros((5, 4, 4)), r"x has shape \(5, 4, 4\); it must be a matrix .* x.reshape\(len"),
        (np.zeros(5), r"x has shape \(5,\); it must be a matrix"),
        (np.zeros((5, 0)), r"x has shape \(5, 0\)"),
    ],
)
def test_what_is_no_matrix_is_named(x, message):
    for call in (
        pairwise.nearest,
        functools.partial(pairwise.leave_one_out_error, labels=np.zeros(5, int)),
        functools.partial(affinities.joint_probabilities, perplexity=2.0),
        functools.partial(sne.embed, jax.random.key(0), perplexity=2.0),
        functools.partial(sne.init_state, jax.random.key(0)),
        functools.partial(pca.fit, num_components=1),
        functools.partial(logistic_pca.fit, num_components=1),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            call(x)


@pytest.mark.usefixtures("unchecked_annotations")
def test_bad_points_are_named():
    x = jnp.asarray(points())
    with pytest.raises(ValueError, match=r"x: 2 of 23 rows hold NaN .* the first at row 4"):
        pairwise.leave_one_out_error(
            x.at[4, 1].set(jnp.nan).at[9, 0].set(jnp.inf), np.zeros(23, int)
        )
    with pytest.raises(ValueError, match="x holds 1 points; there must be at least 2"):
        pairwise.leave_one_out_error(x[:1], np.zeros(1, int))
    with pytest.raises(ValueError, match="x holds 23 points; there must be at least 24"):
        pairwise.nearest(x, count=23)
    with pytest.raises(
        ValueError, match="queries hold 4 numbers each, and x 5; give both the same"
    ):
        pairwise.nearest(x, x[:, :4])
    with pytest.raises(ValueError, match=r"labels has shape \(22,\) for 23 points"):
        pairwise.leave_one_out_error(x, np.zeros(22, int))
    jax.eval_shape(pairwise.nearest, x)
