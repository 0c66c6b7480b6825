"""Piano rolls: the published files, MIDI files of the user's, and what is wrong with them."""

import re
import sys

import mido
import numpy as np
import pytest
import scipy.io

from dbn_jax import data
from dbn_jax.data import music


def cells(*lengths):
    """A cell array of random rolls."""
    random = np.random.default_rng(sum(lengths))
    array = np.empty((1, len(lengths)), object)
    for number, length in enumerate(lengths):
        array[0, number] = random.integers(0, 2, (length, 88), dtype=np.uint8)
    return array


def write_mat(path, **changes):
    content = {"traindata": cells(5, 3), "validdata": cells(4), "testdata": cells(2, 6)}
    scipy.io.savemat(path, content | changes)


@pytest.mark.parametrize(
    ("name", "file", "rate"),
    [
        ("jsb", "JSB_Chorales.mat", 2),
        ("nottingham", "Nottingham.mat", 4),
        ("piano", "Piano_midi.mat", 4),
        ("musedata", "MuseData.mat", 4),
    ],
)
def test_the_published_parts_are_read(tmp_path, name, file, rate):
    write_mat(tmp_path / file)
    rolls = data.load_sequences(name, data_dir=tmp_path)
    assert [len(roll) for roll in rolls.train + rolls.validation + rolls.test] == [5, 3, 4, 2, 6]
    np.testing.assert_array_equal(rolls.test[1], cells(2, 6)[0, 1])
    assert rolls.test[1].dtype == np.uint8
    assert (rolls.kind, rolls.frames_per_second) == ("binary", rate)
    assert [rolls.columns[i] for i in (0, 1, 39, 87)] == ["A0", "A#0", "C4", "C8"]


def broken(name, change):
    """A cell array in which the second sequence is changed."""
    array = cells(5, 3)
    array[0, 1] = change(array[0, 1])
    return {name: array}


def with_two(roll):
    roll[2, 4] = 2
    return roll


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (broken("validdata", with_two), "validdata 1 is no piano roll of 0 and 1 (it holds 2)"),
        (
            broken("traindata", lambda roll: roll[:0]),
            "jsb: train[1] has shape (0, 88), but a sequence is (frames, units) with at least one "
            "frame: leave it out, or mend it",
        ),
        (
            broken("testdata", lambda roll: roll[:, 1:]),
            "jsb: test[1] has 87 columns, but there should be 88, from A0 to C8: it is other "
            "data, or its columns are others",
        ),
        (
            {"traindata": np.zeros((3, 88))},
            "traindata as an array of shape (3, 88), but a cell array with one array for each "
            "sequence is expected: the piano rolls of",
        ),
    ],
)
def test_odd_rolls_are_named(tmp_path, changes, message):
    write_mat(tmp_path / "JSB_Chorales.mat", **changes)
    with pytest.raises(ValueError, match=re.escape(message)):
        data.load_sequences("jsb", data_dir=tmp_path)


def write_midi_file(path, *tracks, ticks_per_beat=100):
    """Messages (ticks since the last, kind, note, channel) of each track."""
    file = mido.MidiFile(ticks_per_beat=ticks_per_beat)
    for messages in tracks:
        track = mido.MidiTrack()
        for time, kind, note, channel in messages:
            loudness, kind = (0, "note_on") if kind == "silent" else (64, kind)
            track.append(
                mido.Message(kind, note=note, time=time, channel=channel, velocity=loudness)
            )
        file.tracks.append(track)
    file.save(path)


def test_midi_files_become_rows_of_sounding_notes(tmp_path):
    melody = [
        (0, "note_on", 60, 0),
        (99, "note_off", 60, 0),  # a quarter, one tick short: two rows
        (1, "note_on", 62, 0),
        (5, "note_off", 62, 0),  # very short: one row
        (0, "note_on", 36, 9),  # a drum
        (200, "note_off", 36, 9),
    ]
    bass = [(50, "note_on", 21, 1), (150, "note_off", 21, 1)]
    write_midi_file(tmp_path / "a.mid", melody, bass)
    roll = music._read_midi_file(tmp_path / "a.mid", 2)
    assert roll.shape == (4, 88)
    rows, keys = np.nonzero(roll)
    pairs = sorted(zip((keys + 21).tolist(), rows.tolist(), strict=True))
    assert pairs == [(21, 1), (21, 2), (21, 3), (60, 0), (60, 1), (62, 2)]


def test_a_note_struck_again_sounds_on(tmp_path):
    struck = [(0, "note_on", 60, 0), (100, "note_on", 60, 0), (100, "note_off", 60, 0)]
    write_midi_file(tmp_path / "a.mid", struck)
    assert music._read_midi_file(tmp_path / "a.mid", 1)[:, 39].tolist() == [1, 1]


def test_a_beginning_without_loudness_is_an_end(tmp_path):
    notes = [(0, "note_on", 60, 0), (100, "silent", 60, 0), (100, "note_on", 60, 0)]
    write_midi_file(tmp_path / "a.mid", [*notes, (100, "silent", 60, 0)])
    assert music._read_midi_file(tmp_path / "a.mid", 1)[:, 39].tolist() == [1, 0, 1]


def test_midi_files_are_split_by_shares(tmp_path):
    for number in range(10):
        note = 60 + number
        write_midi_file(
            tmp_path / f"{number}.mid", [(0, "note_on", note, 0), (100, "note_off", note, 0)]
        )
    rolls = data.load_sequences("midi", data_dir=tmp_path, rows_per_quarter=3, seed=1)
    assert [len(part) for part in rolls.parts().values()] == [7, 1, 2]
    notes = [int(roll[0].argmax()) for part in rolls.parts().values() for roll in part]
    assert sorted(notes) == list(range(39, 49))
    assert len(rolls.test[0]) == 3
    assert rolls.frames_per_second == 6


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([(0, "note_on", 20, 0)], "a.mid holds the note 20, but a piano has 21 to 108: transpose"),
        ([(0, "note_on", 40, 9)], "a.mid holds no notes (drums are left out): take it out"),
    ],
)
def test_odd_midi_files_are_named(tmp_path, messages, message):
    write_midi_file(tmp_path / "a.mid", messages)
    with pytest.raises(ValueError, match=re.escape(message)):
        data.load_sequences("midi", data_dir=tmp_path)


@pytest.mark.parametrize("content", [b"no music", b"MThd\0\0\0\6\0\1\0\1\0", b""])
def test_a_damaged_midi_file_is_named(tmp_path, content):
    (tmp_path / "a.mid").write_bytes(content)
    message = r"a\.mid is damaged, or no MIDI file \(.+\): take it out"
    with pytest.raises(ValueError, match=message):
        data.load_sequences("midi", data_dir=tmp_path)


def test_a_folder_without_midi_files_and_bad_rows_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no MIDI files \(\.mid\): name the folder"):
        data.load_sequences("midi", data_dir=tmp_path)
    with pytest.raises(ValueError, match="rows_per_quarter=0: choose a whole number from 1"):
        data.load_sequences("midi", data_dir=tmp_path, rows_per_quarter=0)


def test_the_package_that_midi_needs_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mido", None)
    message = r"MIDI files need the package mido: pip install 'dbn_jax\[experiments\]'"
    with pytest.raises(ModuleNotFoundError, match=message):
        music.mido_package()
