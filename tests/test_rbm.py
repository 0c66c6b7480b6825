"""RBMs against enumeration: energies, kernels that do not drift, expectations of every estimate."""

import dataclasses
import doctest
import functools
import itertools
import operator
import os
import re
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from dbn_jax import rbm, units
from tests import oracles

# Of each p-value or of all z-scores of a comparison together; the file has about 60 of them.
FALSE_ALARM = 1e-7

# A description of each type, and how many units oracles can afford of it: beside a layer that can
# be enumerated, and beside one that needs quadrature.
TYPES = {
    "bernoulli": (units.Bernoulli(), 3, 3),
    "spin": (units.Spin(), 3, 3),
    "softmax": (units.Softmax(num_classes=3), 6, 6),
    "binomial": (units.Binomial(num_trials=3), 2, 2),
    "poisson": (units.Poisson(), 2, 1),
    "gaussian": (units.Gaussian(sigma=0.6), 2, 1),
    "gaussian learnt": (units.Gaussian(sigma=1.7, learn_sigma=True), 2, 1),
    "relu": (units.ReLU(), 2, 1),
    "concat": (
        units.Concat(
            parts=(units.Gaussian(learn_sigma=True), units.Softmax(num_classes=3)), sizes=(1, 3)
        ),
        4,
        4,
    ),
}
QUADRATIC = ["gaussian", "gaussian learnt", "relu", "concat"]
INFINITE = ["poisson", *QUADRATIC]
FORBIDDEN = [("poisson", t) for t in INFINITE] + [(t, "poisson") for t in QUADRATIC]
PAIRS = [(v, h) for v in TYPES for h in TYPES if (v, h) not in FORBIDDEN]


def make(visible, hidden, *, weight_scale=0.3, seed=0, dtype=jnp.float32):
    """An RBM of two of TYPES with all its parameters drawn at random."""
    random = np.random.default_rng(seed)
    column = 2 if visible in INFINITE and hidden in INFINITE else 1
    num_visible, num_hidden = TYPES[visible][1], TYPES[hidden][column]
    params = rbm.RBM(
        jnp.asarray(weight_scale * random.normal(size=(num_visible, num_hidden)), dtype),
        TYPES[visible][0].init(num_visible, dtype),
        TYPES[hidden][0].init(num_hidden, dtype),
    )

    def move(x):  # numpy's addition need not be compiled for every shape
        return jnp.asarray(np.asarray(x) + 0.3 * random.normal(size=x.shape), dtype)

    visible, hidden = jax.tree.map(move, (params.visible, params.hidden))
    return dataclasses.replace(params, visible=visible, hidden=hidden)


def allclose(actual, expected, rtol=1e-9, atol=1e-9):
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)


def trees_allclose(actual, expected, rtol=1e-5, atol=1e-6):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    jax.tree.map(lambda a, b: allclose(a, b, rtol, atol), actual, expected)


def some_states(layer, shape, seed=0):
    """Likely values of a layer: nodes of quadrature among them."""
    p = np.exp(layer.log_weights - layer.log_weights.max())
    random = np.random.default_rng(seed)
    return layer.states[random.choice(len(p), shape, p=p / p.sum())]


# Exact quantities.


@jax.jit
def everything(params, v, h):
    inputs = rbm.hidden_inputs(params, v)
    return {
        "energy": rbm.energy(params, v, h),
        "free_energy": rbm.free_energy(params, v),
        "hidden_mean": rbm.hidden_mean(params, v),
        "visible_mean": rbm.visible_mean(params, h),
        "reconstruction": rbm.reconstruct(params, v),
        "gradient": rbm.free_energy_gradient(params, v, inputs),
        "autodiff": jax.grad(lambda params: jnp.mean(rbm.free_energy(params, v)))(params),
    }


@pytest.mark.parametrize(("visible", "hidden"), PAIRS)
def test_every_pair_of_types_against_the_oracle(visible, hidden):
    with jax.enable_x64(True):
        params = make(visible, hidden, dtype=jnp.float64)
        model = oracles.Model.of(params, max_input=8.0)
        v, h = some_states(model.visible, (2, 3)), some_states(model.hidden, (2, 3), seed=1)
        found = everything(params, jnp.asarray(v), jnp.asarray(h))
    allclose(found["energy"], model.energy(v, h))
    allclose(found["free_energy"], model.free_energy(v))
    hidden_mean = model.hidden_given(v) @ model.hidden.states
    allclose(found["hidden_mean"], hidden_mean)
    allclose(found["visible_mean"], model.visible_given(h) @ model.visible.states)
    allclose(found["reconstruction"], model.visible_given(hidden_mean) @ model.visible.states)
    expected = model.free_energy_gradient(v.reshape(6, -1))
    for name in ("gradient", "autodiff"):
        leaves = oracles.leaves(found[name])
        for leaf in expected:
            allclose(leaves[leaf], expected[leaf], atol=1e-8)


def test_likelihood_gradient_of_the_documentation():
    """grad(F(data) − F(samples)), here with every state as a sample and its exact weight."""
    with jax.enable_x64(True):
        params = make("bernoulli", "spin", weight_scale=1.0, dtype=jnp.float64)
        model = oracles.Model.of(params)
        data = model.visible.states[[1, 1, 6]]
        states, p = jnp.asarray(model.visible.states), jnp.asarray(model.visible_marginal())

        def loss(params):
            data_term = jnp.mean(rbm.free_energy(params, jnp.asarray(data)))
            return data_term - p @ rbm.free_energy(params, states)

        found = oracles.leaves(jax.jit(jax.grad(loss))(params))
    expected = model.log_likelihood_gradient(data)
    for leaf in expected:
        allclose(found[leaf], -expected[leaf])


def test_one_binary_unit_each_by_hand():
    params = rbm.init_params(jax.random.key(0), 1, 1)
    params = rbm.RBM(
        jnp.array([[2.0]]),
        dataclasses.replace(params.visible, bias=jnp.array([0.5])),
        dataclasses.replace(params.hidden, bias=jnp.array([-1.0])),
    )
    on, off = jnp.ones(1), jnp.zeros(1)
    allclose([rbm.energy(params, v, h) for v in (off, on) for h in (off, on)], [0, 1, -0.5, -1.5])
    allclose(rbm.free_energy(params, on), -0.5 - np.log(1 + np.exp(1.0)), rtol=1e-6)
    allclose(rbm.hidden_mean(params, on), [1 / (1 + np.exp(-1.0))], rtol=1e-6)
    allclose(rbm.visible_mean(params, on), [1 / (1 + np.exp(-2.5))], rtol=1e-6)


# Which pairs are normalisable.


@pytest.mark.parametrize(("visible", "hidden"), FORBIDDEN)
def test_pairs_without_a_normalisable_joint_are_refused(visible, hidden):
    (visible, num_visible, _), (hidden, num_hidden, _) = TYPES[visible], TYPES[hidden]
    with pytest.raises(ValueError, match=r"no normalisable joint.*such as Bernoulli or Binomial"):
        rbm.init_params(jax.random.key(0), num_visible, num_hidden, visible=visible, hidden=hidden)


@pytest.mark.parametrize(("visible", "hidden"), PAIRS)
def test_all_other_pairs_are_made_and_are_normalisable(visible, hidden):
    (visible, num_visible, _), (hidden, num_hidden, _) = TYPES[visible], TYPES[hidden]
    params = rbm.init_params(
        jax.random.key(0), num_visible, num_hidden, visible=visible, hidden=hidden
    )
    rbm.check_normalisable(params)


def real_pair(weights, visible="gaussian", hidden="gaussian"):
    num_visible, num_hidden = np.shape(weights)
    return rbm.RBM(
        jnp.asarray(weights, jnp.float32),
        TYPES[visible][0].init(num_visible),
        TYPES[hidden][0].init(num_hidden),
    )


NOT_BELOW_1 = r"largest singular value .* is (\S+), and must be below 1; use a smaller"


@pytest.mark.parametrize("visible", ["gaussian", "gaussian learnt"])
@pytest.mark.parametrize("factor", [0.5, 0.999, 1.001, 3.0])
def test_gaussian_pairs_are_normalisable_while_the_quadratic_form_is_definite(visible, factor):
    """(v − b)²/2σ² + (h − c)²/2τ² − vᵀWh/στ is definite in v/σ and h/τ: σ must not matter."""
    weights = np.random.default_rng(0).normal(size=(3, 2))
    weights *= factor / np.linalg.norm(weights, 2)
    form = np.block([[np.eye(3), -weights], [-weights.T, np.eye(2)]])
    definite = np.linalg.eigvalsh(form)[0] > 0
    assert definite == (factor < 1)
    params = real_pair(weights, visible=visible)
    if definite:
        rbm.check_normalisable(params)
    else:
        with pytest.raises(ValueError, match=NOT_BELOW_1):
            rbm.check_normalisable(params)


def test_the_boundary_itself_is_not_normalisable():
    with pytest.raises(ValueError, match=NOT_BELOW_1):
        rbm.check_normalisable(real_pair([[1.0]]))
    with pytest.raises(ValueError, match=NOT_BELOW_1):
        rbm.check_normalisable(real_pair([[-1.0]]))
    with pytest.raises(ValueError, match=NOT_BELOW_1):
        rbm.check_normalisable(real_pair([[1.0]], "relu", "relu"))
    rbm.check_normalisable(real_pair([[np.nextafter(np.float32(1), np.float32(0))]]))


def test_only_weights_that_can_blow_up_count():
    rbm.check_normalisable(real_pair([[-50.0, 0.3], [-2.0, -9.0]], "relu", "relu"))
    with pytest.raises(ValueError, match=NOT_BELOW_1):
        rbm.check_normalisable(real_pair([[-50.0, 1.3], [-2.0, -9.0]], "relu", "relu"))
    with pytest.raises(ValueError, match=NOT_BELOW_1):  # a Gaussian unit takes either sign
        rbm.check_normalisable(real_pair([[-50.0]], "relu", "gaussian"))
    # Concat: only the Gaussian unit (the first) beside the rectified ones.
    weights = np.array([[0.5, 0.5], [9, 9], [-9, 9], [9, 0]])
    rbm.check_normalisable(real_pair(weights, "concat", "relu"))
    weights[0] = [0.8, 0.8]
    with pytest.raises(ValueError, match=r"is 1\.131, and must"):
        rbm.check_normalisable(real_pair(weights, "concat", "relu"))


def test_gaussian_pair_that_is_not_normalisable_has_an_infinite_integral():
    """What the check is for: the oracle's log Z grows with the grid, and no number is right."""
    stretched = [
        oracles.Model.of(real_pair([[1.2]]), max_input=width).log_z() for width in (5.0, 10.0)
    ]
    assert stretched[1] > stretched[0] + 10
    finite = [oracles.Model.of(real_pair([[0.5]]), max_input=w).log_z() for w in (5.0, 10.0)]
    allclose(finite[0], finite[1])


# Gibbs sampling. Chains start in the enumerated distribution, so that however slowly they mix they
# must stay in it.

NUM_CHAINS = 20_000


def start(model, seed=0):
    """Visible values drawn from the model by enumeration, without the package: (NUM_CHAINS, V)."""
    random = np.random.default_rng(seed)
    if not any(block.kind == "Gaussian" for block in model.visible.blocks):
        p = model.visible_marginal()
        return model.visible.states[random.choice(len(p), NUM_CHAINS, p=p / p.sum())]
    p = model.hidden_marginal()
    h = model.hidden.states[random.choice(len(p), NUM_CHAINS, p=p / p.sum())]
    (block,) = model.visible.blocks
    mean = block.bias + block.sigma * (model.hidden.statistic(h) @ model.weights.T)
    return mean + block.sigma * random.normal(size=mean.shape)


def drift(model, v, h):
    """How far (v, h) are from draws of the joint: total variation, and its bound for such draws."""
    if any(block.kind == "Gaussian" for block in model.visible.blocks):
        counts, p = model.hidden.counts(h), model.hidden_marginal()
    elif any(block.kind == "ReLU" for block in model.hidden.blocks):
        counts, p = model.visible.counts(v), model.visible_marginal()
    else:
        pairs = model.visible.number(v) * len(model.hidden.states) + model.hidden.number(h)
        counts = np.bincount(pairs, minlength=model.joint().size)
        p = model.joint().ravel()
    distance = oracles.total_variation(counts / counts.sum(), p)
    return distance, oracles.total_variation_bound(p, counts.sum(), FALSE_ALARM)


def run_gibbs(params, v, num_steps, seed=0):
    # A new function each time: the twins below change what it calls.
    compiled = jax.jit(lambda key, params, v, n: rbm.gibbs(key, params, v, n))
    v = jnp.asarray(v, jnp.float32)
    return [compiled(jax.random.key(seed), params, v, jnp.int32(n)) for n in num_steps]


KERNELS = [
    ("bernoulli", "bernoulli"),
    ("spin", "softmax"),
    ("softmax", "binomial"),
    ("gaussian learnt", "bernoulli"),
    ("bernoulli", "relu"),
]


@pytest.mark.parametrize(("visible", "hidden"), KERNELS)
def test_gibbs_sampling_does_not_drift(visible, hidden):
    params = make(visible, hidden, weight_scale=1.0)
    model = oracles.Model.of(params, max_input=10.0)
    for v, h in run_gibbs(params, start(model), (1, 4, 16)):
        distance, bound = drift(model, v, h)
        assert distance < bound
        if visible == "gaussian learnt":  # what remains of v given h is normal
            (block,) = model.visible.blocks
            noise = (np.float64(v) - block.bias) / block.sigma
            noise -= model.hidden.statistic(np.float64(h)) @ model.weights.T
            assert scipy.stats.kstest(noise.ravel(), "norm").pvalue > FALSE_ALARM


def halve(hidden_inputs):
    return lambda params, v: 0.5 * hidden_inputs(params, v)


def transpose(hidden_inputs):
    def transposed(params, v):
        return hidden_inputs(dataclasses.replace(params, weights=params.weights.T), v)

    return transposed


def without_statistic(hidden_inputs):
    del hidden_inputs
    return lambda params, v: v @ params.weights


TWINS = [(halve, *pair) for pair in KERNELS] + [
    (transpose, "bernoulli", "bernoulli"),
    (without_statistic, "gaussian learnt", "bernoulli"),
]


@pytest.mark.parametrize(("change", "visible", "hidden"), TWINS)
def test_a_broken_kernel_drifts(change, visible, hidden, monkeypatch):
    """The twin: the couplings and the number of chains are large enough to notice a fault."""
    params = make(visible, hidden, weight_scale=1.0, seed=2)
    model = oracles.Model.of(params, max_input=10.0)
    monkeypatch.setattr(rbm, "hidden_inputs", change(rbm.hidden_inputs))
    ((v, h),) = run_gibbs(params, start(model), (4,))
    distance, bound = drift(model, v, h)
    assert distance > bound


def test_gibbs_with_means_instead_of_samples_drifts(monkeypatch):
    params = make("bernoulli", "bernoulli", weight_scale=3.0)
    model = oracles.Model.of(params)
    monkeypatch.setattr(rbm, "fantasy", functools.partial(rbm.fantasy, sample_visible=False))
    ((_, h),) = run_gibbs(params, start(model), (4,))
    distance = oracles.total_variation(model.hidden.counts(h) / NUM_CHAINS, model.hidden_marginal())
    p = model.hidden_marginal()
    assert distance > oracles.total_variation_bound(p, NUM_CHAINS, FALSE_ALARM)


def test_number_of_steps_may_be_traced():
    params = make("bernoulli", "spin")
    v = jnp.ones((5, 3))
    gibbs = functools.partial(rbm.gibbs, jax.random.key(0), params, v)
    traced, known = jax.jit(gibbs), jax.jit(gibbs, static_argnums=0)
    for n in (1, 2, 5):
        trees_allclose(known(n), traced(jnp.int32(n)))


def test_gibbs_takes_any_leading_axes():
    params = make("bernoulli", "spin")
    flat = jnp.asarray(some_states(oracles.Model.of(params).visible, 12), jnp.float32)
    gibbs = jax.jit(rbm.gibbs)
    v, h = gibbs(jax.random.key(1), params, flat, 3)
    for shape in [(3, 4), (2, 3, 2)]:
        shaped_v, shaped_h = gibbs(jax.random.key(1), params, flat.reshape(*shape, 3), 3)
        np.testing.assert_array_equal(shaped_v, v.reshape(*shape, 3))
        np.testing.assert_array_equal(shaped_h, h.reshape(*shape, 3))
    single_v, single_h = gibbs(jax.random.key(1), params, flat[0], 3)
    assert single_v.shape == single_h.shape == (3,)


def test_fantasy_returns_the_inputs_of_what_it_returns():
    params = make("gaussian learnt", "bernoulli")
    h = jnp.ones((4, 3))
    for sample_visible in (True, False):
        for n in (1, 3):
            v, last, inputs = rbm.fantasy(
                jax.random.key(2), params, h, n, sample_visible=sample_visible
            )
            allclose(inputs, rbm.hidden_inputs(params, v), rtol=1e-5, atol=1e-6)
            if n == 1:
                np.testing.assert_array_equal(last, h)
            if not sample_visible:
                allclose(v, rbm.visible_mean(params, last), rtol=1e-5, atol=1e-6)


def test_sample_hidden_and_visible_are_the_units_samples_given_their_inputs():
    params = make("softmax", "binomial")
    model = oracles.Model.of(params)
    v, h = some_states(model.visible, (4,)), some_states(model.hidden, (4,))
    v, h, key = jnp.asarray(v, jnp.float32), jnp.asarray(h, jnp.float32), jax.random.key(3)
    expected = params.hidden.sample(key, rbm.hidden_inputs(params, v))
    np.testing.assert_array_equal(rbm.sample_hidden(key, params, v), expected)
    expected = params.visible.sample(key, rbm.visible_inputs(params, h))
    np.testing.assert_array_equal(rbm.sample_visible(key, params, h), expected)


# Contrastive divergence: the mean of its estimates over keys against the transition matrix.

NUM_KEYS = 20_000


@functools.partial(jax.jit, static_argnums=(1, 2))
def estimates(params, num_gibbs_steps, sample_visible, batch):
    def one(key):
        return rbm.cd_gradient(
            key, params, batch, num_gibbs_steps=num_gibbs_steps, sample_visible=sample_visible
        )

    return jax.vmap(one)(jax.random.split(jax.random.key(0), NUM_KEYS))


def largest_z(samples, expected):
    return max(np.abs(oracles.z_scores(samples[name], expected[name])).max() for name in expected)


@pytest.fixture(scope="module")
def strong():
    """A binary RBM whose numbers of Gibbs steps differ, one to four, and data for it."""
    params = make("bernoulli", "bernoulli", weight_scale=3.0, seed=1)
    return params, oracles.Model.of(params), np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])


@pytest.mark.parametrize("num_gibbs_steps", [1, 2, 3])
def test_expected_cd_gradient_is_that_of_the_transition_matrix(strong, num_gibbs_steps):
    params, model, batch = strong
    gradients, metrics = estimates(params, num_gibbs_steps, True, jnp.asarray(batch, jnp.float32))
    found = oracles.leaves(gradients)
    oracles.assert_mean(found, model.cd_gradient(batch, num_gibbs_steps), FALSE_ALARM)

    # The twin: another number of steps would be noticed.
    bound = oracles.z_bound(sum(x[0].size for x in found.values()), FALSE_ALARM)
    for other in {1, 2, 3, 4, 5, 6} - {num_gibbs_steps}:
        assert largest_z(found, model.cd_gradient(batch, other)) > bound

    # Squared error of the means of the first reconstruction, summed over units.
    means = model.visible_given(model.hidden.states) @ model.visible.states
    errors = np.sum((batch[:, None] - means) ** 2, axis=-1)
    expected = np.mean(np.sum(model.hidden_given(batch) * errors, axis=1))
    oracles.assert_mean(metrics["reconstruction_error"], expected, FALSE_ALARM)
    after = model.after_gibbs(batch, num_gibbs_steps)
    expected = after @ model.free_energy(model.visible.states)
    oracles.assert_mean(metrics["free_energy_fantasies"], expected, FALSE_ALARM)
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
    oracles.assert_mean(oracles.leaves(gradients), model.cd_gradient(batch, 2), FALSE_ALARM)


@pytest.mark.parametrize("visible", ["bernoulli", "gaussian learnt"])
def test_expected_cd_gradient_with_means_as_reconstructions(visible):
    params = make(visible, "bernoulli", weight_scale=1.5)
    model = oracles.Model.of(params, max_input=8.0)
    batch = some_states(model.visible, 3)
    gradients, _ = estimates(params, 1, False, jnp.asarray(batch, jnp.float32))
    found = oracles.leaves(gradients)
    oracles.assert_mean(found, model.mean_field_cd_gradient(batch), FALSE_ALARM)
    bound = oracles.z_bound(sum(x[0].size for x in found.values()), FALSE_ALARM)
    assert largest_z(found, model.cd_gradient(batch, 1)) > bound  # samples would be noticed


def test_cd_with_many_steps_tends_to_the_exact_gradient(strong):
    """Maximum likelihood by a long chain: the gap falls like the second eigenvalue to the n."""
    params, model, batch = strong
    exact = {name: -x for name, x in model.log_likelihood_gradient(batch).items()}

    def gap(n):
        found = model.cd_gradient(batch, n)
        return max(np.abs(found[name] - exact[name]).max() for name in exact)

    gaps = [gap(n) for n in (1, 2, 4, 8, 16)]
    assert all(later < earlier for earlier, later in itertools.pairwise(gaps))
    second = np.sort(np.abs(np.linalg.eigvals(model.gibbs(1))))[-2]
    allclose(gap(9) / gap(8), second, rtol=1e-2)
    enough = int(np.ceil(np.log(1e-4) / np.log(second)))
    assert gap(enough) < 1e-3
    gradients, _ = estimates(params, enough, True, jnp.asarray(batch, jnp.float32))
    oracles.assert_mean(oracles.leaves(gradients), exact, FALSE_ALARM)


def test_grey_levels_drive_hidden_units_as_probabilities():
    """A batch of grey levels is used as it is: its own statistics, its own hidden inputs."""
    params = make("bernoulli", "bernoulli", weight_scale=1.0)
    model = oracles.Model.of(params)
    batch = np.array([[0.2, 0.7, 1.0], [0.5, 0.1, 0.0]])
    gradients, _ = estimates(params, 1, True, jnp.asarray(batch, jnp.float32))
    oracles.assert_mean(oracles.leaves(gradients), model.cd_gradient(batch, 1), FALSE_ALARM)


# Persistent chains.


@pytest.mark.parametrize("num_gibbs_steps", [1, 3])
@pytest.mark.parametrize("num_chains", [2, 7])
def test_pcd_is_stationary_at_the_model_and_its_gradient_exact_there(num_gibbs_steps, num_chains):
    """Numbers of chains and of examples differ: each phase is averaged over its own."""
    params = make("bernoulli", "spin", weight_scale=1.0)
    model = oracles.Model.of(params)
    batch = model.visible.states[[1, 6, 6]]
    p = model.hidden_marginal()
    random = np.random.default_rng(0)
    num_keys = 20_000
    chosen = random.choice(len(p), (num_keys, num_chains), p=p / p.sum())
    chains = jnp.asarray(model.hidden.states[chosen], jnp.float32)

    @jax.jit
    @jax.vmap
    def update(key, chains):
        return rbm.pcd_gradient(
            key,
            params,
            chains,
            jnp.asarray(batch, jnp.float32),
            num_gibbs_steps=num_gibbs_steps,
        )

    gradients, moved, metrics = update(jax.random.split(jax.random.key(0), num_keys), chains)
    exact = {name: -x for name, x in model.log_likelihood_gradient(batch).items()}
    oracles.assert_mean(oracles.leaves(gradients), exact, FALSE_ALARM)
    # One chain of each: the chains of one update may share the randomness of none.
    counts = model.hidden.counts(moved[:, 0])
    assert oracles.chi_squared(counts, p) > FALSE_ALARM
    assert not np.array_equal(moved, chains)
    expected = model.visible_marginal() @ model.free_energy(model.visible.states)
    oracles.assert_mean(metrics["free_energy_fantasies"], expected, FALSE_ALARM)


def test_each_phase_is_averaged_over_its_own_examples():
    """The short last batch: 3 examples against 7 fantasies, without any chance."""
    params = make("gaussian learnt", "bernoulli")
    model = oracles.Model.of(params)
    data, fantasies = some_states(model.visible, 3), some_states(model.visible, 7, seed=1)
    v, w = jnp.asarray(data, jnp.float32), jnp.asarray(fantasies, jnp.float32)

    @jax.jit
    def contrast(params, v, w):
        return rbm.contrast(
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
    assert oracles.chi_squared(model.hidden.counts(chains), p) > FALSE_ALARM


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


# Initial parameters.


def test_initial_parameters():
    params = rbm.init_params(jax.random.key(0), 300, 200, weight_scale=0.5)
    flat = np.float64(params.weights).ravel()
    oracles.assert_mean(flat, np.array(0.0), FALSE_ALARM)
    oracles.assert_mean(flat**2, np.array(0.25), FALSE_ALARM)
    assert scipy.stats.kstest(flat / 0.5, "norm").pvalue > FALSE_ALARM
    assert params.weights.shape == (300, 200)
    assert not np.any(params.visible.bias)
    assert not np.any(params.hidden.bias)
    other = rbm.init_params(jax.random.key(1), 300, 200)
    # As numpy rounds the product; fused with the drawing it would be rounded otherwise.
    draws = np.asarray(jax.random.normal(jax.random.key(1), (300, 200)))
    np.testing.assert_array_equal(other.weights, np.float32(0.01) * draws)
    assert abs(np.std(np.asarray(other.weights)) / 0.01 - 1) < 0.02  # 7 standard errors
    assert not np.allclose(other.weights * 50, params.weights)


def test_visible_biases_fitted_to_data_give_its_means():
    params = rbm.init_params(jax.random.key(0), 3, 2)
    data = jnp.asarray([[1, 0, 0.2], [1, 0, 0.4], [0, 0, 0.6]], jnp.float32)
    fitted = rbm.fit_visible(params, data)
    untrained = dataclasses.replace(fitted, weights=jnp.zeros_like(params.weights))
    expected = (np.asarray(data).sum(0) + 0.5) / 4  # half a count of each extreme
    allclose(rbm.visible_mean(untrained, jnp.ones(2)), expected, rtol=1e-5)
    np.testing.assert_array_equal(fitted.weights, params.weights)
    with pytest.raises(ValueError, match=r"shape \(3, 2\); .* 3 visible units"):
        rbm.fit_visible(params, data[:, :2])
    with pytest.raises(TypeError, match="uint8 numbers"):
        rbm.fit_visible(params, data.astype(jnp.uint8))


# What JAX asks of it.

OPTIMIZERS = {
    "sgd": optax.sgd(0.1, momentum=0.9),
    "adam": optax.adam(0.01),
    "schedule, clipping and decay": optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.add_decayed_weights(2e-4, mask=rbm.weight_mask),
        optax.sgd(optax.linear_schedule(0.1, 0.01, 10)),
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("visible", ["bernoulli", "gaussian learnt", "concat"])
@jax.numpy_dtype_promotion("standard")  # optax mixes counts and rates
def test_scan_of_steps_equals_a_loop(name, visible):
    optimizer = OPTIMIZERS[name]
    params = make(visible, "bernoulli")
    batches = jnp.asarray(some_states(oracles.Model.of(params).visible, (4, 5)), jnp.float32)
    keys = jax.random.split(jax.random.key(0), 4)

    def body(state, key_and_batch):
        return rbm.cd_step(*_insert(key_and_batch, state), optimizer=optimizer)

    begin = rbm.init_state(params, optimizer)
    scanned, metrics = jax.jit(lambda s: jax.lax.scan(body, s, (keys, batches)))(begin)
    state = begin
    for i in range(4):
        state, one = rbm.cd_step(keys[i], state, batches[i], optimizer=optimizer)
        allclose(one["free_energy_data"], metrics["free_energy_data"][i], rtol=1e-4, atol=1e-4)
    assert int(scanned.step) == int(state.step) == 4
    trees_allclose(scanned, state, rtol=1e-4, atol=1e-5)
    moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), state.params, params)
    assert all(jax.tree.leaves(moved))


def _insert(key_and_batch, state):
    key, batch = key_and_batch
    return key, state, batch


def test_weight_decay_touches_weights_only():
    params = make("gaussian learnt", "bernoulli")
    decay = optax.add_decayed_weights(0.5, mask=rbm.weight_mask)
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = decay.update(zeros, decay.init(params), params)
    expected = dataclasses.replace(zeros, weights=0.5 * params.weights)
    trees_allclose(updates, expected)


def test_ensemble_of_models_equals_a_loop():
    optimizer = optax.sgd(0.1)
    keys = jax.random.split(jax.random.key(0), 3)
    batch = jnp.asarray(np.random.default_rng(0).integers(0, 2, (3, 5, 4)), jnp.float32)

    def learn(key, batch):
        init_key, chain_key, *step_keys = jax.random.split(key, 4)
        params = rbm.init_params(init_key, 4, 3, weight_scale=1.0)
        chains = rbm.init_chains(chain_key, params, 6)
        state = rbm.init_state(params, optimizer, chains=chains)
        state, cd = rbm.cd_step(step_keys[0], state, batch, optimizer=optimizer, num_gibbs_steps=2)
        state, pcd = rbm.pcd_step(step_keys[1], state, batch, optimizer=optimizer)
        return state, cd, pcd

    together, one = jax.jit(jax.vmap(learn))(keys, batch), jax.jit(learn)
    for i in range(3):
        alone = one(keys[i], batch[i])
        trees_allclose(jax.tree.map(operator.itemgetter(i), together), alone)


@pytest.mark.parametrize("num_gibbs_steps", [1, 3])
def test_every_leading_axis_is_a_batch_axis(num_gibbs_steps):
    params = make("bernoulli", "spin")
    batch = jnp.asarray(some_states(oracles.Model.of(params).visible, 6), jnp.float32)
    flat = rbm.cd_gradient(jax.random.key(0), params, batch, num_gibbs_steps=num_gibbs_steps)
    for shape in [(2, 3, 3), (3, 1, 2, 3)]:
        shaped = rbm.cd_gradient(
            jax.random.key(0), params, batch.reshape(shape), num_gibbs_steps=num_gibbs_steps
        )
        trees_allclose(shaped, flat)
    single = rbm.cd_gradient(jax.random.key(0), params, batch[0], num_gibbs_steps=num_gibbs_steps)
    first = rbm.cd_gradient(jax.random.key(0), params, batch[:1], num_gibbs_steps=num_gibbs_steps)
    trees_allclose(single, first)


@pytest.mark.parametrize("check_vma", [True, False])
@pytest.mark.parametrize("visible", ["bernoulli", "gaussian learnt"])
def test_mean_over_shards_equals_the_mean_of_their_gradients(visible, check_vma):
    """In shard_map every leaf is the shard's own gradient: none is summed over devices already."""
    params = make(visible, "bernoulli")
    batch = jnp.asarray(some_states(oracles.Model.of(params).visible, 16), jnp.float32)
    key = jax.random.key(0)
    mesh = Mesh(np.array(jax.devices()[:8]), ("data",))
    assert mesh.size == 8
    chains = rbm.init_chains(jax.random.key(1), params, 24)

    def gradients(key, params, chains, batch):
        cd = rbm.cd_gradient(key, params, batch, num_gibbs_steps=3)
        pcd, moved, metrics = rbm.pcd_gradient(key, params, chains, batch, num_gibbs_steps=2)
        inputs = rbm.hidden_inputs(params, batch)
        return (cd, pcd, metrics, rbm.free_energy_gradient(params, batch, inputs)), moved

    def on_a_shard(key, params, chains, batch):
        key = jax.random.fold_in(key, jax.lax.axis_index("data"))
        found, moved = gradients(key, params, chains, batch)
        return jax.lax.pmean(found, "data"), moved

    sharded = jax.shard_map(
        on_a_shard,
        mesh=mesh,
        in_specs=(P(), P(), P("data"), P("data")),
        out_specs=(P(), P("data")),
        check_vma=check_vma,
    )
    found, moved = jax.jit(sharded)(key, params, chains, batch)
    one = jax.jit(gradients)
    each = [
        one(jax.random.fold_in(key, i), params, chains[3 * i : 3 * i + 3], batch[2 * i : 2 * i + 2])
        for i in range(8)
    ]
    means = jax.tree.map(lambda *x: np.mean(x, axis=0), *(x[0] for x in each))
    trees_allclose(found, means, atol=1e-5)
    allclose(moved, np.concatenate([x[1] for x in each]), atol=1e-5)
    # Statistics without chance equal those of the whole batch on a single device.
    whole = jax.jit(
        lambda params, v: rbm.free_energy_gradient(params, v, rbm.hidden_inputs(params, v))
    )
    trees_allclose(found[-1], whole(params, batch), atol=1e-5)


def test_a_batch_spread_over_devices_gives_the_same_update():
    """Sharded data in, the same program, the same random numbers, the same update."""
    optimizer = optax.sgd(0.1, momentum=0.9)
    params = make("bernoulli", "bernoulli")
    state = rbm.init_state(params, optimizer)
    batch = jnp.asarray(some_states(oracles.Model.of(params).visible, 16), jnp.float32)
    mesh = Mesh(np.array(jax.devices()[:8]), ("data",))
    spread = jax.device_put(batch, NamedSharding(mesh, P("data")))
    assert len(spread.sharding.device_set) == 8
    state_everywhere = jax.device_put(state, NamedSharding(mesh, P()))
    key = jax.random.key(0)
    alone = rbm.cd_step(key, state, batch, optimizer=optimizer, num_gibbs_steps=2)
    together = rbm.cd_step(key, state_everywhere, spread, optimizer=optimizer, num_gibbs_steps=2)
    trees_allclose(together, alone)


def counting(optimizer):
    """The optimizer, and a list that grows when its update is traced."""
    traced = []

    def update(*args):
        traced.append(None)
        return optimizer.update(*args)

    return optax.GradientTransformation(optimizer.init, update), traced


@pytest.mark.parametrize("learner", ["cd", "pcd"])
def test_steps_called_directly_compile_once(learner):
    optimizer, traced = counting(optax.sgd(optax.linear_schedule(0.1, 0.0, 9)))
    params = make("bernoulli", "bernoulli")
    chains = rbm.init_chains(jax.random.key(0), params, 4)
    state = rbm.init_state(params, optimizer, chains=chains)
    step = {"cd": rbm.cd_step, "pcd": rbm.pcd_step}[learner]
    for i in range(4):  # new keys, batches, states and learning rates
        state, _ = step(
            jax.random.key(i), state, jnp.full((5, 3), 0.1 * i, jnp.float32), optimizer=optimizer
        )
    assert len(traced) == 1
    other = dataclasses.replace(state, params=make("bernoulli", "bernoulli", seed=9))
    step(jax.random.key(5), other, jnp.ones((5, 3)), optimizer=optimizer)
    assert len(traced) == 1
    step(jax.random.key(5), other, jnp.ones((6, 3)), optimizer=optimizer)
    step(jax.random.key(5), other, jnp.ones((5, 3)), optimizer=optimizer, num_gibbs_steps=2)
    assert len(traced) == 3  # what must be compiled anew: another shape, another program


def called(function, *args):
    """Names of the compiled functions that remain calls inside a function."""
    jaxpr = jax.make_jaxpr(function)(*args).jaxpr
    return {equation.params.get("name") for equation in oracles.equations(jaxpr)}


def test_steps_are_inlined_into_the_callers_program():
    optimizer = optax.sgd(0.1)
    params = make("bernoulli", "bernoulli")
    chains = rbm.init_chains(jax.random.key(0), params, 4)
    state = rbm.init_state(params, optimizer, chains=chains)
    args = (jax.random.key(0), state, jnp.ones((5, 3)))
    for step in (rbm.cd_step, rbm.pcd_step):
        names = called(functools.partial(step, optimizer=optimizer), *args)
        assert not names & {"cd_step", "cd_gradient", "pcd_step", "pcd_gradient"}
    plain = jax.jit(rbm.cd_gradient.__wrapped__)  # the twin: a jit without inlining is seen
    assert "cd_gradient" in called(plain, args[0], params, args[2])


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
@pytest.mark.parametrize("visible", ["bernoulli", "gaussian learnt", "relu"])
def test_parameters_keep_their_dtype(visible, dtype):
    with jax.enable_x64(True):
        params = make(visible, "bernoulli", dtype=dtype)
        optimizer = optax.sgd(0.1, momentum=0.9)
        chains = rbm.init_chains(jax.random.key(0), params, 4)
        state = rbm.init_state(params, optimizer, chains=chains)
        batch = jnp.ones((6, 2 if visible != "bernoulli" else 3), jnp.float32)

        @jax.jit
        def steps(*args):
            return [step(*args, optimizer=optimizer) for step in (rbm.cd_step, rbm.pcd_step)]

        for after, metrics in steps(jax.random.key(1), state, batch):
            assert jax.tree.structure(after) == jax.tree.structure(state)
            kept = jax.tree.map(lambda a, b: (a.dtype, a.shape) == (b.dtype, b.shape), after, state)
            assert all(jax.tree.leaves(kept))
            assert after.params.weights.dtype == dtype
            assert {x.dtype for x in metrics.values()} == {jnp.dtype(dtype)}
            assert all(np.all(np.isfinite(np.float32(x))) for x in jax.tree.leaves(after.params))


def test_saturated_units_leave_the_gradient_finite():
    params = make("bernoulli", "bernoulli")
    params = dataclasses.replace(params, weights=1e4 * params.weights)
    batch = jnp.asarray(oracles.Model.of(params).visible.states, jnp.float32)
    with jax.debug_nans(True):
        gradient, metrics = rbm.cd_gradient(jax.random.key(0), params, batch, num_gibbs_steps=2)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((gradient, metrics)))


# Errors name the value and the remedy.


def cd(batch, **options):
    return rbm.cd_gradient(jax.random.key(0), make("bernoulli", "bernoulli"), batch, **options)


def pcd_without_chains():
    state = rbm.init_state(make("bernoulli", "bernoulli"), OPTIMIZERS["sgd"])
    rbm.pcd_step(jax.random.key(0), state, jnp.ones((2, 3)), optimizer=OPTIMIZERS["sgd"])


def pcd(batch, **options):
    params = make("bernoulli", "bernoulli")
    return rbm.pcd_gradient(jax.random.key(0), params, jnp.ones((4, 3)), batch, **options)


ERRORS = {
    "bytes": (
        lambda: cd(jnp.ones((2, 3), jnp.uint8)),
        TypeError,
        r"uint8 numbers; .*astype\('float32'\) / 255",
    ),
    "integers for pcd": (lambda: pcd(jnp.ones((2, 3), jnp.int32)), TypeError, "int32 numbers"),
    "wrong width": (
        lambda: cd(jnp.ones((2, 4))),
        ValueError,
        r"shape \(2, 4\); .* 3 visible units",
    ),
    "wrong width for pcd": (lambda: pcd(jnp.ones((2, 5))), ValueError, r"shape \(2, 5\); .* 3"),
    "no axis": (lambda: cd(jnp.ones(())), ValueError, r"shape \(\); .* 3 visible units"),
    "no example": (
        lambda: cd(jnp.ones((0, 3))),
        ValueError,
        r"shape \(0, 3\): it holds no example",
    ),
    "no steps": (
        lambda: cd(jnp.ones((2, 3)), num_gibbs_steps=0),
        ValueError,
        "Gibbs steps is 0; it must be at least 1",
    ),
    "no steps for pcd": (
        lambda: pcd(jnp.ones((2, 3)), num_gibbs_steps=-2),
        ValueError,
        "Gibbs steps is -2",
    ),
    "no steps for gibbs": (
        lambda: rbm.gibbs(jax.random.key(0), make("bernoulli", "bernoulli"), jnp.ones((2, 3)), 0),
        ValueError,
        "Gibbs steps is 0",
    ),
    "no steps for fantasies": (
        lambda: rbm.fantasy(jax.random.key(0), make("bernoulli", "bernoulli"), jnp.ones((2, 3)), 0),
        ValueError,
        "Gibbs steps is 0",
    ),
    "empty chains": (
        lambda: rbm.init_chains(jax.random.key(0), make("bernoulli", "bernoulli"), 0),
        ValueError,
        "num_chains is 0; it must be at least 1",
    ),
    "no chains": (
        pcd_without_chains,
        ValueError,
        r"init_state\(params, optimizer, chains=init_chains\(key, params, num_chains\)\)",
    ),
    "class for an instance": (
        lambda: rbm.init_params(jax.random.key(0), 3, 2, visible=units.Bernoulli),
        TypeError,
        r"Bernoulli.* is not a unit type; pass an instance, such as Bernoulli\(\)",
    ),
    "name for an instance": (
        lambda: rbm.init_params(jax.random.key(0), 3, 2, hidden="bernoulli"),
        TypeError,
        "'bernoulli' is not a unit type",
    ),
    "no units": (
        lambda: rbm.init_params(jax.random.key(0), 3, 0),
        ValueError,
        "num_units is 0",
    ),
    "units that do not fit": (
        lambda: rbm.init_params(jax.random.key(0), 5, 2, visible=units.Softmax(num_classes=3)),
        ValueError,
        "5 softmax units .* groups of 3",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_wrong_arguments_are_refused(case):
    call, error, message = ERRORS[case]
    with pytest.raises(error, match=message):
        call()


# As a library inside someone else's program.


BARE = """
import importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Blocked())
import jax, jax.numpy as jnp, optax
before = set(sys.modules)
import dbn_jax.rbm as rbm
ours = {{name.split(".")[0] for name in set(sys.modules) - before}}
optimizer = optax.sgd(0.1)
state = rbm.init_state(rbm.init_params(jax.random.key(0), 6, 4), optimizer)
state, metrics = rbm.cd_step(jax.random.key(1), state, jnp.zeros((5, 6)), optimizer=optimizer)
assert int(state.step) == 1
heavy = {heavy}
print("loaded:", sorted(heavy & {{name.split(".")[0] for name in sys.modules}}))
print("ours:", sorted(ours - set(sys.stdlib_module_names)))
"""
HEAVY = {"tensorflow", "tensorflow_datasets", "orbax", "flax", "matplotlib"}


@pytest.mark.parametrize("blocked", [{"jaxtyping", "beartype"}, HEAVY | {"numba"}])
def test_import_needs_jax_and_optax_only(blocked):
    program = textwrap.dedent(BARE).format(blocked=blocked, heavy=HEAVY)
    environment = {
        name: value for name, value in os.environ.items() if not re.match("XLA|PYTEST", name)
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "loaded: []" in done.stdout
    allowed = r"ours: \['dbn_jax'(, 'jax')?(, 'jaxtyping')?(, 'numpy')?(, '\w*wadler\w*')?\]"
    assert re.search(allowed, done.stdout), done.stdout


def test_examples_in_the_documentation():
    results = doctest.testmod(rbm, optionflags=doctest.ELLIPSIS)
    assert results.attempted > 4
    assert results.failed == 0
