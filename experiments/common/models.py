"""What another run has learnt: `--pretrained`, a workdir or a published folder."""

import dataclasses
import os
import pathlib
from typing import Any

from absl import flags

from dbn_jax import data, model_file
from dbn_jax.training import workdir
from experiments.common import shared

flags.disclaim_key_flags()  # see `shared`
# What --pretrained is for a start from random weights.
NONE = "none"
# The binaries that make nets.
NETS = "train_dbn,finetune_updown,finetune_bound,finetune_memory"


def run_summary(path: str | os.PathLike) -> dict[str, Any]:
    """Reads the summary of a finished run, or of a published one.

    Returns:
      What `workdir.Workdir.write_summary` wrote; and under "pretrained", instead of the flag of
      that name, the summary of the run that it went on from.

    Raises:
      FileNotFoundError: there is no finished run.
      ValueError: its summary is damaged.
    """
    summary_path = pathlib.Path(path) / "summary.json"
    if not summary_path.is_file():
        raise FileNotFoundError(
            f"--pretrained={path}: there is no finished run (no summary.json in it)"
        )
    summary = workdir.read_summary(path)
    if summary["flags"].get("pretrained", NONE) != NONE:
        summary["pretrained"] = run_summary(summary["flags"].pop("pretrained"))
    return summary


def load(path: str, programs: str, data_dir: str | None = None) -> tuple[Any, shared.DataSettings]:
    """Reads what another run has learnt, and from which data.

    Args:
      path: its workdir, or the folder where `experiments.publish` put it.
      programs: which may have made it, such as "train_dbn", separated by commas.
      data_dir: where the data are now; None: where that run found them.

    Raises:
      FileNotFoundError: there is no finished run.
      ValueError: another program made it.
    """
    summary = run_summary(path)
    made_by = summary["program"].removeprefix("experiments.")
    if made_by not in programs.split(","):
        raise ValueError(f"--pretrained={path} was made by {made_by}; expected {programs}")
    while "pretrained" in summary:  # the data are those of the run that it went on from
        data_dir = data_dir or summary["flags"].get("data_dir")
        summary = summary["pretrained"]
    data_settings = _data_settings_of(summary["flags"])
    if data_dir is not None:
        data_settings = dataclasses.replace(data_settings, data_dir=data_dir)
    return model_file.load(pathlib.Path(path) / "model.npz"), data_settings


def check_data(dataset: data.Dataset, num_pixels: int, num_labels: int = 0) -> None:
    """Raises ValueError unless the data are like those that a model learnt from.

    Args:
      dataset: the data.
      num_pixels: of the model.
      num_labels: its label units; 0 for a model without.
    """
    if dataset.train.images.shape[1] != num_pixels or num_labels not in (0, dataset.num_classes):
        raise ValueError(
            f"the images of {dataset.name} have {dataset.train.images.shape[1]} pixels and "
            f"{dataset.num_classes} classes, but the model has {num_pixels} pixels"
            f"{f' and {num_labels} label units' if num_labels else ''}; are these its data?"
        )


def define_pretrained_flags(what: str) -> None:
    """Defines --pretrained and --data_dir; `what` the former is the workdir of."""
    flags.DEFINE_string("pretrained", None, f"Workdir or folder of {what}.", required=True)
    flags.DEFINE_string("data_dir", None, "Where its data are, if no longer where they were.")


def _data_settings_of(texts: dict[str, str]) -> shared.DataSettings:
    """Reads data settings back from the flags of a summary."""
    classes, size = texts.get("classes"), texts.get("image_size")
    return shared.DataSettings(
        dataset=texts["dataset"],
        data_dir=texts.get("data_dir"),
        classes=None if classes is None else tuple(map(int, classes.split(","))),
        image_size=None if size is None else int(size),
        num_validation=int(texts["num_validation"]),
        binarisation=texts["binarisation"],
        standardise=texts["standardise"] == "true",
    )
