"""Models of other runs: `--pretrained` is a workdir, or a folder that `publish` made."""

import dataclasses
import os
from typing import Any

import jax

from dbn_jax import data, files, model_file, temporal, training
from experiments.common.data_settings import DataSettings
from experiments.common.sequence_data import SequenceData
from experiments.common.settings import Declared, setting

# What to do where other data do not fit a model that learns them.
OTHER_DATA = "choose data that fit (--image_size shrinks images), or leave --pretrained out"
# What --pretrained is for a start from random weights.
NONE = "none"
# The flags that name the run which another one starts from.
STARTS = ("pretrained", "below")
# The commands that make RBMs, and stacks of them. What they start from has learnt other data.
RBM, DBN = "train_rbm", "train_dbn"
# The commands that make nets.
NETS = (DBN, "finetune_updown", "finetune_bound", "finetune_memory")
# The command that makes nets of convolutional layers, of which not all fine-tunings are.
CONVOLUTIONAL = "train_convolutional"
# The command that makes models of sequences, which have data of another kind.
SEQUENCES = "train_sequences"


class Pretrained(Declared, title="Model"):
    """The run whose model is used, and the folder of its data."""

    pretrained: str = setting(
        help="Workdir of the run whose model is used, or the folder where it is published.",
        folder=True,
    )
    data_dir: str | None = setting(
        None, "Folder of the data that the model was trained on, if they have moved.", folder=True
    )

    def load(self, programs: tuple[str, ...]) -> tuple[Any, DataSettings | SequenceData]:
        """Loads the model, and the settings of the data it was trained on; see `load`."""
        return load(self.pretrained, programs, self.data_dir)


def run_summary(
    path: str | os.PathLike,
    later: tuple[files.Path, ...] = (),
    *,
    flag: str = "pretrained",
    whole: bool = False,
) -> dict[str, Any]:
    """Reads the summary of a finished run, or of a published one.

    Under "pretrained" or "below" it has the summary of the run that this one started from: of
    every such run if `whole`, else where it tells of the data. `later` are the folders of runs that
    started from this one. The flag named the path.
    """
    folder = files.path(path)
    if folder in later:
        raise ValueError(f"{path}/summary.json is damaged: the run started from its own model")
    if not (folder / "summary.json").is_file():
        if later:
            raise FileNotFoundError(
                f"the run in {later[-1]} started from that in {path}, which is needed, too, and "
                "has no summary.json: put it back, or finish it"
            )
        raise FileNotFoundError(
            f"--{flag}={path}: there is no finished run (no summary.json in it)"
        )
    summary = training.read_summary(path)
    _check_settings(summary, path)
    for name in STARTS:
        origin = summary["settings"].pop(name, None) or NONE
        tells_of_data = name == "pretrained" and not _has_own_data(summary)
        if origin != NONE and (whole or tells_of_data):
            summary[name] = run_summary(origin, (*later, folder), whole=whole)
    return summary


def _check_settings(summary: Any, path: str | os.PathLike) -> None:
    """Checks what this module uses of the settings of a run, and of those it started from."""
    settings = summary.get("settings") if isinstance(summary, dict) else None
    if (
        not isinstance(settings, dict)
        or not isinstance(settings.get("data", {}), dict)
        or not all(isinstance(settings.get(name) or NONE, str) for name in STARTS)
    ):
        raise ValueError(
            f"{path}/summary.json is damaged: the settings in it are not those of a run; delete "
            "it, and the run's own command writes it anew"
        )
    for name in STARTS:
        if name in summary:
            _check_settings(summary[name], path)


def load(
    path: str,
    programs: tuple[str, ...],
    data_dir: str | None = None,
    *,
    flag: str = "pretrained",
) -> tuple[Any, DataSettings | SequenceData]:
    """Loads the model of a run that a flag names, and the settings of the data it was trained on.

    Raises:
      FileNotFoundError: there is no finished run.
      ValueError: its summary is damaged, or it was made by none of these programs.
    """
    jax.devices()  # if there are none, let not the model file be blamed for it
    summary = run_summary(path, flag=flag)
    made_by = summary["program"].removeprefix("experiments.")
    if made_by not in programs:
        raise ValueError(
            f"--{flag}={path} was made by {made_by}; expected a run of {', '.join(programs)}"
        )
    while "pretrained" in summary and not _has_own_data(summary):  # those of an earlier run
        settings = summary["settings"]
        data_dir = data_dir or settings.get("data", settings).get("data_dir")
        summary = summary["pretrained"]
    try:
        kind = SequenceData if made_by == SEQUENCES else DataSettings
        data_settings = kind.from_json(summary["settings"].get("data", {}))
    except (TypeError, ValueError) as e:
        raise ValueError(f"--{flag}={path} tells of no data set in its summary.json: {e}") from e
    if data_dir is not None:
        own = kind is DataSettings and data.is_path(data_settings.dataset)
        changed = {"dataset": data_dir} if own else {"data_dir": data_dir}
        data_settings = dataclasses.replace(data_settings, **changed)
    return model_file.load(files.path(path) / "model.npz"), data_settings


def _has_own_data(summary: dict[str, Any]) -> bool:
    """Whether a run that started from a pretrained model has other data than that."""
    return summary["program"].removeprefix("experiments.") in (RBM, DBN)


def check_data(
    dataset: data.Dataset,
    num_pixels: int,
    num_labels: int = 0,
    *,
    remedy: str = "are these its data?",
) -> None:
    """Raises ValueError unless the data have the pixels, and the classes if any, of a model."""
    if dataset.train.images.shape[1] != num_pixels or num_labels not in (0, dataset.num_classes):
        raise ValueError(
            f"the images of {dataset.name} have {dataset.train.images.shape[1]} pixels and "
            f"{dataset.num_classes} classes, but the model has {num_pixels} pixels"
            f"{f' and {num_labels} label units' if num_labels else ''}; {remedy}"
        )


def check_sequences(dataset: data.SequenceSet, model: temporal.TemporalRBM) -> None:
    """Raises ValueError unless the frames have as many numbers as those of a model."""
    if len(dataset.columns) != model.rbm.visible.num_units:
        raise ValueError(
            f"the frames of {dataset.name} have {len(dataset.columns)} columns, but the model has "
            f"{model.rbm.visible.num_units} visible units; are these its data?"
        )
