import errno
import hashlib
import os
import re
import shutil
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags as absl_flags

from dbn_jax.training import workdir
from dbn_jax.training.workdir import open_workdir, read_summary

FLAGS = {"rate": "0.1", "layers": "500,2000", "fast": "true"}


def open_it(path, flags=FLAGS, program="experiments.toy", **settings):
    return open_workdir(path, flags, program=program, **settings)


class TestFlags:
    def test_flagfile_repeats_the_run(self, tmp_path):
        """What is written, absl reads back."""
        open_it(tmp_path, {"text": "a b, c=d", "empty": "", "rate": "1e-07"})
        read = absl_flags.FlagValues()
        for name in ("text", "empty", "rate"):
            absl_flags.DEFINE_string(name, None, "", flag_values=read)
        read(["program", f"--flagfile={tmp_path / 'flags.txt'}"])
        assert (read.text, read.empty, read.rate) == ("a b, c=d", "", "1e-07")
        header = (tmp_path / "flags.txt").read_text().splitlines()[0]
        assert header == (
            f"# python -m experiments.toy --workdir={tmp_path} --flagfile={tmp_path}/flags.txt"
        )

    def test_names_each_difference(self, tmp_path):
        open_it(tmp_path)
        before = (tmp_path / "flags.txt").read_text()
        open_it(tmp_path)  # the same flags go on
        changed = {"rate": "0.2", "layers": "500", "data": "here"}
        with pytest.raises(ValueError, match="other settings") as caught:
            open_it(tmp_path, changed, program="experiments.other")
        assert str(caught.value).splitlines()[1:-1] == [
            "  program: was experiments.toy, now experiments.other",
            "  --rate: was 0.1, now 0.2",
            "  --layers: was 500,2000, now 500",
            "  --fast: was true, now not set",
            "  --data: was not set, now here",
        ]
        assert (tmp_path / "flags.txt").read_text() == before

    def test_flags_on_which_no_result_depends_may_change(self, tmp_path):
        open_it(tmp_path)
        with pytest.raises(ValueError, match=r"--rate: was 0\.1, now 0\.5"):
            open_it(tmp_path, {**FLAGS, "rate": "0.5"}, may_change=frozenset({"fast"}))
        open_it(tmp_path, {**FLAGS, "rate": "0.5"}, may_change=frozenset({"rate"}))
        assert "--rate=0.5" in (tmp_path / "flags.txt").read_text()

    def test_a_finished_run_becomes_one_to_be_resumed_by_more_of_what_may_grow(self, tmp_path):
        grow = {"epochs": "", "steps": "it is fixed; choose another --workdir"}
        flags = FLAGS | {"epochs": "9", "steps": "5"}
        open_it(tmp_path, flags, may_grow=grow).write_summary({}, seed=0)
        for changes, words in (
            ({"epochs": "8"}, "it may become longer, not shorter; ask for at least 9, or choose"),
            ({"epochs": "10", "steps": "6"}, "--steps=5, and cannot go on to more: it is fixed; c"),
            ({"epochs": "10", "rate": "1.0"}, "  --rate: was 0.1, now 1.0\n  --epochs: was 9, now"),
        ):
            with pytest.raises(ValueError, match=re.escape(words)):
                open_it(tmp_path, flags | changes, may_grow=grow)
        assert open_it(tmp_path, flags, may_grow=grow).is_done
        # Until it has made an epoch more, it is what it was.
        longer = flags | {"epochs": "10"}
        run = open_it(tmp_path, longer, may_grow=grow)
        assert not run.is_done
        assert open_it(tmp_path, flags, may_grow=grow).is_done
        run.note_time()
        assert "--epochs=10\n" in (tmp_path / "flags.txt").read_text()
        assert not (tmp_path / "summary.json").exists()
        open_it(tmp_path, longer, may_grow=grow).write_summary({}, seed=0)
        assert open_it(tmp_path, longer, may_grow=grow).is_done

    @pytest.mark.parametrize("text", ["", "--rate=0.1\n", "# my flags\n--rate=0.1\n"])
    def test_a_flagfile_of_something_else_is_left_alone(self, tmp_path, text):
        file = tmp_path / "flags.txt"
        file.write_text(text)
        with pytest.raises(ValueError, match=r"flags\.txt is not of a run .*another --workdir"):
            open_it(tmp_path)
        assert file.read_text() == text


class TestChecksBeforehand:
    def test_unwritable(self, tmp_path):
        """Below a regular file, and where the system lets nobody write: root too."""
        (tmp_path / "file").write_text("")
        with pytest.raises(OSError, match=r"cannot use the workdir .*below.*another --workdir"):
            open_it(tmp_path / "file" / "below")
        if sys.platform == "linux":
            with pytest.raises(OSError, match="cannot use the workdir /proc/below"):
                open_it("/proc/below")

    def test_an_almost_full_disk(self, tmp_path, monkeypatch):
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2_000_000))
        with pytest.raises(OSError, match=r"2 MB are free, and a run may need 300 MB; choose") as e:
            open_it(tmp_path / "other/run")
        assert not (tmp_path / "other").exists()
        assert e.value.errno == errno.ENOSPC

    def test_names_that_flags_txt_cannot_hold(self, tmp_path):
        for name in ("bad\udcff", "two\nlines"):
            with pytest.raises(ValueError, match="choose one whose name can be printed"):
                open_it(tmp_path / "new" / name)
        assert not (tmp_path / "new").exists()
        open_it(tmp_path / "neuer Ordner, ü")


class TestSummary:
    def test_marks_the_run_done(self, tmp_path, monkeypatch):
        monkeypatch.setattr(workdir, "commit", lambda: "of the code in memory")
        run = open_it(tmp_path / "new")
        monkeypatch.setattr(workdir, "commit", lambda: "checked out during the run")
        assert not run.is_done
        assert run.figures.is_dir()
        results = {"error": jnp.float32(0.5), "curve": np.array([1, np.nan]), "path": tmp_path}
        results["inner"] = {"nan": float("nan"), "list": [np.float32("inf"), 1]}
        returned = run.write_summary(results, seed=8)
        again = open_it(tmp_path / "new")
        assert again.is_done
        summary = read_summary(again.path)
        assert summary == returned
        assert summary["results"] == {
            "error": 0.5,
            "curve": [1, None],  # JSON cannot say NaN
            "path": str(tmp_path),
            "inner": {"nan": None, "list": [None, 1]},
        }
        assert summary["seed"] == 8
        assert summary["commit"] == "of the code in memory"
        assert summary["program"] == "experiments.toy"
        assert summary["settings"] == FLAGS
        assert summary["device"]["platform"] == "cpu"
        assert summary["device"]["count"] == 1
        assert set(summary["versions"]) >= {"python", "jax", "jaxlib", "optax", "dbn_jax"}
        assert summary["versions"]["jax"] == __import__("jax").__version__
        assert {p.name for p in run.path.iterdir()} == {
            "figures", "flags.txt", "summary.json", ".lock"
        }  # fmt: skip

    def test_wall_time_adds_up(self, tmp_path, monkeypatch):
        now = [100.0]
        monkeypatch.setattr(workdir.time, "monotonic", lambda: now[0])
        first = open_it(tmp_path)
        now[0] += 7
        first.note_time()
        now[0] += 1
        first.note_time()  # too soon to be written
        assert first.wall_seconds() == 8
        now[0] = 5.0  # another process, whose clock starts anywhere
        second = open_it(tmp_path)
        now[0] += 4
        assert second.write_summary({}, seed=0)["wall_seconds"] == 11

    def test_commit(self, tmp_path, monkeypatch):
        """The commit of the package's own checkout, marked when tracked files have changed."""
        if shutil.which("git") is None:
            pytest.skip("needs git")
        package = tmp_path / "dbn_jax"
        package.mkdir()
        (package / "__init__.py").touch()
        monkeypatch.setattr(workdir, "__file__", str(package / "training" / "workdir.py"))

        def git(*arguments):
            name = ["-c", "user.name=a", "-c", "user.email=a@b"]
            return subprocess.run(
                ["git", *name, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
            ).stdout.strip()

        (tmp_path / "other.py").touch()
        git("init", "-q")
        git("add", "other.py")
        git("commit", "-q", "-m", "without the package")
        assert workdir.commit() is None  # as of a package installed below some other checkout
        git("add", ".")
        git("commit", "-q", "-m", "with the package")
        head = git("rev-parse", "HEAD")
        assert workdir.commit() == head
        git("tag", "v1")
        assert workdir.commit() == head
        with (package / "__init__.py").open("a") as file:
            file.write("\n")
        assert workdir.commit() == f"{head}-dirty"


def test_folders_that_are_no_workdirs(tmp_path):
    with pytest.raises(ValueError, match="the workdir is ''; name a folder"):
        open_it("")
    with pytest.raises(ValueError, match="'s3://bucket/run' is an address in a network"):
        open_it("s3://bucket/run")
    for i, names in enumerate([["model.npz"], ["figures/"], ["summary.json"], ["checkpoints/"]]):
        folder = tmp_path / str(i)
        for name in names:
            (folder / name).mkdir(parents=True)
        with pytest.raises(ValueError, match=rf"holds {names[0][:-1]}.? and no flags.txt, .*back$"):
            open_it(folder)
        assert {x.name for x in folder.iterdir()} == {name.strip("/") for name in names}


@pytest.mark.parametrize("name", ["model.npz", "checkpoints", "figures/features.png", "flags.txt"])
def test_a_run_writes_through_no_symbolic_link(tmp_path, name):
    """The workdir itself may be one."""
    run, other = tmp_path / "run", tmp_path / "other"
    open_it(run)
    other.write_text((run / "flags.txt").read_text())
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(other)
    with pytest.raises(
        ValueError, match=rf"{name} is a symbolic link, and a run writes inside its "
    ):
        open_it(run)
    assert other.read_text() == (run / name).read_text()


def test_what_a_killed_process_left_half_written_goes(tmp_path):
    run = open_it(tmp_path)
    own = [run.path / ".model.npz.123.partial", run.figures / ".curves.png.7.partial"]
    for path in (*own, run.path / "notes.partial"):
        path.write_text("half")
    open_it(tmp_path)
    assert not any(path.exists() for path in own)
    assert (run.path / "notes.partial").exists()


@pytest.mark.parametrize("left", [b"other bytes", None])
def test_a_summary_vouches_for_the_models(tmp_path, left):
    run = open_it(tmp_path)
    (tmp_path / "model.npz").write_bytes(b"bytes")
    summary = run.write_summary({}, seed=0)
    assert summary["files"] == {"model.npz": hashlib.sha256(b"bytes").hexdigest()}
    workdir.check_files(tmp_path, read_summary(tmp_path))
    (tmp_path / "model.npz").unlink()
    if left is not None:
        (tmp_path / "model.npz").write_bytes(left)
    what = "is gone" if left is None else "holds other bytes than the run wrote"
    with pytest.raises(
        ValueError, match=rf"model.npz {what}; put it back, or delete .*summary.json"
    ):
        workdir.check_files(tmp_path, read_summary(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff",
        b"null",
        b"[1, 2]",
        b"[" * 100_000,
        b'{"results": {}, "settings": {}}',
        b'{"results": [], "settings": {}, "program": "p"}',
        b'{"results": {}, "settings": 1, "program": "p"}',
        b'{"results": {}, "settings": {}, "program": "p", "files": 3}',
    ],
)
def test_damaged_summaries(tmp_path, text):
    (tmp_path / "summary.json").write_bytes(text)
    with pytest.raises(
        ValueError, match=r"summary.json is not the summary of a run \(.*\); delete"
    ):
        read_summary(tmp_path)


def test_damaged_notes_are_named(tmp_path):
    open_it(tmp_path)
    for text in ("", "nan", "-1"):
        (tmp_path / "wall_seconds.txt").write_text(text)
        with pytest.raises(ValueError, match=rf"seconds.txt holds '{text}', not a .*delete it"):
            open_it(tmp_path)
    (tmp_path / "flags.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"flags.txt is damaged: it holds bytes that are no text"):
        open_it(tmp_path)


def test_files_are_replaced_whole(tmp_path, monkeypatch):
    """What fails before the new file has its name leaves the old one as it was."""
    run = open_it(tmp_path)
    run.write_summary({"x": 1}, seed=0)

    def full(*_):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        run.write_summary({"x": 2}, seed=0)
    assert read_summary(tmp_path)["results"] == {"x": 1}
    with pytest.raises(OSError, match=r"cannot write .*flags\.txt: no space; make room"):
        open_it(tmp_path)


def test_one_run_at_a_time(tmp_path):
    """Locks belong to open files: another one of this process stands for another process."""
    fcntl = pytest.importorskip("fcntl")
    run = tmp_path / "run"
    run.mkdir()
    with (run / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="in use by another run"):
            open_it(run)
    open_it(run)
    open_it(run)  # one process may come back, as a notebook does
    (tmp_path / "link").symlink_to(run)
    open_it(tmp_path / "link")  # and by another name
    open_it(tmp_path / "link" / ".." / "run")
    shutil.copytree(run, tmp_path / "copy")  # opens and closes the lock's file
    for _ in range(2):
        with (run / ".lock").open("w") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(run)
        open_it(run)
