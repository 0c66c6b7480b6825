"""What the text of a compiled program (``compiled.as_text()``) says about its work.

The text is XLA's HLO: computations in braces, an instruction a line, each with its name, the type
of its result, its operation and the names of its operands:

    %all-reduce.1 = (f32[784,500]{1,0}, f32[784]{0}) all-reduce(%dot.4, %reduce.2), channel_id=2, …

Figures are of one *update*: a turn of the program's loop, with all turns of the loops within it. A
program without a loop is one update.
"""

import dataclasses
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

_COLLECTIVES = {
    *("all-reduce", "all-gather", "all-to-all", "ragged-all-to-all", "reduce-scatter"),
    *("collective-broadcast", "collective-permute"),
}
# What computes nothing, or runs other instructions that are looked at by themselves.
_BOOKKEEPING = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"),
    *("partition-id", "replica-id", "while", "call", "conditional"),
}
_PRODUCTS = {"dot", "convolution"}
_SLICES = {"slice", "dynamic-slice", "gather"}


@dataclasses.dataclass(frozen=True)
class Instruction:
    """A line of a program.

    Attributes:
      name: by which others take its result.
      type: of the result, such as ``f32[784,500]``, or several in parentheses. Of the layout only
        the memory is kept, where it is not the main one: ``f32[100]@1``.
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
        return _num_bytes(r"(\w+)\[([\d,]*)\]", self.type)

    @property
    def main_bytes(self) -> int:
        """Size of the part of the result that lies in the main memory."""
        return _num_bytes(r"(\w+)\[([\d,]*)\](?!@)", self.type)

    @property
    def estimated_cycles(self) -> int | None:
        """libtpu's estimate of the time it takes; None where there is none."""
        match = re.search(r'"estimated_cycles":"(\d+)"', self.text)
        return match and int(match[1])

    @property
    def is_kernel(self) -> bool:
        """Whether it is a program of its own on the device.

        Operations on single numbers are none outside of fusions: TPUs have a processor for them.
        """
        if self.operation in _BOOKKEEPING or self.operation.endswith(("-start", "-done")):
            return False
        if self.operation == "custom-call":
            return "Bitcast" not in self.text
        return self.operation == "fusion" or not re.fullmatch(r"\w+\[\](@\d+)?", self.type)

    def called(self, role: str) -> str:
        """Name of a computation that it runs, such as the ``body`` of a loop."""
        return re.search(rf"\b{role}=%?([\w.-]+)", self.text)[1]


def _num_bytes(pattern, text):
    arrays = re.findall(pattern, text)
    return sum(_num_elements(lengths) * _bits(dtype) // 8 for dtype, lengths in arrays)


def _num_elements(lengths):
    return math.prod(map(int, filter(None, lengths.split(","))))


def _bits(dtype):
    """Bits of one number: 16 of bf16, 8 of f8e4m3fn and of pred; a token has none."""
    if dtype == "pred":
        return 8
    digits = re.search(r"\d+", dtype)
    return int(digits[0]) if digits else 0


class Computation(dict[str, Instruction]):
    """Instructions by name."""

    def operands(self, x: Instruction) -> list[Instruction]:
        """The instructions whose results another one takes."""
        return [self[name] for name in x.operands]


def parse(hlo: str) -> dict[str, Computation]:
    """The computations of a program by name; that of the main one is ``ENTRY``."""
    program: dict[str, Computation] = {}
    for line in hlo.splitlines():
        if header := re.match(r"(ENTRY )?%?([\w.-]+) .*-> .*\{$", line):
            computation = program["ENTRY" if header[1] else header[2]] = Computation()
        elif x := _instruction(line):
            computation[x.name] = x
    return program


def _instruction(line):
    # Without comments and layouts, parentheses tell tuples and operands alone.
    plain = re.sub(r"\{[^{}]*S\((\d+)\)\}", r"@\1", line)
    plain = re.sub(r"/\*.*?\*/|\{[^{}]*\}", "", plain)
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


@dataclasses.dataclass(frozen=True)
class Update:
    """The work of one update on one device.

    Attributes:
      flops: of its matrix products, which have no batch axes.
      main_bytes: read from the main memory and written to it. Of an array that a kernel takes
        slices of, only these count.
      kernels: number of programs that the device runs.
      cycles: libtpu's estimate of their time; None where there is none at all, as on CPUs.
      unestimated: number of kernels without an estimate, which `cycles` leaves out.
      collectives: each as often as it is made.
    """

    flops: int
    main_bytes: int
    kernels: int
    cycles: int | None
    unestimated: int
    collectives: list[Collective]


def collectives(hlo: str) -> list[Collective]:
    """The collectives of an update."""
    return update(hlo).collectives


def update(hlo: str) -> Update:
    """The work of an update of a compiled program."""
    program = parse(hlo)
    flops = main_bytes = 0
    estimates: list[int | None] = []
    found: list[Collective] = []
    for computation, count in _turn(program):
        flops += count * _flops(program, computation)
        main_bytes += count * sum(_traffic(program, computation, x) for x in computation.values())
        for x in computation.values():
            kind = x.operation.removesuffix("-start")
            if kind in _COLLECTIVES:
                size = sum(operand.num_bytes for operand in computation.operands(x))
                found += count * [Collective(kind, size)]
            elif x.is_kernel:
                estimates += count * [x.estimated_cycles]
    known = [cycles for cycles in estimates if cycles is not None]
    return Update(
        flops,
        main_bytes,
        kernels=len(estimates),
        cycles=sum(known) if known else None,
        unestimated=len(estimates) - len(known),
        collectives=found,
    )


def _turn(program: dict[str, Computation]) -> Iterator[tuple[Computation, int]]:
    """The computations that an update runs, and how often each."""
    loops = [x.called("body") for x in program["ENTRY"].values() if x.operation == "while"]
    running = [(max(loops, key=lambda body: len(program[body]), default="ENTRY"), 1)]
    while running:
        name, count = running.pop()
        yield program[name], count
        for x in program[name].values():
            if x.operation == "while":
                running.append((x.called("body"), count * _num_turns(program, x)))
            elif x.operation == "call":
                running.append((x.called("to_apply"), count))


def _num_turns(program, loop):
    """Loops of JAX count up from 0 to the one constant in their condition."""
    condition = program[loop.called("condition")].values()
    limits = [re.search(r" constant\((\d+)\)", x.text) for x in condition]
    numbers = [int(limit[1]) for limit in limits if limit]
    if len(numbers) != 1:
        raise ValueError(f"the text does not say how often a loop turns: {loop.text.strip()[:100]}")
    return numbers[0]


def _flops(program, computation):
    """Of the products in a computation, its fusions included."""
    total = 0
    for x in computation.values():
        if x.operation == "fusion":
            total += _flops(program, program[x.called("calls")])
        elif x.operation in _PRODUCTS:
            arrays = [x, *computation.operands(x)]
            lengths = [re.search(r"\[([\d,]*)\]", y.type)[1] for y in arrays]
            if "window=" in x.text:
                total += 2 * _num_multiplications(x.text, *lengths)
            else:  # M K N of (M, K) and (K, N)
                total += 2 * math.isqrt(math.prod(map(_num_elements, lengths)))
    return total


def _num_multiplications(text, result, image, filters):
    """Of a convolution, without those by zeros around an image or between its numbers."""
    names = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", text).groups()
    image, filters, result = (
        dict(zip(order, map(int, lengths.split(",")), strict=True))
        for order, lengths in zip(names, (image, filters, result), strict=True)
    )
    axes = sorted(name for name in filters if name.isdigit())
    window = dict(re.findall(r"(\w+)=([\dx_-]+)", re.search(r"window=\{(.*?)\}", text)[1]))

    def setting(name, default):
        return window[name].split("x") if name in window else [default] * len(axes)

    number = result["b"] * result["f"] * filters["i"]
    pads, strides = setting("pad", "0_0"), map(int, setting("stride", "1"))
    spreads, gaps = map(int, setting("lhs_dilate", "1")), map(int, setting("rhs_dilate", "1"))
    for axis, pad, stride, spread, gap in zip(axes, pads, strides, spreads, gaps, strict=True):
        start, end = -int(pad.split("_")[0]), spread * (image[axis] - 1)
        taps, places = range(filters[axis]), range(result[axis])
        touched = (start + stride * place + gap * tap for place in places for tap in taps)
        number *= sum(0 <= x <= end and x % spread == 0 for x in touched)
    return number


def _traffic(program, computation, x):
    """Bytes that an instruction moves from and to the main memory."""
    if x.operation.endswith("-done"):  # a copy from one memory to another, or of a slice
        (start,) = computation.operands(x)
        from_main = any(source.main_bytes for source in computation.operands(start))
        return x.main_bytes + from_main * x.num_bytes
    if not x.is_kernel:
        return 0
    operands = enumerate(computation.operands(x))
    reads = (min(y.main_bytes, _read(program, x, i, y)) for i, y in operands)
    return x.main_bytes + sum(reads)


def _read(program, x, i, operand):
    """Bytes of its operand i that an instruction looks at."""
    if x.operation == "fusion":
        inside = program[x.called("calls")].values()
        (p,) = (y for y in inside if y.operation == "parameter" and y.operands == (str(i),))
        users = ((y, j) for y in inside for j, name in enumerate(y.operands) if name == p.name)
        return sum(_read(program, y, j, p) for y, j in users)
    if x.operation in _SLICES and i == 0:
        return x.num_bytes
    return operand.num_bytes
