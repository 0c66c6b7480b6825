"""The centred gradient, and the sparsity target, against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import rbm, units
from dbn_jax.learning import PCD, Centred, Exact, LabelledPCD, Sparse
from tests import oracles
from tests.small_learning import assert_trees_close, draw_batch, make

SIGMA = 1.7
CENTRED = {  # visible, hidden
    "bernoulli": ((units.Bernoulli(), 3), (units.Bernoulli(), 3)),
    "gaussian_visible": ((units.Gaussian(sigma=SIGMA), 2), (units.Bernoulli(), 3)),
    "gaussian_hidden": ((units.Bernoulli(), 3), (units.Gaussian(sigma=SIGMA), 2)),
}


def statistic_means(model, data):
    """For v and for h, the means of s in the data and in the model."""
    s_v, s_h = (side.statistic(side.states) for side in (model.visible, model.hidden))
    return (
        (model.visible.statistic(data).mean(axis=0), model.visible_marginal() @ s_v),
        (model.hidden_given(data).mean(axis=0) @ s_h, model.hidden_marginal() @ s_h),
    )


def centred_descent(model, data, mu, lam):
    """Minus the likelihood's gradient in the parameters of a centred energy, in the ordinary ones.

    From the definition, by differentiating an enumeration of
    E = U_v(v; b′) + U_h(h; c′) − (s_v − μ)ᵀW(s_h − λ): a step down in (W, b′, c′), and where it
    leads in (W, b, c).
    """
    sides = (model.visible, model.hidden)
    sigma_v, sigma_h = (side.sigma[0] for side in sides)
    real_v, real_h = (side.blocks[0].kind == "Gaussian" for side in sides)
    states_v, states_h = (jnp.asarray(side.states) for side in sides)
    nodes_v, nodes_h = (side.log_weights - side.log_density(side.states) for side in sides)

    def own_energy(x, bias, sigma, real):
        return (jnp.sum(x**2) / (2 * sigma**2) if real else 0.0) - x @ bias / sigma

    def energy(centred, v, h):
        weights, b, c = centred
        interaction = (v / sigma_v - mu) @ weights @ (h / sigma_h - lam)
        own = own_energy(v, b, sigma_v, real_v) + own_energy(h, c, sigma_h, real_h)
        return own - interaction

    def log_weights(centred, v):  # (values of v, states of h)
        of_v = jax.vmap(energy, (None, None, 0))
        energies = jax.vmap(of_v, (None, 0, None))(centred, v, states_h)
        return jnp.broadcast_to(nodes_h, energies.shape) - energies

    def loss(centred):
        everything = log_weights(centred, states_v)
        everything = everything + jnp.broadcast_to(nodes_v[:, None], everything.shape)
        log_p = jax.nn.logsumexp(log_weights(centred, data), axis=1)
        return jax.nn.logsumexp(everything) - jnp.mean(log_p)

    def ordinary(centred):
        weights, b, c = centred
        return weights, b - weights @ lam, c - mu @ weights

    weights, b, c = model.weights, model.visible.blocks[0].bias, model.hidden.blocks[0].bias
    centred = (weights, b + weights @ lam, c + mu @ weights)
    centred = jax.tree.map(jnp.asarray, centred)
    return jax.jit(lambda x: jax.jvp(ordinary, (x,), (jax.grad(loss)(x),))[1])(centred)


@pytest.mark.parametrize("model_share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("case", CENTRED)
def test_centred_gradient_is_descent_in_the_centred_parameters(case, model_share):
    learner = Centred(Exact(), model_share=model_share, sliding=0.3)
    with jax.enable_x64(True):
        params = make(CENTRED[case], dtype=jnp.float64)
        batch = draw_batch(params)
        chains = jax.tree.map(
            lambda x: np.asarray(x) + 0.2, learner.init(jax.random.key(0), params)
        )
        gradient, new, _ = jax.jit(learner.estimate)(None, params, chains, batch)

        model, data = oracles.Model.of(params), np.asarray(batch)
        mu, lam = (
            0.7 * np.asarray(old) + 0.3 * ((1 - model_share) * seen + model_share * own)
            for old, (seen, own) in zip(
                (chains.visible, chains.hidden), statistic_means(model, data), strict=True
            )
        )
        np.testing.assert_allclose(new.visible, mu, rtol=1e-8)
        np.testing.assert_allclose(new.hidden, lam, rtol=1e-8)
        expected = centred_descent(model, batch, mu, lam)
    got = (gradient.weights, gradient.visible.bias, gradient.hidden.bias)
    assert_trees_close(got, expected, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("wrap", [Centred, Sparse])
def test_wrapped_learners_keep_their_own_chains(wrap):
    params, key = make("bernoulli"), jax.random.key(13)
    batch, chains = draw_batch(params), PCD(7).init(key, params)
    start = wrap(PCD(7)).init(key, params)
    np.testing.assert_array_equal(start.inner, chains)
    _, moved, metrics = PCD(7).estimate(key, params, chains, batch)
    _, after, wrapped_metrics = wrap(PCD(7)).estimate(key, params, start, batch)
    np.testing.assert_array_equal(after.inner, moved)
    assert not np.array_equal(moved, chains)
    assert_trees_close(wrapped_metrics, metrics, rtol=1e-6)


# The sparsity target.


def test_sparsity_adds_the_derivative_of_its_penalty():
    params = make("bernoulli", weight_scale=1.0)
    learner = Sparse(Exact(), target=0.2, cost=0.7, decay=0.0)
    example = draw_batch(params, 1)

    def penalty(weights, bias):
        # The cross-entropy between target and activity, for one example.
        activity = jax.nn.sigmoid(example[0] @ weights + bias)
        return -0.7 * jnp.sum(0.2 * jnp.log(activity) + 0.8 * jnp.log1p(-activity))

    plain, _, _ = jax.jit(Exact().estimate)(None, params, None, example)
    sparse, _, _ = jax.jit(learner.estimate)(
        None, params, learner.init(jax.random.key(0), params), example
    )
    weights, bias = jax.jit(jax.grad(penalty, (0, 1)))(params.weights, params.hidden.bias)
    expected = rbm.RBM(
        plain.weights + weights, plain.visible, units.Bernoulli(plain.hidden.bias + bias)
    )
    assert_trees_close(sparse, expected, rtol=1e-5, atol=1e-6)


def test_sparsity_follows_a_moving_average():
    params, learner = make("gaussian"), Sparse(Exact(), target=0.3, cost=0.5, decay=0.8)
    chains, q = learner.init(jax.random.key(0), params), np.full(3, 0.3)
    estimate, plain = jax.jit(learner.estimate), jax.jit(Exact().estimate)
    for seed in range(3):
        batch = draw_batch(params, seed=seed)
        gradient, chains, _ = estimate(None, params, chains, batch)
        q = 0.8 * q + 0.2 * np.asarray(rbm.hidden_mean(params, batch)).mean(axis=0)
        np.testing.assert_allclose(chains.mean, q, rtol=1e-5)
        change = jax.tree.map(jnp.subtract, gradient, plain(None, params, None, batch)[0])
        pull = 0.5 * (q - 0.3)
        statistic = np.asarray(params.visible.statistic(batch)).mean(axis=0)
        np.testing.assert_allclose(change.hidden.bias, pull, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(change.weights, np.outer(statistic, pull), rtol=1e-4, atol=1e-6)
        assert not np.any(jax.tree.leaves(change.visible))


@pytest.mark.parametrize(
    ("pair", "outside", "words", "inside"),
    [
        ("bernoulli", (-0.1, 0.0, 1.0, 1.5), "Bernoulli hidden units lies between 0 and 1", 0.5),
        ("concat", (-0.1,), "Binomial hidden units lies between 0 and 2", 0.9),
        ("binomial", (), "", -3.0),  # Gaussian hidden units have any mean
    ],
)
def test_sparsity_refuses_what_no_mean_can_be(pair, outside, words, inside):
    params = make(pair)
    for target in outside:
        with pytest.raises(ValueError, match=f"target is {target}; the mean of {words}"):
            Sparse(target=target).init(jax.random.key(0), params)
    np.testing.assert_allclose(Sparse(target=inside).init(jax.random.key(0), params).mean, inside)


@pytest.mark.parametrize("learner", [Sparse(), LabelledPCD(), Centred()])
def test_model_means_are_read_from_no_gradient_that_has_more_in_it(learner):
    Centred(learner)  # which reads none
    words = rf"model_share is 0.5, but the gradient of {type(learner).__name__}\(.*Sparse\(Centred"
    with pytest.raises(ValueError, match=words):
        Centred(learner, model_share=0.5)


def test_model_means_of_chains_that_keep_their_labels():
    """Without a label cost the gradient is that of the generative part, and tells its means."""
    params, key = make("memory"), jax.random.key(1)
    inner = LabelledPCD(6, label_cost=0.0)
    learner = Centred(inner, model_share=0.5, sliding=1.0)
    batch, chains = draw_batch(params, 6), learner.init(jax.random.key(0), params)
    _, found, _ = jax.jit(learner.estimate)(key, params, chains, batch)
    fantasies, _ = inner.sample(key, params, chains.inner)
    labels = np.asarray(chains.inner.labels)
    share = np.asarray(batch)[:, -labels.shape[1] :].mean(axis=0)
    weights = labels @ (share / labels.sum(axis=0))
    for offset, values in (
        (found.visible, lambda x: x),
        (found.hidden, lambda x: rbm.hidden_mean(params, x)),
    ):
        of_data = np.asarray(values(batch)).mean(axis=0)
        of_model = weights @ np.asarray(values(fantasies))
        np.testing.assert_allclose(offset, (of_data + of_model) / 2, rtol=1e-5, atol=1e-6)
        assert np.abs(of_data - of_model).max() > 0.01
