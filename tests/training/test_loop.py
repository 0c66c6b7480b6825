import functools
import os
import pathlib
import random
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from dbn_jax import rbm, training
from dbn_jax.training import Checkpoints, Diverged, Interrupted, Settings, read_metrics
from tests import binaries, curves, toy_learning
from tests.toy_learning import cd_step, images, initial_state, scale, state_bytes

UPDATES_PER_EPOCH = toy_learning.NUM_EXAMPLES // 10  # 10, with 3 examples left out


def settings(**changes):
    values = {
        "seed": 3,
        "batch_size": 10,
        "num_epochs": 3,
        "show_progress": False,
        "chunk_seconds": 0.0,  # one update a chunk: the hardest case for everything below
    }
    return Settings(**{**values, **changes})


def train(data=images, *, step=cd_step, state=None, transform=scale, hooks=None, **changes):
    return training.train(
        step,
        initial_state() if state is None else state,
        images() if data is images else data,
        settings=settings(**changes),
        transform=transform,
        **(hooks or {}),
    )


def evaluate(state):
    return {"norm": jnp.linalg.norm(state["weights"])}


def rows_without_times(path):
    columns = read_metrics(path)
    return {k: v for k, v in columns.items() if k not in ("seconds", "images_per_second")}


def assert_same_rows(one, other):
    one, other = rows_without_times(one), rows_without_times(other)
    assert list(one) == list(other)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def never(*args):
    raise AssertionError("called again")


class TestMeaning:
    def test_equals_a_plain_loop(self):
        """Update t gets fold_in(key(seed), t); an epoch visits no example twice."""
        seen = []

        def transform(key, batch):
            return {**batch, "key": jax.random.key_data(key)}

        def step(key, state, batch):
            here = jax.random.key_data(key), batch["key"], batch["index"]
            jax.debug.callback(lambda *x: seen.append(list(map(np.array, x))), *here, ordered=True)
            return cd_step(key, state, scale(key, batch["image"]))

        data = {"image": images(), "index": np.arange(toy_learning.NUM_EXAMPLES, dtype=np.int32)}
        final = train(data, step=step, transform=transform, num_epochs=2, chunk_seconds=10.0)
        jax.effects_barrier()
        assert len(seen) == 2 * UPDATES_PER_EPOCH

        state, update = initial_state(), jax.jit(cd_step)
        for t, (key_data, _, index) in enumerate(seen):
            key = jax.random.fold_in(jax.random.key(3), t)
            np.testing.assert_array_equal(key_data, jax.random.key_data(key))
            state, _ = update(key, state, scale(key, jnp.asarray(images()[index])))
        # Two programs may round differently.
        np.testing.assert_allclose(final["weights"], state["weights"], rtol=1e-3, atol=1e-4)
        keys = np.concatenate([call[:2] for call in seen])  # of steps and transforms
        assert len(np.unique(keys, axis=0)) == 2 * len(seen)
        epochs = np.reshape([index for *_, index in seen], (2, -1))
        for epoch in epochs:
            assert len(np.unique(epoch)) == 100
        assert not np.array_equal(epochs[0], epochs[1])
        assert set(epochs[0]) != set(epochs[1])  # each leaves out other examples

    def test_chunk_length_changes_no_bit(self):
        one = train(chunk_seconds=0.0)
        many = train(chunk_seconds=100.0)
        assert state_bytes(one) == state_bytes(many)
        assert state_bytes(one) != state_bytes(train(seed=4))

    def test_metrics_are_epoch_means(self, tmp_path):
        def step(key, state, batch):
            return state + 1, {"t": state, "big": jnp.where(state < 10, 1.0, 3.0)}

        path = tmp_path / "metrics.csv"
        hooks = {"metrics_path": path, "evaluate": lambda state: {"double": 2 * int(state)}}
        train(step=step, state=0, num_epochs=2, hooks=hooks)
        columns = read_metrics(path)
        assert list(columns) == [
            "step", "epoch", "seconds", "images_per_second", "big", "t", "eval_double"
        ]  # fmt: skip
        np.testing.assert_array_equal(columns["step"], [0, 10, 20])
        np.testing.assert_array_equal(columns["epoch"], [0, 1, 2])
        np.testing.assert_array_equal(columns["t"], [np.nan, 4.5, 14.5])
        np.testing.assert_array_equal(columns["big"], [np.nan, 1, 3])
        np.testing.assert_array_equal(columns["eval_double"], [0, 20, 40])
        assert np.all(np.diff(columns["seconds"]) > 0)
        # Updates take a part of an epoch's time.
        rates = 100 / np.diff(columns["seconds"])
        assert np.all(columns["images_per_second"][1:] > rates)

    @pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
    @pytest.mark.parametrize("placed", [False, True])
    def test_sharded_data(self, kind, placed):
        """Devices that share the rows share those of batches; the state lies there or does not."""
        mesh = jax.make_mesh((4,), ("rows",), axis_types=(kind,))
        rows = NamedSharding(mesh, PartitionSpec("rows"))
        optimizer = optax.sgd(0.1, momentum=0.9)
        state = rbm.init_state(rbm.init_params(jax.random.key(0), 12, 7), optimizer)
        if placed:
            state = jax.device_put(state, NamedSharding(mesh, PartitionSpec()))
        shapes = []

        def look(key, batch):
            jax.debug.inspect_array_sharding(
                batch, callback=lambda where: shapes.append(where.shard_shape((8, 12)))
            )
            return scale(key, batch)

        step = functools.partial(rbm.cd_step, optimizer=optimizer)
        options = {"step": step, "batch_size": 8, "transform": look}
        expected = train(images(104), state=state, **options).params.weights
        final = train(jax.device_put(images(104), rows), state=state, **options).params.weights
        assert len(final.devices()) == 4
        np.testing.assert_allclose(final, expected, rtol=1e-3, atol=1e-4)
        assert shapes[-1] == (2, 12)

    def test_without_data(self, tmp_path):
        """An update that looks at no batch, such as one that lays out points in a plane."""

        def step(key, walk, batch):
            assert batch is None
            walk += jax.random.normal(key)
            return walk, {"walk": walk}

        path, calls = tmp_path / "metrics.csv", []
        hooks = {"metrics_path": path, "callback": lambda *call: calls.append(call)}
        changes = {"transform": None, "batch_size": None, "updates_per_epoch": 5}
        with Checkpoints(tmp_path / "checkpoints") as checkpoints:
            hooks["checkpoints"] = checkpoints
            train(None, step=step, state=0.0, num_epochs=2, hooks=hooks, **changes)
            changes["updates_per_epoch"] = 6
            with pytest.raises(ValueError, match=r"made with updates_per_epoch 5 \(now 6\); put b"):
                train(None, step=step, state=0.0, hooks=hooks, **changes)
        keys = [jax.random.fold_in(jax.random.key(3), t) for t in range(10)]
        walk = np.cumsum([jax.random.normal(key) for key in keys])
        epochs, steps, states = zip(*calls, strict=True)
        assert (epochs, steps) == ((0, 1, 2), (0, 5, 10))
        np.testing.assert_allclose(states, [0, *walk[[4, 9]]], rtol=1e-5)
        columns = read_metrics(path)
        np.testing.assert_allclose(columns["walk"], walk.reshape(2, 5).mean(1), rtol=1e-5)
        assert np.isnan(columns["images_per_second"]).all()


def test_parts_of_runs_share_no_seed():
    seeds = {training.seed_of_phase(seed, number) for seed in range(20) for number in range(5)}
    assert len(seeds | set(range(24))) == 100 + 24
    assert training.seed_of_phase(2**32 - 1, 4) == training.seed_of_phase(2**32 - 1, 4)
    assert all(0 <= seed < 2**32 for seed in seeds)
    with jax.enable_x64(True):
        assert training.seed_of_phase(0, 0) in seeds


def test_nothing_compiles_once_training_has_begun():
    """XLA itself is asked, on one device and on eight; nor in a second, longer run."""
    mesh = jax.make_mesh((8,), ("chains",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = NamedSharding(mesh, PartitionSpec("chains"))

    def step(key, state, batch, scale):
        inner, metrics = cd_step(key, {**state, "chains": None}, batch)
        chains = state["chains"] + scale * jnp.mean(inner["weights"])
        # Left to itself, the compiler would spread these as the chains are.
        sums, rate = state["sums"] + chains, state["rate"] * jnp.float32(0.9)
        return {**inner, "chains": chains, "sums": sums, "rate": rate}, metrics

    def listen(event, *_, **__):
        if "backend_compile" in event:
            compiled.append(event)

    def callback(epoch, step, state):
        if epoch == 0:
            begun.append(len(compiled))

    def run(placement, **changes):
        chains = jax.device_put(jnp.zeros((8, 2)), placement)
        state = {**initial_state(), "chains": chains, "sums": jnp.zeros((8, 2))}
        state["rate"] = 0.1  # a Python number at first
        partial = functools.partial(step, scale=2.0)
        return train(step=partial, state=state, hooks={"callback": callback}, **changes)

    compiled, begun = [], []
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for placement in (None, rows):
            before = len(compiled)
            final = run(placement)
            assert before < begun[-1] == len(compiled)
            run(placement, seed=8, num_epochs=5, chunk_seconds=1.0)
            assert begun[-2] == len(compiled)
            if placement is not None:
                assert final["chains"].sharding == rows
                assert final["sums"].sharding.is_fully_replicated
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


class TestResuming:
    def test_finished_run_returns_at_once(self, tmp_path):
        with Checkpoints(tmp_path) as checkpoints:
            done = train(hooks={"checkpoints": checkpoints})
            hooks = {"checkpoints": checkpoints, "evaluate": never, "callback": never}
            again = train(hooks=hooks)
            assert state_bytes(done) == state_bytes(again)
            longer = train(num_epochs=5, hooks={"checkpoints": checkpoints})
            assert state_bytes(longer) == state_bytes(train(num_epochs=5))
            with pytest.raises(ValueError, match=r"of 50 updates.*at least 5 epochs"):
                train(num_epochs=4, hooks={"checkpoints": checkpoints})

    @pytest.mark.parametrize(
        ("words", "num_images", "changes"),
        [
            (r"seed 3 \(now 11\)", 103, {"seed": 11}),
            (r"batch_size 10 \(now 11\), updates", 103, {"batch_size": 11}),
            (
                r"num_examples 103 \(now 104\), other training data",
                104,
                {},
            ),  # as many updates, but another order
        ],
    )
    def test_refuses_other_settings(self, tmp_path, words, num_images, changes):
        with Checkpoints(tmp_path) as checkpoints:
            train(hooks={"checkpoints": checkpoints}, num_epochs=1)
            with pytest.raises(ValueError, match=f"made with {words}.*; put back"):
                train(images(num_images), hooks={"checkpoints": checkpoints}, **changes)

    def test_time_goes_on(self, tmp_path):
        """Rows of a resumed run count the seconds of the runs before it."""
        path = tmp_path / "metrics.csv"
        with Checkpoints(tmp_path / "checkpoints") as checkpoints:
            hooks = {"checkpoints": checkpoints, "metrics_path": path}
            train(num_epochs=1, hooks=hooks | {"callback": lambda *_: time.sleep(0.2)})
            train(num_epochs=2, hooks=hooks)
        seconds = read_metrics(path)["seconds"]
        assert seconds[-1] > seconds[-2] > 0.2

    @pytest.mark.parametrize(
        ("number", "stop_at"), [(signal.SIGTERM, 0), (signal.SIGINT, 13), (signal.SIGTERM, 20)]
    )
    def test_signal_saves_and_stops(self, tmp_path, number, stop_at):
        """Before the first update, within an epoch, and at an epoch's end."""
        unbroken_path, path = tmp_path / "unbroken.csv", tmp_path / "metrics.csv"
        unbroken = train(hooks={"evaluate": evaluate, "metrics_path": unbroken_path})
        handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]

        def send(count):
            if count + 1 == stop_at:
                os.kill(os.getpid(), number)

        def interruptible_step(key, state, batch):
            jax.debug.callback(send, state["count"], ordered=True)
            return cd_step(key, state, batch)

        def callback(epoch, step, state):
            epochs.append(epoch)
            if step == 0 == stop_at:
                os.kill(os.getpid(), number)

        epochs = []
        hooks = {"evaluate": evaluate, "callback": callback, "metrics_path": path}
        with Checkpoints(tmp_path / "checkpoints") as checkpoints:
            with pytest.raises(Interrupted, match="the same command continues") as caught:
                train(step=interruptible_step, hooks={**hooks, "checkpoints": checkpoints})
            assert caught.value.step == stop_at == checkpoints.latest_step()
            assert caught.value.signal == number
            assert int(caught.value.state["count"]) == stop_at
        assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == handlers
        assert epochs == list(range(stop_at // UPDATES_PER_EPOCH + 1))

        with path.open("a") as file:  # as a process that was killed might leave it
            file.write("30,3,1,1,1,1,1\n30,")
        stop_at = None
        with Checkpoints(tmp_path / "checkpoints") as checkpoints:
            resumed = train(step=interruptible_step, hooks={**hooks, "checkpoints": checkpoints})
        assert state_bytes(resumed) == state_bytes(unbroken)
        assert_same_rows(path, unbroken_path)
        curves.assert_equal_rows(path)
        assert epochs == [0, 1, 2, 3]  # nothing is done twice

    def test_interrupted_without_checkpoints_hands_over_the_state(self):
        def callback(epoch, step, state):
            if epoch == 1:
                os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(Interrupted, match="nothing is saved") as caught:
            train(hooks={"callback": callback})
        assert int(caught.value.state["count"]) == 10

    def test_kill_9_at_any_moment(self, tmp_path):
        """Killed without warning, and again, the run ends with the bits of an unbroken one."""

        def start(directory):
            return binaries.start("tests.toy_learning", str(directory), f"{directory}.out")

        unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
        moments, saved = random.Random(time.time_ns()), []
        for _ in range(2):
            process = start(broken)
            # Checkpoints follow one another without a pause, so that many kills hit a write.
            deadline, have = time.monotonic() + 60, set(list_steps(broken))
            while time.monotonic() < deadline and process.is_alive():
                if set(list_steps(broken)) - have:
                    break
                time.sleep(0.005)
            time.sleep(moments.uniform(0, 0.3))
            process.kill()
            process.join()
            assert process.exitcode in (-signal.SIGKILL, 0)
            saved.append(max(list_steps(broken)))
        assert saved == sorted(set(saved)), "each attempt must go on from the one before"
        assert saved[0] < toy_learning.NUM_UPDATES, "the first kill must come before the end"
        last = start(broken)
        toy_learning.main(unbroken, f"{unbroken}.out")
        last.join(timeout=120)
        assert last.exitcode == 0
        ours = pathlib.Path(f"{broken}.out").read_bytes()
        assert ours == pathlib.Path(f"{unbroken}.out").read_bytes()
        assert_same_rows(broken / "metrics.csv", unbroken / "metrics.csv")
        curves.assert_equal_rows(broken / "metrics.csv")


def list_steps(directory):
    folder = directory / "checkpoints"
    return [int(p.name) for p in folder.iterdir() if p.name.isdigit()] if folder.exists() else []


# The first update, one within an epoch, the last.
@pytest.mark.parametrize(("bad_at", "chunk_seconds"), [(1, 0.0), (13, 0.0), (20, 100.0)])
def test_divergence_names_the_exact_step(tmp_path, bad_at, chunk_seconds):
    def step(key, state, batch):
        state, metrics = cd_step(key, state, batch)
        value = jnp.where(state["count"] == bad_at, jnp.inf, state["weights"][1, 2])
        return {**state, "weights": state["weights"].at[1, 2].set(value)}, metrics

    hooks = {"checkpoints": Checkpoints(tmp_path)}
    changes = {"chunk_seconds": chunk_seconds, "checkpoint_seconds": 0.0, "num_epochs": 2}
    with hooks["checkpoints"], pytest.raises(Diverged, match="Lower the learning") as caught:
        train(step=step, hooks=hooks, **changes)
    error = caught.value
    assert error.step == bad_at
    assert int(error.state["count"]) == bad_at - 1
    assert np.isfinite(error.state["weights"]).all()
    assert f"update {bad_at} " in str(error)
    assert "['weights'] (1 of 84 values)" in str(error)
    with Checkpoints(tmp_path) as kept:
        latest = kept.latest_step()
    assert latest is None or latest < bad_at
    if bad_at == 13:
        assert latest == 12
        assert "12 updates, still finite, is kept" in str(error)


def test_divergence_names_data_on_the_device_that_did_it():
    bad = jnp.asarray(images(), jnp.float32).at[17, 3].set(jnp.nan)
    words = (
        r"made NaN or infinity in .*\. The data did it: data: 1 of 103 rows hold NaN or infinity, "
        r"the first at row 17, column 3 \(nan\); leave those rows out, or fill the gaps\.$"
    )
    with pytest.raises(Diverged, match=words):
        train(bad, transform=None)


class TestMistakes:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("batch_size", 0),
            ("num_epochs", 0),
            ("updates_per_epoch", -1),
            ("seed", -1),
            ("seed", 2**32),  # keys would shorten it
            ("chunk_seconds", float("nan")),
            ("checkpoint_seconds", -1.0),
        ],
    )
    def test_settings(self, name, value):
        with pytest.raises(ValueError, match=f"{name} is {value}; it must"):
            settings(**{name: value})

    @pytest.mark.parametrize("name", ["epoch", "step", "eval_error"])
    def test_metrics_with_the_names_of_the_loop(self, name):
        with pytest.raises(ValueError, match=f"metric {name} has the name of one of the loop's"):
            train(step=lambda key, state, batch: (state, {name: 1.0}))

    def test_evaluations_must_be_scalars(self):
        with pytest.raises(ValueError, match=r"metric y has shape \(2,\)"):
            train(hooks={"evaluate": lambda state: {"y": jnp.zeros(2)}})
