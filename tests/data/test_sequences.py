"""Reading sequences by name: what is asked for, or one sentence that says why not."""

import re

import numpy as np
import pytest
import scipy.io

from dbn_jax import data
from tests import buckets, small_sequences
from tests.data import test_motion, test_music


def sequence_set(**changes):
    settings = {
        "name": "ours",
        "train": (np.zeros((2, 3), np.float32),),
        "validation": (),
        "test": (np.zeros((1, 3), np.float32),),
        "kind": "real",
        "frames_per_second": 30.0,
        "columns": ("a", "b", "c"),
    }
    return data.SequenceSet(**(settings | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "gray"}, "ours: kind 'gray' is not one of binary, grey, real"),
        ({"test": (np.zeros((0, 3)),)}, "ours: test[0] has shape (0, 3), but a sequence is"),
        ({"train": (np.zeros(3),)}, "ours: train[0] has shape (3,), but a sequence is"),
        ({"columns": ("a", "b")}, "ours: train[0] has 3 columns, but there should be 2, from a to"),
        (
            {"validation": (np.array([[0, 1, np.nan]]),)},
            "ours: validation[0] holds nan in frame 0, column 2 (c), counted from 0: mend such",
        ),
    ],
)
def test_odd_sequences_are_named(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        sequence_set(**changes)


def test_the_parts_have_names():
    ours = sequence_set()
    assert {part: len(sequences) for part, sequences in ours.parts().items()} == {
        "train": 1,
        "validation": 0,
        "test": 1,
    }


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        (
            "chorales",
            {},
            ValueError,
            "the sequences 'chorales' are none of balls, jsb, nottingham, piano, musedata, midi, "
            "walking, cmu35, bvh, npz",
        ),
        (
            "jsb",
            {},
            ValueError,
            "jsb is read from files: set data_dir to the folder with JSB_Chorales.mat",
        ),
        (
            "cmu35",
            {"data_dir": "no/where"},
            FileNotFoundError,
            "data_dir='no/where' is no folder: it should be the one with cmu35WalkJog.mat and "
            "35.asf",
        ),
        (
            "balls",
            {"balls": 2},
            TypeError,
            "balls takes only size, num_balls, num_frames, seed, but balls was given: leave it out",
        ),
        (
            "walking",
            {"every": 2},
            TypeError,
            "walking takes no options, but every was given: leave it out",
        ),
    ],
)
def test_bad_requests_are_named(name, options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        data.load_sequences(name, **options)


@pytest.mark.parametrize(("name", "file"), [("jsb", "JSB_Chorales.mat"), ("walking", "motion.mat")])
def test_a_missing_other_or_damaged_matlab_file_is_named(tmp_path, name, file):
    path = tmp_path / file
    with pytest.raises(FileNotFoundError, match=rf"{file} is missing: the .* of github\.com/"):
        data.load_sequences(name, data_dir=tmp_path)
    scipy.io.savemat(path, {"X": np.ones(3), "y": np.ones(3)})
    wanted = {"jsb": "traindata, validdata, testdata", "walking": "Motion"}[name]
    with pytest.raises(ValueError, match=rf"{file} holds X, y, but no {wanted}: the "):
        data.load_sequences(name, data_dir=tmp_path)
    message = rf"{file} is damaged, or no MATLAB file of version 5 to 7 \(.+\): the "
    for content in (b"", b"no MATLAB" * 50, path.read_bytes()[:150]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            data.load_sequences(name, data_dir=tmp_path)


@pytest.mark.parametrize("name", ["bvh", "npz"])
def test_an_empty_folder_is_named(tmp_path, name):
    message = rf"holds no \.{name} files: name the folder with yours"
    with pytest.raises(FileNotFoundError, match=message):
        data.load_sequences(name, data_dir=tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {},
            ": 1 in all are too few sequences to hold out shares of 0.1 and 0.2 of them and learn ",
        ),
        ({"test_share": 0.0}, "validation_share=0.1 and test_share=0.0: choose shares of which"),
        ({"test_share": 0.9}, "validation_share=0.1 and test_share=0.9: choose shares of which"),
        ({"validation_share": -0.1}, "validation_share=-0.1 and test_share=0.2: choose shares"),
    ],
)
def test_shares_that_leave_nothing_are_named(tmp_path, options, message):
    np.savez(tmp_path / "a.npz", frames=np.eye(2))
    with pytest.raises(ValueError, match=re.escape(message)):
        data.load_sequences("npz", data_dir=tmp_path, **options)


def write_bvh(folder):
    for i in (1, 2):
        test_motion.write_bvh(folder / f"{i}.bvh", i * np.eye(3, 7))


def write_midi(folder):
    for pitch in (60, 61):
        notes = [(0, "note_on", pitch, 0), (100, "note_off", pitch, 0)]
        test_music.write_midi_file(folder / f"{pitch}.mid", notes)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("jsb", small_sequences.write_music),
        ("cmu35", small_sequences.write_cmu35),
        ("npz", small_sequences.write_npz),
        ("bvh", write_bvh),
        ("midi", write_midi),
    ],
)
def test_files_in_a_bucket_are_those_on_disk(bucket, tmp_path, name, write):
    write(tmp_path)
    buckets.upload(tmp_path, bucket)
    options = {} if name in ("jsb", "cmu35") else {"validation_share": 0.0, "test_share": 0.5}
    ours, theirs = (
        data.load_sequences(name, data_dir=folder, **options) for folder in (bucket, tmp_path)
    )
    assert ours.columns == theirs.columns
    for part, sequences in theirs.parts().items():
        assert len(ours.parts()[part]) == len(sequences)
        for one, other in zip(ours.parts()[part], sequences, strict=True):
            np.testing.assert_array_equal(one, other)
