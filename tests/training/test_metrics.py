import resource

import numpy as np
import pytest

from dbn_jax.training import read_metrics
from dbn_jax.training.metrics import MetricsFile


def test_round_trip(tmp_path):
    path = tmp_path / "folder" / "metrics.csv"
    file = MetricsFile(path)
    file.append({"epoch": 0, "error": None, "a,b": 1.5})
    file.append({"a,b": float(np.float32(0.1)), "error": float("inf"), "epoch": 1})
    assert path.read_text() == 'epoch,error,"a,b"\n0,,1.5\n1,inf,0.100000001\n'
    columns = read_metrics(path)
    np.testing.assert_array_equal(columns["epoch"], [0, 1])
    np.testing.assert_array_equal(columns["error"], [np.nan, np.inf])
    assert np.float32(columns["a,b"][1]) == np.float32(0.1)


@pytest.mark.parametrize("left", ["", "3,0.25\n", "3,0.", "3", "3,0.25\n4,", "1", "1,0."])
def test_drops_what_came_after_the_checkpoint(tmp_path, left):
    path = tmp_path / "metrics.csv"
    file = MetricsFile(path)
    for epoch in range(3):
        file.append({"epoch": epoch, "error": 0.5})
    with path.open("a") as handle:
        handle.write(left)
    file = MetricsFile(path, keep_epochs=1)
    np.testing.assert_array_equal(read_metrics(path)["epoch"], [0, 1])
    file.append({"epoch": 2, "error": 0.5})
    np.testing.assert_array_equal(read_metrics(path)["epoch"], [0, 1, 2])
    with pytest.raises(ValueError, match=r"adds \['other'\] and lacks \['error'\]"):
        file.append({"epoch": 3, "other": 0.5})


@pytest.mark.parametrize("content", [None, "", "epo"])
def test_nothing_to_keep(tmp_path, content):
    path = tmp_path / "metrics.csv"
    if content is not None:
        path.write_text(content)
    MetricsFile(path, keep_epochs=3).append({"epoch": 4})
    assert path.read_text() == "epoch\n4\n"
    MetricsFile(path)
    assert path.read_text() == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y\n1,2\n", "needs a column epoch of whole numbers"),
        ("step,epoch\n0,0\n3,\n", "needs a column epoch of whole numbers"),
        ("step,epoch\n0,0\n3,1.5\n", "needs a column epoch of whole numbers"),
        ("step,epoch\n0,0\n3,1,5\n", "line 3: 3 cells"),
        ("step,epoch\n0,0\n3,\udcff\n", "line 3: could not convert .*'�'"),  # a byte of no text
    ],
)
def test_a_damaged_file_is_left_alone(tmp_path, text, message):
    path = tmp_path / "metrics.csv"
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ValueError, match=f"metrics.csv.*{message}"):
        MetricsFile(path, keep_epochs=3)
    assert path.read_text(encoding="utf-8", errors="surrogateescape") == text


def test_a_failed_write_names_the_file(tmp_path):
    """A limit on file sizes stops it, as a full disk would."""
    file, limits = MetricsFile(tmp_path / "metrics.csv"), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(OSError, match=r"cannot write .*metrics.csv: File too large; raise the"):
            file.append({"epoch": 0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_missing_column_is_named_with_its_file(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,epoch\n0,0\n")
    with pytest.raises(
        ValueError, match=r"metrics.csv is damaged: it has no column loss, but step,"
    ):
        read_metrics(path)["loss"]


def test_a_path_stays_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = MetricsFile("metrics.csv")
    file.append({"epoch": 0})
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    file.append({"epoch": 1})
    np.testing.assert_array_equal(read_metrics(tmp_path / "metrics.csv")["epoch"], [0, 1])


def test_read_metrics(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,error,test error\n0,2.5,\n40,1e-3,nan\n80, ,-inf\n")
    metrics = read_metrics(path)
    assert list(metrics) == ["step", "error", "test error"]
    np.testing.assert_array_equal(metrics["step"], [0, 40, 80])
    np.testing.assert_array_equal(metrics["error"], [2.5, 1e-3, np.nan])
    np.testing.assert_array_equal(metrics["test error"], [np.nan, np.nan, -np.inf])
    path.write_text("step,error\n")
    assert read_metrics(path)["error"].shape == (0,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected a header"),
        ("a,a\n1,2\n", "distinct names"),
        ("a,b\n1,2\n3\n", "line 3: 1 cells, but the header names 2"),
        ("a,b\n1,two\n", "line 2: could not convert .*'two'"),
        ("a,b\n1,\udcff\n", "metrics.csv, line 2: could not convert .*'�'"),  # a byte of no text
    ],
)
def test_read_metrics_names_the_line_at_fault(tmp_path, text, message):
    path = tmp_path / "metrics.csv"
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ValueError, match=message):
        read_metrics(path)


def test_in_a_bucket_rows_wait_but_are_read_at_once(bucket, monkeypatch):
    path = bucket / "metrics.csv"
    with MetricsFile(path) as file:
        for epoch in range(3):
            file.append({"epoch": epoch})
        assert path.read_text() == ""
        np.testing.assert_array_equal(read_metrics(str(path))["epoch"], [0, 1, 2])
        file.flush()
        assert path.read_text() == "epoch\n0\n1\n2\n"
        file.append({"epoch": 3})
    assert path.read_text() == "epoch\n0\n1\n2\n3\n"
    monkeypatch.setattr("dbn_jax.files._INTERVAL", 0.0)
    MetricsFile(path, keep_epochs=1).append({"epoch": 2})
    assert path.read_text() == "epoch\n0\n1\n2\n"
    np.testing.assert_array_equal(read_metrics(path)["epoch"], [0, 1, 2])


def test_other_processes_than_the_first_read_what_they_do_not_write(tmp_path, monkeypatch):
    monkeypatch.setattr("dbn_jax.parallel.is_first", lambda: False)
    path = tmp_path / "metrics.csv"
    with MetricsFile(path) as file:
        for epoch in range(3):
            file.append({"epoch": epoch})
    assert not path.exists()
    np.testing.assert_array_equal(read_metrics(path)["epoch"], [0, 1, 2])
