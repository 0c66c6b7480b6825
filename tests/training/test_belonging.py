"""What a checkpoint belongs to: what is refused when a run goes on with other things."""

import contextlib
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from dbn_jax import training
from dbn_jax.training import Checkpoints, belonging
from tests.toy_learning import cd_step, images, initial_state, scale


@dataclasses.dataclass(frozen=True)
class Scale:
    full: float = 255.0

    def __call__(self, key, batch):
        return scale(key, 255 / self.full * batch.astype(jnp.float32))


def step(key, state, batch, *, rate=1.0):
    del rate
    return cd_step(key, state, batch)


def go(folder, epochs, *, data=None, step=step, state=None, transform=None, **options):
    settings = training.Settings(seed=3, batch_size=10, num_epochs=epochs, show_progress=False)
    with Checkpoints(folder) as checkpoints:
        return training.train(
            step,
            initial_state() if state is None else state,
            images() if data is None else data,
            settings=settings,
            transform=transform or Scale(),
            checkpoints=checkpoints,
            **options,
        )


def other_images():
    """As if one byte of a file were another."""
    changed = images()
    changed[7, 3] ^= 1
    return changed


def learnt_anew():
    state = initial_state()
    return {**state, "weights": state["weights"] + 0.01}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": other_images}, "other training data; put back what it was"),
        ({"state": learnt_anew}, r"other first state\['weights'\]; put back"),
        ({"transform": lambda: Scale(16.0)}, r"transform\.full 255\.0 \(now 16\.0\);"),
        ({"step": lambda: cd_step}, r"step step \(now cd_step\);"),
        ({"step": lambda: functools.partial(step, rate=2.0)}, r"step step \(now partial\), "),
        ({"made_with": lambda: {"pretrained model": "b"}}, r"pretrained model a \(now b\);"),
    ],
)  # fmt: skip
def test_other_things_are_refused_by_name(tmp_path, changes, words):
    go(tmp_path, 1, made_with={"pretrained model": "a"})
    given = {"made_with": {"pretrained model": "a"}} | {k: make() for k, make in changes.items()}
    with pytest.raises(ValueError, match=rf"checkpoint of step 10 in .* was made with {words}"):
        go(tmp_path, 2, **given)
    go(tmp_path, 2, made_with={"pretrained model": "a"})  # as it was made, it goes on


@pytest.mark.parametrize(
    ("name", "value", "was"),
    [
        ("jax_default_prng_impl", "rbg", "threefry2x32"),
        ("jax_threefry_partitionable", False, True),
        ("jax_random_seed_offset", 1, 0),
    ],
)
def test_other_random_numbers_are_refused_by_name(tmp_path, name, value, was):
    go(tmp_path, 1, state=initial_state())
    with contextlib.ExitStack() as stack:
        stack.callback(jax.config.update, name, was)
        state = initial_state()
        jax.config.update(name, value)
        with pytest.raises(ValueError, match=rf"was made with {name} {was} \(now {value}\); put"):
            go(tmp_path, 2, state=state)


def test_rounding_and_placement_are_no_difference():
    """Another machine may round the last bits otherwise; a thousandth is not rounding."""
    rng = np.random.default_rng(0)
    x = rng.normal(1, 1, (1000, 30)).astype(np.float32)
    saved = belonging.of_arrays("x", x)
    mesh = jax.make_mesh((8,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
    sharded = jax.device_put(x, NamedSharding(mesh, PartitionSpec("rows")))
    for same in (x * (1 + 1e-5 * rng.normal(size=x.shape)), sharded, x.astype(np.float64)):
        belonging.check(saved, belonging.of_arrays("x", same), "it")
    for other in (x * 1.01, x[::-1], x[:, ::-1], x + 0.05 * rng.normal(size=x.shape), 0 * x):
        with pytest.raises(ValueError, match="it was made with other x; put back"):
            belonging.check(saved, belonging.of_arrays("x", other), "it")


def test_every_leaf_leaves_a_fingerprint_that_json_can_hold():
    tree = {
        "key": jax.random.key(1), "half": jnp.ones(3, jnp.bfloat16), "scalar": np.float64(2),
        "complex": np.ones(2, np.complex64), "bool": np.array([True]), "nan": np.full(2, np.nan),
    }  # fmt: skip
    saved = belonging.of_arrays("tree", tree)
    assert list(saved) == [f"tree['{name}']" for name in sorted(tree)]
    belonging.check(saved, belonging.of_arrays("tree", tree), "it")
    with pytest.raises(ValueError, match=r"made with other tree\['key'\]; put"):
        belonging.check(saved, belonging.of_arrays("tree", tree | {"key": jax.random.key(2)}), "it")


def test_long_lists_are_cut():
    saved, given = ({str(i): j for i in range(9)} for j in (0, 1))
    with pytest.raises(ValueError, match=r"with 0 0 \(now 1\), 1 0 .*, 2 0 \(now 1\), 6 more; put"):
        belonging.check(saved, given, "it")
