"""Lists the commands: ``python -m experiments``."""

import ast
import pathlib
import sys


def commands() -> dict[str, str]:
    """Every command, and the first line of what it says about itself; nothing is imported."""
    files = sorted(pathlib.Path(__file__).parent.glob("[a-z]*.py"))
    sources = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in files}
    return {name: ast.get_docstring(source).splitlines()[0] for name, source in sources.items()}


def main() -> None:
    """Prints the list; a command that is named here belongs behind a dot."""
    if len(sys.argv) > 1:
        sys.exit(f"write python -m experiments.{sys.argv[1]}, with a dot, or nothing for the list")
    print("python -m experiments.NAME --help tells the settings of a command.\n")
    for name, does in commands().items():
        print(f"  {name:<20}{does}")


if __name__ == "__main__":
    main()
