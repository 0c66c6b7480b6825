import io
import re
import sys
import types

import pytest

from dbn_jax.training import progress
from dbn_jax.training.progress import Progress, say


@pytest.fixture
def clock(monkeypatch):
    clock = types.SimpleNamespace(now=1000.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(progress, "time", clock)
    return clock


def written(monkeypatch, is_terminal=True):
    stream = io.StringIO()
    stream.isatty = lambda: is_terminal
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def make(**changes):
    values = {"done": 0, "total": 1000, "updates_per_epoch": 100, "batch_size": 50}
    return Progress("layer 1", **{**values, **changes})


def test_a_log_gets_one_line_per_epoch(clock, capsys):
    with make(total=300) as bar:
        for i in range(30):
            clock.now += 1
            bar.advance(10, 1.0, {"error": 30.0 - i})
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "layer 1, epoch 1 of 3, 10 updates/s, 500 images/s, 0:00:20 left, error 21",
        "layer 1, epoch 2 of 3, 10 updates/s, 500 images/s, 0:00:10 left, error 11",
        "layer 1, epoch 3 of 3, 10 updates/s, 500 images/s, error 1",
    ]


def test_short_epochs_share_a_line(clock, capsys):
    with make() as bar:
        for _ in range(10):
            clock.now += 1
            bar.advance(100, 1.0, {})
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[1] for line in lines] == [" epoch 5 of 10", " epoch 10 of 10"]


def test_long_epochs_have_several(clock, capsys):
    with make(total=100) as bar:
        for _ in range(50):
            clock.now += 10
            bar.advance(1, 10.0, {})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 8 + 1  # of 500 seconds, one a minute; and where it stopped
    assert "epoch 0.06 of 1, 0.1 updates/s, 5 images/s, 0:15:40 left" in lines[0]


@pytest.mark.parametrize(
    ("settings", "updates", "seconds", "words"),
    [
        # Six seconds went to an evaluation, and will again; earlier processes do not count.
        ({"done": 500}, 5, (30, 36), "epoch 5.05 of 10, 0.167 updates/s, 8.33 images/s, 0:59:24"),
        ({"total": 100_000}, 100, (10, 10), "epoch 1 of 1000, 10 updates/s, 500 images/s, 2:46:30"),
        ({"done": 123_440, "total": 2_000_000}, 10, (1, 1), "epoch 1234 of 20000, "),
        ({"batch_size": 0}, 100, (1, 1), "epoch 1 of 10, 100 updates/s, 0:00:09 left"),
    ],
)
def test_words(clock, capsys, settings, updates, seconds, words):
    with make(**settings) as bar:
        clock.now += seconds[1]
        bar.advance(updates, float(seconds[0]), {})
    assert words in capsys.readouterr().err


def test_the_rate_is_that_of_the_last_ten_chunks_or_so(clock, capsys):
    with make(total=100_000) as bar:
        for rate in [100, 200] + 30 * [200]:
            clock.now += 60
            bar.advance(rate, 1.0, {})
    rates = re.findall(r"(\d+) updates/s", capsys.readouterr().err)
    assert [*rates[:2], rates[-1]] == ["100", "120", "200"]  # first a fifth of the way


def test_a_terminal_gets_one_line_in_place(monkeypatch):
    stream = written(monkeypatch)
    with make(total=300, done=100) as bar:
        bar.advance(100, 0.5, {"error": 2.0})
        say("3 units are dead")
        bar.advance(100, 0.5, {"error": 1.0})
    text = stream.getvalue()
    assert "epoch 2 of 3, 200 updates/s, 10,000 images/s" in text
    assert "100 %, epoch 3 of 3" in text
    assert "error 1" in text
    assert "\r3 units are dead\n" in text.replace("\r ", "\r").replace(" \r", "\r")
    assert text.count("\n") == 2  # the message, and the end


def test_work_goes_on_where_nobody_reads(clock, monkeypatch):
    class Unread(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Unread())
    with make(total=100) as bar:
        for _ in range(10):
            clock.now += 100
            bar.advance(10, 1.0, {})
    say("done")


@pytest.mark.parametrize("is_terminal", [False, True])
def test_silence(monkeypatch, is_terminal):
    stream = written(monkeypatch, is_terminal)
    with make(silent=True) as bar:
        bar.advance(100, 1.0, {})
    assert stream.getvalue() == ""
