"""log Z, its gradient, its estimates and likelihoods, against enumeration and quadrature."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dbn_jax import data, partition, rbm, units
from tests import oracles
from tests.random_models import random_rbm

# One small layer of each type: what it is, and its number of units.
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

log_partition = jax.jit(partition.exact_log_partition)
log_partition_and_gradient = jax.jit(jax.value_and_grad(partition.exact_log_partition))


def make(visible, hidden, *, seed=0, scale=0.25):
    """An RBM of two layers like those of LAYERS, all its parameters drawn at random."""
    return random_rbm(visible, hidden, seed=seed, scale=scale, weight_scale=scale)


def solve(function, models):
    """A function of one RBM for a dict of RBMs, as one compiled program: many cost more."""
    return jax.jit(lambda models: {name: function(params) for name, params in models.items()})(
        models
    )


@functools.cache
def of_visible(visible):
    """By hidden type: a model and its log Z."""
    partners = LAYERS if visible in FINITE else FINITE
    models = {hidden: make(LAYERS[visible], LAYERS[hidden]) for hidden in partners}
    log_zs = solve(partition.exact_log_partition, models)
    return {hidden: (models[hidden], log_zs[hidden]) for hidden in partners}


def concrete_types(cls=units.Units):
    for subclass in cls.__subclasses__():
        yield subclass
        yield from concrete_types(subclass)


def test_every_unit_type_is_in_the_table():
    layers = [layer for layer, _ in LAYERS.values()]
    assert set(concrete_types()) == {type(layer) for layer in layers}


@pytest.mark.parametrize("visible", LAYERS)
def test_log_partition_of_every_pair(visible):
    for hidden, (params, log_z) in of_visible(visible).items():
        assert (log_z.shape, log_z.dtype) == ((), jnp.float32)
        expected = oracles.Model.of(params).log_z()
        np.testing.assert_allclose(log_z, expected, rtol=3e-6, atol=3e-6, err_msg=hidden)


@pytest.mark.parametrize("summed", ["hidden", "visible"])
def test_gradient_is_the_model_expectation(summed):
    # ∂ log Z/∂θ = −E[∂E/∂θ]: the negative phase of learning. Every type on either side.
    small = FINITE["bernoulli"]
    models = {
        name: make(*((layer, small) if summed == "hidden" else (small, layer)))
        for name, layer in LAYERS.items()
    }
    for name, gradient in solve(jax.grad(partition.exact_log_partition), models).items():
        assert_model_expectation(gradient, models[name], name, tolerance=2e-5)


def assert_model_expectation(gradient, params, case, *, tolerance):
    model = oracles.Model.of(params)
    expected = model.free_energy_gradient(model.visible.states, model.visible_marginal())
    for name, value in oracles.leaves(gradient).items():
        np.testing.assert_allclose(
            value, -expected[name], rtol=tolerance, atol=tolerance, err_msg=f"{case}: {name}"
        )


# More states than one block holds, on either side, and a number of them that no block divides.
LARGE = {
    "hidden": (INFINITE["gaussian_learnt"][0], 1, units.Bernoulli(), 13),
    "visible": (units.Bernoulli(), 13, INFINITE["gaussian_learnt"][0], 1),
    "hidden_uneven": (units.Poisson(), 1, units.Softmax(num_classes=3), 24),
    "visible_uneven": (units.Softmax(num_classes=3), 24, units.ReLU(), 1),
}


@pytest.mark.parametrize("case", LARGE)
def test_many_blocks(case):
    visible, num_visible, hidden, num_hidden = LARGE[case]
    params = make((visible, num_visible), (hidden, num_hidden))
    side = params.visible if case.startswith("visible") else params.hidden
    assert side.num_states > partition._BLOCK
    assert (side.num_states % partition._BLOCK != 0) == case.endswith("uneven")
    log_z, gradient = log_partition_and_gradient(params)
    np.testing.assert_allclose(log_z, oracles.Model.of(params).log_z(), rtol=3e-6)
    assert_model_expectation(gradient, params, case, tolerance=1e-4)


@pytest.mark.parametrize("sizes", [(40, 3), (3, 40)])
def test_enumerates_the_smaller_side(sizes):
    # 2⁴⁰ states would be refused; here the sum over the small side is written out.
    params = make(*[(units.Bernoulli(), size) for size in sizes])
    weights, (b, c) = np.asarray(params.weights, np.float64), (params.visible, params.hidden)
    if sizes[0] < sizes[1]:
        weights, b, c = weights.T, c, b
    b, c = np.asarray(b.bias, np.float64), np.asarray(c.bias, np.float64)
    h = np.array(list(np.ndindex(2, 2, 2)), np.float64)
    expected = np.logaddexp.reduce(h @ c + np.logaddexp(0, b + h @ weights.T).sum(axis=1))
    np.testing.assert_allclose(log_partition(params), expected, rtol=3e-6)


def test_strong_weights_neither_overflow_nor_vanish():
    params = make(FINITE["spin"], FINITE["spin"])
    params = rbm.RBM(400 * params.weights, params.visible, params.hidden)
    expected = oracles.Model.of(params).log_z()
    assert expected > 200  # exp(expected) is beyond float32
    np.testing.assert_allclose(log_partition(params), expected, rtol=3e-6)


# Σ_x exp(−U(x)) of one layer with zero biases; 4, 3, 6, 2, … are the numbers of units above.
ZERO = {
    "bernoulli": 4 * math.log(2),
    "spin": 3 * math.log(2),
    "softmax": 2 * math.log(3),
    "binomial": 2 * 3 * math.log(2),
    "concat": 2 * math.log(2) + math.log(3),
    "poisson": 2 * 1,
    "gaussian": 2 * math.log(1.7 * math.sqrt(2 * math.pi)),
    "gaussian_learnt": 2 * math.log(0.6 * math.sqrt(2 * math.pi)),
    "relu": 2 * math.log(math.sqrt(math.pi / 2)),
    "concat_infinite": 2 * math.log(2) + 1,
}


@pytest.mark.parametrize("visible", LAYERS)
def test_closed_form_without_weights(visible):
    layer, size = LAYERS[visible]
    params = rbm.RBM(jnp.zeros((size, 7)), layer.init(size), units.Bernoulli().init(7))
    expected = ZERO[visible] + 7 * math.log(2)
    np.testing.assert_allclose(log_partition(params), expected, rtol=3e-6)


@pytest.mark.parametrize("visible", LAYERS)
def test_likelihoods_are_those_of_the_oracle_and_sum_to_one(visible):
    params, log_z = of_visible(visible)["binomial"]
    model = oracles.Model.of(params)
    v = model.visible.states
    log_p = jax.jit(partition.log_likelihood)(params, v.astype(np.float32), log_z)
    assert log_p.shape == v.shape[:1]
    likely = model.log_likelihood(v) > -30  # beyond, quadrature nodes and counts without weight
    log_p = np.asarray(log_p)
    np.testing.assert_allclose(log_p[likely], model.log_likelihood(v)[likely], rtol=1e-5, atol=1e-5)
    nodes = model.visible.log_weights - model.visible.log_density(v)  # zero where a sum is a sum
    total = np.exp(np.asarray(log_p, np.float64) + nodes).sum()
    np.testing.assert_allclose(total, 1, atol=1e-5)


def test_likelihood_takes_any_leading_axes():
    params, log_z = of_visible("bernoulli")["bernoulli"]
    v = jnp.asarray(oracles.Model.of(params).visible.states, jnp.float32)
    log_p = partition.log_likelihood(params, v, log_z)
    grid = partition.log_likelihood(params, v.reshape(2, 8, 4), log_z)
    np.testing.assert_allclose(grid.reshape(-1), log_p, rtol=1e-6)
    assert partition.log_likelihood(params, v[3], log_z).shape == ()


def test_eager_and_mapped_equal_compiled():
    models = [make(LAYERS["concat"], LAYERS["gaussian_learnt"], seed=seed) for seed in range(3)]
    one_by_one = [log_partition(params) for params in models]
    assert len({float(x) for x in one_by_one}) == 3
    ensemble = jax.tree.map(lambda *x: jnp.stack(x), *models)
    mapped = jax.jit(jax.vmap(partition.exact_log_partition))(ensemble)
    np.testing.assert_allclose(mapped, jnp.stack(one_by_one), rtol=1e-6)
    eager = partition.exact_log_partition(models[0])
    np.testing.assert_allclose(eager, one_by_one[0], rtol=1e-6)


def test_is_as_precise_as_its_parameters():
    with jax.enable_x64(True):
        params = make(LAYERS["concat"], LAYERS["gaussian_learnt"])
        params = jax.tree.map(lambda x: x.astype(jnp.float64), params)
        log_z = log_partition(params)
        assert log_z.dtype == jnp.float64
        np.testing.assert_allclose(log_z, oracles.Model.of(params).log_z(), rtol=1e-11)


def test_limit_and_its_message():
    assert partition.MAX_STATES == 2**25
    within = make((units.Bernoulli(), 30), (units.Bernoulli(), 25))
    assert jax.eval_shape(partition.exact_log_partition, within).shape == ()
    beyond = make((units.Bernoulli(), 30), (units.Bernoulli(), 26))
    with pytest.raises(ValueError, match=r"limited to 2\^25 states.* has 2\^26;"):
        partition.exact_log_partition(beyond)
    far_beyond = make((units.Bernoulli(), 1100), (units.Bernoulli(), 1100))  # no such float
    with pytest.raises(ValueError, match=r"has 2\^1\.1e\+03;"):
        partition.exact_log_partition(far_beyond)


def test_many_blocks_are_not_rounded_one_by_one(monkeypatch):
    """Independent units have a closed form; float32 holds its five digits to 1e-4."""
    monkeypatch.setattr(partition, "_BLOCK", 16)
    params = make((units.Bernoulli(), 900), (units.Bernoulli(), 16), scale=0.0)
    biases = [np.float64(layer.bias) for layer in (params.visible, params.hidden)]
    expected = sum(np.logaddexp(0, bias).sum() for bias in biases)
    assert expected > 512
    np.testing.assert_allclose(partition.exact_log_partition(params), expected, atol=1e-3)


def test_two_sides_without_end_are_refused():
    for pair in [("gaussian", "relu"), ("gaussian", "gaussian"), ("concat_infinite", "gaussian")]:
        visible, hidden = (LAYERS[name] for name in pair)
        params = make(visible, hidden, scale=0.0)
        with pytest.raises(ValueError, match=r"smaller layer of this RBM has infinitely many"):
            partition.exact_log_partition(params)


# Few steps, so that the weights vary and every factor of them matters; and uneven ones.
BETAS = jnp.array([0.0, 0.2, 0.5, 1.0])
# Every type as visible units, some inside Concat; hidden layers that can be enumerated, so that
# exact draws are made.
ANNEALED = {
    "bernoulli": "softmax",
    "binomial": "concat",
    "concat": "binomial",
    "gaussian_learnt": "spin",
    "relu": "bernoulli",
    "concat_infinite": "softmax",
}


def test_annealed_weights_are_unbiased_for_the_partition_function():
    def both_ways(case):
        params, base, h, key = case
        v = rbm.sample_visible(key, params, h)
        forward = partition.ais(
            jax.random.key(0), params, base=base, betas=BETAS, num_chains=len(v)
        )
        backward = partition.reverse_ais(jax.random.key(1), params, v, base=base, betas=BETAS)
        return forward.log_weights, backward

    cases, log_zs = {}, {}
    rng = np.random.default_rng(0)
    for i, (visible, hidden) in enumerate(ANNEALED.items()):
        # Strong weights: noise that the steps share, or wrong by a step, is then noticed.
        params = make(LAYERS[visible], LAYERS[hidden], seed=i, scale=0.5)
        base = make(LAYERS[visible], LAYERS[hidden], seed=100 + i, scale=0.5).visible
        model = oracles.Model.of(params)
        log_zs[visible], p = model.log_z(), model.hidden_marginal()
        states = model.hidden.states[rng.choice(len(p), 10_000, p=p / p.sum())]
        cases[visible] = params, base, jnp.asarray(states, jnp.float32), jax.random.key(i)
    results = jax.jit(lambda cases: {name: both_ways(case) for name, case in cases.items()})(cases)
    # Relative to what is exact: weights for Z; and, from draws of the model backwards, for 1/Z.
    ratios = {
        (name, way): np.exp(sign * (np.asarray(log_weights, np.float64) - log_zs[name]))
        for name, both in results.items()
        for way, sign, log_weights in zip(("Z", "1/Z"), (1, -1), both, strict=True)
    }
    oracles.assert_mean(ratios, dict.fromkeys(ratios, 1.0))
    assert min(np.std(ratio) for ratio in ratios.values()) > 0.01


def test_summary_of_the_weights():
    params = make(LAYERS["spin"], LAYERS["bernoulli"])
    forward = partition.ais(jax.random.key(0), params, betas=BETAS, num_chains=50)
    w = np.exp(np.asarray(forward.log_weights, np.float64))
    np.testing.assert_allclose(forward.log_z, np.log(w.mean()), rtol=1e-6)
    expected = w.std(ddof=1) / w.mean() / math.sqrt(len(w))
    np.testing.assert_allclose(forward.standard_error, expected, rtol=1e-4)
    expected = w.sum() ** 2 / (w**2).sum()
    np.testing.assert_allclose(forward.effective_sample_size, expected, rtol=1e-4)


def test_reverse_annealing_is_unbiased_for_where_the_annealing_ends():
    # Not for p(v): for the distribution of the forward chain's last state, by transition matrices.
    params = make(FINITE["bernoulli"], FINITE["spin"], scale=1.0)
    base = make(FINITE["bernoulli"], FINITE["spin"], seed=1, scale=1.0).visible
    p = None
    for beta in np.asarray(BETAS):
        visible = jax.tree.map(lambda x, y, b=beta: (1 - b) * x + b * y, base, params.visible)
        model = oracles.Model.of(rbm.RBM(beta * params.weights, visible, params.hidden))
        p = model.visible_marginal() if p is None else p @ model.gibbs(1)
    model = oracles.Model.of(params)
    assert oracles.total_variation(p, model.visible_marginal()) > 0.01
    v = jnp.asarray(model.visible.states, jnp.float32)
    grid = jnp.broadcast_to(v, (20_000, *v.shape))
    r = partition.reverse_ais(jax.random.key(0), params, grid, base=base, betas=BETAS)
    log_p = partition.log_likelihood(params, grid, r)
    assert log_p.shape == grid.shape[:2]
    oracles.assert_mean(np.exp(np.asarray(log_p, np.float64)), p)


@functools.cache
def digits_rbm():
    """An RBM of 20 hidden units that learnt binary digits, and the digits."""
    rows = jnp.asarray(data.load("digits").train.images > 127, jnp.float32)
    params = rbm.init_params(jax.random.key(0), rows.shape[1], 20)
    params = rbm.fit_visible(params, rows)
    optimizer = optax.sgd(0.1)

    def update(state, t):
        batch_key, step_key = jax.random.split(jax.random.fold_in(jax.random.key(1), t))
        batch = jax.random.choice(batch_key, rows, (50,))
        return rbm.pcd_step(step_key, state, batch, optimizer=optimizer)[0], None

    chains = rbm.init_chains(jax.random.key(2), params, 50)
    state = rbm.init_state(params, optimizer, chains=chains)
    learn = jax.jit(lambda state: jax.lax.scan(update, state, jnp.arange(1000))[0])
    return learn(state).params, rows


def test_digits():
    params, rows = digits_rbm()
    base = params.visible.fit(rows)
    betas = partition.published_betas(500)
    # Everything exact from one enumeration of the hidden layer.
    h = params.hidden.states(jnp.arange(params.hidden.num_states))
    log_p = jax.jit(  # h as an argument: it is too large for a constant of the program
        lambda params, h: (
            params.visible.cumulant(rbm.visible_inputs(params, h)) - params.hidden.energy(h)
        )
    )(params, h)
    log_z = jax.nn.logsumexp(log_p)
    forward = partition.ais(jax.random.key(3), params, base=base, betas=betas, num_chains=100)
    assert abs(forward.log_z - log_z) < 3 * forward.standard_error
    assert 0 < forward.standard_error < 0.2
    assert forward.effective_sample_size > 20

    p = np.exp(np.asarray(log_p - log_z, np.float64))
    chosen = np.random.default_rng(4).choice(len(p), 100, p=p / p.sum())
    v = rbm.sample_visible(jax.random.key(5), params, h[chosen])
    backward = partition.reverse_ais(jax.random.key(6), params, v, base=base, betas=betas)
    assert jnp.mean(forward.log_weights) < log_z < jnp.mean(backward)
    assert jnp.mean(backward) - jnp.mean(forward.log_weights) < 3
    # There was something to estimate: a model far better than independent pixels.
    gain = partition.log_likelihood(params, rows, log_z) - base.log_prob(rows, jnp.zeros_like(rows))
    assert jnp.mean(gain) > 3


def test_published_schedule():
    betas = np.asarray(partition.published_betas())
    assert betas.shape == (14_501,)
    assert (betas[0], betas[-1]) == (0, 1)
    assert (np.diff(betas) > 0).all()
    ends = np.searchsorted(betas, np.float32([0.5, 0.9]))
    np.testing.assert_array_equal(np.diff([0, *ends, 14_500]), [500, 4_000, 10_000])
    for num_steps in (3, 10, 1000):
        betas = np.asarray(partition.published_betas(num_steps))
        assert betas.shape == (num_steps + 1,)
        assert (betas[0], betas[-1]) == (0, 1)
        assert (np.diff(betas) > 0).all()
    with pytest.raises(ValueError, match="num_steps is 2"):
        partition.published_betas(2)


def test_one_chain_has_no_standard_error():
    params = make((units.Bernoulli(), 3), (units.Bernoulli(), 2))
    with pytest.raises(ValueError, match="num_chains is 1; a standard error takes at least 2"):
        partition.ais(jax.random.key(0), params, betas=BETAS, num_chains=1)


def test_annealing_maps_and_keeps_precision():
    with jax.enable_x64(True):
        models = [make(LAYERS["concat"], LAYERS["gaussian_learnt"], seed=i) for i in range(3)]
        models = jax.tree.map(lambda x: x.astype(jnp.float64), models)
        ensemble = jax.tree.map(lambda *x: jnp.stack(x), *models)
        keys = jax.random.split(jax.random.key(0), 3)

        def estimate(key, params):
            return partition.ais(key, params, betas=BETAS, num_chains=5)

        mapped = jax.jit(jax.vmap(estimate))(keys, ensemble)
        for i, params in enumerate(models):
            one = estimate(keys[i], params)
            assert one.log_z.dtype == jnp.float64
            np.testing.assert_allclose(mapped.log_weights[i], one.log_weights, rtol=1e-10)


def test_what_annealing_refuses():
    params = make(LAYERS["bernoulli"], LAYERS["spin"])
    key, v = jax.random.key(0), jnp.zeros((2, 4))
    for base in (units.Spin().init(4), units.Bernoulli().init(5), units.Bernoulli()):
        with pytest.raises(ValueError, match=r"make it with params\.visible\.fit"):
            partition.ais(key, params, base=base)
        with pytest.raises(ValueError, match=r"make it with params\.visible\.fit"):
            partition.reverse_ais(key, params, v, base=base)
    for betas in ([0.0, 0.5], [0.1, 1.0], [0.0, 0.6, 0.5, 1.0]):
        with pytest.raises(ValueError, match="must rise from 0 to 1"):
            partition.ais(key, params, betas=jnp.array(betas))
    with pytest.raises(ValueError, match="1 entry"):
        partition.reverse_ais(key, params, v, betas=jnp.array([1.0]))
    real = rbm.RBM(jnp.array([[1.2]]), units.Gaussian().init(1), units.Gaussian().init(1))
    for annealed in (
        lambda: partition.ais(key, real, betas=BETAS),
        lambda: partition.reverse_ais(key, real, v[:, :1], betas=BETAS),
    ):
        with pytest.raises(ValueError, match=r"not normalisable: .* is 1\.2, and must be below 1"):
            annealed()


@pytest.mark.parametrize("visible", ["bernoulli", "spin"])
def test_pseudo_likelihood(visible):
    params = make(LAYERS[visible], LAYERS["binomial"], scale=0.7)
    model = oracles.Model.of(params)
    states, log_p = model.visible.states, model.log_likelihood(model.visible.states)
    low, high = params.visible.support
    expected = np.zeros(len(states))
    for i in range(states.shape[1]):
        other = states.copy()
        other[:, i] = low + high - other[:, i]
        partner = [int(np.flatnonzero((states == row).all(axis=1))[0]) for row in other]
        expected += log_p - np.logaddexp(log_p, log_p[partner])
    v = jnp.asarray(states, jnp.float32)
    size = v.shape[1]
    exact = partition.log_pseudo_likelihood(jax.random.key(0), params, v, num_units=size)
    np.testing.assert_allclose(exact, expected, rtol=1e-5)
    grid = jnp.broadcast_to(v, (4000, *v.shape))
    for num_units in (1, 2):
        drawn = partition.log_pseudo_likelihood(
            jax.random.key(num_units), params, grid, num_units=num_units
        )
        oracles.assert_mean(np.asarray(drawn), expected)


def test_what_the_pseudo_likelihood_refuses():
    key = jax.random.key(0)
    params = make(LAYERS["binomial"], LAYERS["spin"])
    with pytest.raises(TypeError, match="these are Binomial"):
        partition.log_pseudo_likelihood(key, params, jnp.zeros((3, 2)))
    params, v = make(LAYERS["bernoulli"], LAYERS["spin"]), jnp.zeros((3, 4))
    for num_units in (0, 5):
        with pytest.raises(ValueError, match=rf"num_units is {num_units}; it must lie in 1\.\.4"):
            partition.log_pseudo_likelihood(key, params, v, num_units=num_units)


def test_half_precision_does_not_reach_the_estimates():
    """Parameters in bfloat16 are a model like any other, of which log Z is found as well."""
    model = make((units.Bernoulli(), 40), (units.Bernoulli(), 10), scale=0.5)
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), model)
    wide = jax.tree.map(lambda x: x.astype(jnp.float32), half)
    expected = float(log_partition(wide))
    assert float(partition.exact_log_partition(half)) == pytest.approx(expected, rel=1e-6)
    betas = partition.published_betas(500)
    for params in (half, wide):
        found = partition.ais(jax.random.key(0), params, betas=betas, num_chains=50)
        assert found.log_z.dtype == jnp.float32
        assert abs(float(found.log_z) - expected) < 5 * float(found.standard_error) + 1e-3


def test_pseudo_likelihood_of_many_units():
    """All units of 50,000: their number squared is more than 32 bits hold."""
    size = 50_000
    bias = jnp.linspace(-6, 6, size) ** 2 / 4
    params = rbm.RBM(jnp.zeros((size, 1)), units.Bernoulli(bias), units.Bernoulli().init(1))
    found = partition.log_pseudo_likelihood(
        jax.random.key(0), params, jnp.zeros(size), num_units=size
    )
    expected = -np.logaddexp(0, np.float64(bias)).sum()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_reverse_annealing_takes_whole_numbers_and_checks_their_number():
    params = make(LAYERS["bernoulli"], LAYERS["spin"])
    v = np.array([[0, 1, 1, 0], [1, 1, 1, 1]])
    key = jax.random.key(0)
    whole = partition.reverse_ais(key, params, jnp.asarray(v, jnp.int32), betas=BETAS)
    real = partition.reverse_ais(key, params, jnp.asarray(v, jnp.float32), betas=BETAS)
    np.testing.assert_array_equal(whole, real)
    with pytest.raises(ValueError, match=r"v has shape \(2, 3\); .* the RBM's 4 visible units"):
        partition.reverse_ais(key, params, jnp.zeros((2, 3)), betas=BETAS)
    with pytest.raises(ValueError, match="must rise from 0 to 1"):
        partition.ais(key, params, betas=jnp.array([0.0, jnp.nan, 1.0]))
