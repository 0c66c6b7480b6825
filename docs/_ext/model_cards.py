"""The facts of a published model, from its folder.

    ```{model} digit_model
    error_rate_mean_field: test error
    ```

is a table of its file, of the figures that are named, and of the runs that made it.
"""

import json
import pathlib

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

RESULTS = pathlib.Path(__file__).parents[2] / "experiments" / "results"


def setup(app):
    """Registers the directive."""
    app.add_directive("model", Model)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Model(SphinxDirective):
    """What summary.json and the files of a folder of `publish` tell."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Writes the card in Markdown, and has it parsed."""
        folder = RESULTS / self.arguments[0]
        summary = folder / "summary.json"
        self.env.note_dependency(str(summary))
        named = dict(line.split(": ", 1) for line in self.content)
        text = card(folder, json.loads(summary.read_text()), named)
        container = nodes.container()
        self.state.nested_parse(StringList(text, str(summary)), 0, container)
        return container.children


def card(folder: pathlib.Path, summary: dict, named: dict[str, str]) -> list[str]:
    """The lines of a card; `named` says which figures are shown, and how they are called."""
    size = (folder / "model.npz").stat().st_size / 1e6
    digest = (folder / "model.npz.sha256").read_text().split()[0]
    return [
        "| | |",
        "|---|---|",
        f"| file | `{folder.relative_to(RESULTS.parents[1])}/model.npz`, {size:.1f} MB |",
        f"| SHA-256 | `{digest[:16]}…` |",
        *(f"| {words} | {shown(name, summary['results'])} |" for name, words in named.items()),
        "",
        "| made by | commit | seed | time | device |",
        "|---|---|---|---|---|",
        *(
            f"| `{run['program']}` | `{run['commit'][:7]}` | {run['seed']} | "
            f"{run['wall_seconds']:,.0f} s | {run['device']['platform']} |"
            for run in runs(summary)
        ),
    ]


def runs(summary: dict) -> list[dict]:
    """The runs that made a model, the first one first."""
    before = summary.get("pretrained") or summary.get("below")
    return [*(runs(before) if before else []), summary]


def shown(name: str, results: dict) -> str:
    """A figure as it is printed: rates in percent, others with two decimals."""
    value = results[name]
    return f"{100 * value:.2f} %" if "error_rate" in name else f"{value:.2f}"
