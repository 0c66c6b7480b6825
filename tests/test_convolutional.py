"""Convolutional RBMs by enumeration, on images of 3×3 and 4×4 pixels: what is exact."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from dbn_jax import clamping, convolutional, linear, rbm, units
from dbn_jax.likelihood import annealing, partition, pseudo_likelihood
from dbn_jax.units import normalisable
from tests import convolutional_oracle, oracles, significance
from tests.random_models import at_random
from tests.small_rbms import FALSE_ALARM, allclose

REAL = units.Gaussian(sigma=0.7)
LEARNT = units.Gaussian(sigma=1.3, learn_sigma=True)
# Image, maps, size of a filter, and options: all borders, blocks, channels, pixels, both sharings.
MODELS = {
    "plain": ((3, 3, 1), 2, 2, {}),
    "pooled": ((3, 3, 1), 2, 2, {"block": 2}),
    "pooled, 4×4": ((4, 4, 1), 2, 3, {"block": 2}),
    "pooled by 3": ((4, 4, 1), 1, 2, {"block": 3}),
    "same": ((3, 3, 1), 1, 3, {"border": "same"}),
    "same, even, pooled": ((4, 4, 1), 1, 2, {"border": "same", "block": 4}),
    "full, pooled": ((3, 3, 1), 1, 2, {"border": "full", "block": 2}),
    "oblong": ((2, 5, 1), 2, 2, {"block": 1}),
    "colours": ((2, 2, 2), 1, 2, {"border": "full"}),
    "colours, pooled": ((3, 3, 2), 1, 2, {"block": 2}),
    "spins": ((3, 3, 1), 2, 2, {"hidden": units.Spin(), "visible": units.Spin()}),
    "real": ((3, 3, 1), 2, 2, {"block": 2, "visible": REAL}),
    "real colours": ((4, 4, 2), 2, 3, {"visible": LEARNT}),
    "local": ((3, 3, 1), 2, 2, {"shared": False}),
    "local, pooled": ((3, 3, 1), 1, 2, {"shared": False, "border": "full", "block": 2}),
    "local, real": ((3, 3, 2), 2, 2, {"shared": False, "block": 2, "visible": LEARNT}),
}
REAL_PIXELS = [name for name in MODELS if "real" in name]
every_model = pytest.mark.parametrize("name", MODELS)


@functools.cache
def make(name, dtype=jnp.float64, scale=0.8):
    """A model of the table with random parameters."""
    image_shape, num_maps, size, options = MODELS[name]

    def blank():
        key = jax.random.key(0)
        return convolutional.init_params(key, image_shape, num_maps, size, dtype=dtype, **options)

    with jax.enable_x64(True):
        params = at_random(1, blank, scale)
        if options.get("visible") is not LEARNT:
            return params
        far = jnp.full_like(params.visible.each.log_bound, -9)
        each = dataclasses.replace(params.visible.each, log_bound=far)
        return dataclasses.replace(params, visible=dataclasses.replace(params.visible, each=each))


def visible_layer(params):
    """Of real pixels without states: there are too many nodes."""
    if params.visible.each.tail == "bounded":
        return oracles.Layer.of(params.visible)
    blocks = oracles._blocks(params.visible)
    places, size = params.visible.num_places, params.visible.num_units
    return oracles.Layer(tuple(blocks), np.zeros((1, size)), np.zeros(1), places)


@functools.cache
def enumerated(name, dtype=jnp.float64, scale=0.8):
    """The same RBM as a matrix with tied entries and tables of states, by the loops."""
    params = make(name, dtype, scale)
    return oracles.Model(
        convolutional_oracle.matrix(params.weights),
        visible_layer(params),
        oracles.Layer.of(params.hidden),
        functools.partial(convolutional_oracle.fold, params.weights),
    )


def some(name, number=6, seed=0):
    """Values of both layers: allowed hidden states."""
    random = np.random.default_rng(seed)
    model = enumerated(name)
    v = random.normal(size=(number, model.visible.num_units))
    if name not in REAL_PIXELS:
        low, high = make(name).visible.each.support
        v = np.where(v > 0, high, low)
    return v, model.hidden.states[random.integers(len(model.hidden.states), size=number)]


def tied(params):
    """The same distribution by a dense RBM, whose weights the package writes out."""
    of_units = [side.elements()[0] for side in (params.visible, params.hidden)]
    return rbm.RBM(linear.matrix(params.weights), *of_units)


@jax.jit
def compute(params, v, h):
    return {
        "energy": rbm.energy(params, v, h),
        "free energy": rbm.free_energy(params, v),
        "hidden mean": rbm.hidden_mean(params, v),
        "visible mean": rbm.visible_mean(params, h),
        "log Z": partition.exact_log_partition(params),
    }


@functools.cache
def computed(name):
    """What the package says of some values, and of the dense RBM with tied weights."""
    with jax.enable_x64(True):
        params = make(name)
        v, h = map(jnp.asarray, some(name))
        v, h = v.reshape(2, 3, -1), h.reshape(2, 3, -1)  # any batch axes
        return compute(params, v, h), compute(tied(params), v, h)


def flat(x):
    return np.asarray(x).reshape(6, *np.shape(x)[2:])


@every_model
@pytest.mark.usefixtures("x64")
def test_energy_is_the_sum_over_places(name):
    params, (v, h) = make(name), some(name)
    model, found = enumerated(name), computed(name)[0]["energy"]
    units_alone = -model.visible.log_density(v) - model.hidden.log_density(h)
    z = model.visible.statistic(v)
    expected = units_alone - convolutional_oracle.interaction(params.weights, z, h)
    assert found.shape == (2, 3)
    allclose(flat(found), expected)
    allclose(linear.matrix(params.weights), model.weights)
    assert params.weights.shape == model.weights.shape


@every_model
@pytest.mark.usefixtures("x64")
def test_free_energy_and_conditionals_are_sums_over_states(name):
    v, h = some(name)
    model, (found, of_dense) = enumerated(name), computed(name)
    allclose(flat(found["free energy"]), model.free_energy(v))
    allclose(flat(found["hidden mean"]), model.hidden_given(v) @ model.hidden.states)
    if name in REAL_PIXELS:
        # z given the hidden units is N(bias + W h, 1).
        bias, location = (
            np.concatenate([getattr(block, part) for block in model.visible.blocks])
            for part in ("bias", "location")
        )
        expected = location + model.visible.sigma * (bias + h @ model.weights.T)
    else:
        expected = model.visible_given(h) @ model.visible.states
    allclose(flat(found["visible mean"]), expected)
    if "pooled" in name and name not in REAL_PIXELS:
        allclose(flat(found["free energy"]), convolutional_oracle.free_energy(make(name), v))
    jax.tree.map(allclose, found, of_dense)


def log_z(name):
    """log Σ_h ∫ exp(−E) dv, the integral over real pixels by hand."""
    model = enumerated(name)
    if name not in REAL_PIXELS:
        return model.log_z()
    return scipy.special.logsumexp(log_hidden(model))


def log_hidden(model):
    """log ∫ exp(−E(v, h)) dv of real pixels: ∫ exp(az − z²/2) σ dz = σ √(2π) exp(a²/2)."""
    bias = np.concatenate([block.bias for block in model.visible.blocks])
    slope = bias + model.hidden.states @ model.weights.T
    own = np.log(model.visible.sigma).sum() + len(bias) * math.log(2 * math.pi) / 2
    return model.hidden.log_weights + own + (slope**2).sum(axis=1) / 2


@every_model
def test_log_z(name):
    allclose(computed(name)[0]["log Z"], log_z(name), rtol=1e-10)


def likelihood_gradient(name, v):
    """∂/∂θ of the mean log p(v): of real pixels E[∂E/∂θ] by the moments of z given h."""
    model = enumerated(name)
    if name not in REAL_PIXELS:
        return model.log_likelihood_gradient(v)
    data, p = model.free_energy_gradient(v), np.exp(log_hidden(model) - log_z(name))
    bias = np.concatenate([block.bias for block in model.visible.blocks])
    h, mean = model.hidden.states, bias + model.hidden.states @ model.weights.T
    learnt = make(name).visible.each.learn_sigma
    model_side = {
        "weights": model.fold(-(p[:, None] * mean).T @ h),
        "visible.bias": model.visible.total(-p @ mean),
        "hidden.bias": model.hidden.total(-p @ h),
        # E[z(z − bias − input)] = 1
        "visible.log_sigma": model.visible.total(np.full(len(bias), -1.0 * learnt)),
        "hidden.log_sigma": np.zeros_like(data["hidden.log_sigma"]),
    }
    return {key: model_side[key] - data[key] for key in data}


@every_model
@pytest.mark.usefixtures("x64")
def test_exact_gradient_of_the_likelihood(name):
    params, (v, _) = make(name), some(name)

    @jax.jit
    def gradient(params):
        def loss(params):
            z = partition.exact_log_partition(params)
            return -jnp.mean(partition.log_likelihood(params, jnp.asarray(v), z))

        return jax.value_and_grad(loss)(params)

    loss, found = gradient(params)
    allclose(loss, np.mean(enumerated(name).free_energy(v)) + log_z(name))
    expected = likelihood_gradient(name, v)
    for key, value in oracles.leaves(found).items():
        allclose(value, -expected[key], atol=1e-8)
    # Of the dense RBM, summed over entries that are tied.
    dense = oracles.leaves(gradient(tied(params))[1])
    model = enumerated(name)
    allclose(model.fold(dense["weights"]), -expected["weights"], atol=1e-8)
    allclose(model.visible.total(dense["visible.bias"]), -expected["visible.bias"], atol=1e-8)


@every_model
def test_samples_have_the_conditional_distributions(name):
    params, (v, h) = make(name, jnp.float32), some(name)
    model = enumerated(name)
    many = 20_000

    @jax.jit
    def draw(key, params, v, h):
        up, down = jax.random.split(key)
        return rbm.sample_hidden(up, params, v), rbm.sample_visible(down, params, h)

    for i in range(2):
        rows = [jnp.asarray(np.tile(x[i], (many, 1)), jnp.float32) for x in (v, h)]
        hidden, visible = map(np.asarray, draw(jax.random.key(i), params, *rows))
        p = model.hidden_given(v[i])
        significance.assert_mean(hidden, p @ model.hidden.states, FALSE_ALARM)
        # Pairs too: units of a block are not independent.
        pairs = np.einsum("si,sj,s->ij", model.hidden.states, model.hidden.states, p)
        found = hidden[:, :, None] * hidden[:, None, :]
        significance.assert_mean(found, pairs, FALSE_ALARM)
        mean = flat(computed(name)[0]["visible mean"])[i]
        significance.assert_mean(visible, mean, FALSE_ALARM)
        if name in REAL_PIXELS:
            squares = (visible - mean) ** 2
            significance.assert_mean(squares, model.visible.sigma**2, FALSE_ALARM)


# Learning: CD's expectation, and the same draws by the dense RBM.


@functools.partial(jax.jit, static_argnames="num_gibbs_steps")
def estimates(params, batch, num_gibbs_steps):
    keys = jax.random.split(jax.random.key(0), 20_000)
    return jax.vmap(
        lambda key: rbm.cd_gradient(key, params, batch, num_gibbs_steps=num_gibbs_steps)[0]
    )(keys)


@pytest.mark.parametrize(
    ("name", "num_gibbs_steps"),
    [("pooled", 1), ("pooled", 3), ("plain", 2), ("colours", 1), ("local, pooled", 2)],
)
def test_expected_cd_gradient_is_that_of_the_transition_matrix(name, num_gibbs_steps):
    params, model = make(name, jnp.float32, 1.5), enumerated(name, jnp.float32, 1.5)
    batch = np.array([some(name)[0][0], 0.3 * some(name)[0][1] + 0.4])  # a grey one, too
    found = oracles.leaves(estimates(params, jnp.asarray(batch, jnp.float32), num_gibbs_steps))
    expected = model.cd_gradient(batch, num_gibbs_steps)
    significance.assert_mean(found, expected, FALSE_ALARM)
    # The twin: another number of steps would be noticed.
    bound = significance.z_bound(sum(x[0].size for x in found.values()), FALSE_ALARM)
    other = model.cd_gradient(batch, num_gibbs_steps % 3 + 1)
    assert significance.largest_z(found, other) > bound


@every_model
@pytest.mark.usefixtures("x64")
def test_a_dense_rbm_with_tied_weights_learns_the_same_from_the_same_draws(name):
    """Gaussian pixels among them, whose expectation is no finite sum."""
    params, model = make(name), enumerated(name)
    batch = jnp.asarray(some(name)[0])
    gradient = jax.jit(functools.partial(rbm.cd_gradient, num_gibbs_steps=2))
    for seed in range(3):
        found, metrics = gradient(jax.random.key(seed), params, batch)
        dense, of_dense = gradient(jax.random.key(seed), tied(params), batch)
        found, dense = oracles.leaves(found), oracles.leaves(dense)
        allclose(found["weights"], model.fold(dense["weights"]))
        for side in ("visible", "hidden"):
            for part in (f"{side}.bias", f"{side}.log_sigma"):
                shared = dense[part].shape == found[part].shape  # pooled units still are in maps
                total = dense[part] if shared else getattr(model, side).total(dense[part])
                allclose(found[part], total)
        for metric in ("free_energy_data", "free_energy_fantasies", "hidden_activity"):
            allclose(metrics[metric], of_dense[metric])


# Likelihoods.


@pytest.mark.parametrize("name", ["pooled", "real", "full, pooled", "local"])
@pytest.mark.usefixtures("x64")
def test_annealing_brackets_log_z(name):
    params, exact = make(name), log_z(name)
    betas = jnp.linspace(0, 1, 60)
    estimate = annealing.ais(jax.random.key(0), params, betas=betas, num_chains=2000)
    assert abs(estimate.log_z - exact) < 4 * estimate.standard_error
    assert 0 < estimate.standard_error < 0.1
    # Draws of the model, backwards: exp(−r) is unbiased for 1/Z.
    model, random = enumerated(name), np.random.default_rng(0)
    logits = log_hidden(model) if name in REAL_PIXELS else np.log(model.hidden_marginal())
    p = scipy.special.softmax(logits)
    h = jnp.asarray(model.hidden.states[random.choice(len(p), 2000, p=p)])
    v = rbm.sample_visible(jax.random.key(1), params, h)
    r = annealing.reverse_ais(jax.random.key(2), params, v, betas=betas)
    significance.assert_mean(np.exp(exact - np.asarray(r)), 1.0)
    assert np.std(r) > 0.01


@pytest.mark.parametrize("name", ["pooled", "colours", "spins", "local, pooled"])
@pytest.mark.usefixtures("x64")
def test_pseudo_likelihood_of_all_pixels_is_exact(name):
    params, model, (v, _) = make(name), enumerated(name), some(name)
    low, high = params.visible.each.support
    expected = np.zeros(len(v))
    for i in range(v.shape[1]):
        flipped = v.copy()
        flipped[:, i] = low + high - v[:, i]
        expected -= np.logaddexp(0, model.free_energy(v) - model.free_energy(flipped))
    found = pseudo_likelihood.log_pseudo_likelihood(
        jax.random.key(0), params, jnp.asarray(v), num_units=v.shape[1]
    )
    allclose(found, expected)


@pytest.mark.parametrize("name", ["real", "real colours"])
@pytest.mark.usefixtures("x64")
def test_pseudo_likelihood_of_real_pixels(name):
    params, model, (v, _) = make(name), enumerated(name), some(name, 2)
    grid = np.linspace(-40, 40, 4001)
    expected = np.zeros(len(v))
    for i in range(v.shape[1]):
        x = np.broadcast_to(v[:, None], (len(v), len(grid), v.shape[1])).copy()
        x[:, :, i] = grid
        log_p = scipy.special.logsumexp(-model.free_energy(x), axis=1) + np.log(grid[1] - grid[0])
        expected += -model.free_energy(v) - log_p
    found = pseudo_likelihood.log_pseudo_likelihood(
        jax.random.key(0), params, jnp.asarray(v), num_units=v.shape[1]
    )
    allclose(found, expected, rtol=1e-7)


def test_half_an_image_is_filled_in_by_its_conditional():
    params, model = make("pooled", jnp.float32), enumerated("pooled")
    known = np.arange(9) < 5
    v = some("pooled")[0][0]
    states, p = model.visible.states, model.visible_marginal()
    p = np.where((states[:, known] == v[known]).all(axis=1), p, 0)
    expected = p / p.sum() @ states
    many = jnp.asarray(np.tile(np.where(known, v, np.nan), (20_000, 1)), jnp.float32)
    filled = clamping.impute(jax.random.key(0), params, many, jnp.asarray(known), 60)
    significance.assert_mean(filled, expected)
    after, h = clamping.gibbs(jax.random.key(1), params, many, jnp.asarray(known), 60)
    significance.assert_mean(after, expected)
    joint = model.hidden_given(states).T @ (p / p.sum())
    significance.assert_mean(h, joint @ model.hidden.states)


@pytest.mark.usefixtures("x64")
def test_real_pixels_and_real_maps_need_small_weights():
    real = {"visible": units.Gaussian(), "hidden": units.Gaussian()}
    params = convolutional.init_params(
        jax.random.key(0), (3, 3, 1), 2, 2, weight_scale=1.0, dtype=jnp.float64, **real
    )
    norm = np.linalg.norm(convolutional_oracle.matrix(params.weights), 2)
    with pytest.raises(ValueError, match=f"singular value .* is {norm:.4g}, and must be below 1"):
        normalisable.check(params)
