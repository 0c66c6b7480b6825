"""Classes of the package as pytrees."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from dbn_jax import pytrees


@pytrees.dataclass
class Pair:
    first: Any
    name: str = pytrees.static(default="a")
    second: Any = None

    def __post_init__(self):
        if isinstance(self.first, str):
            raise ValueError("first is text")


def test_leaves_paths_and_statics():
    pair = Pair(1.0, "b", {"x": 2.0})
    paths = [jax.tree_util.keystr(p) for p, _ in jax.tree_util.tree_leaves_with_path(pair)]
    assert paths == [".first", ".second['x']"]
    assert jax.tree.leaves(pair) == [1.0, 2.0]
    assert jax.tree.map(lambda x: 3 * x, pair) == Pair(3.0, "b", {"x": 6.0})
    assert jax.tree.structure(pair) != jax.tree.structure(Pair(1.0, "c", {"x": 2.0}))


def test_transformations_do_not_check_placeholders():
    with pytest.raises(ValueError, match="first is text"):
        Pair("text")
    assert jax.tree.map(str, Pair(1.0)).first == "1.0"


def test_objects_are_frozen():
    with pytest.raises(AttributeError):
        Pair(1.0).first = 2.0


def test_static_field_compiles_anew_and_leaf_does_not():
    traces = []

    @jax.jit
    def double(pair):
        traces.append(pair.name)
        return jax.tree.map(lambda x: 2 * x, pair)

    assert double(Pair(jnp.float32(1), "a")).first == 2
    assert double(Pair(jnp.float32(2), "a")).first == 4
    assert double(Pair(jnp.float32(2), "b")).name == "b"
    assert traces == ["a", "b"]
