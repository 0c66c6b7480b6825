"""Restricted Boltzmann machines: energy, conditionals, Gibbs sampling, contrastive divergence.

For any unit types (`dbn_jax.units`) and weights W, a matrix of shape (visible, hidden) or one with
structure (`dbn_jax.convolutional`):

    E(v, h) = U_v(v) + U_h(h) − s_v(v)ᵀ W s_h(h),          p(v, h) = exp(−E(v, h)) / Z.

For binary units this is E = −bᵀv − cᵀh − vᵀWh.

`RBM` is a pytree, so that `jit`, `vmap` (an ensemble of models), `grad`, `scan`, `shard_map` and
any optax optimizer take it as it is. All functions are pure.

Keys are consumed; "..." are batch axes, independent examples or chains; V visible, H hidden units;
energies and log-probabilities in nats. States may be boolean or in another floating dtype than the
parameters; what takes them raises as `as_visible` does, and what learns from a batch, (..., V) or
`Examples` with weights, as `as_batch` does; what takes a number of Gibbs steps raises as
`check_steps` does. A gradient is a tree like `params`, a descent direction for −log p(data).

References: Smolensky 1986 (harmonium); Hinton, "Training products of experts by minimizing
contrastive divergence" (2002); Tieleman, "Training restricted Boltzmann machines using
approximations to the likelihood gradient" (2008); Hinton, "A practical guide to training restricted
Boltzmann machines" (2010), cited as *the guide*.
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from dbn_jax import linear, parallel, precision, pytrees, random, sharded, units
from dbn_jax.compilation import jit, jit_checking
from dbn_jax.examples import Batch, Examples, divide
from dbn_jax.states import as_batch, as_examples, as_hidden, as_visible, check_steps
from dbn_jax.train_state import Chains, State, apply_gradient, init_state, weight_mask  # noqa: F401
from dbn_jax.typing import AnyArray, Array, Float, Int, Key
from dbn_jax.units import normalisable

Metrics = dict[str, Array]


@pytrees.dataclass
class RBM:
    """Parameters of an RBM; also the type of its gradients.

    `visible` and `hidden` are the two layers with their own parameters, such as ``visible.bias``.
    """

    weights: linear.Weights
    visible: units.Units
    hidden: units.Units


def init_params(
    key: Key[Array, ""],
    num_visible: int,
    num_hidden: int,
    *,
    visible: units.Units = units.Bernoulli(),
    hidden: units.Units = units.Bernoulli(),
    weight_scale: float = 0.01,
    dtype=jnp.float32,
) -> RBM:
    """Makes an RBM with weights from N(0, weight_scale²) and zero biases (the guide, section 8).

    `visible` and `hidden` are unit types, such as ``units.Gaussian(learn_sigma=True)``; ValueError
    if such a pair has no normalisable joint density (`dbn_jax.units.normalisable`).

    >>> params = init_params(jax.random.key(0), 784, 500)
    >>> params.weights.shape, params.visible.bias.shape
    ((784, 500), (784,))
    """
    check_types(visible, hidden)
    weights = jax.random.normal(key, (num_visible, num_hidden), dtype)
    return RBM(
        jnp.asarray(weight_scale, dtype) * weights,
        visible.init(num_visible, dtype),
        hidden.init(num_hidden, dtype),
    )


def check_types(visible: units.Units, hidden: units.Units) -> None:
    """Raises unless these are unit types that can make an RBM."""
    for side in (visible, hidden):
        if not isinstance(side, units.Units):
            raise TypeError(f"{side!r} is not a unit type; pass an instance, such as Bernoulli()")
    normalisable.check_types(visible, hidden)


@jit
def fit_visible(params: RBM, data: Batch) -> RBM:
    """Gives the visible units parameters with which, at zero weights, they have the data's means.

    The guide's start of learning (section 8): the weights need not learn first what biases can say.
    """
    return dataclasses.replace(params, visible=params.visible.fit(as_examples(params, data)))


def hidden_inputs(params: RBM, v: Float[AnyArray, "*batch V"]) -> Float[Array, "*batch H"]:
    """Inputs to the hidden units, s_v(v)ᵀW, without their biases."""
    return linear.product(params.visible.statistic(as_visible(params, v)), params.weights)


def visible_inputs(params: RBM, h: Float[AnyArray, "*batch H"]) -> Float[Array, "*batch V"]:
    """Inputs to the visible units, W s_h(h), without their biases."""
    return linear.product_transposed(params.hidden.statistic(as_hidden(params, h)), params.weights)


@jit
@precision.full
def energy(
    params: RBM, v: Float[AnyArray, "*batch V"], h: Float[AnyArray, "*batch H"]
) -> Float[Array, "*batch"]:
    """E(v, h)."""
    x, y = as_visible(params, v), as_hidden(params, h)
    interaction = jnp.sum(hidden_inputs(params, x) * params.hidden.statistic(y), axis=-1)
    return params.visible.energy(x) + params.hidden.energy(y) - interaction


@jit
@precision.full
def free_energy(params: RBM, v: Float[AnyArray, "*batch V"]) -> Float[Array, "*batch"]:
    """F(v) = −log Σ_h exp(−E(v, h)), so that p(v) = exp(−F(v))/Z.

    Its gradient with respect to `params` is exact, so ``grad(F(data) − F(samples))`` is the
    likelihood gradient when the samples come from the model.
    """
    x = as_visible(params, v)
    return free_energy_given(params, x, hidden_inputs(params, x))


def free_energy_given(
    params: RBM, v: Float[Array, "*batch V"], inputs: Float[Array, "*batch H"]
) -> Float[Array, "*batch"]:
    """F(v), given its hidden inputs: learners have these in a precision of their own."""
    return params.visible.energy(v) - params.hidden.cumulant(inputs)


@jit
def hidden_mean(params: RBM, v: Float[AnyArray, "*batch V"]) -> Float[Array, "*batch H"]:
    """E[h | v], for binary units p(h = 1 | v)."""
    return params.hidden.mean(hidden_inputs(params, v))


@jit
def visible_mean(params: RBM, h: Float[AnyArray, "*batch H"]) -> Float[Array, "*batch V"]:
    """E[v | h], for binary units p(v = 1 | h)."""
    return params.visible.mean(visible_inputs(params, h))


@jit
def sample_hidden(
    key: Key[Array, ""], params: RBM, v: Float[AnyArray, "*batch V"]
) -> Float[Array, "*batch H"]:
    """Draws h from p(h | v)."""
    return params.hidden.sample(key, hidden_inputs(params, v))


@jit
def sample_visible(
    key: Key[Array, ""], params: RBM, h: Float[AnyArray, "*batch H"]
) -> Float[Array, "*batch V"]:
    """Draws v from p(v | h)."""
    return params.visible.sample(key, visible_inputs(params, h))


@jit
def reconstruct(params: RBM, v: Float[AnyArray, "*batch V"]) -> Float[Array, "*batch V"]:
    """E[v | h = E[h | v]], the mean-field reconstruction."""
    return visible_mean(params, hidden_mean(params, v))


@jit_checking({"num_steps": check_steps})
def gibbs(
    key: Key[Array, ""],
    params: RBM,
    v: Float[AnyArray, "*batch V"],
    num_steps: int | Int[Array, ""],
) -> tuple[Float[Array, "*batch V"], Float[Array, "*batch H"]]:
    """Alternating block Gibbs sampling from v: h, v, h, v, …, both layers `num_steps` times.

    Returns:
      The last v, and the h that it was drawn from: for chains in equilibrium a draw of the joint
      p(v, h).
    """
    hidden_key, chain_key = random.split(key)
    h = sample_hidden(hidden_key, params, v)
    v, h, _ = gibbs_from_hidden(chain_key, params, h, num_steps)
    return v, h


def gibbs_from_hidden(
    key: Key[Array, ""],
    params: RBM,
    h: Float[AnyArray, "*batch H"],
    num_steps: int | Int[Array, ""] = 1,
    *,
    sample_visible: bool = True,
) -> tuple[Float[Array, "*batch V"], Float[Array, "*batch H"], Float[Array, "*batch H"]]:
    """Gibbs sampling from hidden states, `num_steps` times down and up; the number may be traced.

    Args:
      sample_visible: False passes the visible means on instead of samples.

    Returns:
      The last v; the h that it was drawn from; and v's hidden inputs, from which the statistics and
      the chain's next h follow without a further product.
    """
    check_steps(num_steps)
    hidden = as_hidden(params, h)

    def down_up(key, h):
        x = visible_inputs(params, h)
        v = params.visible.sample(key, x) if sample_visible else params.visible.mean(x)
        return v, hidden_inputs(params, v)

    def body(t, h):
        down_key, up_key = random.split(random.fold_in(key, t))
        return params.hidden.sample(up_key, down_up(down_key, h)[1])

    # One step has no loop at all: XLA then fuses across the phases of an update.
    if not (isinstance(num_steps, int) and num_steps == 1):
        hidden = jax.lax.fori_loop(1, num_steps, body, hidden)
    v, inputs = down_up(random.fold_in(key, 0), hidden)
    return v, hidden, inputs


def free_energy_gradient(
    params: RBM, v: Float[AnyArray, "*batch V"] | Examples, inputs: Float[Array, "*batch H"]
) -> RBM:
    """Gradient of the mean free energy of a batch, given its hidden inputs.

    ∂F/∂W = −s_v(v) E[s_h(h) | v]ᵀ; the units' own parameters by differentiation of their energy and
    cumulant. Equal to ``grad(mean(free_energy))``, but `inputs`, ``hidden_inputs(params, v)``, are
    not computed again. The sums over the batch, divided last, must be numbers of the dtype: below
    65,504 in float16.
    """
    batch = as_examples(params, v)
    return _descent(_total_gradient(params, batch, inputs), batch.count)


def _total_gradient(params, batch, inputs, factor: float | Array = 1):
    """The sum over a batch of the gradients of −F, times a factor."""
    visible, hidden = sharded.match_varying(inputs, (params.visible, params.hidden))
    # Before the product: where devices share the batch, they then add up one sum of both phases'
    # products, and not each by itself.
    mean_statistic = factor * params.hidden.mean_statistic(inputs)
    # Needed only where s_v has parameters of its own (a learnt σ); dead code elsewhere.
    x = linear.product_transposed(mean_statistic, params.weights)

    def visible_part(visible):
        interaction = jnp.sum(visible.statistic(batch.values) * x, axis=-1)
        return batch.total(interaction - factor * visible.energy(batch.values))

    def hidden_part(hidden):
        return batch.total(factor * hidden.cumulant(inputs))

    statistic = batch.weigh(params.visible.statistic(batch.values))
    return RBM(
        linear.outer_total(statistic, mean_statistic, like=params.weights),
        jax.grad(visible_part)(visible),
        jax.grad(hidden_part)(hidden),
    )


def _descent(total, count):
    """Down −F, per example: sign and division last, in the optimizer's pass over the weights."""
    share = divide(-jnp.ones_like(jax.tree.leaves(total)[0], shape=()), count)
    return jax.tree.map(lambda x: share * x, total)


def contrastive_gradient(
    params: RBM,
    data: Float[Array, "*batch V"] | Examples,
    data_inputs: Float[Array, "*batch H"],
    fantasies: Float[Array, "*chains V"] | Examples,
    fantasy_inputs: Float[Array, "*chains H"],
) -> tuple[RBM, Metrics]:
    """Gradient of mean F(data) − mean F(fantasies), and the metrics that every learner reports.

    The fantasies are from the model, or on the way to it. Each phase is averaged over its own
    examples, so their numbers may differ, and comes with its `hidden_inputs`.

    Returns:
      The gradient; and the metrics `free_energy_data` and `free_energy_fantasies` (means),
      `gradient_norm` and `hidden_activity` (the mean of the hidden units' means on the data; for
      binary units the fraction that is on).
    """
    data, fantasies = Examples.of(data), Examples.of(fantasies)
    ratio = divide(data.count, fantasies.count)
    positive = _total_gradient(params, data, data_inputs)
    negative = _total_gradient(params, fantasies, fantasy_inputs, -ratio)
    gradient = _descent(jax.tree.map(jnp.add, positive, negative), data.count)

    def mean_free_energy(batch, inputs):
        # Apart: XLA then makes each mean where it passes over the units, and no kernel more.
        energy, cumulant = params.visible.energy(batch.values), params.hidden.cumulant(inputs)
        return batch.mean(energy) - batch.mean(cumulant)

    metrics = {
        "free_energy_data": mean_free_energy(data, data_inputs),
        "free_energy_fantasies": mean_free_energy(fantasies, fantasy_inputs),
        "gradient_norm": optax.tree.norm(gradient),
        "hidden_activity": data.mean(jnp.sum(params.hidden.mean(data_inputs), axis=-1))
        / params.hidden.num_units,
    }
    return gradient, metrics


@jit(static_argnames=("num_gibbs_steps", "sample_visible"))
def cd_gradient(
    key: Key[Array, ""],
    params: RBM,
    batch: Batch,
    *,
    num_gibbs_steps: int = 1,
    sample_visible: bool = True,
) -> tuple[RBM, Metrics]:
    """Contrastive divergence, CD-n: the data against n steps of Gibbs sampling from the data.

    As the guide has it (section 3): sampled hidden states drive the reconstruction, statistics
    take the hidden probabilities, which are computed once for both uses.

    Args:
      batch: for binary units 0 and 1, or grey levels in [0, 1] as probabilities.
      num_gibbs_steps: n. Many steps make it maximum likelihood, at a cost.
      sample_visible: draw the reconstruction; False takes its means, as in Hinton's programs.

    Returns:
      The gradient; and the metrics of `contrastive_gradient`, and `reconstruction_error`, the
      squared error of the first reconstruction's means, summed over the visible units, averaged
      over the batch.
    """
    check_steps(num_gibbs_steps)
    batch = as_batch(params, batch)
    hidden_key, visible_key, chain_key, last_key = random.split(key, 4)
    data_inputs = hidden_inputs(params, batch.values)
    h = params.hidden.sample(hidden_key, data_inputs)
    x = visible_inputs(params, h)
    reconstruction = params.visible.mean(x)
    v = params.visible.sample(visible_key, x) if sample_visible else reconstruction
    inputs = hidden_inputs(params, v)
    if num_gibbs_steps > 1:
        h = params.hidden.sample(last_key, inputs)
        v, _, inputs = gibbs_from_hidden(
            chain_key, params, h, num_gibbs_steps - 1, sample_visible=sample_visible
        )
    fantasies = batch.with_values(v)
    gradient, metrics = contrastive_gradient(params, batch, data_inputs, fantasies, inputs)
    error = jnp.sum((batch.values - reconstruction) ** 2, axis=-1)
    return gradient, {"reconstruction_error": batch.mean(error), **metrics}


@jit(static_argnames="num_gibbs_steps")
def pcd_gradient(
    key: Key[Array, ""],
    params: RBM,
    chains: Float[Array, "chains H"],
    batch: Batch,
    *,
    num_gibbs_steps: int = 1,
) -> tuple[RBM, Float[Array, "chains H"], Metrics]:
    """Persistent contrastive divergence (stochastic maximum likelihood): the chains never restart.

    Chains of hidden states, any number of them, save the product that starts from visible ones:
    one update costs what CD-n does.

    Returns:
      The gradient and metrics of `contrastive_gradient`, and between them the chains moved on.
    """
    batch = as_batch(params, batch)
    fantasy_key, hidden_key = random.split(key)
    chains = parallel.shard(chains)
    v, _, inputs = gibbs_from_hidden(fantasy_key, params, chains, num_gibbs_steps)
    chains = params.hidden.sample(hidden_key, inputs)
    data_inputs = hidden_inputs(params, batch.values)
    gradient, metrics = contrastive_gradient(params, batch, data_inputs, v, inputs)
    return gradient, chains, metrics


@jit(static_argnames="num_chains")
def init_chains(key: Key[Array, ""], params: RBM, num_chains: int) -> Float[Array, "chains H"]:
    """Hidden states for persistent chains, drawn from the hidden biases alone.

    To start at the data instead: ``sample_hidden(key, params, batch)``.
    """
    if num_chains < 1:
        raise ValueError(f"num_chains is {num_chains}; it must be at least 1")
    inputs = jnp.zeros((num_chains, params.hidden.num_units), params.weights.dtype)
    return params.hidden.sample(key, inputs)


@jit(static_argnames=("optimizer", "num_gibbs_steps", "sample_visible"))
def cd_step(
    key: Key[Array, ""],
    state: State[RBM, Chains],
    batch: Batch,
    *,
    optimizer: optax.GradientTransformation,
    num_gibbs_steps: int = 1,
    sample_visible: bool = True,
) -> tuple[State[RBM, Chains], Metrics]:
    """One update by contrastive divergence, with the settings and metrics of `cd_gradient`.

    Compiled when called directly, inlined when called inside your own `jit`, `vmap` or `scan`.
    Make the optimizer once, for `init_state` too: a new one at every call compiles anew.

    >>> optimizer = optax.sgd(0.1, momentum=0.9)
    >>> state = init_state(init_params(jax.random.key(0), 784, 500), optimizer)
    >>> batch = jnp.zeros((100, 784))
    >>> state, metrics = cd_step(jax.random.key(1), state, batch, optimizer=optimizer)
    >>> int(state.step)
    1
    """
    gradient, metrics = cd_gradient(
        key,
        state.params,
        batch,
        num_gibbs_steps=num_gibbs_steps,
        sample_visible=sample_visible,
    )
    return apply_gradient(state, gradient, optimizer), metrics


@jit(static_argnames=("optimizer", "num_gibbs_steps"))
def pcd_step(
    key: Key[Array, ""],
    state: State[RBM, Array],
    batch: Batch,
    *,
    optimizer: optax.GradientTransformation,
    num_gibbs_steps: int = 1,
) -> tuple[State[RBM, Array], Metrics]:
    """One update by persistent contrastive divergence (`pcd_gradient`); see `cd_step`.

    The first state is ``init_state(params, optimizer, chains=init_chains(key, params, 100))``.
    """
    if state.chains is None:
        raise ValueError(
            "pcd_step needs persistent chains: make the state with "
            "init_state(params, optimizer, chains=init_chains(key, params, num_chains))"
        )
    gradient, chains, metrics = pcd_gradient(
        key, state.params, state.chains, batch, num_gibbs_steps=num_gibbs_steps
    )
    return apply_gradient(state, gradient, optimizer, chains=chains), metrics
