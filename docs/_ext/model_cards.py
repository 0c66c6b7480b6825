"""The facts of a published model, from its folder: ``{model} digit_model``."""

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

    def run(self) -> list[nodes.Node]:
        """Writes the card in Markdown, and has it parsed."""
        folder = RESULTS / self.arguments[0]
        summary = folder / "summary.json"
        self.env.note_dependency(str(summary))
        text = card(folder, json.loads(summary.read_text()))
        container = nodes.container()
        self.state.nested_parse(StringList(text, str(summary)), 0, container)
        return container.children


def card(folder: pathlib.Path, summary: dict) -> list[str]:
    """The lines of a card: the file, what the model reaches, the runs that made it."""
    size = (folder / "model.npz").stat().st_size / 1e6
    lines = ["| | |", "|---|---|"]
    lines += [f"| file | `{folder.relative_to(RESULTS.parents[1])}/model.npz`, {size:.1f} MB |"]
    if digest := summary.get("files", {}).get("model.npz"):
        lines += [f"| SHA-256 | `{digest[:16]}…` |"]
    lines += [f"| {_words(name)} | {shown(name, x)} |" for name, x in summary["results"].items()]
    lines += ["", "| made by | commit | seed | time | device |", "|---|---|---|---|---|"]
    lines += [
        f"| `{run['program']}` | `{run['commit'][:7]}` | {run['seed']} | "
        f"{run['wall_seconds']:,.0f} s | {run['device']['platform']} |"
        for run in runs(summary)
    ]
    return lines


def runs(summary: dict) -> list[dict]:
    """The runs that made a model, the first one first."""
    before = summary.get("pretrained")
    return [*(runs(before) if before else []), summary]


def shown(name: str, value: object) -> str:
    """A figure as it is printed: rates in percent, all others to four digits."""
    if name.startswith("error_rate"):
        return f"{value:.2%}".replace("%", " %")
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _words(name):
    return name.replace("_", " ")
