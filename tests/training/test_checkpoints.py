import dataclasses
import logging
import re
import resource
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl import logging as absl_logging
from jax.sharding import NamedSharding, PartitionSpec

from dbn_jax.training import checkpoints
from dbn_jax.training.checkpoints import Checkpoints


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Units:
    bias: Any
    kind: str = dataclasses.field(default="binary", metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OtherUnits(Units):
    """Of the same parts."""


class Chains(NamedTuple):
    hidden: Any
    fast: Any


def tree(num_hidden=5, units=Units, dtype=jnp.float32, kind="binary", **more):
    params = {
        "weights": jax.device_put(np.arange(3 * num_hidden, dtype=dtype).reshape(3, num_hidden)),
        "a.b/c": units(jax.device_put(np.ones(3, dtype)), kind),
    }
    optimizer = optax.chain(optax.trace(0.9), optax.scale(-0.1))
    return {
        "params": params,
        "opt_state": optimizer.init(params),
        "chains": Chains(jax.device_put(np.zeros((2, num_hidden), np.float32)), None),
        "key": jax.random.key(7),
        "count": jnp.int32(4),
        "half": jax.device_put(np.ones(2, jnp.bfloat16)),
        "seconds": np.asarray(1 / 3, np.float64),
        "large": np.asarray(2**40, np.int64),
        "nothing": (),
        **more,
    }


def assert_same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert type(x) is type(y)
        assert x.dtype == y.dtype
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        assert x.shape == y.shape
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def zeros_like(tree):
    """Other values, so that a restored value cannot come from `like`."""

    def zero(x):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.key(0)
        return np.zeros_like(x) if isinstance(x, np.ndarray) else jnp.zeros_like(x)

    return jax.tree.map(zero, tree)


class TestRoundTrip:
    def test_every_kind_of_leaf_and_node(self, tmp_path):
        saved = tree()
        with Checkpoints(tmp_path / "new" / "folder") as c:
            assert c.latest_step() is None
            assert c.restore(saved) is None
            c.save(3, saved)
            step, restored = c.restore(zeros_like(saved))
        assert step == 3
        assert_same(restored, saved)
        # What may move between devices still may.
        assert not restored["params"]["weights"].committed
        assert not restored["key"].committed

    def test_keeps_shardings(self, tmp_path):
        mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
        rows = NamedSharding(mesh, PartitionSpec("x"))
        keys = jax.device_put(jax.random.split(jax.random.key(3), 8), rows)
        saved = {"a": jax.device_put(jnp.arange(16.0), rows), "b": jnp.float32(2), "keys": keys}
        with Checkpoints(tmp_path) as c:
            c.save(1, saved)
            _, restored = c.restore(saved)
            assert restored["a"].sharding == rows
            assert restored["keys"].sharding == rows
            assert_same(restored, saved)
            # Saved on eight devices, wanted on one; and usable together.
            like = {"a": jnp.zeros(16), "b": jnp.float32(0), "keys": keys}
            _, restored = c.restore(like)
            assert len(restored["a"].devices()) == 1
            np.testing.assert_array_equal(restored["a"] * restored["b"][None], np.arange(16.0) * 2)


class TestSeries:
    def test_steps_grow_and_the_newest_are_kept(self, tmp_path):
        with Checkpoints(tmp_path) as c:
            for step in (1, 5, 9):
                c.save(step, {"x": jnp.float32(step)})
            with pytest.raises(ValueError, match="checkpoint of step 9 already; step is 9"):
                c.save(9, {"x": jnp.float32(0)})
        assert sorted(p.name for p in tmp_path.iterdir()) == ["5", "9"]
        with Checkpoints(tmp_path) as c:
            assert c.restore({"x": jnp.float32(0)}) == (9, {"x": 9})
            with pytest.raises(ValueError, match="step is 4"):
                c.save(4, {"x": jnp.float32(0)})

    def test_ignores_and_removes_what_a_kill_leaves(self, tmp_path):
        with Checkpoints(tmp_path) as c:
            c.save(1, {"x": jnp.float32(1)})
        left = tmp_path / "7.orbax-checkpoint-tmp"
        left.mkdir()
        (left / "half").write_text("half")
        with Checkpoints(tmp_path) as c:
            assert c.restore({"x": jnp.float32(0)})[0] == 1
            c.save(2, {"x": jnp.float32(2)})
        assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "2"]


class TestMismatch:
    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"num_hidden": 6}, "['weights']: saved float32[3,5], wanted float32[3,6]"),
            ({"dtype": jnp.bfloat16}, "saved float32[3,5], wanted bfloat16[3,5]"),
            ({"units": OtherUnits}, "saved Units('binary',), wanted OtherUnits"),
            ({"kind": "spin"}, "saved Units('binary',), wanted Units('spin',)"),
            ({"chains": None}, "['chains'].hidden: saved float32[2,5], wanted no"),
            ({"more": np.zeros(2)}, "['more']: saved nothing, wanted float64[2]"),
        ],
    )
    def test_names_what_differs(self, tmp_path, changes, words):
        with Checkpoints(tmp_path / "series") as c:
            c.save(1, tree())
            with pytest.raises(ValueError, match=f"step 1 .*(?s:.*){re.escape(words)}"):
                c.restore(tree(**changes))

    def test_a_function_may_lie_elsewhere_in_memory(self, tmp_path):
        """As those of Flax modules do in another process, which resumes the run."""

        def with_function(change=0):
            def activation(x):
                return x + change

            return {"cell": Units(jnp.ones(2), activation)}

        before, after = with_function(), with_function(1)
        assert str(before["cell"].kind) != str(after["cell"].kind)
        with Checkpoints(tmp_path) as saved:
            saved.save(1, before)
        with Checkpoints(tmp_path) as saved:
            assert_same(saved.restore(after)[1], after)

    def test_long_lists_are_cut(self, tmp_path):
        with Checkpoints(tmp_path) as c:
            c.save(1, {str(i): jnp.zeros(2) for i in range(20)})
            with pytest.raises(ValueError, match="and 12 more") as caught:
                c.restore({str(i): jnp.zeros(3) for i in range(20)})
        assert len(str(caught.value).splitlines()) == 10

    def test_unfit_leaves(self, tmp_path):
        with Checkpoints(tmp_path) as c:
            with pytest.raises(ValueError, match=r"\['x'\] is float32\[0,2\].*empty"):
                c.save(1, {"x": jnp.zeros((0, 2))})
            with pytest.raises(ValueError, match="is 'text', which is no array"):
                c.save(1, {"x": "text"})
            c.save(1, {"x": jnp.zeros((10, 20))})


class TestTrouble:
    @pytest.mark.parametrize(
        ("part", "damage"), [("tree", "emptied"), ("tree", "changed"), ("structure", "emptied")]
    )
    def test_damaged(self, tmp_path, part, damage):
        """One changed bit is enough: Orbax itself returns whatever an array's file holds."""
        saved = {"a": jnp.ones(3), "x": jax.device_put(np.random.default_rng(0).random(1000))}
        with Checkpoints(tmp_path) as c:
            c.save(1, saved)
        files = [p for p in (tmp_path / "1" / part).rglob("*") if p.is_file() and not p.suffix]
        path = max(files, key=lambda p: p.stat().st_size)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(b"" if damage == "emptied" else content)
        with Checkpoints(tmp_path) as c, pytest.raises(OSError, match=r"cannot read.*delete") as e:
            c.restore(saved)
        assert str(tmp_path / "1") in str(e.value)
        assert len(str(e.value).replace(str(tmp_path), "")) < 400

    def test_unwritable(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(OSError, match="cannot open the checkpoints in"):
            Checkpoints(tmp_path / "file" / "below")

    def test_failed_write_keeps_the_last_good_one(self, tmp_path, capfd):
        """A limit on file sizes stops the write half-way, as a full disk would."""
        noise = np.random.default_rng(0).normal(size=100_000)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        with Checkpoints(tmp_path) as c:
            c.save(1, {"x": noise})
            c.wait()
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
            try:
                c.save(2, {"x": noise + 1})
                with pytest.raises(OSError, match=r"cannot write .*the last complete one is kept"):
                    c.wait()
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        with Checkpoints(tmp_path) as c:
            step, restored = c.restore({"x": noise * 0})
        assert step == 1
        np.testing.assert_array_equal(restored["x"], noise)
        assert capfd.readouterr().err == ""

    def test_what_is_said_of_an_error(self):
        """That the disk is full, in plain words; and no kilobytes of the storage layer's own."""
        with (
            pytest.raises(
                OSError, match=r"^cannot write X: No space left on device; make room$"
            ) as e,
            checkpoints._explained("cannot write X"),
        ):
            raise ValueError(f"INTERNAL: {'x' * 1000} No space left on device\nand more")
        assert len(str(e.value)) < 300


class TestManners:
    def test_orbax_is_silent(self, tmp_path, caplog):
        """Even when absl logs everything, as it does in a program started by absl.app."""
        logger = absl_logging.get_absl_logger()
        level = logger.level
        logger.addHandler(caplog.handler)
        logger.setLevel(logging.DEBUG)
        try:
            with Checkpoints(tmp_path) as c:
                c.save(1, {"x": jnp.zeros(2)})
                c.restore({"x": jnp.zeros(2)})
            assert caplog.records == []
            absl_logging.info("heard")
            assert {r.message for r in caplog.records} == {"heard"}
        finally:
            logger.setLevel(level)
            logger.removeHandler(caplog.handler)
