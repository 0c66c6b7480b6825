"""Piano rolls to listen to: as MIDI, and as a plain tone in a WAV file.

A key that stays down is one note: rolls do not tell whether it was struck again.
"""

import os
import wave

import numpy as np

from dbn_jax import files
from dbn_jax.data import music
from dbn_jax.typing import Num

_TICKS_PER_ROW = 240
_LOUDNESS = 80  # of MIDI's 127
_SAMPLES_PER_SECOND = 22_050
_HARMONICS = 6
_ATTACK, _RELEASE = 0.008, 0.12  # seconds: no clicks
_PEAK = 0.9


def write_midi(
    path: str | os.PathLike, roll: Num[np.ndarray, "steps 88"], frames_per_second: float
) -> None:
    """Writes a roll of 0 and 1 as a MIDI file of one track, each row half a quarter note."""
    mido = music.mido_package()
    file = mido.MidiFile(type=0, ticks_per_beat=2 * _TICKS_PER_ROW)
    track = mido.MidiTrack()
    tempo = round(2e6 / frames_per_second)  # microseconds per quarter note
    track.append(mido.MetaMessage("set_tempo", tempo=tempo))
    events = [(start, "note_on", pitch) for pitch, start, _ in _notes(roll)]
    events += [(end, "note_off", pitch) for pitch, _, end in _notes(roll)]
    now = 0
    for row, kind, pitch in sorted(events):
        ticks = (row - now) * _TICKS_PER_ROW
        track.append(mido.Message(kind, note=pitch, velocity=_LOUDNESS, time=ticks))
        now = row
    track.append(mido.MetaMessage("end_of_track", time=(len(roll) - now) * _TICKS_PER_ROW))
    file.tracks.append(track)
    with files.replacing(path) as place:
        file.save(file=place)


def write_wav(
    path: str | os.PathLike, roll: Num[np.ndarray, "steps 88"], frames_per_second: float
) -> None:
    """Writes a roll of 0 and 1 as sound: one channel, 16 bits, 22,050 samples a second."""
    length = len(roll) / frames_per_second + _RELEASE
    sound = np.zeros(int(np.ceil(length * _SAMPLES_PER_SECOND)) + 1, np.float32)
    for pitch, start, end in _notes(roll):
        tone = _tone(pitch, (end - start) / frames_per_second)
        first = round(start / frames_per_second * _SAMPLES_PER_SECOND)
        sound[first : first + len(tone)] += tone
    loudest = np.abs(sound).max()
    if loudest > 0:
        sound *= _PEAK / loudest
    with files.replacing(path) as place, wave.open(place, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(_SAMPLES_PER_SECOND)
        file.writeframes(np.rint(sound * 32767).astype("<i2").tobytes())


def _notes(roll):
    """(MIDI number, first row, row after the last) of each run of ones in a column."""
    if roll.ndim != 2 or roll.shape[1] != len(music.NOTES) or not np.isin(roll, (0, 1)).all():
        raise ValueError(
            f"a roll of shape {roll.shape} and values from {roll.min():g} to {roll.max():g} cannot "
            f"be played: give one of 0 and 1, (steps, {len(music.NOTES)})"
        )
    edges = np.diff(np.pad(roll.astype(np.int8), ((1, 1), (0, 0))), axis=0).T
    keys, starts = np.nonzero(edges == 1)  # as many as ends, in the same order
    ends = np.nonzero(edges == -1)[1]
    return list(zip((keys + music.LOWEST).tolist(), starts.tolist(), ends.tolist(), strict=True))


def _tone(pitch, seconds):
    """A string that is struck, and damped at its end: harmonics that fade, higher ones faster."""
    time = np.arange(round((seconds + _RELEASE) * _SAMPLES_PER_SECOND)) / _SAMPLES_PER_SECOND
    frequency = 440.0 * 2.0 ** ((pitch - 69) / 12)
    fading = 0.7 * (frequency / 220.0) ** 0.5  # per second
    tone = sum(
        np.exp(-fading * k * time) * np.sin(2 * np.pi * k * frequency * time) / k**1.5
        for k in range(1, _HARMONICS + 1)
        if k * frequency < _SAMPLES_PER_SECOND / 2
    )
    rise = np.clip(time / _ATTACK, 0, 1)
    fall = np.clip((seconds + _RELEASE - time) / _RELEASE, 0, 1)
    # Half a cosine from 0 to 1: without corners.
    return (tone * (0.5 - 0.5 * np.cos(np.pi * np.minimum(rise, fall)))).astype(np.float32)
