"""The files that the benchmark writes, or does not."""

import functools
import json

import pytest
from absl import flags

from experiments import benchmark

REPORT = {"command": "benchmark", "cases": {"2x3x4": {"floor": {"milliseconds": [1.5]}}}}


@pytest.fixture
def run(monkeypatch):
    """Runs the binary in this process, with flags of its own; it measures `REPORT`."""
    monkeypatch.setattr(benchmark, "run", lambda config, log: log("the table") or REPORT)

    def run(*arguments):
        values = flags.FlagValues()
        with monkeypatch.context() as patch:
            for kind in ("string", "bool", "list", "integer"):
                define = getattr(flags, f"DEFINE_{kind}")
                patch.setattr(
                    flags, f"DEFINE_{kind}", functools.partial(define, flag_values=values)
                )
            benchmark.define_flags()
        monkeypatch.setattr(flags, "FLAGS", values)
        benchmark.main(values(["benchmark", *map(str, arguments)]))

    return run


@pytest.fixture
def forbid_measuring(monkeypatch):
    def run(config, log):
        raise OSError("measured")

    return lambda: monkeypatch.setattr(benchmark, "run", run)


def test_report_and_table_are_written(run, tmp_path):
    folder = tmp_path / "folder"
    # The file may lie in the workdir that the run makes.
    run(f"--workdir={folder}", f"--json={folder / 'report.json'}")
    assert json.loads((folder / "report.json").read_text()) == REPORT
    assert json.loads((folder / "summary.json").read_text())["results"] == REPORT
    assert (folder / "table.txt").read_text() == "the table\n"


def test_a_finished_workdir_gives_its_report(run, forbid_measuring, tmp_path):
    folder, file = tmp_path / "folder", tmp_path / "report.json"
    run(f"--workdir={folder}")
    forbid_measuring()
    run(f"--workdir={folder}", f"--json={file}")
    assert json.loads(file.read_text()) == REPORT


def test_a_refused_workdir_leaves_no_report(run, tmp_path):
    folder, file = tmp_path / "folder", tmp_path / "report.json"
    run(f"--workdir={folder}")
    with pytest.raises(SystemExit, match="holds a run with other settings"):
        run(f"--workdir={folder}", f"--json={file}", "--rounds=3")
    assert not file.exists()


@pytest.mark.parametrize("before", [None, "an older report"])
def test_a_failed_measurement_leaves_the_report_as_it_was(run, forbid_measuring, tmp_path, before):
    file = tmp_path / "report.json"
    if before:
        file.write_text(before)
    forbid_measuring()
    with pytest.raises(SystemExit, match="OSError: measured"):
        run(f"--json={file}")
    assert (file.read_text() if file.exists() else None) == before


@pytest.mark.parametrize("name", ["", "no_folder/report.json"], ids=["folder", "nowhere"])
def test_a_report_that_cannot_be_written_is_refused_before_measuring(
    run, forbid_measuring, tmp_path, name
):
    forbid_measuring()
    with pytest.raises(SystemExit, match=r"Error: .*(directory|denied)"):
        run(f"--json={tmp_path / name}")
