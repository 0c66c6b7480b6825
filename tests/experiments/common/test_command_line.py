"""What a command line says, by an experiment of some fifty lines (`toy_experiment`)."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from tests import binaries, finished_runs

TOY = "tests.experiments.common.toy_experiment"
COMMANDS = sorted(
    path.stem
    for path in (binaries.ROOT / "experiments").glob("*.py")
    if "runs.main(" in path.read_text() or "command_line.main(" in path.read_text()
)


def test_help_lists_every_flag_in_groups_and_ends_well():
    done = binaries.run(TOY, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("A whole experiment: its settings")
    assert lines[2] == f"Usage: python -m {TOY} --flag=value …"
    titles = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert titles == ["Run:", "Data:", "Experiment:", "Every command:"]
    for flag in ("--workdir (required)", "--num_hidden=8", "--dataset=digits", "--seed=0"):
        assert f"  {flag}" in lines
    assert all(len(line) <= 100 for line in lines)


def test_there_are_twenty_two_commands_in_the_list():
    assert len(COMMANDS) == 22
    listed = binaries.run("experiments").stdout.splitlines()
    names = [line.split()[0] for line in listed if line.startswith("  ")]
    assert names == COMMANDS
    assert all(line.endswith(".") and len(line) <= 120 for line in listed if line)
    done = binaries.run("experiments", "train_dbn")
    assert done.returncode == 1
    assert done.stderr == (
        "write python -m experiments.train_dbn, with a dot, or nothing for the list\n"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_text_is_a_sentence(command):
    done = binaries.run(f"experiments.{command}", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    texts = re.findall(r"^  --.*\n((?: {6}.*\n)+)", done.stdout, re.MULTILINE)
    assert len(texts) == done.stdout.count("\n  --") > 2
    assert all(text[6].isupper() and text.endswith(".\n") for text in texts), texts


BAD = {
    "--dataset=digits": "--workdir is required: folder of the run: a new one, or that of a run to "
    "be resumed.",
    "--epoch=3": "--epoch is no flag of this command; did you mean --epochs?",
    "--epochs=x": "--epochs=x: expected a whole number of at least 1",
    "--standardise=maybe": "--standardise=maybe: expected true or false",
    "--nostandardise=1": "--nostandardise=1 does not take an argument",
    "--epochs": "Missing value for flag --epochs",
    "--flagfile=/none": "Unable to open flagfile: [Errno 2] No such file or directory: '/none'",
    "epochs=3 more": "epochs=3 more: expected flags only, as --name=value",
}


@pytest.mark.parametrize(("line", "words"), BAD.items())
def test_a_bad_line_ends_in_one_sentence(line, words):
    done = binaries.run(TOY, *line.split())
    assert (done.returncode, done.stdout) == (1, "")
    sentence, remedy = done.stderr.splitlines()
    assert sentence == words
    assert remedy in ("(--help tells every flag)", "(--verbosity=1 shows where)")


def test_a_flagfile_that_is_no_text_is_named(tmp_path):
    (tmp_path / "model").write_bytes(bytes(range(128, 256)))
    done = binaries.run(TOY, f"--flagfile={tmp_path}/model")
    words = f"--flagfile={tmp_path}/model: the file cannot be read as flags, one a line ("
    assert done.stderr.startswith(words)


def _start(*flags, **variables):
    environment = {**binaries.environment(), **variables}
    return subprocess.Popen(
        [sys.executable, "-m", *flags],
        cwd=binaries.ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("command", ["train_rbm", "evaluate"])
def test_a_device_that_is_not_there(tmp_path, command):
    line = "--dataset=digits"
    if command == "evaluate":
        line = f"--pretrained={finished_runs.random_net(tmp_path / 'net', (10, 12))}"
    flags = f"--workdir={tmp_path}/run", line
    process = _start(f"experiments.{command}", *flags, JAX_PLATFORMS="abacus")
    stdout, stderr = process.communicate(timeout=120)
    assert (process.returncode, stdout) == (1, "")
    assert stderr.startswith(
        "JAX_PLATFORMS=abacus: JAX finds no such device on this machine; leave the variable unset "
        "to take what there is, or set it to cpu (Unable to initialize backend 'abacus'"
    )


@pytest.mark.skipif(not pathlib.Path("/proc").exists(), reason="asks Linux what is imported")
def test_ctrl_c_during_imports_ends_as_the_signal_does():
    process = _start("experiments.train_rbm", "--help")
    maps, deadline = pathlib.Path(f"/proc/{process.pid}/maps"), time.monotonic() + 60
    while "jaxlib" not in maps.read_text():  # which the command imports, after the package
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == -signal.SIGINT
