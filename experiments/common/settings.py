"""Settings of experiments: each is declared once, as a field of a class.

    class Settings(Declared):
        '''What decides the result of this experiment.'''

        epochs: int = setting(30, "Passes over the data.", at_least=1)
        top: Learning = group(Learning, prefix="top_", learning_rate=0.02)

The class is a frozen dataclass. Its fields carry default, help, bounds and choices, and from them
come the absl flags, the check of values whenever an object is made, the lines of flags.txt and what
is read back from summary.json. A group is another such class within this one; its flags have the
prefix before their names. A setting is a bool, int, float or str, a tuple of ints or strs, or one
of these or None.
"""

import dataclasses
import functools
import math
import os
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Self

from absl import flags

# Flags defined here count as those of the binary that has them defined, and are in its --help.
flags.disclaim_key_flags()
_LARGEST = {int: 2**31 - 1, float: 3.4e38}  # what arrays of 32 bits hold
_NOUNS = {int: "whole number", float: "finite number", str: "text", bool: "truth value"}


@dataclasses.dataclass(frozen=True)
class _Rule:
    """What a setting is for, and which values it can have.

    Attributes:
      help: a sentence or noun phrase for --help, which says what the value does.
      at_least: smallest value; of a tuple, of its elements. So are the other bounds.
      choices: the names that it can be.
      folder: whether it is a path. Paths are made absolute, since a run may be used from elsewhere.
      decides: whether results depend on it; if not, it may change when a run is resumed.
    """

    help: str
    at_least: float = -math.inf
    at_most: float = math.inf
    below: float = math.inf
    choices: tuple[str, ...] = ()
    folder: bool = False
    decides: bool = True

    @property
    def bounds(self) -> str:
        """Such as " of at least 0 and below 1"; empty without bounds."""
        limits = {"at least": self.at_least, "at most": self.at_most, "below": self.below}
        words = [f"{word} {limit:g}" for word, limit in limits.items() if math.isfinite(limit)]
        return f" of {' and '.join(words)}" if words else ""


def setting(default: Any = dataclasses.MISSING, help: str = "", **rule: Any) -> Any:
    """Declares a setting, by the keywords of `_Rule`; without a default, its flag is required."""
    return dataclasses.field(default=default, metadata={"rule": _Rule(help, **rule)})


def group(cls: type, *, prefix: str = "", **defaults: Any) -> Any:
    """Declares a group of settings, with defaults of its own."""
    make = functools.partial(cls, **defaults)
    return dataclasses.field(default_factory=make, metadata={"group": cls, "prefix": prefix})


@typing.dataclass_transform(
    frozen_default=True, kw_only_default=True, field_specifiers=(setting, group)
)
class Declared:
    """Base of all settings; what derives from it is a dataclass whose values are checked."""

    def __init_subclass__(cls):
        # Made by keywords, so that a subclass may add settings without a default.
        dataclasses.dataclass(frozen=True, kw_only=True)(cls)

    def __post_init__(self):
        for leaf in _leaves(type(self)):
            if len(leaf.path) == 1:  # groups check their own
                value = leaf.of(self)
                if fault := leaf.fault(value):
                    raise ValueError(f"--{leaf.flag}={_text(value)}: {fault}")

    @classmethod
    def define_flags(cls) -> None:
        """Defines a flag for each setting."""
        for leaf in _leaves(cls):
            if leaf.kind is bool:
                flags.DEFINE_bool(leaf.flag, leaf.default, leaf.rule.help)
                continue
            required = leaf.default is dataclasses.MISSING
            default = None if required else leaf.default
            parts = _Parser(leaf), leaf.flag, default, leaf.rule.help
            flags.DEFINE(*parts, serializer=_Serializer(), required=required)

    @classmethod
    def from_flags(cls) -> Self:
        """Makes the settings of the flags that `define_flags` defined."""
        values = {}
        for leaf in _leaves(cls):
            *groups, name = leaf.path
            part = functools.reduce(lambda part, group: part.setdefault(group, {}), groups, values)
            part[name] = flags.FLAGS[leaf.flag].value
        return cls.from_json(values)

    def as_flags(self) -> dict[str, str]:
        """The settings as texts by flag, without those that are None."""
        values = {leaf.flag: leaf.of(self) for leaf in _leaves(type(self))}
        return {flag: _text(value) for flag, value in values.items() if value is not None}

    @classmethod
    def undecisive(cls) -> frozenset[str]:
        """Names of the flags on which no result depends."""
        return frozenset(leaf.flag for leaf in _leaves(cls) if not leaf.rule.decides)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Makes the settings of what `dataclasses.asdict` made of them, through JSON or not."""
        groups = {field.name: field.metadata.get("group") for field in dataclasses.fields(cls)}
        if unknown := sorted(values.keys() - groups.keys()):
            raise ValueError(f"{', '.join(unknown)}: no setting of {cls.__module__}.{cls.__name__}")
        made = {}
        for name, value in values.items():
            if groups[name] is not None:
                value = groups[name].from_json(value)
            made[name] = tuple(value) if isinstance(value, list) else value
        return cls(**made)


@dataclasses.dataclass(frozen=True)
class _Leaf:
    """One setting: where it stands, its flag, default and type, and its rule."""

    path: tuple[str, ...]
    flag: str
    default: Any
    kind: type
    is_tuple: bool
    is_optional: bool
    rule: _Rule

    def of(self, settings: Declared) -> Any:
        """Its value among the settings."""
        return functools.reduce(getattr, self.path, settings)

    @property
    def expected(self) -> str:
        """Its values in words."""
        if self.rule.choices:
            words = f"{'some' if self.is_tuple else 'one'} of {', '.join(self.rule.choices)}"
        else:
            noun = _NOUNS[self.kind]
            words = (f"{noun}s" if self.is_tuple else f"a {noun}") + self.rule.bounds
        return f"{words}, separated by commas" if self.is_tuple else words

    def fault(self, value: Any) -> str | None:
        """Says why the setting cannot have this value; None if it can."""
        if value is None and self.is_optional:
            return None
        parts = value if self.is_tuple else (value,)
        if self.is_tuple and not isinstance(value, tuple):
            return f"expected {self.expected}"
        if not parts or not all(map(self._allows, parts)):
            return f"expected {self.expected}"
        if self.kind in _LARGEST and max(map(abs, parts)) > _LARGEST[self.kind]:
            return "too large for a number of 32 bits"
        return None

    def _allows(self, value):
        rule = self.rule
        if self.kind in (bool, str):
            return isinstance(value, self.kind) and (not rule.choices or value in rule.choices)
        if isinstance(value, bool) or not isinstance(value, (int, self.kind)):
            return False
        inside = rule.at_least <= value <= rule.at_most and value < rule.below
        return inside and (isinstance(value, int) or math.isfinite(value))

    def parse(self, text: str) -> Any:
        """Reads the text of the flag; a ValueError says what is wrong with it."""
        if self.rule.folder and text not in ("", "none") and "://" not in text:
            return os.path.abspath(os.path.expanduser(text))
        try:
            value = tuple(map(self.kind, text.split(","))) if self.is_tuple else self.kind(text)
        except ValueError:
            raise ValueError(f"expected {self.expected}") from None
        if fault := self.fault(value):
            raise ValueError(fault)
        return value


def _leaves(
    cls: type, path: tuple[str, ...] = (), prefix: str = "", made: Any = None
) -> Iterator[_Leaf]:
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
            metadata["rule"],
        )


class _Parser(flags.ArgumentParser):
    """Reads a flag as its setting says."""

    def __init__(self, leaf: _Leaf):
        self._leaf = leaf
        self.syntactic_help = leaf.expected

    def parse(self, argument):
        return self._leaf.parse(argument) if isinstance(argument, str) else argument  # a default

    def flag_type(self):
        return self._leaf.kind.__name__


class _Serializer(flags.ArgumentSerializer):
    def serialize(self, value):
        return _text(value)


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
