"""Learners: one contract for all of them."""

import dataclasses
import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dbn_jax import dbn, learning, rbm
from dbn_jax.learning import (
    CD,
    PCD,
    Centred,
    Exact,
    FastPCD,
    Incomplete,
    LabelledPCD,
    ParallelTempering,
    Sparse,
    bound_gradient,
)
from tests.small_learning import PAIRS, assert_trees_close, draw_batch, make

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
    "incomplete": Incomplete(PCD(num_chains=7)),
}
# Other settings or nestings of learners there, for which one pair is enough.
VARIANTS = (
    "cd_3",
    "cd_probabilities",
    "enhanced",
    "centred_sparse",
    "centred_labelled",
    "incomplete",
)
# Label units beside features, without which some learners have no meaning.
WITH_LABELS = ("concat", "memory")


def pair_of(name):
    """A pair that the learner of this name can learn."""
    return "memory" if "labelled" in name else "bernoulli"


def stack(trees):
    return jax.tree.map(lambda *x: jnp.stack(x), *trees)


def nested(learner):
    yield learner
    if hasattr(learner, "learner"):
        yield from nested(learner.learner)


def test_every_learner_is_in_the_table():
    tested = {type(part) for learner in LEARNERS.values() for part in nested(learner)}
    public = {
        cls for _, cls in inspect.getmembers(learning, inspect.isclass) if hasattr(cls, "estimate")
    }
    assert tested == public - {learning.Learner}


class Still(learning.Learner):
    """The least that a learner can be: no gradient."""

    def estimate(self, key, params, chains, batch):
        return jax.tree.map(jnp.zeros_like, params), chains, {}


def test_a_learner_needs_an_estimate_alone_and_nothing_persists_by_itself():
    params, key, still = make("bernoulli"), jax.random.key(0), Still()
    assert still.init(key, params) is None
    assert still.hidden_chains(None) is None
    chains = jnp.ones((2, 3))
    assert still.start_at(key, params, chains, draw_batch(params)) is chains
    assert all(isinstance(learner, learning.Learner) for learner in LEARNERS.values())
    state = learning.init_state(key, params, learner=still, optimizer=optax.sgd(0.1))
    learning.step(key, state, draw_batch(params), learner=still, optimizer=optax.sgd(0.1))
    with pytest.raises(TypeError, match=r"abstract.* '?estimate"):
        learning.Learner()


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
            *((pair, "float32") for pair in (["memory"] if name in VARIANTS else PAIRS)),
            ("concat", "float64"),
            (pair_of(name), "bfloat16"),
        ]
        if pair in WITH_LABELS or pair_of(name) == "bernoulli"
        if pair != "maps" or "centred" not in name  # which needs a bias for each unit
    ],
)
def test_shapes_and_dtypes_are_kept(name, pair, dtype):
    options = {"learner": LEARNERS[name], "optimizer": optax.sgd(0.1, momentum=0.9)}
    init, step = (functools.partial(f, **options) for f in (learning.init_state, learning.step))
    with jax.enable_x64(dtype == "float64"):
        params = make(pair, dtype=jnp.dtype(dtype))
        batch = jax.ShapeDtypeStruct((5, params.visible.num_units), "float32")
        state = jax.eval_shape(init, jax.random.key(0), params)
        after, metrics = jax.eval_shape(step, jax.random.key(0), state, batch)
        assert described(after) == described(state)
        assert metrics
        for metric, value in metrics.items():
            assert value.shape == (), metric
            assert value.dtype == dtype or metric == "log_likelihood", metric  # single at least


@pytest.mark.parametrize("name", LEARNERS)
def test_step_is_compiled_once_and_equals_its_parts_and_mapped(name):
    learner, traces = LEARNERS[name], []
    sgd = optax.sgd(0.1, momentum=0.9)

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
    updates, opt_state = sgd.update(gradient, before.opt_state)
    expected = (optax.apply_updates(before.params, updates), opt_state, *kept)
    close = functools.partial(assert_trees_close, rtol=1e-4, atol=1e-5)
    close(expected, (after.params, after.opt_state, after.chains, metrics))

    def step(key, state):
        return learning.step(key, state, batch, learner=learner, optimizer=optimizer)

    close(jax.jit(jax.vmap(step))(keys, stack(start[1::2])), stack(end[1::2]))


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize("name", LEARNERS)
def test_wrong_batches_are_refused(name):
    learner, params, key = LEARNERS[name], make(pair_of(name)), jax.random.key(0)
    chains = learner.init(key, params)
    with pytest.raises(ValueError, match=r"shape \(5, 3\).* 4 visible units"):
        learner.estimate(key, params, chains, jnp.zeros((5, 3)))
    with pytest.raises(TypeError, match="int32 numbers; convert them"):
        learner.estimate(key, params, chains, jnp.zeros((5, 4), jnp.int32))


@pytest.mark.parametrize("name", ["cd_1", "cd_3", "centred", "sparse", "labelled_pcd"])
def test_every_leading_axis_is_a_batch_axis(name):
    learner, params, key = LEARNERS[name], make("memory"), jax.random.key(4)
    batch, chains = draw_batch(params, 6), learner.init(key, params)
    estimate = jax.jit(functools.partial(learner.estimate, key, params, chains))
    close = functools.partial(assert_trees_close, rtol=1e-5, atol=1e-6)
    close(estimate(batch.reshape(3, 1, 2, 4)), estimate(batch))
    if name == "cd_1":  # a single example
        close(estimate(batch[0]), estimate(batch[:1]))


@pytest.mark.parametrize("learner", [PCD(7), Centred(CD()), FastPCD(7), Centred(PCD(7))])
def test_the_state_of_another_learner_is_refused(learner):
    params, key, optimizer = make("bernoulli"), jax.random.key(0), optax.sgd(0.1)
    batch, top = draw_batch(params, 6), dbn.UntiedDBN((), (), params)
    for chains in (
        None,
        Sparse(CD()).init(key, params),
        Centred(ParallelTempering(7)).init(key, params),  # of as many arrays
        ParallelTempering(7).init(key, params),
        learner.init(key, make("bernoulli", dtype=jnp.bfloat16)),
    ):
        for module, model in ((learning, params), (bound_gradient, top)):
            state = rbm.init_state(model, optimizer, chains=chains)
            with pytest.raises(ValueError, match=r"not those of .*give `init_state` this learner"):
                module.step(key, state, batch, learner=learner, optimizer=optimizer)


@pytest.mark.parametrize(
    ("make_learner", "message"),
    [
        (lambda: ParallelTempering(num_temperatures=1), "num_temperatures is 1; .* PCD"),
        (lambda: ParallelTempering(num_gibbs_steps=0), "number of Gibbs steps is 0; .* at least 1"),
        (lambda: ParallelTempering(min_beta=1.0), r"min_beta is 1\.0"),
        (lambda: Centred(model_share=1.5), r"model_share is 1\.5"),
        (lambda: Centred(sliding=0.0), r"sliding 0\.0"),
        (lambda: LabelledPCD(label_cost=-1.0), r"label_cost is -1\.0"),
        (lambda: FastPCD(fast_rate=-0.1), r"fast_rate is -0\.1"),
        (lambda: FastPCD(fast_decay=2.0), r"fast_decay 2\.0; .* grow without bound"),
        (lambda: Sparse(cost=-1.0), r"cost is -1\.0"),
        (lambda: Sparse(decay=1.0), r"decay 1\.0"),
        (lambda: LabelledPCD(num_gibbs_steps=0), "number of Gibbs steps is 0; .* at least 1"),
    ],
)
def test_senseless_settings_are_refused(make_learner, message):
    with pytest.raises(ValueError, match=message):
        make_learner()
