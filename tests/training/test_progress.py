import io
import sys

import pytest

from dbn_jax.training import progress
from dbn_jax.training.progress import Iterations, Progress, say


class Clock:
    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


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
        "layer 1, epoch 1 of 3, 10 updates/s, 500 images/s, 0:20 left, error 21",
        "layer 1, epoch 2 of 3, 10 updates/s, 500 images/s, 0:10 left, error 11",
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
    assert len(lines) == 8  # of 500 seconds, one a minute
    assert "epoch 0.06 of 1, 0.1 updates/s, 5 images/s, 15:40 left" in lines[0]


def test_time_left_counts_this_process_alone(clock):
    bar = make(done=500)
    clock.now += 36
    bar.advance(5, 30.0, {})  # six seconds went to an evaluation, and will again
    assert ", 59:24 left" in bar.line()
    clock.now += 36 * 99
    bar = make(done=0, total=100_000)
    clock.now += 10
    bar.advance(100, 10.0, {})
    assert ", 2:46:30 left" in bar.line()
    bar = make(done=123_450, total=2_000_000, updates_per_epoch=10)
    assert bar.line().startswith("epoch 12345 of 200000")


def test_the_rate_is_that_of_the_last_ten_chunks_or_so():
    bar = make(total=10_000)
    bar.advance(100, 1.0, {})
    bar.advance(200, 1.0, {})
    assert bar.line().split(", ")[1] == "120 updates/s"  # a fifth of the way
    for _ in range(30):
        bar.advance(200, 1.0, {})
    assert bar.line().split(", ")[1] == "200 updates/s"


def test_chosen_metrics(clock, capsys):
    bar = make(total=100, shown=("c", "absent", "a"))
    bar.advance(100, 1.0, {"a": 1.0, "b": 2.0, "c": 3.0})
    assert capsys.readouterr().err.strip().endswith("images/s, c 3, a 1")


def test_a_terminal_gets_one_line_in_place(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with make(total=300, done=100, terminal=True) as bar:
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
    with make(total=100) as bar, Iterations("logistic PCA", "loss") as iterations:
        for i in range(10):
            clock.now += 100
            bar.advance(10, 1.0, {})
            iterations.report(i, 1.0)
    say("done")


def test_silence(clock, capsys):
    with make(total=100, terminal=True, silent=True) as bar:
        bar.advance(100, 1.0, {})
    assert capsys.readouterr().err == ""


def test_iterations_in_a_log_are_one_line_a_minute_and_the_last(clock, capsys):
    with Iterations("logistic PCA", "objective") as shown:
        for i in range(1, 6):
            clock.now += 25
            shown.report(i, -200.0 + i)
    assert capsys.readouterr().err.splitlines() == [
        "logistic PCA, iteration 3, objective -197, 1:15",
        "logistic PCA, iteration 5, objective -195, 2:05",
    ]
    with Iterations("logistic PCA", "objective") as shown:
        clock.now += 60
        shown.report(1, -200.0)
    assert capsys.readouterr().err.count("\n") == 1  # not twice


def test_iterations_on_a_terminal_are_one_line_in_place(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with Iterations("logistic PCA", "objective", terminal=True) as shown:
        shown.report(1, -200.0)
        shown.report(2, -199.5)
    text = stream.getvalue()
    assert "\rlogistic PCA, iteration 1, objective -200, 0:00" in text
    assert "\rlogistic PCA, iteration 2, objective -199.5, 0:00" in text
    assert text.count("\n") == 1
