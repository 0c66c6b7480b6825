"""Imports run one way: each room knows only those that stand before it."""

import ast
import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
# From the foundations up; rooms of one line do not know each other.
ORDER = """
typing pytrees
numerics parallel sharded
files
compilation examples sources precision
random states linear convolve
units
train_state data training figures embedding
rbm
convolutional
label_units receptive_fields
clamping
dbn
associative_memory networks joint
likelihood trajectories recognition
belief_nets learning temporal
model_file sklearn testing
foreign
experiments.baseline_models
experiments.common
experiments.pictures experiments.demos experiments.benchmarks
experiments
"""
RANKS = {room: rank for rank, line in enumerate(ORDER.split("\n")) for room in line.split()}
FILES = [p for top in ("dbn_jax", "experiments") for p in sorted((ROOT / top).rglob("*.py"))]


def room_of(parts):
    """The room of a module, such as ("dbn_jax", "learning", "greedy")."""
    if parts[0] == "dbn_jax":
        return parts[1] if len(parts) > 1 else "dbn_jax"
    name = ".".join(parts[:2])
    return name if name in RANKS else "experiments"


def imported(path):
    """The modules of the project that a file imports, names from packages included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in (
            "dbn_jax",
            "experiments",
        ):
            yield from ((*node.module.split("."), alias.name) for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    room = room_of(path.relative_to(ROOT).with_suffix("").parts)
    for parts in imported(path):
        other = room_of(parts)
        if other == room:
            # No command imports a command.
            assert room != "experiments", f"{path.name} imports the command {'.'.join(parts)}"
            continue
        assert RANKS[other] < RANKS[room], f"{room} imports {'.'.join(parts)}"


def test_flax_is_imported_by_networks_and_their_learning_alone():
    texts = {path for path in FILES if "import flax" in (t := path.read_text()) or "from flax" in t}
    assert {path.name for path in texts} == {"networks.py", "backprop.py", "cells.py"}


def test_the_kit_for_tests_imports_jax_and_numpy_alone():
    """No test runner: an AssertionError is one to all of them."""
    texts = [path.read_text() for path in (ROOT / "dbn_jax/testing").glob("*.py")]
    found = {name for text in texts for name in re.findall(r"^(?:from|import) (\w+)", text, re.M)}
    assert found - set(sys.stdlib_module_names) == {"dbn_jax", "jax", "numpy"}
