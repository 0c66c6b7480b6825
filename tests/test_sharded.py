"""One device against eight: every estimator, on every kind of mesh, gives the same numbers.

Each row of the table is a function (key, params, chains, batch) -> (means, chains, rows): what is a
mean over the batch, such as a gradient; what persists; and what belongs to each example.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from dbn_jax import (
    associative_memory,
    convolutional,
    dbn,
    label_units,
    learning,
    networks,
    rbm,
    temporal,
    units,
)
from dbn_jax.examples import Examples
from dbn_jax.learning import backprop, bound_gradient, updown
from dbn_jax.likelihood import annealing, bound, partition, pseudo_likelihood
from dbn_jax.temporal.sequences import Sequences
from tests.random_models import at_random, random_net, random_rbm
from tests.small_rbms import trees_allclose

NUM = 16  # examples, and chains
ROWS = P("data")
ADVERSARIAL = {"label_cost": 0.7, "adversarial_radius": 0.5}
random = np.random.default_rng(0)


def binary(size):
    return (random.random((NUM, size)) < 0.5).astype(np.float32)


LABELS = np.eye(2, dtype=np.float32)[np.arange(NUM) % 2]
PIXELS = binary(6)
IMAGES = binary(15)
RBM = random_rbm((units.Bernoulli(), 6), (units.Bernoulli(), 8))
REAL = random_rbm((units.Gaussian(learn_sigma=True), 6), (units.Bernoulli(), 8))
MEMORY = at_random(
    0, lambda: label_units.init_params(jax.random.key(0), 6, 8, 2, features=units.Bernoulli())
)
CONVOLUTION, UNSHARED = (
    at_random(
        0,
        lambda shared=shared: convolutional.init_params(
            jax.random.key(0), (3, 5, 1), 2, 2, block=2, shared=shared
        ),
        0.3,
    )
    for shared in (True, False)
)
NET = dbn.untie(random_net(0, (6, 8, 8, 8), 2, scale=0.5))
POOLED = at_random(
    0, lambda: dbn.stack((CONVOLUTION, rbm.init_params(jax.random.key(0), 4, 8))), 0.3
)
LABELLED = np.concatenate([PIXELS, LABELS], axis=1)


def learner(learner, where=ROWS):
    """A row of the table for a learner, whose chains lie so."""

    def estimate(key, params, chains, batch):
        gradient, chains, metrics = learner.estimate(key, params, chains, batch)
        metrics.pop("gradient_norm")  # a mean of the shards' norms is no norm of the mean
        return (gradient, metrics), chains, ()

    return estimate, learner.init, where


def without_chains(function):
    return lambda key, params, chains, batch: (function(key, params, batch), (), ())


def by_row(function):
    return lambda key, params, chains, batch: ((), (), function(key, params, batch))


def up_down(key, net, batch):
    gradient, metrics = updown.gradient(key, net, *batch, num_gibbs_steps=2, **ADVERSARIAL)
    metrics.pop("gradient_norm")
    return gradient, metrics


def bound_ascent(estimator):
    def estimate(key, net, chains, batch):
        gradient, chains, metrics = bound_gradient.gradient(
            key, net, chains, *batch, learner=learning.PCD(NUM), estimator=estimator
        )
        metrics.pop("gradient_norm")
        return (gradient, metrics), chains, ()

    return estimate, lambda key, net: learning.PCD(NUM).init(key, net.top), ROWS


def backpropagation(model, loss):
    """The parameters after an update of plain gradient descent tell the gradient."""
    graphdef, params = backprop.split(model)
    optimizer = optax.sgd(1.0)

    def step(key, params, batch):
        state = rbm.init_state(params, optimizer)
        state, metrics = backprop.step(
            key, state, batch, graphdef=graphdef, loss=loss, optimizer=optimizer
        )
        return state.params, metrics

    return params, without_chains(step)


def anneal(key, params, chains, batch):
    estimate = annealing.ais(
        key, params, betas=jnp.linspace(0, 1, 5, dtype=jnp.float32), num_chains=len(chains)
    )
    return (), chains, estimate.log_weights


def generate(key, net, chains, batch):
    pixels, chains = dbn.generate(key, net, chains, 3)
    return (), chains, pixels


def reverse(key, params, batch):
    betas = jnp.linspace(0, 1, 5, dtype=jnp.float32)
    return annealing.reverse_ais(key, params, batch, betas=betas)


def likelihoods(key, params, batch):
    log_z = partition.exact_log_partition(params)
    return (
        partition.log_likelihood(params, batch, log_z),
        pseudo_likelihood.log_pseudo_likelihood(key, params, batch, num_units=6),
    )


def recognise(key, net, batch):
    return (
        associative_memory.classify(net, batch),
        associative_memory.classify_by_sampling(key, net, batch, 3),
        associative_memory.classify_by_gibbs(key, net, batch, 3, 3),
    )


def in_time(key, model, batch):
    optimizer = optax.sgd(1.0)
    state, metrics = temporal.step(
        key, rbm.init_state(model, optimizer), batch, optimizer=optimizer
    )
    metrics.pop("gradient_norm")
    return state.params, metrics


FRAMES = binary(5 * 6).reshape(NUM, 5, 6)
CONDITIONAL = at_random(0, lambda: temporal.init_conditional(jax.random.key(0), 6, 8, order=2), 0.3)
RECURRENT = at_random(0, lambda: temporal.init_rtrbm(jax.random.key(0), 6, 8), 0.3)
CLASSIFIER = networks.init_classifier(jax.random.key(1), (6, 8, 8, 2))
AUTOENCODER = networks.init_autoencoder(jax.random.key(2), (6, 8, 4))
NO_CHAINS = lambda key, params: (), P()
CHAINS = lambda key, params: rbm.init_chains(key, params, NUM), ROWS
HIDDEN = P(None, "data")  # of tempered chains

# name: the parameters, the function, how its chains start and lie, the batch.
TABLE = {
    "exact": (RBM, *learner(learning.Exact()), PIXELS),
    "CD": (RBM, *learner(learning.CD(num_gibbs_steps=3)), PIXELS),
    "CD, learnt sigma": (REAL, *learner(learning.CD()), PIXELS),
    "CD, weights": (RBM, *learner(learning.CD()), Examples(PIXELS, np.full(NUM, 0.5, np.float32))),
    "PCD": (RBM, *learner(learning.PCD(NUM, 2)), PIXELS),
    "fast PCD": (
        RBM,
        *learner(learning.FastPCD(NUM), learning.FastChains(ROWS, P())),
        PIXELS,
    ),
    "tempering": (RBM, *learner(learning.ParallelTempering(NUM, 3), HIDDEN), PIXELS),
    "labelled PCD": (
        MEMORY,
        *learner(learning.LabelledPCD(NUM, 2), learning.LabelledChains(ROWS, ROWS)),
        LABELLED,
    ),
    "centred": (
        RBM,
        *learner(
            learning.Centred(learning.PCD(NUM), model_share=0.5),
            learning.Offsets(P(), P(), ROWS),
        ),
        PIXELS,
    ),
    "sparse": (RBM, *learner(learning.Sparse(), learning.Activity(P(), None)), PIXELS),
    "incomplete": (
        RBM,
        *learner(learning.Incomplete(), None),
        Examples(PIXELS, observed=binary(6) > 0),
    ),
    "CD, convolution": (CONVOLUTION, *learner(learning.CD(2)), IMAGES),
    "PCD, convolution": (CONVOLUTION, *learner(learning.PCD(NUM, 2)), IMAGES),
    "CD, local connections": (UNSHARED, *learner(learning.CD()), IMAGES),
    "sparse, convolution": (
        CONVOLUTION,
        *learner(learning.Sparse(), learning.Activity(P(), None)),
        IMAGES,
    ),
    "annealing, convolution": (CONVOLUTION, anneal, *CHAINS, IMAGES),
    "likelihood, convolution": (CONVOLUTION, by_row(likelihoods), *NO_CHAINS, IMAGES),
    "generation, convolution": (
        POOLED,
        generate,
        lambda key, net: rbm.init_chains(key, net.top, NUM),
        ROWS,
        IMAGES,
    ),
    "up-down": (NET, without_chains(up_down), *NO_CHAINS, (PIXELS, LABELS)),
    "bound": (NET, *bound_ascent(bound_gradient.LeaveOneOut()), (PIXELS, LABELS)),
    "bound, antithetic": (NET, *bound_ascent(bound_gradient.Antithetic()), (PIXELS, LABELS)),
    "classifier": (
        *backpropagation(
            CLASSIFIER,
            functools.partial(
                backprop.classification_loss, input_dropout=0.2, adversarial_radius=0.5
            ),
        ),
        *NO_CHAINS,
        (PIXELS, LABELS.argmax(axis=1).astype(np.int32)),
    ),
    "autoencoder": (
        *backpropagation(AUTOENCODER, backprop.reconstruction_loss),
        *NO_CHAINS,
        PIXELS,
    ),
    "conditional RBM": (CONDITIONAL, without_chains(in_time), *NO_CHAINS, Sequences(FRAMES)),
    "RTRBM": (RECURRENT, without_chains(in_time), *NO_CHAINS, Sequences(FRAMES)),
    "annealing": (RBM, anneal, *CHAINS, PIXELS),
    "reverse annealing": (RBM, by_row(reverse), *NO_CHAINS, PIXELS),
    "likelihood": (RBM, by_row(likelihoods), *NO_CHAINS, PIXELS),
    "bound of the likelihood": (
        NET,
        by_row(lambda key, net, batch: bound.sample_terms(key, net, *batch)),
        *NO_CHAINS,
        (PIXELS, LABELS),
    ),
    "recognition": (NET, by_row(recognise), *NO_CHAINS, PIXELS),
    "generation": (
        NET,
        generate,
        lambda key, net: rbm.init_chains(key, net.top, NUM),
        ROWS,
        PIXELS,
    ),
}


def run(name, mesh=None, spec=lambda path, leaf: P()):
    """The function's results; on a mesh, rows and chains lie over "data", parameters as `spec`."""
    params, function, init, chain_spec, batch = TABLE[name]
    chains = init(jax.random.key(1), params)
    if mesh is not None:

        def place(tree, specs):
            return jax.tree.map(lambda x, s: jax.device_put(x, NamedSharding(mesh, s)), tree, specs)

        params = place(params, jax.tree_util.tree_map_with_path(spec, params))
        chains = place(chains, jax.tree.broadcast(chain_spec, chains, lambda x: isinstance(x, P)))
        batch = place(batch, jax.tree.map(lambda x: ROWS, batch))
    return jax.jit(function)(jax.random.key(2), params, chains, batch)


@functools.lru_cache(1)  # the meshes of a row come one after the other
def on_one_device(name):
    return run(name)


def hidden_units(path, leaf):
    """The weights of hidden units are shared over the axis "model"; biases lie everywhere."""
    return P(*[None] * (leaf.ndim - 1), "model") if leaf.ndim > 1 else P()


MESHES = {
    "explicit": (((8,), ("data",), AxisType.Explicit), lambda path, leaf: P()),
    "automatic, hidden units shared": (((2, 2), ("data", "model"), AxisType.Auto), hidden_units),
    "explicit, hidden units shared": (((2, 2), ("data", "model"), AxisType.Explicit), hidden_units),
}


@pytest.mark.parametrize("kind", MESHES)
@pytest.mark.parametrize("name", TABLE)
def test_many_devices_give_the_numbers_of_one(name, kind):
    (shape, axes, axis_type), spec = MESHES[kind]
    mesh = jax.make_mesh(shape, axes, axis_types=(axis_type,) * len(axes))
    trees_allclose(run(name, mesh, spec), on_one_device(name))


@pytest.mark.parametrize("name", TABLE)
def test_in_shard_map_every_device_has_the_numbers_of_its_own_rows(name):
    """No gradient is a sum over devices already: their mean is that of the shards' own ones."""
    params, function, init, chain_spec, batch = TABLE[name]
    chains = init(jax.random.key(1), params)
    chain_specs = jax.tree.broadcast(chain_spec, chains, lambda x: isinstance(x, P))
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    key = jax.random.key(2)

    def average(x, spec):
        return x if "data" in spec else jax.lax.pmean(x, "data")

    def on_a_shard(key, params, chains, batch):
        key = jax.random.fold_in(key, jax.lax.axis_index("data"))
        means, chains, rows = function(key, params, chains, batch)
        return jax.lax.pmean(means, "data"), jax.tree.map(average, chains, chain_specs), rows

    together = jax.jit(
        jax.shard_map(
            on_a_shard,
            mesh=mesh,
            in_specs=(P(), P(), chain_specs, ROWS),
            out_specs=(P(), chain_specs, ROWS),
        )
    )(key, params, chains, batch)

    def shard(i, tree, spec):
        def part(x, spec):
            axis = list(spec).index("data") if "data" in spec else None
            return x if axis is None else np.split(np.asarray(x), 8, axis)[i]

        specs = jax.tree.broadcast(spec, tree, lambda x: isinstance(x, P))
        return jax.tree.map(part, tree, specs)

    def join(spec, *parts):
        return np.concatenate(parts, spec.index("data")) if "data" in spec else np.mean(parts, 0)

    one = jax.jit(function)
    each = [
        one(jax.random.fold_in(key, i), params, shard(i, chains, chain_spec), shard(i, batch, ROWS))
        for i in range(8)
    ]
    means, moved, rows = zip(*each, strict=True)
    apart = (
        jax.tree.map(functools.partial(join, P()), *means),
        jax.tree.map(join, chain_specs, *moved),
        jax.tree.map(functools.partial(join, ROWS), *rows),
    )
    trees_allclose(together, apart)


def test_a_batch_on_explicit_axes_needs_parameters_there():
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Explicit,))
    batch = jax.device_put(PIXELS, NamedSharding(mesh, ROWS))
    with pytest.raises(ValueError, match=r"batch lies .* put them there too: jax\.device_put\(par"):
        rbm.cd_gradient(jax.random.key(0), RBM, batch)
