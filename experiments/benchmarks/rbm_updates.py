"""Updates of an RBM beside their matrix products alone.

The *floor* makes the same five matrix products and nothing else:

    v W,   h Wᵀ,   v′ W,   vᵀ h,   v′ᵀ h′

CD-1 needs exactly these, and so does PCD-1 with as many chains as the batch has examples.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from dbn_jax import random, rbm
from experiments.benchmarks import programs, timing
from experiments.benchmarks.other_libraries import Peer
from experiments.benchmarks.programs import Case, Learning, Program


def init_params(case: Case) -> rbm.RBM:
    """The RBM from which all programs start."""
    return rbm.init_params(jax.random.key(0), case.num_visible, case.num_hidden)


def floor(case: Case, batches: jax.Array, num_updates: int) -> Program:
    """The five matrix products of an update, alone."""

    def products(weights, v):
        hidden = v @ weights
        visible = hidden @ weights.T
        last_hidden = visible @ weights
        return last_hidden, v.T @ hidden, visible.T @ last_hidden

    return programs.floor(
        products,
        init_params(case).weights,
        (batches,),
        num_updates,
        name="floor",
        what="the five matrix products alone",
        sizes=case,
    )


def learning(
    case: Case,
    batches: jax.Array,
    *,
    persistent: bool = False,
    num_gibbs_steps: int = 1,
    decay: bool = False,
    num_models: int | None = None,
    **options: Any,
) -> Learning:
    """CD-n or PCD-n with momentum; for PCD as many chains as the batch has examples.

    Several models learn side by side under `vmap`; None is one without it. The other options are
    those of `rbm.cd_step`.
    """
    optimizer = programs.make_optimizer(decay)
    params = init_params(case)
    chains = rbm.init_chains(jax.random.key(1), params, case.batch_size) if persistent else None
    state = rbm.init_state(params, optimizer, chains=chains)
    step = functools.partial(
        rbm.pcd_step if persistent else rbm.cd_step,
        optimizer=optimizer,
        num_gibbs_steps=num_gibbs_steps,
        **options,
    )
    if num_models is not None:
        state = jax.tree.map(lambda x: jnp.broadcast_to(x, (num_models, *x.shape)), state)
        step = _side_by_side(step, num_models)
    return Learning(step, state, (batches,))


def update(
    case: Case,
    batches: jax.Array,
    num_updates: int,
    *,
    name: str,
    what: str = "",
    persistent: bool = False,
    num_gibbs_steps: int = 1,
    keep_metrics: bool = False,
    **options: Any,
) -> Program:
    """Updates by `learning`, which has the other options."""
    how = {"persistent": persistent, "num_gibbs_steps": num_gibbs_steps, **options}
    return programs.updates(
        learning(case, batches, **how),
        num_updates,
        keep_metrics=keep_metrics,
        name=name,
        what=what,
        learner=f"{'PCD' if persistent else 'CD'}-{num_gibbs_steps}",
        sizes=case,
    )


def _side_by_side(step, num_models):
    def steps(key, states, batch):
        keys = random.split(key, num_models)
        return jax.vmap(step, in_axes=(0, 0, None))(keys, states, batch)

    return steps


def update_from_python(case: Case, batches: jax.Array, num_updates: int) -> Program:
    """`rbm.cd_step` called from a Python loop, one dispatch an update."""
    optimizer = programs.make_optimizer()
    start = rbm.init_state(init_params(case), optimizer)
    on_device = list(batches)

    def run():
        state, key = start, jax.random.key(2)
        for t in range(num_updates):
            key, step_key = jax.random.split(key)
            batch = on_device[t % len(on_device)]
            state, _ = rbm.cd_step(step_key, state, batch, optimizer=optimizer)
        return state

    return Program(
        name="cd_dispatched",
        what="cd_step called from Python, metrics computed",
        learner="CD-1",
        num_updates=num_updates,
        call=run,
    )


def floor_and_updates(case: Case, batches: jax.Array, num_updates: int) -> list[Program]:
    """The floor first, and every variant of the update."""

    def variant(name, what, **settings):
        return update(case, batches, num_updates, name=name, what=what, **settings)

    return [
        floor(case, batches, num_updates),
        variant("cd", "cd_step in a scan"),
        variant("cd_metrics", "the same, every metric kept", keep_metrics=True),
        variant("cd_decay", "cd_step with weight decay", decay=True),
        variant("cd_means", "cd_step, visible means, not samples", sample_visible=False),
        variant("pcd", "pcd_step in a scan", persistent=True),
        variant("pcd_metrics", "the same, every metric kept", persistent=True, keep_metrics=True),
        update_from_python(case, batches, num_updates),
    ]


def compare(case: Case, peers: Sequence[Peer], rounds: int, seconds: float) -> dict[str, dict]:
    """Times every program and peer in turn; see `timing`.

    Returns:
      For each program what `Program` says of it, and `milliseconds` of one update in each round.
    """
    batches = programs.make_batches(case)
    on_device = jax.device_put(batches)
    count = timing.updates_per_call(functools.partial(floor, case, on_device), seconds)
    compared = floor_and_updates(case, on_device, count)
    for peer in peers:
        make = functools.partial(peer.program, case, batches)
        compared.append(make(timing.updates_per_call(make, seconds)))
    times = timing.time_in_turn(compared, rounds)
    return {p.name: {**p.facts(), "milliseconds": times[p.name]} for p in compared}


def _change(case, quantity, value):
    """The case where a quantity has another value, or what else `update` is told."""
    return {
        "batch": (case._replace(batch_size=value), {}),
        "hidden units": (case._replace(num_hidden=value), {}),
        "Gibbs steps": (case, {"num_gibbs_steps": value}),
        "models under vmap": (case, {"num_models": value}),
    }[quantity]


def scale(
    base: Case, values: Mapping[str, Sequence[int]], rounds: int, seconds: float
) -> dict[str, list[dict]]:
    """Times CD updates while one quantity takes other values than in the base.

    Returns:
      For each quantity and value: `value`, what `Program` says, `milliseconds` of one update (of
      all models) in each round, and `flops` of its products.
    """
    on_device = jax.device_put(programs.make_batches(base))
    pilot = timing.updates_per_call(functools.partial(floor, base, on_device), seconds)
    results, timed = {quantity: [] for quantity in values}, []
    for quantity, value in ((name, value) for name in values for value in values[name]):
        case, settings = _change(base, quantity, value)
        flops = case.flops(settings.get("num_gibbs_steps", 1)) * settings.get("num_models", 1)
        on_device = jax.device_put(programs.make_batches(case))
        count = timing.within_limits(pilot * base.flops() / flops)
        program = update(case, on_device, count, name=f"{quantity} {value}", **settings)
        timed.append(program)
        results[quantity].append({"value": value, "flops": flops, **program.facts()})
    times = timing.time_in_turn(timed, rounds)
    for quantity, records in results.items():
        for record in records:
            record["milliseconds"] = times[f"{quantity} {record['value']}"]
    return results
