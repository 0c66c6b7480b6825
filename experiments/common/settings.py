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

A setting that does something only beside certain values of another one says so by `given`:

    fast_rate: float = setting(0.05, "Rate of the fast weights.", given=only("learner", "fast_pcd"))

On a command line where it does nothing, another value than the default is refused.

A setting of which a run may get more, finished or not, says so by `grows`.
"""

import contextlib
import dataclasses
import functools
import math
import os
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

from absl import flags

MAX_EPOCHS = 1_000_000  # with any batch their updates are checked to be numbers of 32 bits
_LARGEST = {int: 2**31 - 1, float: 3.4e38}  # what arrays of 32 bits hold
_NOUNS = {int: "whole number", float: "finite number", str: "text", bool: "truth value"}


@dataclasses.dataclass(frozen=True)
class Given:
    """When a setting, or a group, does something.

    Attributes:
      name: of the setting beside it that decides it.
      holds: of the object that has both: whether the other setting is as it must be.
      words: how that must be; they follow its flag.
    """

    name: str
    holds: Callable[[Any], bool]
    words: str


@dataclasses.dataclass(frozen=True)
class Growth:
    """When a run may be resumed with more of a setting than it began with, such as epochs.

    It may where the updates that were made are those of the longer run, too.

    Attributes:
      may: of the object that has the setting, or the group: whether it may.
      otherwise: why it may not, if it may not.
    """

    may: Callable[[Any], bool]
    otherwise: str


@contextlib.contextmanager
def about(words: str) -> Iterator[None]:
    """A context whose ValueErrors begin with the flags that they are about."""
    try:
        yield
    except ValueError as e:
        raise ValueError(f"{words}: {e}") from e


def only(name: str, *values: Any) -> Given:
    """The setting of this name must have one of these values."""
    words = f"={' or '.join(map(_text, values))}"
    return Given(name, lambda beside: getattr(beside, name) in values, words)


def above_0(name: str) -> Given:
    """The setting of this name must be above 0."""
    return Given(name, lambda beside: getattr(beside, name) != 0, " above 0")


@dataclasses.dataclass(frozen=True)
class _Rule:
    """What a setting is for, and which values it can have.

    Attributes:
      help: a sentence or noun phrase for --help, which says what the value does.
      at_least: smallest value; of a tuple, of its elements. So are the other bounds.
      choices: the names that it can be.
      unset: in words, what it is where its default is None and depends on the data.
      given: when it does something, if not always.
      grows: when a run may be resumed with more of it, if ever.
      folder: whether it is a path, or what tells whether a value is. Paths are made absolute, since
        a run may be used from elsewhere.
      decides: whether results depend on it; if not, it may change when a run is resumed.
    """

    help: str
    at_least: float = -math.inf
    at_most: float = math.inf
    below: float = math.inf
    choices: tuple[str, ...] = ()
    unset: str = ""
    given: Given | None = None
    grows: Growth | None = None
    folder: bool | Callable[[str], bool] = False
    decides: bool = True

    @property
    def bounds(self) -> str:
        """Such as " of at least 0 and below 1"; empty without bounds."""
        limits = {"at least": self.at_least, "at most": self.at_most, "below": self.below}
        words = [f"{word} {limit:,}" for word, limit in limits.items() if math.isfinite(limit)]
        return f" of {' and '.join(words)}" if words else ""


def setting(default: Any = dataclasses.MISSING, help: str = "", **rule: Any) -> Any:
    """Declares a setting, by the keywords of `_Rule`; without a default, its flag is required."""
    return dataclasses.field(default=default, metadata={"rule": _Rule(help, **rule)})


def group(
    cls: type,
    *,
    prefix: str = "",
    given: Given | None = None,
    grows: Growth | None = None,
    **defaults: Any,
) -> Any:
    """Declares a group of settings, with defaults of its own.

    What may grow in it does so where `grows` allows it, too.
    """
    make = functools.partial(cls, **defaults)
    metadata = {"group": cls, "prefix": prefix, "given": given, "grows": grows}
    return dataclasses.field(default_factory=make, metadata=metadata)


@typing.dataclass_transform(
    frozen_default=True, kw_only_default=True, field_specifiers=(setting, group)
)
class Declared:
    """Base of all settings; what derives from it is a dataclass whose values are checked.

    A subclass has the `title` under which --help lists the settings that it declares.
    """

    title = "Experiment"

    def __init_subclass__(cls, title: str = title):
        cls.title = title
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
            default = None if leaf.is_required else leaf.default
            parts = _Parser(leaf), leaf.flag, default, leaf.rule.help
            flags.DEFINE(*parts, serializer=_Serializer())

    @classmethod
    def from_flags(cls) -> Self:
        """Makes the settings of the flags that `define_flags` defined.

        Raises a ValueError if a flag is missing, or does nothing beside the others.
        """
        values = {}
        for leaf in _leaves(cls):
            *groups, name = leaf.path
            part = functools.reduce(lambda part, group: part.setdefault(group, {}), groups, values)
            part[name] = flags.FLAGS[leaf.flag].value
            if leaf.is_required and part[name] is None:
                help = leaf.rule.help
                raise ValueError(f"--{leaf.flag} is required: {help[0].lower()}{help[1:]}")
        settings = cls.from_json(values)
        for leaf in _leaves(cls):
            for place, given in leaf.given:
                beside = place.of(settings)
                if not given.holds(beside):
                    other = f"--{place.prefix}{given.name}"
                    why = f"with {other}={_text(getattr(beside, given.name))}"
                    settings._refuse(leaf, f"{why}; it goes with {other}{given.words}")
        return settings

    def refuse(self, names: tuple[str, ...], why: str) -> None:
        """Raises a ValueError if one of these settings is not at its default: it does nothing."""
        for leaf in _leaves(type(self)):
            if leaf.path[-1] in names:
                self._refuse(leaf, why)

    def _refuse(self, leaf, why):
        if leaf.of(self) != leaf.default:
            value = _text(leaf.of(self))
            raise ValueError(f"--{leaf.flag}={value} does nothing {why}; leave it out")

    @classmethod
    def help(cls) -> dict[str, dict[str, str]]:
        """What --help says of each flag, as it is written, by the titles of the classes."""
        sections, told = {}, {}
        for leaf in _leaves(cls):
            section = sections.setdefault(leaf.title, {})
            key = leaf.path[-1], leaf.rule.help, leaf.rule.unset
            section[leaf.usage] = f"As --{told[key]}." if key in told else leaf.help
            told.setdefault(key, leaf.flag)
        return sections

    def as_flags(self) -> dict[str, str]:
        """The settings as texts by flag, without those that are None."""
        values = {leaf.flag: leaf.of(self) for leaf in _leaves(type(self))}
        return {flag: _text(value) for flag, value in values.items() if value is not None}

    @classmethod
    def undecisive(cls) -> frozenset[str]:
        """Names of the flags on which no result depends."""
        return frozenset(leaf.flag for leaf in _leaves(cls) if not leaf.rule.decides)

    def growing(self) -> dict[str, str]:
        """Names of the flags of which a run may get more, and why it may not; "" where it may."""
        faults = {
            leaf.flag: [
                growth.otherwise for place, growth in leaf.grows if not growth.may(place.of(self))
            ]
            for leaf in _leaves(type(self))
            if leaf.rule.grows is not None
        }
        return {flag: words[0] if words else "" for flag, words in faults.items()}

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
class _Place:
    """Where in the settings a group stands; at first the whole of them."""

    path: tuple[str, ...] = ()
    prefix: str = ""
    given: tuple[tuple["_Place", Given], ...] = ()  # conditions, each of what stands at a place
    grows: tuple[tuple["_Place", Growth], ...] = ()

    def of(self, settings: Declared) -> Any:
        """What stands there."""
        return functools.reduce(getattr, self.path, settings)

    def inner(self, name: str, prefix: str, given: Given | None, grows: Growth | None) -> "_Place":
        """The place of what stands in it under this name."""
        given = () if given is None else ((self, given),)
        grows = () if grows is None else ((self, grows),)
        path, prefix = (*self.path, name), self.prefix + prefix
        return _Place(path, prefix, self.given + given, self.grows + grows)


_ROOT = _Place()


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Leaf(_Place):
    """One setting: where it stands, its flag, default and type, and its rule."""

    flag: str
    default: Any
    kind: type
    is_tuple: bool
    is_optional: bool
    rule: _Rule
    title: str

    @property
    def is_required(self) -> bool:
        """Whether it has no default."""
        return self.default is dataclasses.MISSING

    @property
    def usage(self) -> str:
        """Its flag as it is written on a command line, with its default."""
        if self.kind is bool:
            return f"--[no]{self.flag} ({_text(self.default)})"
        if self.is_required:
            return f"--{self.flag} (required)"
        return f"--{self.flag}={'' if self.default is None else _text(self.default)}"

    @property
    def help(self) -> str:
        """What it does, which values it has, and when."""
        words = [self.rule.help]
        if self.default is None and self.rule.unset:
            words.append(f"By default {self.rule.unset}.")
        if self.rule.choices or self.kind in _LARGEST:
            words.append(f"{self.expected[0].upper()}{self.expected[1:]}.")
        words += [f"With --{place.prefix}{given.name}{given.words}." for place, given in self.given]
        return " ".join(words)

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
        is_folder = self.rule.folder(text) if callable(self.rule.folder) else self.rule.folder
        if is_folder and text not in ("", "none") and "://" not in text:
            return os.path.abspath(os.path.expanduser(text))
        try:
            value = tuple(map(self.kind, text.split(","))) if self.is_tuple else self.kind(text)
        except ValueError:
            raise ValueError(f"expected {self.expected}") from None
        if fault := self.fault(value):
            raise ValueError(fault)
        return value


def _leaves(cls: type, place: _Place = _ROOT, made: Any = None) -> Iterator[_Leaf]:
    """All settings of a class that stands at a place; `made`: an object that has the defaults."""
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        metadata = field.metadata
        if "group" in metadata:
            names = "prefix", "given", "grows"
            inner = place.inner(field.name, *(metadata[name] for name in names))
            yield from _leaves(metadata["group"], inner, field.default_factory())
            continue
        kind, is_optional, rule = hints[field.name], False, metadata["rule"]
        if isinstance(kind, types.UnionType):
            kind, is_optional = typing.get_args(kind)[0], True
        is_tuple = typing.get_origin(kind) is tuple
        owners = (
            x for x in reversed(cls.mro()) if field.name in vars(x).get("__annotations__", ())
        )
        yield _Leaf(
            **vars(place.inner(field.name, "", rule.given, rule.grows)),
            flag=place.prefix + field.name,
            default=field.default if made is None else getattr(made, field.name),
            kind=typing.get_args(kind)[0] if is_tuple else kind,
            is_tuple=is_tuple,
            is_optional=is_optional,
            rule=rule,
            title=(cls if place.path else next(owners)).title,
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
