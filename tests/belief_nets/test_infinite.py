"""The infinite tied net against an RBM enumerated in numpy, and against a net of real layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import dbn, rbm, units
from dbn_jax.belief_nets import infinite, sbn
from tests import oracles, significance
from tests.belief_nets.test_sbn import probabilities
from tests.oracles import binary, sigmoid
from tests.random_models import random_net

pytestmark = pytest.mark.usefixtures("x64")


def make(seed, *sizes, scale=2.0):
    return random_net(seed, sizes, scale=scale, dtype=jnp.float64).top


@pytest.fixture
def params():
    return make(0, 4, 3)


@pytest.fixture
def model(params):
    return oracles.Model.of(params)


def test_kernel_and_equilibrium(params, model):
    np.testing.assert_allclose(infinite.kernel(params), model.gibbs(1), atol=1e-12)
    np.testing.assert_allclose(infinite.equilibrium(params), model.visible_marginal(), atol=1e-12)


def test_total_variation_falls_with_the_second_eigenvalue(params, model):
    top = np.full(16, 1 / 16)
    found = np.asarray(infinite.total_variation(params, jnp.asarray(top), 40))
    for depth in (0, 1, 7):
        law = top @ model.gibbs(depth)
        expected = significance.total_variation(law, model.visible_marginal())
        assert found[depth] == pytest.approx(expected, abs=1e-12)
    spectrum = np.asarray(infinite.spectrum(params))
    expected = np.sort(np.linalg.eigvals(model.gibbs(1)).real)[::-1]
    np.testing.assert_allclose(spectrum, expected[: 2**3], atol=1e-10)
    assert 0.2 < spectrum[1] < 0.95  # a rate that the next lines can tell from others
    assert found[25] / found[24] == pytest.approx(spectrum[1], rel=1e-4)
    p = model.visible_marginal()
    chi = np.sqrt(np.sum((top - p) ** 2 / p))
    assert (found <= 0.5 * chi * spectrum[1] ** np.arange(41) + 1e-12).all()


def test_spectrum_where_states_are_too_improbable_for_single_precision():
    """Total inputs of up to 300 are rounded by up to 1e-5 each, and the probabilities with them."""
    params = make(5, 5, 4, scale=60.0)
    expected = infinite.spectrum(params)
    assert infinite.equilibrium(params).min() < 1e-60
    found = infinite.spectrum(jax.tree.map(lambda x: x.astype(jnp.float32), params))
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("depth", [1, 2])
def test_net_of_real_layers(params, depth):
    """Its pixels, summed out of all states of a net of 4 + 7T units, have the law of that depth."""
    params = make(0, 3, 2)
    bias = jnp.array([0.5, -1.0, 2.0])
    states, p = probabilities(infinite.as_belief_net(params, depth, bias))
    pixels = (states[:, -3:] @ [4, 2, 1]).astype(int)
    law = np.bincount(pixels, p, minlength=8)
    found = infinite.laws(params, jnp.asarray(oracles.factorial(sigmoid(bias))), depth)
    np.testing.assert_allclose(found[depth], law, atol=1e-12)
    np.testing.assert_allclose(found[0], oracles.factorial(sigmoid(bias)), atol=1e-12)


def test_complementary_prior(params, model):
    v = np.array([1.0, 0, 1, 1])
    found = infinite.complementary_prior(params, jnp.asarray(v))
    h = model.hidden.states
    np.testing.assert_array_equal(found.states, h)
    state = model.visible.number(v)
    expected = np.log(model.visible_given(h)[:, state])
    np.testing.assert_allclose(found.log_likelihood, expected, atol=1e-10)
    np.testing.assert_allclose(found.log_prior, np.log(model.hidden_marginal()), atol=1e-10)
    np.testing.assert_allclose(found.log_posterior, np.log(model.hidden_given(v)), atol=1e-10)
    on = np.asarray(rbm.hidden_mean(params, jnp.asarray(v)))
    factors = np.where(h == 1, on, 1 - on).prod(axis=1)
    np.testing.assert_allclose(np.exp(found.log_posterior), factors, atol=1e-12)


DATA = np.array([[1.0, 0, 1, 1], [0, 1, 1, 0], [1, 0, 1, 1]])


def test_terms_of_the_learning_rule_one_by_one(params, model):
    """Against all paths v₀, h₀, v₁, h₁, v₂, and against the delta rule of a net of real layers."""
    terms = infinite.gradient_terms(params, jnp.asarray(DATA), 2).weights
    start = np.zeros(16)
    np.add.at(start, model.visible.number(DATA), 1 / 3)
    v, h = model.visible.states, model.hidden.states
    up, down = model.hidden_given(v), model.visible_given(h)
    path = np.einsum("a,ab,bc,cd,de->abcde", start, up, down, up, down)
    expected = [
        np.einsum("abcde,bj,ai->ij", path, h, v) - np.einsum("abcde,bj,ci->ij", path, h, v),
        np.einsum("abcde,ci,bj->ij", path, v, h) - np.einsum("abcde,ci,dj->ij", path, v, h),
        np.einsum("abcde,dj,ci->ij", path, h, v) - np.einsum("abcde,dj,ei->ij", path, h, v),
    ]
    np.testing.assert_allclose(terms[:3], -np.array(expected), atol=1e-12)

    net = infinite.as_belief_net(params, 1)  # V₁, H₀, V₀
    path = np.einsum("a,ab,bc->abc", start, up, down)
    a, b, c = np.meshgrid(np.arange(16), np.arange(8), np.arange(16), indexing="ij")
    x = np.concatenate([v[c.ravel()], h[b.ravel()], v[a.ravel()]], axis=1)
    each = jax.jit(jax.vmap(lambda row: sbn.gradient(net, row)))(jnp.asarray(x))
    rule = np.tensordot(path.ravel(), np.asarray(each.weights), axes=1)
    np.testing.assert_allclose(terms[0], rule[4:7, 7:].T, atol=1e-12)
    np.testing.assert_allclose(terms[1], rule[:4, 4:7], atol=1e-12)


@pytest.mark.parametrize("num_steps", [1, 2, 5])
def test_first_terms_are_contrastive_divergence(params, model, num_steps):
    terms = infinite.gradient_terms(params, jnp.asarray(DATA), num_steps)
    found = oracles.leaves(jax.tree.map(lambda leaf: np.sum(leaf, axis=0), terms))
    for name, expected in model.cd_gradient(DATA, num_steps).items():
        np.testing.assert_allclose(found[name], expected, atol=1e-10, err_msg=name)


def test_untying_makes_inference_a_bound(params, model):
    v = jnp.asarray(binary(4))
    tied = dbn.upside_down(rbm.init_params(jax.random.key(0), 3, 4, dtype=jnp.float64), params)
    found = infinite.untied(params, tied, v)
    log_p = model.log_likelihood(binary(4))
    np.testing.assert_allclose(found.log_likelihood, log_p, atol=1e-10)
    np.testing.assert_allclose(found.bound, log_p, atol=1e-10)

    upper = make(3, 3, 5)
    found = infinite.untied(params, upper, v)
    h = model.hidden.states
    prior = oracles.Model.of(upper).visible_marginal()
    expected = np.log(prior @ model.visible_given(h))
    np.testing.assert_allclose(found.log_likelihood, expected, atol=1e-10)
    q = model.hidden_given(binary(4))  # (16, 8)
    p = model.visible_given(h).T * prior / np.exp(expected)[:, None]
    gap = np.sum(q * np.log(q / p), axis=1)
    np.testing.assert_allclose(found.log_likelihood - found.bound, gap, atol=1e-10)
    assert (gap > 1e-3).all()


def test_bad_input(params):
    with pytest.raises(ValueError, match=r"depth is 0; a net has at least one hidden layer"):
        infinite.as_belief_net(params, 0)
    with pytest.raises(ValueError, match=r"data go from 0.5 to 0.5; .* binarise"):
        infinite.gradient_terms(params, jnp.full((1, 4), 0.5), 1)
    with pytest.raises(ValueError, match=r"shape \(.*3\); its last axis must hold the 4 visible"):
        infinite.gradient_terms(params, jnp.ones((1, 3)), 1)
    big = rbm.init_params(jax.random.key(0), 13, 2)
    with pytest.raises(ValueError, match=r"13 and 2 units.* at most 12 can.*`rbm.gibbs`"):
        infinite.kernel(big)
    spins = rbm.init_params(jax.random.key(0), 3, 2, visible=units.Spin())
    for call in (infinite.kernel, lambda p: infinite.as_belief_net(p, 1)):
        with pytest.raises(TypeError, match="Bernoulli units; these are Spin"):
            call(spins)
    with pytest.raises(ValueError, match="layer 0 has 3 Bernoulli hidden units, but layer 1 has 4"):
        infinite.untied(params, params, jnp.zeros(4))
