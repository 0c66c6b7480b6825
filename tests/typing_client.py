"""A program as users write it, for type checkers: `test_types` holds what they say of each line."""

from typing import assert_type, reveal_type

import jax
import optax  # type: ignore[import-untyped]

from dbn_jax import data, dbn, learning, rbm
from dbn_jax.examples import Examples
from dbn_jax.learning import FastChains
from dbn_jax.likelihood import annealing, partition, pseudo_likelihood
from dbn_jax.linear import Weights

dataset, transform = data.binarise(data.load("digits"), "stochastic")
key, optimizer = jax.random.key(0), optax.sgd(0.1, momentum=0.9)
params = rbm.init_params(key, 64, 100)
assert_type(params.weights, Weights)
assert_type(params.hidden.bias, jax.Array)

batch = transform(key, dataset.train.images[:100])
state = rbm.init_state(params, optimizer)
state, metrics = rbm.cd_step(key, state, batch, optimizer=optimizer)
assert_type(state.params, rbm.RBM)
assert_type(metrics, dict[str, jax.Array])
state, metrics = rbm.cd_step(key, state, Examples(dataset.test.images), optimizer=optimizer)
rbm.cd_step(state, key, batch, optimizer=optimizer)  # mistake: they are swapped
rbm.cd_step(key, state, batch, optimizer=optimizer, num_gibbs_step=10)  # mistake: …_steps
print(state.params.bias)  # mistake: each layer has its own

fast = learning.FastPCD(num_chains=50)
learnt = learning.init_state(key, params, learner=fast, optimizer=optimizer)
learnt, metrics = learning.step(key, learnt, batch, learner=fast, optimizer=optimizer)
assert_type(learnt, rbm.State[rbm.RBM, FastChains])
learning.step(key, state, batch, learner=fast, optimizer=optimizer)  # mistake: has no such chains

estimate = annealing.ais(key, learnt.params)
assert_type(partition.log_likelihood(params, batch, estimate.log_z), jax.Array)
assert_type(pseudo_likelihood.log_pseudo_likelihood(key, params, batch), jax.Array)
assert_type(dbn.stack((params, learnt.params)).layers, tuple[rbm.RBM, ...])
reveal_type(rbm.RBM)
reveal_type(rbm.cd_step)
reveal_type(learning.init_state)
reveal_type(learning.step)
reveal_type(annealing.ais)
reveal_type(partition.exact_log_partition)
reveal_type(partition.log_likelihood)
reveal_type(pseudo_likelihood.log_pseudo_likelihood)
