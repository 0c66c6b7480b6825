"""Settings of experiments: each is declared once, as a field of a frozen dataclass.

    @declare
    class Settings(Declared):
        '''What decides the result of this experiment.'''

        epochs: int = setting(30, "Passes over the data.", at_least=1)
        top: Learning = group(Learning, prefix="top_", learning_rate=0.02)

The field carries default, help, bounds and choices. From it come the absl flags (`define_flags`,
`from_flags`), the check of values whenever an object is made, the lines of flags.txt (`as_flags`)
and the JSON in summary.json (`as_json`, `from_json`). A group is another such class within this
one; its flags have the prefix before their names. A setting is a bool, int, float or str, a tuple
of ints or strs, or one of these or None.
"""

import dataclasses
import functools
import math
import os
import types
import typing
from collections.abc import Mapping
from typing import Any

from absl import flags

# Flags defined here count as those of the binary that has them defined, and are in its --help.
flags.disclaim_key_flags()
_LARGEST = {int: 2**31 - 1, float: 3.4e38}  # what arrays of 32 bits hold
_NOUNS = {int: "whole number", float: "finite number", str: "text", bool: "truth value"}

# Made by keywords, so that a subclass may add settings without a default.
declare = typing.dataclass_transform(frozen_default=True, kw_only_default=True)(
    dataclasses.dataclass(frozen=True, kw_only=True)
)


def setting(
    default: Any = dataclasses.MISSING,
    help: str = "",
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    choices: tuple[str, ...] | None = None,
    folder: bool = False,
    decides: bool = True,
) -> Any:
    """Declares a setting.

    Args:
      default: without one, the flag is required.
      help: a sentence or noun phrase for --help, which says what the value does.
      at_least: smallest value; of a tuple, of its elements.
      at_most: largest value.
      below: a value that it must be smaller than.
      choices: the names that it can be.
      folder: whether it is a path. Paths are made absolute, since a run may be used from elsewhere.
      decides: whether results depend on it; if not, it may change when a run is resumed.
    """
    bounds = {"at least": at_least, "at most": at_most, "below": below}
    rest = {"help": help, "choices": choices, "folder": folder, "decides": decides}
    return dataclasses.field(default=default, metadata={"bounds": bounds, **rest})


def group(cls: type, *, prefix: str = "", **defaults: Any) -> Any:
    """Declares a group of settings, with defaults of its own."""
    make = functools.partial(cls, **defaults)
    return dataclasses.field(default_factory=make, metadata={"group": cls, "prefix": prefix})


@declare
class Declared:
    """Base of all settings; values are checked when the object is made."""

    def __post_init__(self):
        for leaf in _leaves(type(self)):
            if len(leaf.path) == 1:  # groups check their own
                leaf.check(getattr(self, leaf.path[0]))


@dataclasses.dataclass(frozen=True)
class _Leaf:
    """One setting: where it stands, its flag, default and type, and what `setting` was told."""

    path: tuple[str, ...]
    flag: str
    default: Any
    kind: type
    is_tuple: bool
    is_optional: bool
    metadata: Mapping[str, Any]

    @property
    def expected(self) -> str:
        """Its values in words."""
        if self.metadata["choices"]:
            what = f"one of {', '.join(self.metadata['choices'])}"
            return f"some of {what[7:]}, separated by commas" if self.is_tuple else what
        limits = [f"{k} {v:g}" for k, v in self.metadata["bounds"].items() if v is not None]
        of = f" of {' and '.join(limits)}" if limits else ""
        noun = _NOUNS[self.kind]
        return f"{noun}s{of}, separated by commas" if self.is_tuple else f"a {noun}{of}"

    def check(self, value: Any) -> None:
        """Raises a ValueError that names the flag unless the setting can have this value."""
        if value is None and self.is_optional:
            return
        parts = value if self.is_tuple else (value,)
        if not parts or not all(map(self._allows, parts)):
            raise ValueError(f"--{self.flag}={_text(value)}: expected {self.expected}")
        if self.kind in _LARGEST and max(map(abs, parts)) > _LARGEST[self.kind]:
            raise ValueError(f"--{self.flag}={_text(value)}: too large for a number of 32 bits")

    def _allows(self, value):
        if self.kind in (bool, str):
            choices = self.metadata["choices"]
            return isinstance(value, self.kind) and (not choices or value in choices)
        if isinstance(value, bool) or not isinstance(value, (int, self.kind)):
            return False
        low, high, below = self.metadata["bounds"].values()
        return (
            math.isfinite(value)
            and (low is None or value >= low)
            and (high is None or value <= high)
            and (below is None or value < below)
        )

    def parse(self, text: str) -> Any:
        """Reads the text of the flag; raises a ValueError as `check` does."""
        if self.metadata["folder"] and text not in ("", "none") and "://" not in text:
            return os.path.abspath(os.path.expanduser(text))
        try:
            value = tuple(map(self.kind, text.split(","))) if self.is_tuple else self.kind(text)
        except ValueError:
            raise ValueError(f"--{self.flag}={text}: expected {self.expected}") from None
        self.check(value)
        return value


def _leaves(cls: type, path: tuple[str, ...] = (), prefix: str = "", made: Any = None):
    """All settings of a class and its groups; `made`: an object that has the defaults."""
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        here, metadata = (*path, field.name), field.metadata
        if "group" in metadata:
            defaults = field.default_factory()
            yield from _leaves(metadata["group"], here, prefix + metadata["prefix"], defaults)
            continue
        kind, is_optional = hints[field.name], False
        if isinstance(kind, types.UnionType):
            kind, is_optional = typing.get_args(kind)[0], True
        is_tuple = typing.get_origin(kind) is tuple
        yield _Leaf(
            here,
            prefix + field.name,
            field.default if made is None else getattr(made, field.name),
            typing.get_args(kind)[0] if is_tuple else kind,
            is_tuple,
            is_optional,
            metadata,
        )


class _Parser(flags.ArgumentParser):
    """Reads a flag as its setting says."""

    def __init__(self, leaf: _Leaf):
        self._leaf = leaf
        self.syntactic_help = leaf.expected

    def parse(self, argument):
        if not isinstance(argument, str):  # a default
            return argument
        try:
            return self._leaf.parse(argument)
        except ValueError as e:  # absl names the flag itself
            raise ValueError(str(e).split(": ", 1)[1]) from None

    def flag_type(self):
        return self._leaf.kind.__name__


class _Serializer(flags.ArgumentSerializer):
    def serialize(self, value):
        return _text(value)


def define_flags(cls: type) -> None:
    """Defines a flag for each setting of a class."""
    for leaf in _leaves(cls):
        text = leaf.metadata["help"]
        if leaf.kind is bool:
            flags.DEFINE_bool(leaf.flag, leaf.default, text)
            continue
        required = leaf.default is dataclasses.MISSING
        default = None if required else leaf.default
        parts = _Parser(leaf), leaf.flag, default, text
        flags.DEFINE(*parts, serializer=_Serializer(), required=required)


def from_flags(cls: type) -> Any:
    """Makes the settings of a class of the flags that `define_flags` defined."""
    values = {}
    for leaf in _leaves(cls):
        part = values
        for name in leaf.path[:-1]:
            part = part.setdefault(name, {})
        part[leaf.path[-1]] = flags.FLAGS[leaf.flag].value
    return from_json(cls, values)


def as_flags(settings: Declared) -> dict[str, str]:
    """The settings as texts by flag, without those that are None."""
    values = {
        leaf.flag: functools.reduce(getattr, leaf.path, settings)
        for leaf in _leaves(type(settings))
    }
    return {flag: _text(value) for flag, value in values.items() if value is not None}


def undecisive(cls: type) -> frozenset[str]:
    """Names of the flags on which no result depends."""
    return frozenset(leaf.flag for leaf in _leaves(cls) if not leaf.metadata["decides"])


def as_json(settings: Declared) -> dict[str, Any]:
    """The settings as a tree of dicts, one for each group."""
    return dataclasses.asdict(settings)


def from_json(cls: type, values: Mapping[str, Any]) -> Any:
    """Makes the settings that `as_json` wrote, read back from JSON or not."""
    fields = {field.name: field.metadata.get("group") for field in dataclasses.fields(cls)}
    unknown = sorted(values.keys() - fields.keys())
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: no setting of {cls.__module__}.{cls.__name__}")

    def read(part, value):
        if part is not None:
            return from_json(part, value)
        return tuple(value) if isinstance(value, list) else value

    return cls(**{name: read(fields[name], value) for name, value in values.items()})


def _text(value: Any) -> str:
    """A value as absl reads it from a flagfile."""
    if isinstance(value, (list, tuple)):
        return ",".join(map(_text, value))
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value) if isinstance(value, float) else str(value)
    if text != text.strip() or len(text.splitlines()) > 1:
        raise ValueError(f"a setting is {text!r}; a flagfile cannot hold its white space")
    return text
