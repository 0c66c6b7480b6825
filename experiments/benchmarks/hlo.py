"""What the text of a compiled program (``compiled.as_text()``) says about it.

The text is XLA's HLO: computations in braces, an instruction a line, each with its name, the type
of its result, its operation and the names of its operands:

    %all-reduce.1 = (f32[784,500]{1,0}, f32[784]{0}) all-reduce(%dot.4, %reduce.2), channel_id=2, …
"""

import dataclasses
import math
import re
from typing import NamedTuple

_KINDS = (
    "all-reduce",
    "all-gather",
    "all-to-all",
    "ragged-all-to-all",
    "reduce-scatter",
    "collective-broadcast",
    "collective-permute",
)


@dataclasses.dataclass(frozen=True)
class Instruction:
    """A line of a program.

    Attributes:
      name: by which others take its result.
      type: of the result, layouts left out: ``f32[784,500]``, or several in parentheses.
      operation: such as ``fusion``.
      operands: names of the instructions whose results it takes.
      text: the whole line.
    """

    name: str
    type: str
    operation: str
    operands: tuple[str, ...]
    text: str

    @property
    def num_bytes(self) -> int:
        """Size of the result."""
        return sum(
            math.prod(map(int, filter(None, lengths.split(",")))) * _bits(dtype) // 8
            for dtype, lengths in re.findall(r"(\w+)\[([\d,]*)\]", self.type)
        )


def _bits(dtype):
    """Bits of one number: 16 of bf16, 8 of f8e4m3fn and of pred; a token has none."""
    if dtype == "pred":
        return 8
    digits = re.search(r"\d+", dtype)
    return int(digits[0]) if digits else 0


def computations(hlo: str) -> dict[str, list[Instruction]]:
    """The instructions of each computation; the name of the main one is ``ENTRY``."""
    found: dict[str, list[Instruction]] = {}
    for line in hlo.splitlines():
        if header := re.match(r"(ENTRY )?%?([\w.-]+) .*-> .*\{$", line):
            current = found.setdefault("ENTRY" if header[1] else header[2], [])
        elif instruction := _instruction(line):
            current.append(instruction)
    return found


def _instruction(line):
    # Without comments and layouts, parentheses tell tuples and operands alone.
    plain = re.sub(r"/\*.*?\*/|\{[^{}]*\}", "", line)
    match = re.match(r"\s+(?:ROOT )?%?([\w.-]+) = (\(.*?\)|\S+) ([a-z][\w-]*)\((.*?)\)", plain)
    if match is None:
        return None
    name, kind, operation, operands = match.groups()
    names = tuple(x.split()[-1].lstrip("%") for x in operands.split(",") if x.strip())
    return Instruction(name, kind, operation, names, line)


class Collective(NamedTuple):
    """What devices do together, such as an all-reduce, and the bytes that each one puts in."""

    kind: str
    num_bytes: int


def collectives(hlo: str) -> list[Collective]:
    """The collectives of a compiled program; one in a loop counts once, however often made."""
    found = []
    for instructions in computations(hlo).values():
        sizes = {x.name: x.num_bytes for x in instructions}
        for x in instructions:
            kind = x.operation.removesuffix("-start")  # its end, "-done", is no other one
            if kind in _KINDS:
                found.append(Collective(kind, sum(sizes[name] for name in x.operands)))
    return found
