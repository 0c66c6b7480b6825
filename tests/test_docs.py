"""What the pages of the site show: Python blocks run as they stand, commands have their flags."""

import ast
import doctest
import importlib
import re
import shlex
import sys

import jax
import pytest
from absl import flags

from experiments.common import command_line
from tests import binaries

DOCS = binaries.ROOT / "docs"
READMES = [binaries.ROOT / "README.md", *binaries.ROOT.glob("experiments/results/*/README.md")]
PAGES = {str(path.relative_to(DOCS)): path.read_text() for path in sorted(DOCS.rglob("*.md"))}
# Snippets with a name run in `test_readme.py`, smaller.
BLOCK = re.compile(r"(?<!-->\n)^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PYTHON = {
    name: blocks
    for name, text in PAGES.items()
    if (blocks := [block for kind, block in BLOCK.findall(text) if kind == "python"])
}
# `tests/experiments/test_launch_tpu.py` compares what the launcher prints.
COMMANDS = {
    (module, flags)
    for text in [*PAGES.values(), *(path.read_text() for path in READMES)]
    for kind, block in BLOCK.findall(text)
    if kind == "sh"
    for module, flags in re.findall(
        r"python -m (experiments\.(?!launch_tpu)[\w.]+)((?: +--\S+)*)", block.replace("\\\n", " ")
    )
}
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(binaries.ROOT).with_suffix("").parts)
    for path in (binaries.ROOT / "dbn_jax").rglob("*.py")
    if ">>>" in path.read_text()
)
# What only the package itself uses.
INTERNAL = {"compilation", "convolve", "numerics", "pytrees", "sources", "states", "typing"}


def run(block, names):
    """Executes a block, or compares what its prompts print."""
    if not block.startswith(">>>"):
        exec(compile(block, "page", "exec"), names)
        return
    test = doctest.DocTestParser().get_doctest(block, names, "page", None, 0)
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
    runner.run(test, clear_globs=False)
    assert runner.summarize(verbose=False).failed == 0
    names.update(test.globs)


@pytest.mark.usefixtures("implicit_promotion", "unchecked_annotations")
@pytest.mark.parametrize("name", PYTHON)
def test_the_blocks_of_a_page_run_one_after_the_other(name, tmp_path, monkeypatch):
    (tmp_path / "experiments").symlink_to(binaries.ROOT / "experiments")  # as in a clone
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_NUM_PROCESSES", "1")  # JAX has started, and can join no cluster
    names = {"__name__": "page"}
    with jax.numpy_rank_promotion("allow"):  # as in a user's program
        for block in PYTHON[name]:
            run(block, names)


def _only_read():
    """Commands read their flags, and do nothing."""

    def main(command, *declared, **_):
        for settings in declared:
            settings.define_flags()
        flags.FLAGS(sys.argv)
        for settings in declared:
            settings.from_flags()

    command_line.main = main


@pytest.mark.parametrize(("module", "given"), sorted(COMMANDS))
def test_the_flags_of_a_command_exist(module, given, tmp_path):
    errors = tmp_path / "errors"
    process = binaries.start(module, *shlex.split(given), errors=errors, prepare=_only_read)
    process.join()
    assert (process.exitcode, errors.read_text()) == (0, "")


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_the_examples_of_docstrings_print_what_they_say(module):
    results = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)
    assert (results.attempted > 0, results.failed) == (True, 0)


def test_the_reference_has_every_public_name():
    reference = "".join(text for name, text in PAGES.items() if name.startswith("reference/"))
    modules = {path.stem for path in (binaries.ROOT / "dbn_jax").glob("[!_]*.py")}
    for module in modules - INTERNAL:
        assert f"automodule:: dbn_jax.{module}\n" in reference, module
    for package in (binaries.ROOT / "dbn_jax").glob("*/__init__.py"):
        for statement in ast.parse(package.read_text()).body:
            for name in getattr(statement, "names", []):
                if isinstance(statement, ast.ImportFrom):
                    assert re.search(rf"\b{name.name}\b", reference), (package, name.name)
