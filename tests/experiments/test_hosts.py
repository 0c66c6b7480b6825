"""Several hosts, each a process with two devices: one run, however they are slowed or stopped."""

import functools
import io
import itertools
import os
import signal
import socket
import time

import jax
import numpy as np
import pytest

from dbn_jax import data, figures, training
from tests import binaries
from tests.data import test_idx

TOY = "tests.experiments.common.toy_experiment"
FLAGS = ("--epochs=10", "--num_hidden=6")
TIMEOUT = 100  # seconds


def start(folder, *flags, command=TOY, count=2, prepare=None):
    """Starts the processes of a run; `prepare` maps a process's number to what is called in it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    devices = f"{binaries.environment()['XLA_FLAGS']} --xla_force_host_platform_device_count=2"
    shared = {"XLA_FLAGS": devices}
    if count > 1:
        shared |= {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": str(count)}
    return [
        binaries.start(
            command,
            *flags,
            output=folder / f"output.{i}",
            errors=folder / f"errors.{i}",
            variables=shared | ({"JAX_PROCESS_ID": str(i)} if count > 1 else {}),
            prepare=(prepare or {}).get(i),
        )
        for i in range(count)
    ]


def run(folder, *flags, codes=((0,), (0,)), **options):
    """Runs the processes to their ends, each with one of its codes, and returns what they said."""
    processes = start(folder, *flags, **options)
    try:
        deadline = time.monotonic() + TIMEOUT
        for process in processes:
            process.join(deadline - time.monotonic())
        said = [(folder / f"errors.{i}").read_text() for i in range(len(processes))]
        for process, allowed in zip(processes, codes, strict=False):
            assert process.exitcode in allowed, "\n".join(said)
        return said
    finally:
        for process in processes:
            process.kill()
            process.join()


def at_epoch(number, action):
    """In a process: at the end of this epoch of it, the action; of all, if it is None."""
    epochs, note_time = itertools.count(), training.Workdir.note_time

    def watch(self):
        note_time(self)
        if next(epochs) == number or number is None:
            action()

    training.Workdir.note_time = watch


def get(signal_number):
    os.kill(os.getpid(), signal_number)


FULL = "cannot write metrics_rbm.csv: No space left on device; make room"


def draw_nothing():
    figures.files.png = lambda figure, scale: b""


def fail():
    raise OSError(FULL)


def early(signal_number):
    """In a process: the signal before there is a loop that notes it."""
    open_workdir = training.open_workdir

    def signalled(*args, **kw):
        get(signal_number)
        return open_workdir(*args, **kw)

    training.open_workdir = signalled


def beat_quickly(then):
    """What JAX notices in 100 seconds, of a process that has died, it notices in ten."""
    jax.distributed.initialize = functools.partial(
        jax.distributed.initialize, heartbeat_timeout_seconds=10
    )
    then()


def second_dies(how):
    """To be prepared: the second process does so, and the first notices."""
    return {i: functools.partial(beat_quickly, then) for i, then in enumerate((int, how))}


ROUNDING = {"rtol": 1e-4, "atol": 1e-5}
# One that another has left ends by its own sentence or, if JAX's service notices first, by its.
LEFT = (1, -signal.SIGABRT)
slowed = functools.partial(at_epoch, None, functools.partial(time.sleep, 0.1))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The workdir of an unbroken run of two processes, of which one is slow."""
    folder = tmp_path_factory.mktemp("unbroken")
    run(
        folder,
        *FLAGS,
        f"--workdir={folder / 'run'}",
        "--checkpoint_seconds=0.2",
        prepare={1: slowed},
    )
    return folder / "run"


def same(run, other, *, model="model.npz", **tolerances):
    """Holds weights and metrics to be equal, to the bit unless there are tolerances."""
    models = (dict(np.load(io.BytesIO((p / model).read_bytes()))) for p in (run, other))
    tables = (training.read_metrics(place / "metrics_rbm.csv") for place in (run, other))
    for ours, theirs in (models, tables):
        assert ours.keys() == theirs.keys()
        for name in ours.keys() - {"seconds", "images_per_second", "description"}:
            np.testing.assert_allclose(ours[name], theirs[name], **{"rtol": 0} | tolerances)


def test_two_processes_learn_what_one_learns(unbroken, tmp_path):
    """Checkpoints are timed by clocks that differ, and one process is slow."""
    run(tmp_path, *FLAGS, f"--workdir={tmp_path / 'run'}", count=1)
    same(unbroken, tmp_path / "run", **ROUNDING)
    device = training.read_summary(unbroken)["device"]
    assert (device["count"], device["processes"]) == (4, 2)


def test_ensembles_lie_on_all_hosts(tmp_path):
    flags = "--dataset=digits", "--ensemble=4", "--epochs=1", "--num_hidden=6", "--sample_steps=1"
    for count in (1, 2):
        workdir = f"--workdir={tmp_path / str(count)}"
        prepare = dict.fromkeys(range(count), draw_nothing)
        run(
            tmp_path, *flags, workdir, command="experiments.train_rbm", count=count, prepare=prepare
        )
    for name in ("", "_seed_1", "_seed_2", "_seed_3"):
        same(tmp_path / "1", tmp_path / "2", model=f"model{name}.npz", **ROUNDING)


def test_they_stop_together_and_go_on_to_the_same_bits(unbroken, tmp_path):
    """Whether one is asked to stop, fails, or is killed: no other is left waiting."""
    flags = *FLAGS, f"--workdir={tmp_path / 'run'}", "--checkpoint_seconds=0"
    again = functools.partial(run, tmp_path, *flags)
    term, kill = (
        functools.partial(at_epoch, 2, functools.partial(get, number))
        for number in (signal.SIGTERM, signal.SIGKILL)
    )
    begun = functools.partial(early, signal.SIGTERM)
    again(prepare=second_dies(begun), codes=[LEFT, (-signal.SIGTERM,)])
    asked = again(prepare={1: term}, codes=2 * [(-signal.SIGTERM,)])
    for said in asked:
        assert "stopped by SIGTERM after 28 updates; a checkpoint is saved, the same" in said
    failed, left = again(prepare={0: functools.partial(at_epoch, 1, fail)}, codes=[(1,), LEFT])
    assert failed.endswith(f"{FULL}\n(--verbosity=1 shows where)\n")
    assert "another process of this run has ended" in left or "another task died" in left
    again(prepare=second_dies(kill), codes=[LEFT, (-signal.SIGKILL,)])
    again()
    same(unbroken, tmp_path / "run")


def test_any_number_of_processes_goes_on(unbroken, bucket, tmp_path):
    """Two are stopped, then one is, and two end the run, all in a bucket."""
    flags = *FLAGS, f"--workdir={bucket / 'run'}", "--checkpoint_seconds=0"
    stop = functools.partial(at_epoch, 2, functools.partial(get, signal.SIGTERM))
    for count in (2, 1):
        codes = count * [(-signal.SIGTERM,)]
        (said, *_) = run(tmp_path, *flags, count=count, prepare={0: stop}, codes=codes)
        assert "a checkpoint is saved" in said
    run(tmp_path, *flags)
    same(unbroken, bucket / "run", **ROUNDING)


def test_each_process_reads_its_rows_from_files(tmp_path):
    """They are streamed to the same bits as from memory; 400 bytes of images are more than none."""
    digits = data.load("digits")
    arrays = {
        f"{part}-{kind}-idx{dimensions}-ubyte": x
        for part, split in (("train", digits.train), ("t10k", digits.test))
        for kind, dimensions, x in (
            ("images", 3, split.images.reshape(-1, 8, 8) * np.uint8(15)),
            ("labels", 1, split.labels.astype(np.uint8)),
        )
    }
    test_idx.write(tmp_path, arrays)
    for name, gigabytes in (("files", 0), ("memory", 1)):
        flags = f"--workdir={tmp_path / name}", f"--resident_gigabytes={gigabytes}"
        run(tmp_path, *FLAGS, *flags, "--dataset=mnist", f"--data_dir={tmp_path}")
    same(tmp_path / "files", tmp_path / "memory")


def test_processes_share_a_workdir_or_are_refused(tmp_path):
    folders = [tmp_path / str(i) for i in range(2)]
    prepare = {i: functools.partial(os.chdir, folder) for i, folder in enumerate(folders)}
    for folder in folders:
        folder.mkdir()
    said = run(tmp_path, *FLAGS, "--workdir=run", prepare=prepare, codes=[(1,), LEFT])
    assert said[0] == (
        f"{folders[0] / 'run'} is not the same folder for all processes of the run; choose as "
        "--workdir one that they share, in a bucket (gs://bucket/run) or on a network disk\n"
        "(--verbosity=1 shows where)\n"
    )
