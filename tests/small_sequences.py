"""Tiny data sets of sequences, in files of the published forms, and settings that take seconds."""

import dataclasses

import numpy as np
import pytest
import scipy.io

from dbn_jax.data import balls
from experiments import train_sequences
from experiments.common import sequence_data
from tests.data import test_motion

DATA = {"data", "model", "learning", "measures"}
SMALL = {
    "num_hidden": 4,
    "recurrent_size": 3,
    "batch_size": 2,
    "epochs": 2,
    "ais_steps": 3,
    "ais_chains": 2,
}
BALLS = {"image_size": 6, "num_balls": 1, "num_frames": 8, "updates_per_epoch": 3}


@pytest.fixture
def few_films(monkeypatch):
    """Of balls: for all that is measured on many."""
    monkeypatch.setattr(balls, "NUM_VALIDATION", 3)
    monkeypatch.setattr(balls, "NUM_TEST", 4)
    monkeypatch.setattr(sequence_data, "_NUM_SIMULATED", 5)


def settings(dataset="balls", folder=None, **changes):
    """Settings by the names of their flags, whatever group they are in."""
    given = SMALL | changes | {"dataset": dataset}
    if dataset == "balls":
        given = BALLS | {k: x for k, x in given.items() if not k.startswith("ais_")}
    else:
        given["data_dir"] = str(folder)
    made, left = train_sequences.Settings(), dict(given)
    for field in dataclasses.fields(made):
        part = getattr(made, field.name)
        if field.name in DATA:
            own = {f.name: left.pop(f.name) for f in dataclasses.fields(part) if f.name in left}
            made = dataclasses.replace(made, **{field.name: dataclasses.replace(part, **own)})
    return dataclasses.replace(made, **left)


def write_music(folder, train=(9, 6, 3), validation=(5, 4), test=(4, 7), low=40, high=50):
    """JSB_Chorales.mat: random notes from one key to another."""
    random = np.random.RandomState(0)

    def cells(lengths):
        array = np.empty((1, len(lengths)), object)
        for i, length in enumerate(lengths):
            array[0, i] = np.zeros((length, 88), np.uint8)
            array[0, i][:, low:high] = random.rand(length, high - low) < 0.4
            array[0, i][0, [low, high - 1]] = 1
        return array

    parts = {"traindata": train, "validdata": validation, "testdata": test}
    content = {name: cells(lengths) for name, lengths in parts.items()}
    scipy.io.savemat(folder / "JSB_Chorales.mat", content)
    return folder


def write_cmu35(folder, train=(6,) * 18, test=(44, 66)):
    """Walks, then runs, of a body with two thighs; a run and a walk to test."""
    content = {}
    for end, lengths in (("", train), ("test", test)):
        content[f"Y{end}"] = waves(sum(lengths), 10)
        content[f"Y{end}"][:, 8] = 7  # never changes
        labels = np.repeat(np.arange(len(lengths)), lengths)
        content[f"lbls{end}"] = np.eye(len(lengths), dtype=np.uint8)[labels]
    asf = test_motion.ASF.replace("arm", "rfemur").replace("hand", "lfemur")
    test_motion.write_cmu35(folder, **content)
    (folder / "35.asf").write_text(asf)
    return folder


def write_npz(folder, lengths=(12, 9, 50, 10, 11), units=3):
    """Files of frames."""
    for i, length in enumerate(lengths):
        np.savez(folder / f"{i}.npz", frames=waves(length, units))
    return folder


def waves(num_frames, units):
    """Smooth numbers with noise."""
    random = np.random.RandomState(num_frames)
    time = np.arange(num_frames)[:, None] / 3 + 2 * np.arange(units)
    return np.sin(time) + 0.1 * random.normal(size=(num_frames, units))


def all_settings(folder):
    """Settings and files of each kind of data, by name."""
    folders = {name: folder / name for name in ("jsb", "cmu35", "npz")}
    for path in folders.values():
        path.mkdir(exist_ok=True)
    write_music(folders["jsb"])
    write_cmu35(folders["cmu35"])
    write_npz(folders["npz"])
    return folders
