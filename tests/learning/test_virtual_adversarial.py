"""Virtual adversarial training against the divergence's Hessian, written out."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from dbn_jax import networks
from dbn_jax.learning import backprop, virtual_adversarial

NUM_CLASSES, NUM_PIXELS = 3, 6
LABELS = jnp.array([0, 2, 1, 1, 0])
pytestmark = pytest.mark.usefixtures("x64")


@pytest.fixture
def model():
    model = networks.init_classifier(jax.random.key(0), (NUM_PIXELS, 5, NUM_CLASSES))
    return jax.tree.map(lambda x: 2 * x.astype(jnp.float64), model)


@pytest.fixture
def v():
    return jax.random.uniform(jax.random.key(4), (5, NUM_PIXELS), jnp.float64)


def hessian(model, v):
    """Of KL(p(label | v) ‖ p(label | v + r)) by r at 0, by automatic differentiation: (B, V, V)."""

    def moved(r, row):
        return virtual_adversarial.divergence(model(row), model(row + r))

    return jax.jit(jax.vmap(jax.hessian(moved), (None, 0)))(jnp.zeros(NUM_PIXELS), v)


def test_divergence_is_scipys():
    p, q = jax.random.normal(jax.random.key(0), (2, 4, NUM_CLASSES), jnp.float64)
    expected = scipy.stats.entropy(
        scipy.special.softmax(p, axis=-1), scipy.special.softmax(q, axis=-1), axis=-1
    )
    np.testing.assert_allclose(virtual_adversarial.divergence(p, q), expected, rtol=1e-12)


def test_one_iteration_multiplies_by_the_hessian(model, v):
    key = jax.random.key(1)
    start = np.asarray(jax.random.normal(key, v.shape, jnp.float64))
    expected = np.einsum("bij,bj->bi", hessian(model, v), start)
    expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    np.testing.assert_allclose(
        virtual_adversarial.worst_direction(key, model, v), expected, rtol=1e-8
    )


def test_many_iterations_find_the_worst_direction(model, v):
    values, vectors = np.linalg.eigh(hessian(model, v))
    assert np.all(values[:, -2] / values[:, -1] < 0.8)  # one direction is the worst
    found = np.asarray(virtual_adversarial.worst_direction(jax.random.key(1), model, v, 200))
    worst = vectors[..., -1]
    np.testing.assert_allclose(np.abs(np.sum(found * worst, axis=-1)), 1, rtol=1e-8)
    # And a short move along it changes the answers by half its eigenvalue times its square.
    change = virtual_adversarial.divergence(model(v), model(v + 1e-3 * found))
    np.testing.assert_allclose(change, values[:, -1] / 2e6, rtol=1e-2)


def test_an_answer_that_depends_on_nothing_has_no_worst_direction(v):
    def constant(v):
        return 0 * v[..., :NUM_CLASSES]

    np.testing.assert_array_equal(
        virtual_adversarial.worst_direction(jax.random.key(0), constant, v), 0 * v
    )
    found = virtual_adversarial.penalty(jax.random.key(0), constant, v, constant(v), 2.0)
    np.testing.assert_array_equal(found, np.zeros(len(v)))


def test_sure_answers_have_a_direction_in_single_precision():
    """Where p(1 − p) is 1e-30, and its square is nothing."""
    weights = jnp.array([[1.0, 0.0], [0.0, 2.0]], jnp.float32)
    v = jnp.array([[70.0, 0.0]], jnp.float32)
    direction = virtual_adversarial.worst_direction(jax.random.key(0), lambda v: v @ weights, v, 20)
    np.testing.assert_allclose(np.abs(direction), [[1 / 5**0.5, 2 / 5**0.5]], rtol=1e-5)
    assert float(direction[0, 0] * direction[0, 1]) < 0


@pytest.mark.parametrize("lead", [0, 9, 18, 25])
def test_the_direction_is_as_exact_where_the_answer_is_sure(lead):
    """Against float64, which still holds the difference that float32 loses: 1 − p(answer)."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((100, 10)).astype(np.float32)
    v = 0.1 * rng.standard_normal((400, 100)).astype(np.float32)
    logits = v.astype(float) @ weights
    answer = logits.argmax(-1)
    logits[np.arange(len(v)), answer] += lead
    key = jax.random.key(1)
    start = np.asarray(jax.random.normal(key, v.shape, jnp.float32), float)
    change, p = start @ weights, scipy.special.softmax(logits, axis=-1)
    # In this order of the sum no term is a small difference of large ones.
    change -= np.take_along_axis(change, answer[:, None], axis=-1)
    expected = (p * (change - np.sum(p * change, axis=-1, keepdims=True))) @ weights.T
    expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    boost = lead * jax.nn.one_hot(answer, 10, dtype=jnp.float32)
    found = virtual_adversarial.worst_direction(key, lambda v: v @ weights + boost, jnp.array(v), 1)
    cosine = np.sum(np.asarray(found, float) * expected, axis=-1)
    np.testing.assert_allclose(cosine, 1, atol=1e-3)


def test_the_penaltys_gradient_is_that_of_the_moved_answers(model, v):
    key, radius = jax.random.key(1), 0.7
    graphdef, params = backprop.split(model)

    def value(params):
        moving = backprop.merge(graphdef, params)
        return jnp.mean(virtual_adversarial.penalty(key, moving, v, moving(v), radius))

    move = radius * virtual_adversarial.worst_direction(key, model, v)
    np.testing.assert_allclose(np.linalg.norm(move, axis=-1), radius, rtol=1e-12)

    def fixed(params):  # what is taken as given, made before
        return jnp.mean(
            virtual_adversarial.divergence(model(v), backprop.merge(graphdef, params)(v + move))
        )

    close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)
    (found, gradient), (expected, expected_gradient) = jax.jit(
        lambda params: (jax.value_and_grad(value)(params), jax.value_and_grad(fixed)(params))
    )(params)
    jax.tree.map(close, gradient, expected_gradient)
    close(found, expected)
    assert float(found) > 1e-3


def test_a_classifiers_loss_adds_it(model, v):
    key = jax.random.key(2)
    dropped = functools.partial(
        backprop.classification_loss, key, model, (v, LABELS), input_dropout=0.2, hidden_dropout=0.5
    )
    plain, metrics = dropped()
    assert metrics.keys() == {"loss", "error_rate"}
    loss, metrics = dropped(adversarial_radius=1.0)
    np.testing.assert_allclose(metrics["loss"], plain, rtol=1e-12)
    penalty = metrics["adversarial_divergence"]
    assert float(penalty) > 1e-3
    np.testing.assert_allclose(loss, plain + penalty, rtol=1e-12)
    # The same units drop out at both ends: else the answers would differ without any move.
    _, metrics = dropped(adversarial_radius=1e-4)
    assert 0 < float(metrics["adversarial_divergence"]) < 1e-7
