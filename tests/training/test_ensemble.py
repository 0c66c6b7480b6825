"""Models trained side by side end where each ends alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from dbn_jax import parallel, rbm, training
from dbn_jax.training import Checkpoints, Settings, ensemble, read_metrics
from tests import curves
from tests.toy_learning import cd_step, images, initial_state, scale

SIZE = 4


def settings(**changes):
    values = {"seed": 3, "batch_size": 10, "num_epochs": 2, "show_progress": False}
    values |= {"chunk_seconds": 0.0, "checkpoint_seconds": 0.0}
    return Settings(**{**values, **changes})


def weights_norm(state):
    return {"norm": np.linalg.norm(state["weights"])}


def first_state(i):
    state = initial_state()
    return {**state, "weights": state["weights"] * (1 + i)}


def train_together(**options):
    states = [first_state(i) for i in range(SIZE)]
    return training.train(
        cd_step,
        ensemble.stack(states),
        images(),
        settings=settings(ensemble=SIZE),
        transform=scale,
        evaluate=weights_norm,
        **options,
    )


def train_alone(i, **options):
    return training.train(
        cd_step,
        first_state(i),
        images(),
        settings=settings(seed=3 + i),
        transform=scale,
        evaluate=weights_norm,
        **options,
    )


@pytest.mark.parametrize("num_devices", [1, 2, 8])
def test_each_member_ends_where_it_ends_alone(num_devices, tmp_path):
    path = tmp_path / "metrics.csv"
    with parallel.devices(num_devices, members=SIZE):
        together = train_together(metrics_path=path)
        assert len(together["weights"].sharding.device_set) == num_devices
        shares = {str(shard.index[0]) for shard in together["weights"].addressable_shards}
        assert len(shares) == min(num_devices, SIZE)
    tables = []
    for i in range(SIZE):
        alone = train_alone(i, metrics_path=tmp_path / f"{i}.csv")
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6),
            ensemble.member(jax.device_get(together), i),
            alone,
        )
        tables.append(read_metrics(tmp_path / f"{i}.csv"))
    columns = read_metrics(path)
    for name in ("eval_norm", "error", "on"):
        values = np.array([table[name] for table in tables])
        np.testing.assert_allclose(columns[name], values.mean(axis=0), rtol=1e-5)
        errors = values.std(axis=0, ddof=1) / np.sqrt(SIZE)
        np.testing.assert_allclose(columns[f"{name}_standard_error"], errors, rtol=1e-3, atol=1e-6)


def test_an_ensemble_is_resumed(tmp_path):
    def stop(epoch, step, state):
        if epoch == 1:
            raise ZeroDivisionError

    expected, path = train_together(), tmp_path / "metrics.csv"
    with Checkpoints(tmp_path / "saved") as checkpoints, pytest.raises(ZeroDivisionError):
        train_together(checkpoints=checkpoints, callback=stop, metrics_path=path)
    with Checkpoints(tmp_path / "saved") as checkpoints:
        assert checkpoints.latest_step() == 9  # the tenth update ends the epoch
        again = train_together(checkpoints=checkpoints, metrics_path=path)
    curves.assert_equal_rows(path)
    jax.tree.map(np.testing.assert_array_equal, again, expected)


def test_sentences(tmp_path):
    with pytest.raises(ValueError, match=r"^ensemble is 1; it must be at least 2, or None$"):
        settings(ensemble=1)
    np.save(tmp_path / "images.npy", images())
    with pytest.raises(ValueError, match=r"an ensemble of 4 models, .* needs its data in memory"):
        training.train(
            cd_step,
            ensemble.stack([first_state(0)] * SIZE),
            np.load(tmp_path / "images.npy", mmap_mode="r"),
            settings=settings(ensemble=SIZE),
        )


@jax.numpy_dtype_promotion("standard")  # optax mixes numbers
def test_members_may_have_learning_rates_of_their_own():
    optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=0.1, momentum=0.9)
    step = functools.partial(rbm.cd_step, optimizer=optimizer)

    def first(rate):
        state = rbm.init_state(rbm.init_params(jax.random.key(0), 12, 7), optimizer)
        state.opt_state.hyperparams["learning_rate"] = jnp.float32(rate)
        return state

    rates = [0.01, 0.1, 0.3]
    options = {"data": images(), "transform": scale}
    together = training.train(
        step, ensemble.stack(list(map(first, rates))), settings=settings(ensemble=3), **options
    )
    for i, rate in enumerate(rates):
        alone = training.train(step, first(rate), settings=settings(seed=3 + i), **options)
        found = ensemble.member(together, i).params.weights
        np.testing.assert_allclose(found, alone.params.weights, rtol=1e-4, atol=1e-6)


def test_on_a_mesh_of_ones_own_all_devices_have_all_members():
    mesh = jax.make_mesh((2,), ("mine",), axis_types=(jax.sharding.AxisType.Auto,))
    state = ensemble.stack([first_state(i) for i in range(SIZE)])
    options = {"settings": settings(ensemble=SIZE), "transform": scale}
    expected = training.train(cd_step, state, images(), **options)["weights"]
    state = jax.device_put(state, NamedSharding(mesh, PartitionSpec()))
    found = training.train(cd_step, state, images(), **options)["weights"]
    assert len(found.sharding.device_set) == 2
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
