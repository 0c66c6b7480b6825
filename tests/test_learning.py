"""Learners: one contract for all of them, and each against what it should be exactly.

Statistical tests use fixed keys; each passes always or never, and its threshold follows from the
standard error at a false-alarm rate of 1e-6 (`oracles`). Beside each stands its power: the same
test fails for a kernel, a rule or an estimate that is wrong.
"""

import dataclasses
import functools
import inspect
import itertools
import math
import types

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest

from dbn_jax import labelled_pcd, learning, rbm, units
from dbn_jax.labelled_pcd import LabelledPCD
from dbn_jax.learning import CD, PCD, Centred, Exact, FastPCD, ParallelTempering, Sparse
from tests import oracles

LEARNERS = {
    "exact": Exact(),
    "cd_1": CD(1),
    "cd_3": CD(3),
    "cd_probabilities": CD(1, sample_visible=False),
    "pcd": PCD(num_chains=7),
    "fast_pcd": FastPCD(num_chains=7),
    "tempering": ParallelTempering(num_chains=7, num_temperatures=3),
    "labelled_pcd": LabelledPCD(num_chains=7, label_cost=2.0),
    "centred": Centred(CD(1)),
    "enhanced": Centred(PCD(num_chains=7), model_share=0.5, sliding=1.0),
    "sparse": Sparse(PCD(num_chains=7)),
    "centred_sparse": Centred(Sparse(CD(1))),
    "centred_labelled": Centred(LabelledPCD(num_chains=7)),
}

# Every unit type; a layer that can be enumerated on one side at least, as Exact needs.
PAIRS = {
    "bernoulli": ((units.Bernoulli(), 4), (units.Bernoulli(), 3)),
    "gaussian": ((units.Gaussian(sigma=0.6, learn_sigma=True), 2), (units.Bernoulli(), 3)),
    "softmax": ((units.Softmax(num_classes=3), 6), (units.Spin(), 3)),
    "binomial": ((units.Binomial(num_trials=3), 2), (units.Gaussian(sigma=1.7), 2)),
    "poisson": ((units.Poisson(), 2), (units.Bernoulli(), 3)),
    "relu": ((units.Bernoulli(), 4), (units.ReLU(), 2)),
    "concat": (
        (units.Concat((units.Gaussian(learn_sigma=True), units.Softmax(num_classes=3)), (1, 3)), 4),
        (units.Concat((units.Spin(), units.Binomial(num_trials=2)), (2, 1)), 3),
    ),
    "memory": (
        (units.Concat((units.Bernoulli(), units.Softmax(num_classes=2)), (2, 2)), 4),
        (units.Bernoulli(), 3),
    ),
}
# Label units beside features, without which some learners have no meaning.
WITH_LABELS = ("concat", "memory")


def pair_of(name):
    """A pair that the learner of this name can learn."""
    return "memory" if "labelled" in name else "bernoulli"


def make(pair, *, seed=0, scale=0.3, weight_scale=0.3, dtype=jnp.float32):
    """An RBM of one of PAIRS (or of two layers), all its parameters drawn at random."""
    (visible, num_visible), (hidden, num_hidden) = PAIRS.get(pair, pair)
    rng = np.random.default_rng(seed)

    def spread(x):  # numpy's addition need not be compiled for every shape
        return jnp.asarray(np.asarray(x) + rng.normal(0, scale, x.shape), x.dtype)

    sides = jax.tree.map(spread, (visible.init(num_visible, dtype), hidden.init(num_hidden, dtype)))
    weights = rng.normal(0, weight_scale, (num_visible, num_hidden))
    return rbm.RBM(jnp.asarray(weights, dtype), *sides)


@functools.partial(jax.jit, static_argnames="size")
def draw_batch(params, size=5, seed=9):
    """Visible values that are not drawn from the model: those of its biases alone."""
    inputs = jnp.zeros((size, params.visible.num_units), params.weights.dtype)
    return params.visible.sample(jax.random.key(seed), inputs)


def stack(trees):
    return jax.tree.map(lambda *x: jnp.stack(x), *trees)


def assert_trees_close(tree, expected, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), tree, expected)


def assert_leaves_close(gradient, expected, *, rtol=2e-5, atol=2e-5, err_msg=""):
    for name, value in oracles.leaves(gradient).items():
        np.testing.assert_allclose(
            value, expected[name], rtol=rtol, atol=atol, err_msg=f"{err_msg} {name}"
        )


def negative(tree):
    return jax.tree.map(lambda x: -x, tree)


# The contract.


def nested(learner):
    yield learner
    if hasattr(learner, "learner"):
        yield from nested(learner.learner)


def test_every_learner_is_in_the_table():
    tested = {type(part) for learner in LEARNERS.values() for part in nested(learner)}
    public = {
        cls
        for module in (learning, labelled_pcd)
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if cls.__module__ == module.__name__ and hasattr(cls, "estimate")
    }
    assert tested == public - {learning.Learner}


def test_every_unit_type_is_in_the_table():
    sides = [layer for pair in PAIRS.values() for layer, _ in pair]
    tested = {type(part) for side in sides for part in [side, *side.elements()]}
    public = {cls for _, cls in inspect.getmembers(units, inspect.isclass)}
    assert tested == {cls for cls in public if issubclass(cls, units.Units)} - {units.Units}


def described(tree):
    """Structure, shapes and dtypes; a weak dtype would be traced again once it is strong."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(x.shape, x.dtype, getattr(x, "weak_type", False)) for x in leaves]


@pytest.mark.parametrize(
    ("name", "pair", "dtype"),
    [
        (name, pair, dtype)
        for name in LEARNERS
        for pair, dtype in [
            *((pair, "float32") for pair in PAIRS),
            ("concat", "float64"),
            (pair_of(name), "bfloat16"),
        ]
        if pair in WITH_LABELS or pair_of(name) == "bernoulli"
    ],
)
def test_shapes_and_dtypes_are_kept(name, pair, dtype):
    learner, key = LEARNERS[name], jax.random.key(0)
    with jax.enable_x64(dtype == "float64"):
        params = make(pair, dtype=jnp.dtype(dtype))
        batch = jax.ShapeDtypeStruct((5, params.visible.num_units), dtype)
        chains = jax.eval_shape(learner.init, key, params)
        gradient, new_chains, metrics = jax.eval_shape(learner.estimate, key, params, chains, batch)
        assert described(gradient) == described(params)
        assert described(new_chains) == described(chains)
        assert metrics
        for metric, value in metrics.items():
            assert value.shape == (), metric
            assert jnp.issubdtype(value.dtype, jnp.floating), metric


@pytest.mark.parametrize("name", LEARNERS)
def test_step_is_compiled_once_and_equals_its_parts_and_mapped(name):
    learner, traces = LEARNERS[name], []
    sgd = optax.sgd(0.1)

    def update(gradient, opt_state, params):
        traces.append(gradient)
        return sgd.update(gradient, opt_state, params)

    optimizer = optax.GradientTransformation(sgd.init, update)
    keys = jax.random.split(jax.random.key(1), 3)
    models = [make(pair_of(name), seed=seed) for seed in range(3)]
    batch = draw_batch(models[0])
    start, end = [], []
    for key, params in zip(keys, models, strict=True):
        state = learning.init_state(key, params, learner=learner, optimizer=optimizer)
        for _ in range(2):  # the second from where the first ended
            start.append(state)
            # A learner made anew is the same value.
            state, metrics = learning.step(
                key, state, batch, learner=dataclasses.replace(learner), optimizer=optimizer
            )
            end.append((state, metrics))
    assert len(traces) == 1
    assert [int(state.step) for state, _ in end] == [1, 2] * 3
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(end))

    before, (after, metrics) = start[1], end[1]
    gradient, *kept = jax.jit(learner.estimate)(keys[0], before.params, before.chains, batch)
    moved = jax.tree.map(lambda x, g: x - 0.1 * g, before.params, gradient)
    close = functools.partial(assert_trees_close, rtol=1e-4, atol=1e-5)
    close((moved, *kept), (after.params, after.chains, metrics))

    def step(key, state):
        return learning.step(key, state, batch, learner=learner, optimizer=optimizer)

    close(jax.jit(jax.vmap(step))(keys, stack(start[1::2])), stack(end[1::2]))


@pytest.fixture
def unchecked_annotations():
    """As in a user's program, where this package's own messages must come."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize("name", LEARNERS)
def test_wrong_batches_are_refused(name):
    learner, params, key = LEARNERS[name], make(pair_of(name)), jax.random.key(0)
    chains = learner.init(key, params)
    with pytest.raises(ValueError, match=r"shape \(5, 3\).* 4 visible units"):
        learner.estimate(key, params, chains, jnp.zeros((5, 3)))
    with pytest.raises(TypeError, match="int32 numbers; convert them"):
        learner.estimate(key, params, chains, jnp.zeros((5, 4), jnp.int32))


@pytest.mark.parametrize("learner", [Centred(Exact()), Sparse(PCD(7)), LabelledPCD(7)])
def test_every_leading_axis_is_a_batch_axis(learner):
    params, key = make("memory"), jax.random.key(4)
    batch, chains = draw_batch(params, 6), learner.init(key, params)
    estimate = jax.jit(learner.estimate)
    flat, grid = (
        estimate(key, params, chains, batch.reshape(shape)) for shape in [(6, 4), (2, 3, 4)]
    )
    assert_trees_close(grid, flat, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("make_learner", "message"),
    [
        (lambda: ParallelTempering(num_temperatures=1), "num_temperatures is 1; .* PCD"),
        (lambda: ParallelTempering(num_gibbs_steps=0), "num_gibbs_steps is 0; .* at least 1"),
        (lambda: ParallelTempering(min_beta=1.0), r"min_beta is 1\.0"),
        (lambda: Centred(model_share=1.5), r"model_share is 1\.5"),
        (lambda: Centred(sliding=0.0), r"sliding 0\.0"),
        (lambda: LabelledPCD(label_cost=-1.0), r"label_cost is -1\.0"),
        (lambda: LabelledPCD(num_gibbs_steps=0), "number of Gibbs steps is 0; .* at least 1"),
    ],
)
def test_senseless_settings_are_refused(make_learner, message):
    with pytest.raises(ValueError, match=message):
        make_learner()


# Exact, and contrastive divergence on its way there.


def test_exact_gradient_is_the_likelihood_gradient():
    # The other types, and log Z itself: test_partition.
    models = {pair: make(pair) for pair in ("bernoulli", "gaussian", "binomial", "concat")}
    batches = {pair: draw_batch(params) for pair, params in models.items()}

    @jax.jit  # one program for all pairs: several small ones take longer to compile
    def estimates(models, batches):
        return {p: Exact().estimate(None, models[p], None, batches[p]) for p in models}

    for pair, (gradient, _, metrics) in estimates(models, batches).items():
        model, batch = oracles.Model.of(models[pair]), np.asarray(batches[pair], np.float64)
        expected = model.log_likelihood_gradient(batch)
        assert_leaves_close(negative(gradient), expected, err_msg=pair)
        likelihood = model.log_likelihood(batch).mean()
        np.testing.assert_allclose(metrics["log_likelihood"], likelihood, rtol=1e-5, err_msg=pair)


def replicas(learner, params, batch, *, num_replicas, burn_in, init=None):
    """Independent gradients, each after so many updates of its chains with frozen parameters."""
    init = init or learner.init

    def run(key):
        init_key, key = jax.random.split(key)

        def update(t, chains):
            return learner.estimate(jax.random.fold_in(key, t), params, chains, batch)[1]

        chains = jax.lax.fori_loop(0, burn_in, update, init(init_key, params))
        return learner.estimate(jax.random.fold_in(key, burn_in), params, chains, batch)[0]

    keys = jax.random.split(jax.random.key(5), num_replicas)
    return oracles.leaves(jax.jit(jax.vmap(run))(keys))


def largest_z(samples, expected):
    return max(np.abs(oracles.z_scores(samples[name], expected[name])).max() for name in samples)


def mixing_rate(model, side="hidden"):
    """Second largest eigenvalue of a Gibbs step: by this factor every step forgets its start."""
    return np.sort(np.abs(np.linalg.eigvals(model.gibbs(1, side))))[-2]


def test_long_contrastive_divergence_is_maximum_likelihood():
    params = make("bernoulli", weight_scale=2.0)
    model, batch = oracles.Model.of(params), draw_batch(params)
    exact = model.log_likelihood_gradient(np.asarray(batch, np.float64))
    exact = {name: -value for name, value in exact.items()}
    distance, farthest = {}, {}
    for n in (1, 4, 16):
        samples = replicas(CD(n), params, batch, num_replicas=20_000, burn_in=0)
        oracles.assert_mean(samples, model.cd_gradient(np.asarray(batch, np.float64), n))
        gaps = {name: x.mean(0) - exact[name] for name, x in samples.items()}
        distance[n] = math.sqrt(sum((gap**2).sum() for gap in gaps.values()))
        farthest[n] = largest_z(samples, exact)
    assert mixing_rate(model) ** 16 < 1e-4  # a hundredth of the standard errors
    oracles.assert_mean(samples, exact)
    assert distance[4] < distance[1] / 4
    assert distance[16] < distance[4] / 4
    # Power: the bias of a few steps is seen.
    assert farthest[1] > 2 * oracles.z_bound(100)


# Samplers whose states persist: started in equilibrium, they must stay there. What they start from
# and should keep is known by enumeration, so that slow mixing cannot excuse a drift.

NUM_CHAINS = 20_000
KERNELS = {
    "pcd": PCD(NUM_CHAINS),
    "pcd_3": PCD(NUM_CHAINS, num_gibbs_steps=3),
    "fast_pcd": FastPCD(NUM_CHAINS, fast_rate=0.0, fast_decay=1.0),
    "tempering": ParallelTempering(NUM_CHAINS, num_temperatures=3, num_gibbs_steps=2),
    "tempering_warm": ParallelTempering(NUM_CHAINS, num_temperatures=2, min_beta=0.3),
}


def levels_of(learner):
    """β of each level."""
    if isinstance(learner, ParallelTempering):
        return np.linspace(learner.min_beta, 1, learner.num_temperatures)
    return np.ones(1)


def tempered(params, beta):
    """p ∝ exp(−U_v − U_h + β s_vᵀW s_h), enumerated."""
    model = oracles.Model.of(params)
    return dataclasses.replace(model, weights=beta * model.weights)


def hidden_draws(model, num_draws=NUM_CHAINS, seed=0):
    """Independent draws from p(h): (num_draws, H)."""
    p, states = model.hidden_marginal(), model.hidden.states
    chosen = np.random.default_rng(seed).choice(len(p), size=num_draws, p=p)
    return jnp.asarray(states[chosen], jnp.float32)


@functools.partial(jax.jit, static_argnums=0)
def next_chains(learner, key, params, chains, batch):
    """The chains after an update, without what else it computes."""
    return learner.estimate(key, params, chains, batch)[1]


def drifts(learner, params, *, kernel_params=None, fast=None):
    """Total variation from equilibrium, in units of its bound: after 1, 4, 16 updates.

    Args:
      learner: keeps chains.
      params: of the model whose equilibrium is meant.
      kernel_params: those that the learner is given, where they differ.
      fast: fast parameters of FastPCD.
    """
    kernel_params = params if kernel_params is None else kernel_params
    models = [tempered(params, beta) for beta in levels_of(learner)]
    chains = jnp.stack([hidden_draws(model, seed=k) for k, model in enumerate(models)])
    if not isinstance(learner, ParallelTempering):
        chains = chains[0]
    if isinstance(learner, FastPCD):
        chains = learning.FastChains(chains, fast or jax.tree.map(jnp.zeros_like, params))
    batch = draw_batch(params, 2)
    for t in range(16):
        key = jax.random.fold_in(jax.random.key(6), t)
        chains = next_chains(learner, key, kernel_params, chains, batch)
        if t + 1 not in (1, 4, 16):
            continue
        hidden = np.asarray(chains.hidden if isinstance(learner, FastPCD) else chains)
        for model, h in zip(models, hidden.reshape(len(models), NUM_CHAINS, -1), strict=True):
            p = model.hidden_marginal()
            frequency = model.hidden.counts(h) / NUM_CHAINS
            bound = oracles.total_variation_bound(p, NUM_CHAINS)
            yield oracles.total_variation(frequency, p) / bound


def weakened(params):
    return rbm.RBM(0.7 * params.weights, params.visible, params.hidden)


@pytest.mark.parametrize(
    ("kernel", "pair"),
    [(kernel, "bernoulli") for kernel in KERNELS]
    + [("pcd", "gaussian"), ("pcd", "poisson"), ("tempering", "softmax"), ("tempering", "concat")],
)
def test_chains_stay_in_equilibrium(kernel, pair):
    params = make(pair, weight_scale=0.5 if pair in ("poisson", "concat") else 1.0)
    assert max(drifts(KERNELS[kernel], params)) < 1
    # Power: weights smaller by 3/10 are noticed.
    assert any(x > 1.3 for x in drifts(KERNELS[kernel], params, kernel_params=weakened(params)))


# What could go wrong in the rule of exchange: name, and how it is brought about.
FAULTS = {
    "sign": ("_scale", lambda factors, x, scale=learning._scale: scale(jnp.abs(factors), x)),
    "always": ("threefry", types.SimpleNamespace(uniform=lambda key, shape: jnp.zeros(shape))),
}


def joint_drifts(params, learner):
    """As `drifts`, for v and h together at every level after `ParallelTempering.sample`."""
    models = [tempered(params, beta) for beta in levels_of(learner)]
    h = jnp.stack([hidden_draws(model, seed=k) for k, model in enumerate(models)])
    # A new function each time: the twins below change what it calls.
    sample = jax.jit(lambda key, h: learner.sample(key, params, h))
    for t in range(16):
        v, h, inputs, _ = sample(jax.random.fold_in(jax.random.key(7), t), h)
        if t + 1 not in (1, 4, 16):
            continue
        np.testing.assert_allclose(inputs, rbm.hidden_inputs(params, v), rtol=1e-5, atol=1e-5)
        for model, level_v, level_h in zip(models, v, h, strict=True):
            p = model.joint()
            cell = model.visible.number(level_v) * p.shape[1] + model.hidden.number(level_h)
            frequency = np.bincount(cell, minlength=p.size) / NUM_CHAINS
            bound = oracles.total_variation_bound(p.ravel(), NUM_CHAINS)
            yield oracles.total_variation(frequency, p.ravel()) / bound


def test_exchanges_keep_every_level_in_equilibrium():
    params = make("bernoulli", weight_scale=2.0)
    assert max(joint_drifts(params, ParallelTempering(NUM_CHAINS, num_temperatures=4))) < 1


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_rule_of_exchange_is_noticed(fault, monkeypatch):
    monkeypatch.setattr(learning, *FAULTS[fault])
    params = make("bernoulli", weight_scale=2.0)
    learner = ParallelTempering(NUM_CHAINS, num_temperatures=4)
    assert any(x > 3 for x in joint_drifts(params, learner))


def test_swap_rates_are_their_expectations():
    params = make("bernoulli", weight_scale=3.0)
    learner = ParallelTempering(NUM_CHAINS, num_temperatures=4)
    betas = levels_of(learner)
    models = [tempered(params, beta) for beta in betas]
    h = jnp.stack([hidden_draws(model, seed=k) for k, model in enumerate(models)])
    _, _, metrics = jax.jit(learner.estimate)(jax.random.key(8), params, h, draw_batch(params))
    full, expected = models[-1], []
    interaction = (full.visible.states @ full.weights @ full.hidden.states.T).ravel()
    for k, (hot, cold) in enumerate(itertools.pairwise(models)):
        gain = (betas[k] - betas[k + 1]) * (interaction - interaction[:, None])
        accept = np.exp(np.minimum(gain, 0))
        pairs = np.outer(hot.joint(), cold.joint())
        mean = (pairs * accept).sum()
        error = math.sqrt(((pairs * accept**2).sum() - mean**2) / NUM_CHAINS)
        expected.append(mean)
        assert abs(metrics[f"swap_rate_{k}"] - mean) < oracles.z_bound(3) * error
    # Power: the pairs of levels differ by much more than the error.
    assert max(expected) - min(expected) > 0.05


LONG_RUN = {
    "pcd": PCD(num_chains=10),
    "fast_pcd": FastPCD(num_chains=10, fast_rate=0.0),
    "tempering": ParallelTempering(num_chains=10, num_temperatures=3),
}


@pytest.mark.parametrize(
    ("name", "pair"),
    [(name, "bernoulli") for name in LONG_RUN]
    + [("pcd", "gaussian"), ("pcd", "relu"), ("tempering", "binomial")],
)
def test_long_run_statistics_are_exact(name, pair):
    # Two times as many chains as examples: each phase is averaged over its own number.
    params = make(pair, weight_scale=0.7 if pair == "bernoulli" else 0.4)
    model, batch = oracles.Model.of(params), draw_batch(params)
    discrete = "visible" if pair in ("relu", "binomial") else "hidden"
    assert mixing_rate(model, discrete) ** 40 < 1e-7  # so much is left of the start
    samples = replicas(LONG_RUN[name], params, batch, num_replicas=2_000, burn_in=40)
    data = model.free_energy_gradient(np.asarray(batch, np.float64))

    def contrasted(other):
        negative = other.free_energy_gradient(other.visible.states, other.visible_marginal())
        return {name: data[name] - negative[name] for name in data}

    oracles.assert_mean(samples, contrasted(model))
    # Power: the statistics of weights smaller by 3/10 are not mistaken for the model's.
    assert largest_z(samples, contrasted(tempered(params, 0.7))) > 2 * oracles.z_bound(100)


def test_tempering_visits_both_modes_where_plain_chains_stay_in_one():
    # Spins that all like each other: all up or all down, each with probability one half.
    size, num_chains, num_steps = 6, 400, 300
    params = rbm.RBM(jnp.full((size, size), 0.9), units.Spin().init(size), units.Spin().init(size))
    model, batch = oracles.Model.of(params), jnp.ones((2, size))
    down = model.hidden.states.sum(axis=1) < 0
    up = model.hidden.number(np.ones(size))
    leave = model.gibbs(num_steps, side="hidden")[up, down].sum()
    assert leave * num_chains < 1e-5

    def fraction_down(learner, chains):
        def update(t, chains):
            key = jax.random.fold_in(jax.random.key(9), t)
            return learner.estimate(key, params, chains, batch)[1]

        chains = jax.jit(lambda chains: jax.lax.fori_loop(0, num_steps, update, chains))(chains)
        return np.mean(np.sum(chains, axis=-1) < 0, axis=-1)

    assert fraction_down(PCD(num_chains), jnp.ones((num_chains, size))) == 0
    tempering = ParallelTempering(num_chains, num_temperatures=5)
    visited = fraction_down(tempering, jnp.ones((5, num_chains, size)))[-1]
    assert abs(visited - 0.5) < oracles.z_bound(1) * 0.5 / math.sqrt(num_chains)


# Fast PCD.


def test_fast_pcd_with_slow_fast_parameters_is_pcd():
    params, key = make("bernoulli"), jax.random.key(10)
    batch, chains = draw_batch(params), PCD(7).init(key, params)
    plain = jax.jit(PCD(7).estimate)(key, params, chains, batch)
    start = FastPCD(7).init(key, params)
    np.testing.assert_array_equal(start.hidden, chains)
    fast = jax.jit(FastPCD(7, fast_rate=0.0).estimate)(key, params, start, batch)
    assert_trees_close(fast[0], plain[0], rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(fast[1].hidden, plain[1])


def test_fast_parameters_follow_their_recursion():
    learner, params = FastPCD(7, fast_rate=0.3, fast_decay=0.9), make("gaussian")
    batch, estimate = draw_batch(params), jax.jit(learner.estimate)
    chains = learner.init(jax.random.key(11), params)
    expected = jax.tree.map(jnp.zeros_like, params)
    for t in range(3):
        gradient, chains, _ = estimate(jax.random.key(t), params, chains, batch)
        expected = jax.tree.map(lambda f, g: 0.9 * f - 0.3 * g, expected, gradient)
        assert_trees_close(chains.fast, expected, rtol=1e-5, atol=1e-6)


def test_fast_parameters_drive_the_chains_alone():
    # Frozen, they make the chains' model params + fast, while the gradient is that of params.
    params, learner = make("bernoulli", weight_scale=1.0), KERNELS["fast_pcd"]
    fast = jax.tree.map(lambda x: -0.5 * x, make("bernoulli", seed=3, weight_scale=1.0))
    driven = jax.tree.map(jnp.add, params, fast)
    assert max(drifts(learner, driven, kernel_params=params, fast=fast)) < 1
    assert any(x > 2 for x in drifts(learner, params, fast=fast))

    model, chased = oracles.Model.of(params), oracles.Model.of(driven)
    batch = draw_batch(params)
    learner = dataclasses.replace(learner, num_chains=20)

    def init(key, params):
        chosen = jax.random.choice(
            key, chased.hidden.states.shape[0], (20,), p=jnp.asarray(chased.hidden_marginal())
        )
        return learning.FastChains(jnp.asarray(chased.hidden.states, jnp.float32)[chosen], fast)

    samples = replicas(learner, params, batch, num_replicas=2_000, burn_in=0, init=init)
    data = model.free_energy_gradient(np.asarray(batch, np.float64))
    negative = model.free_energy_gradient(chased.visible.states, chased.visible_marginal())
    oracles.assert_mean(samples, {name: data[name] - negative[name] for name in data})


# The centred gradient.


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
        return jnp.sum((x - bias) ** 2) / (2 * sigma**2) if real else -x @ bias

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
        return weights, b - sigma_v * weights @ lam, c - sigma_h * mu @ weights

    weights, b, c = model.weights, model.visible.blocks[0].bias, model.hidden.blocks[0].bias
    centred = (weights, b + sigma_v * weights @ lam, c + sigma_h * mu @ weights)
    centred = jax.tree.map(jnp.asarray, centred)
    return jax.jit(lambda x: jax.jvp(ordinary, (x,), (jax.grad(loss)(x),))[1])(centred)


@pytest.mark.parametrize("model_share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("case", CENTRED)
def test_centred_gradient_is_descent_in_the_centred_parameters(case, model_share):
    learner = Centred(Exact(), model_share=model_share, sliding=0.3)
    with jax.enable_x64(True):
        params = make(CENTRED[case], dtype=jnp.float64)
        batch = draw_batch(params)
        chains = jax.tree.map(lambda x: np.asarray(x) + 0.2, learner.init(None, params))
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


def test_enhanced_gradient_is_that_of_its_paper():
    # Cho et al.: ∇W = Cov_data(v, h) − Cov_model(v, h), ∇b = ⟨v⟩_d − ⟨v⟩_m − ∇W·(⟨h⟩_d + ⟨h⟩_m)/2.
    params = make("bernoulli", weight_scale=1.0)
    learner, batch = Centred(Exact(), model_share=0.5, sliding=1.0), draw_batch(params)
    gradient, _, _ = jax.jit(learner.estimate)(None, params, learner.init(None, params), batch)
    model, data = oracles.Model.of(params), np.asarray(batch, np.float64)
    (v_seen, v_own), (h_seen, h_own) = statistic_means(model, data)

    def covariance(v, joint, v_mean, h_mean):
        return v.T @ joint @ model.hidden.states - np.outer(v_mean, h_mean)

    weights = covariance(data, model.hidden_given(data) / len(data), v_seen, h_seen)
    weights -= covariance(model.visible.states, model.joint(), v_own, h_own)
    expected = {
        "weights": -weights,
        "visible.bias": -(v_seen - v_own - weights @ (h_seen + h_own) / 2),
        "hidden.bias": -(h_seen - h_own - (v_seen + v_own) / 2 @ weights),
    }
    for name, value in expected.items():
        got = oracles.leaves(gradient)[name]
        np.testing.assert_allclose(got, value, rtol=2e-5, atol=2e-6, err_msg=name)


def mirrored(params):
    """The same distribution over 1 − v: W → −W, b → −b, c → c + Wᵀ1."""
    visible = dataclasses.replace(params.visible, bias=-params.visible.bias)
    hidden = dataclasses.replace(
        params.hidden, bias=params.hidden.bias + jnp.sum(params.weights, axis=0)
    )
    return rbm.RBM(-params.weights, visible, hidden)


def test_centring_makes_the_names_of_0_and_1_irrelevant():
    params = make("bernoulli", weight_scale=0.5)
    batch, optimizer = draw_batch(params, 8), optax.sgd(0.5)

    def asymmetry(learner):
        """How far 50 updates on v lead from the mirror image of 50 updates on 1 − v."""

        def learn(params, batch):
            state = learning.init_state(
                jax.random.key(0), params, learner=learner, optimizer=optimizer
            )
            return jax.lax.fori_loop(
                *(0, 50),
                lambda _, state: learning.step(
                    jax.random.key(0), state, batch, learner=learner, optimizer=optimizer
                )[0],
                state,
            ).params

        learn = jax.jit(learn)
        there, back = learn(params, batch), mirrored(learn(mirrored(params), 1 - batch))
        assert rbm.norm(jax.tree.map(jnp.subtract, there, params)) > 1  # it did learn
        return float(rbm.norm(jax.tree.map(jnp.subtract, there, back)))

    assert asymmetry(Centred(Exact(), sliding=1.0)) < 1e-4
    assert asymmetry(Centred(Exact(), model_share=0.5, sliding=1.0)) < 1e-4
    assert asymmetry(Exact()) > 0.1


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
    sparse, _, _ = jax.jit(learner.estimate)(None, params, learner.init(None, params), example)
    weights, bias = jax.jit(jax.grad(penalty, (0, 1)))(params.weights, params.hidden.bias)
    expected = rbm.RBM(
        plain.weights + weights, plain.visible, units.Bernoulli(plain.hidden.bias + bias)
    )
    assert_trees_close(sparse, expected, rtol=1e-5, atol=1e-6)


def test_sparsity_follows_a_moving_average():
    params, learner = make("gaussian"), Sparse(Exact(), target=0.3, cost=0.5, decay=0.8)
    chains, q = learner.init(None, params), np.full(3, 0.3)
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


# Learning, to the end.

# 3×3 images with some rows filled or some columns filled: 14 different ones.
BARS = np.unique(
    [image for bits in np.ndindex(2, 2, 2) for image in np.broadcast_arrays(*np.ix_(bits, bits))],
    axis=0,
).reshape(-1, 9)
MAXIMUM = -math.log(len(BARS))  # each image once: no model gives all of them more


@functools.cache
def learnt(learner, *, num_updates=2_000, rate=0.2, momentum=None):
    """Exact mean log-likelihood of BARS after learning them, the rate falling to zero."""
    optimizer = optax.sgd(optax.linear_schedule(rate, 0.0, num_updates), momentum)
    batch = jnp.asarray(BARS, jnp.float32)

    @jax.jit
    @jax.numpy_dtype_promotion("standard")  # optax mixes counts and rates
    def run(key):
        init_key, chain_key, key = jax.random.split(key, 3)
        params = rbm.init_params(init_key, 9, 12, weight_scale=0.1)
        state = learning.init_state(chain_key, params, learner=learner, optimizer=optimizer)

        def update(t, state):
            key_t = jax.random.fold_in(key, t)
            return learning.step(key_t, state, batch, learner=learner, optimizer=optimizer)[0]

        return jax.lax.fori_loop(0, num_updates, update, state).params

    model = oracles.Model.of(run(jax.random.key(12)))
    return model.log_likelihood(np.float64(BARS)).mean()


def test_exact_gradient_learns_up_to_the_maximum():
    reached = learnt(Exact(), num_updates=3_000, rate=0.3, momentum=0.9)
    assert MAXIMUM - 0.02 < reached < MAXIMUM


# Chains of learners that mix well enough learn as the exact gradient does; over seeds, their
# likelihoods differ from its by 0.02 nats.
@pytest.mark.parametrize(
    "learner",
    [CD(10), PCD(), FastPCD(), ParallelTempering(num_chains=50, num_temperatures=3)],
    ids=lambda learner: type(learner).__name__,
)
def test_learning_by_sampling_goes_as_far_as_the_exact_gradient(learner):
    assert abs(learnt(learner) - learnt(Exact())) < 0.1
    # Power: the bias of CD-1 costs more.
    assert learnt(CD(1)) < learnt(Exact()) - 0.2


def test_centring_learns_farther_in_the_same_time():
    assert learnt(Exact()) + 0.2 < learnt(Centred(Exact())) < MAXIMUM
