"""Writes the first code cell of every notebook, which makes dbn_jax ready, and its Colab button.

    python colab/first_cells.py

Run it after a change of `Repository` under [project.urls] in pyproject.toml: the one place that
says where dbn_jax is published. Until it is, notebooks have no button, and run in a clone only.
"""

import pathlib
import sys
import tomllib

import nbformat

_FOLDER = pathlib.Path(__file__).parent
_CELL = """import importlib.util
import os
import pathlib
import sys

REPOSITORY = "{repository}"

if not pathlib.Path("../pyproject.toml").exists():  # not in a clone: make one
    if not REPOSITORY:
        raise RuntimeError(
            "dbn_jax is not published yet: open this notebook in the folder colab of a clone"
        )
    !git clone -q --depth=1 {{REPOSITORY}} dbn_jax
    os.chdir("dbn_jax/colab")
if importlib.util.find_spec("dbn_jax") is None:
    source = pathlib.Path("..").resolve().as_uri()
    %pip install -q "dbn_jax[experiments] @ {{source}}"
sys.path.insert(0, str(pathlib.Path("..").resolve()))  # where the experiments are

import jax

print("running on", jax.devices()[0].device_kind)"""
_BUTTON = (
    "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/github/{path}/blob/main/colab/{name}.ipynb)"
)
_BUTTON_ID = "colab-button"
_GITHUB = "https://github.com/"


def published(pyproject: pathlib.Path = _FOLDER.parent / "pyproject.toml") -> str:
    """The address of the repository, or nothing."""
    urls = tomllib.loads(pyproject.read_text())["project"].get("urls", {})
    return urls.get("Repository", "")


def prepare(notebook: nbformat.NotebookNode, name: str, repository: str) -> None:
    """Gives a notebook its first code cell, and its button if it lies on GitHub."""
    notebook.cells = [cell for cell in notebook.cells if cell.id != _BUTTON_ID]
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    first.source = _CELL.format(repository=repository)
    notebook.metadata.language_info["pygments_lexer"] = "ipython3"  # which knows ! and %
    if repository.startswith(_GITHUB):
        path = repository.removeprefix(_GITHUB).strip("/").removesuffix(".git")
        button = nbformat.v4.new_markdown_cell(
            _BUTTON.format(path=path, name=name),
            id=_BUTTON_ID,
            metadata={"tags": ["remove-cell"]},  # the documentation has a button of its own
        )
        notebook.cells.insert(0, button)


def main() -> None:
    """Writes all notebooks of this folder."""
    for path in sorted(_FOLDER.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        prepare(notebook, path.stem, published())
        nbformat.write(notebook, path)


if __name__ == "__main__":
    sys.exit(main())
