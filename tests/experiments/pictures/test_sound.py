"""Piano rolls to listen to."""

import wave

import numpy as np
import pytest

from dbn_jax.data import music
from experiments.pictures import sound

RANDOM = np.random.default_rng(0)


def read(path):
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 22050)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767


def of_notes(length, **rows):
    """A roll in which each named note sounds in its rows."""
    roll = np.zeros((length, 88), np.uint8)
    for name, spans in rows.items():
        roll[spans, music.NOTES.index(name)] = 1
    return roll


def test_a_midi_file_is_read_back_as_the_same_roll(tmp_path):
    roll = RANDOM.integers(0, 2, (20, 88), dtype=np.uint8)
    roll[-1] = 1  # the rest at the end of a piece is not read back
    sound.write_midi(tmp_path / "a.mid", roll, 4.0)
    np.testing.assert_array_equal(music._read_midi_file(tmp_path / "a.mid", 2), roll)
    mido = music.mido_package()
    assert mido.MidiFile(tmp_path / "a.mid").length == pytest.approx(5.0)


def test_a_tone_has_its_pitch_and_begins_and_ends_at_nothing(tmp_path):
    sound.write_wav(tmp_path / "a.wav", of_notes(4, E5=[1, 2]), 2.0)
    samples = read(tmp_path / "a.wav")
    assert np.abs(samples).max() == pytest.approx(0.9, abs=1e-4)
    assert not samples[:11025].any()
    assert np.abs(np.diff(samples)[11000:11040]).max() < 0.01  # no click
    end = 33075 + round(0.12 * 22050)  # of the damping
    assert np.abs(samples[end - 20 : end]).max() < 0.001
    assert not samples[end:].any()
    heard = samples[11025:33075]
    assert np.abs(np.fft.rfft(heard)).argmax() == 659  # a second of sound: bins of 1 Hz


def test_a_held_note_is_not_struck_again(tmp_path):
    sound.write_wav(tmp_path / "a.wav", of_notes(4, A3=[0, 1, 2, 3]), 4.0)
    samples = read(tmp_path / "a.wav")[1000:22050]
    loudness = np.abs(samples).reshape(50, -1).max(1)
    assert np.all(np.diff(loudness) < 0.01)


def test_silence_is_silent(tmp_path):
    sound.write_wav(tmp_path / "a.wav", of_notes(3), 2.0)
    assert not read(tmp_path / "a.wav").any()


@pytest.mark.parametrize("write", [sound.write_midi, sound.write_wav])
def test_what_is_no_roll_is_refused(tmp_path, write):
    message = r"a roll of shape \(2, 88\) and values from 0.5 to 0.5 cannot be played: give one of"
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "a", np.full((2, 88), 0.5, np.float32), 2.0)


@pytest.mark.parametrize("write", [sound.write_midi, sound.write_wav])
def test_in_a_bucket_it_sounds_the_same(bucket, tmp_path, write):
    for folder in (bucket, tmp_path):
        write(folder / "a", of_notes(4, E5=[1, 2]), 2.0)
    assert (bucket / "a").read_bytes() == (tmp_path / "a").read_bytes()
