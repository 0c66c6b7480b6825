"""A command line: settings of flags, --help, and one sentence for what is wrong with it."""

import difflib
import re
import sys
import textwrap
from collections.abc import Callable
from typing import Any

from absl import app, flags, logging

from experiments.common import exits
from experiments.common.settings import Declared

_HELP = ("--help", "-help", "-h", "--helpshort", "--helpfull")
_WIDTH = 100


def main(command: Callable[..., Any], *declared: type[Declared], stopped: str = exits.STOPPED):
    """Runs a command on the settings, an object of each class, that the command line gives.

    `stopped` is printed at a Ctrl-C.
    """
    for settings in declared:
        settings.define_flags()

    def parse(argv):
        if not set(_HELP).isdisjoint(argv):
            print(help_text(*declared), end="")
            sys.exit()
        try:
            program, *surplus = flags.FLAGS(argv)
            if flags.FLAGS["verbosity"].using_default_value:
                flags.FLAGS.verbosity = logging.WARNING  # libraries inform about their attempts
            if surplus:
                raise flags.Error(f"{' '.join(surplus)}: expected flags only, as --name=value")
        except (flags.Error, OSError, ValueError) as e:
            sys.exit(f"{_sentence(e, argv)}\n(--help tells every flag)")
        return [program]

    def start(argv):
        del argv
        with exits.waiting_for_nobody(), exits.sentences(stopped=stopped):
            command(*(settings.from_flags() for settings in declared))

    app.run(start, flags_parser=parse)


def help_text(*declared: type[Declared]) -> str:
    """What --help prints: the purpose of the command, and its flags by groups."""
    module = sys.modules["__main__"]
    command = f"python -m {module.__spec__.name}"
    lines = [module.__doc__.partition("\n")[0], "", f"Usage: {command} --flag=value …", ""]
    sections = {}
    for settings in declared:
        for title, section in settings.help().items():
            sections.setdefault(title, {}).update(section)
    sections["Every command"] = {
        "--flagfile=": "File of flags, one a line, such as flags.txt of another run.",
        "--verbosity=-1": "Level of messages: -1 for warnings, 0 for information too; with 1, an "
        "error also shows where it arose.",
    }
    for title, section in sections.items():
        lines.append(f"{title}:")
        for usage, text in section.items():
            lines.append(f"  {usage}")
            lines += textwrap.wrap(text, _WIDTH, initial_indent=6 * " ", subsequent_indent=6 * " ")
        lines.append("")
    return "\n".join(lines)


def _sentence(error: Exception, argv: list[str]) -> str:
    """Says what is wrong with the flags."""
    match error:
        case flags.UnrecognizedFlagError():
            near = difflib.get_close_matches(error.flagname, list(flags.FLAGS), n=1)
            return f"--{error.flagname} is no flag of this command" + (
                f"; did you mean --{near[0]}?" if near else ""
            )
        case UnicodeDecodeError() | OSError():
            files = " ".join(word for word in argv if "flagfile" in word)
            return f"{files}: the file cannot be read as flags, one a line ({error})"
        case _:
            words = str(error).removeprefix("ERROR:: ").removeprefix("flag ")
            return re.sub(r"\('Non-boolean argument.*", "expected true or false", words)
