"""Publishes the model of a run: a folder that can be committed, and loaded anywhere.

    python -m experiments.publish --pretrained=runs/updown --folder=experiments/results/digit_model

writes four files: model.npz, the weights in half precision (bfloat16; the fine-tuned
784-500-500-2000 net takes 3.3 MB, the 784-1000-500-250-30 autoencoder 4.0 MB); the checksum of
these, which `dbn_jax.model_file.load` verifies; summary.json, with the summary of the run and
of the runs that it started from, but without the folders of their data; and README.md, the model's
card. Of a run that has made another model since, by more epochs, only the data are told. The card
has the figures and the runs of the summary, and before them what you write into about.md: what the
model is for, what it was trained on, where it fails. The commands that need a trained model take
such a folder as --pretrained.
"""

import json
import os
import pathlib

import jax.numpy as jnp

from dbn_jax import data, files, model_file, training
from experiments.common import command_line
from experiments.common import pretrained as pretrained_runs
from experiments.common.settings import Declared, setting


class Settings(Declared, title="Model"):
    """What is published, and where."""

    pretrained: str = setting(help="Workdir of the run whose model is published.")
    folder: str = setting(help="Folder that the model, its checksum and its summary go to.")


def publish(pretrained: str | os.PathLike, folder: str | os.PathLike) -> None:
    """Writes the model of a finished run, its checksum, its summary and its card.

    The folder is made if need be; only an empty one is taken, or one that holds a publication,
    whose model, summary and card are replaced, or an about.md alone.
    """
    if not os.fspath(folder) or "://" in os.fspath(folder):
        raise ValueError(
            f"--folder is {os.fspath(folder)!r}; name a local folder (--folder=. is this one)"
        )
    source, folder = files.path(pretrained), pathlib.Path(folder)
    if (folder.resolve() / "flags.txt").exists():
        raise ValueError(
            f"--folder={folder} is the workdir of a run, whose model and summary would be lost; "
            "choose another"
        )
    summary = pretrained_runs.run_summary(source, whole=True)
    model = model_file.load(source / "model.npz")
    with files.named(f"cannot use --folder={folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        _check_own(folder)
    summary = _without_folders(_without_changed(summary))
    # The summary first: it says whose folder this is, should the model not be written.
    files.write_text(folder / "summary.json", _as_text(summary | {"files": {}}))
    model_file.save(folder / "model.npz", model, dtype=jnp.bfloat16)
    digests = {"model.npz": files.sha256(folder / "model.npz")}
    files.write_text(folder / "summary.json", _as_text(summary | {"files": digests}))
    files.write_text(folder / "README.md", card(folder))
    size = (folder / "model.npz").stat().st_size
    print(f"{folder / 'model.npz'}: {size:,} bytes")


def card(folder: pathlib.Path) -> str:
    """The card of a published model, in Markdown: about.md, its figures, and how it was made."""
    name = folder.resolve().name
    about = folder / "about.md"
    model = folder / "model.npz"
    summary = training.read_summary(folder)
    results = {k: v for k, v in summary["results"].items() if isinstance(v, float)}
    lines = [
        f"# {name}",
        "",
        *([files.read_text(about).strip(), ""] if about.exists() else []),
        f'`dbn_jax.model_file.load("{name}/model.npz")` loads it. The file has '
        f"{model.stat().st_size / 1e6:.1f} MB, and the SHA-256 `{files.sha256(model)[:16]}…`.",
        "",
        f"| {_figures(summary)} | |",
        "|---|---|",
        *(f"| {key.replace('_', ' ')} | {_shown(key, value)} |" for key, value in results.items()),
        "",
        "| made by | commit | seed | time | device | JAX |",
        "|---|---|---|---|---|---|",
        *map(_row, _runs(summary)),
        "",
        "All settings are in `summary.json`.",
    ]
    return "\n".join(lines) + "\n"


def _runs(summary):
    """The runs that made a model, the first one first."""
    starts = [summary[name] for name in pretrained_runs.STARTS if name in summary]
    return [run for start in starts for run in _runs(start)] + [summary]


def _row(run):
    if run.get("has_changed"):
        return f"| `{run['program']}` | has made another model since: left out | | | | |"
    return (
        f"| `{run['program']}` | {_commit(run)} | {run['seed']} | {run['wall_seconds']:,.0f} s | "
        f"{run['device']['platform']} | {run['versions']['jax']} |"
    )


def _commit(run):
    return f"`{run['commit'][:7]}`" if run["commit"] else "not from a clone"


def _figures(summary):
    """What the figures are of."""
    size = summary["settings"].get("ensemble") or 1
    return f"mean over an ensemble of {size}, of which this is the first" if size > 1 else "figure"


def _shown(name, value):
    """A figure as it is printed: rates in percent."""
    return f"{100 * value:.2f} %" if "error_rate" in name else f"{value:.4g}"


def _check_own(folder):
    """Refuses a folder with files of somebody else."""
    visible = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    names = sorted(visible - {"about.md"})
    if names and not (folder / "summary.json").is_file():
        raise ValueError(
            f"--folder={folder} holds {names[0]} and no summary.json, so that it is no publication "
            "of a model; choose a new or empty folder"
        )
    if names:
        training.read_summary(folder)


def _as_text(summary):
    return json.dumps(summary, indent=2) + "\n"


def _without_changed(summary):
    """The summary; of runs that have made another model since, only what tells of the data."""
    for name in pretrained_runs.STARTS:
        if name not in summary:
            continue
        start = summary[name]
        then = summary.get("started_from", {}).get(name)
        now = start.get("files", {}).get("model.npz")
        if None not in (then, now) and then != now:  # early runs tell of neither
            settings = {k: v for k, v in start["settings"].items() if k in ("data", "data_dir")}
            kept = {k: v for k, v in start.items() if k in ("program", *pretrained_runs.STARTS)}
            start = kept | {"has_changed": True, "settings": settings}
        summary = summary | {name: _without_changed(start)}
    return summary


def _without_folders(summary):
    """The summary without the folders of the data, which are those of one machine."""
    settings = {k: v for k, v in summary["settings"].items() if k != "data_dir"}
    if "data" in settings:
        kept = {k: v for k, v in settings["data"].items() if k != "data_dir"}
        if data.is_path(kept.get("dataset", "")):
            kept["dataset"] = f"./{pathlib.PurePath(kept['dataset']).name}"
        settings["data"] = kept
    summary = summary | {"settings": settings}
    for name in pretrained_runs.STARTS:
        if name in summary:
            summary[name] = _without_folders(summary[name])
    return summary


if __name__ == "__main__":
    command_line.main(lambda settings: publish(settings.pretrained, settings.folder), Settings)
