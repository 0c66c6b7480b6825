"""Frozen dataclasses as pytrees whose structures differ when their classes differ.

With ``jax.tree_util.register_dataclass`` (as of jaxlib 0.10.2) two structures are compared by their
fields alone: ``PyTreeDef::operator==`` (jaxlib/pytree.cc) looks at the class of custom nodes, not
of dataclass nodes, so that ``Bernoulli()`` and ``Spin()`` would count as equal. Their hashes
differ, and `jax.jit` mostly keeps them apart; but when two hashes collide in its cache (seen once
in 6,000 pairs) the program compiled for one class answers for the other, silently. Here the class
belongs to the structure.
"""

import dataclasses
import typing
from typing import Any, TypeVar

import jax

T = TypeVar("T")


def static(*, default: Any) -> Any:
    """A dataclass field that is part of the structure: not traced, and compared by `jax.jit`.

    Type checkers see that it has a default if that is given by name.
    """
    return dataclasses.field(default=default, metadata={"static": True})


@typing.dataclass_transform(frozen_default=True, field_specifiers=(static,))
def dataclass(cls: type[T]) -> type[T]:
    """Makes `cls` a frozen dataclass and a pytree of its fields, but for those made by `static`.

    Rebuilding a tree skips ``__init__`` and ``__post_init__``: what they check was checked when the
    object was made, and transformations put placeholders in the leaves' stead.
    """
    made = dataclasses.dataclass(frozen=True)(cls)
    _register(made)
    return made


def _register(cls: Any) -> None:
    fields = dataclasses.fields(cls)
    meta = tuple(f.name for f in fields if f.metadata.get("static", False))
    data = tuple(f.name for f in fields if f.name not in meta)
    keys = tuple(jax.tree_util.GetAttrKey(name) for name in data)

    def flatten(tree):
        return [getattr(tree, name) for name in data], tuple(getattr(tree, name) for name in meta)

    def flatten_with_keys(tree):
        children, aux = flatten(tree)
        return list(zip(keys, children, strict=True)), aux

    def unflatten(aux, children):
        tree = object.__new__(cls)
        for name, value in zip(data + meta, (*children, *aux), strict=True):
            object.__setattr__(tree, name, value)
        return tree

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
