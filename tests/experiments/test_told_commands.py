"""Commands that the pages tell are those of the programs: their flags exist and go together."""

import importlib
import re
import shlex

import pytest
from absl import flags
from absl.testing import flagsaver

from tests import binaries

# What stands for numbers and names.
MEANT = {"NAME": "jsb", "=N": "=1000", "=P": "=float32", "=S": "=0"}
COMMAND = re.compile(r"python -m (?:tests\.rounded_products )?(experiments\.\w+) (.*)")


def _commands():
    for folder in ("tutorial", "results"):
        for path in sorted((binaries.ROOT / "docs" / folder).glob("*.md")):
            for block in re.findall(r"```sh\n(.*?)```", path.read_text(), re.DOTALL):
                for line in block.replace("\\\n", " ").splitlines():
                    if line.startswith("python"):
                        yield pytest.param(line, id=f"{path.stem}: {' '.join(line.split()[2:5])}")


@pytest.mark.parametrize("line", list(_commands()))
def test_a_told_command_is_one(line, monkeypatch):
    monkeypatch.chdir(binaries.ROOT)
    program, arguments = COMMAND.fullmatch(line).groups()
    for told, meant in MEANT.items():
        arguments = re.sub(rf"{told}\b", meant, arguments)
    module = importlib.import_module(program)
    with flagsaver.flagsaver():  # which removes the flags in the end
        module.Settings.define_flags()
        if "workdir" not in flags.FLAGS:
            flags.DEFINE_string("workdir", None, "")
        assert flags.FLAGS([program, *shlex.split(arguments)]) == [program]
        assert module.Settings.from_flags()
