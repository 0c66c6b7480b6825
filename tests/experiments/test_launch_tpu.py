"""The lines of the launcher, whole; what runs them here is one fake of gcloud, git and sleep."""

import re
import shlex

import pytest

from experiments.launch_tpu import Settings, launch
from tests import binaries

COMMAND = "experiments.train_dbn --workdir=gs://bucket/dbn --epochs=3"
POD = {"name": "pod", "zone": "us-central1-a", "accelerator_type": "v5litepod-16"}
WHERE = "pod --zone=us-central1-a"
HOSTS = "gcloud compute tpus tpu-vm"
PAGE = (binaries.ROOT / "docs/howto/tpu.md").read_text()

CHANGES = "git status --short --untracked-files=no"
REQUEST = f"gcloud compute tpus queued-resources describe {WHERE} '--format=value(state.state)'"
CREATE = (
    f"gcloud compute tpus queued-resources create {WHERE} --node-id=pod "
    "--accelerator-type=v5litepod-16 --runtime-version=v2-alpha-tpuv5-lite"
)
WAIT = "sleep 60"
BUNDLE = "git bundle create -q /tmp/pod.bundle HEAD"
COPY = f"{HOSTS} scp /tmp/pod.bundle pod:dbn_jax.bundle --zone=us-central1-a --worker=all"
INSTALL = (
    f"{HOSTS} ssh {WHERE} --worker=all '--command=rm -rf dbn_jax && git -c "
    "advice.detachedHead=false clone -q dbn_jax.bundle dbn_jax && cd dbn_jax && python3 -m pip "
    "install -q uv && python3 -m uv venv -q --python=3.12 && python3 -m uv pip install -q -r "
    "requirements-tpu.txt'"
)
RUN = f"{HOSTS} ssh {WHERE} --worker=all '--command=cd dbn_jax && .venv/bin/python -m {COMMAND}'"
NODE = f"{HOSTS} describe {WHERE} '--format=value(state)'"
DELETE = f"gcloud compute tpus queued-resources delete {WHERE} --force --quiet"

# What the fake does: it notes its words, says what the test wrote for this call, and ends as that
# says; INT is a Ctrl-C while it runs.
FAKE = """#!/bin/sh
cd {folder}
n=$(wc -l < calls)
for word in "$(basename "$0")" "$@"; do printf '%s\\t' "$word"; done >> calls
echo >> calls
cat reply$((n))
status=$(cat status$((n)))
if [ $status = INT ]; then kill -INT $PPID; status=130; fi
exit ${{status:-99}}
"""

# Courses: each line with its answer, and its exit status if that is not 0.
NOBODY_ASKED = [(CHANGES, ""), (REQUEST, "", 1), (CREATE, "")]
INSTALLED = [(REQUEST, "ACTIVE"), (BUNDLE, ""), (COPY, ""), (INSTALL, "")]
UNDISTURBED = [*NOBODY_ASKED, *INSTALLED, (RUN, ""), (DELETE, "")]
QUEUED = [
    *NOBODY_ASKED,
    *[(REQUEST, "WAITING_FOR_RESOURCES"), (WAIT, ""), (REQUEST, "PROVISIONING"), (WAIT, "")],
    *[*INSTALLED, (RUN, ""), (DELETE, "")],
]
PREEMPTED = [
    *[*NOBODY_ASKED, *INSTALLED],
    # Once while it ran; then its installation was broken off; then what is there no more.
    *[(RUN, "", 143), (WAIT, ""), (NODE, "PREEMPTED"), (DELETE, "")],
    *[(REQUEST, "", 1), (CREATE, ""), *INSTALLED[:-1], (INSTALL, "", 1)],
    *[(WAIT, ""), (NODE, "", 1), (DELETE, "")],
    *[(REQUEST, "SUSPENDED"), (DELETE, ""), (CREATE, ""), *INSTALLED, (RUN, ""), (DELETE, "")],
]  # fmt: skip
ALREADY_THERE = [(CHANGES, ""), (REQUEST, "ACTIVE"), *INSTALLED, (RUN, "")]
FAILING = [*NOBODY_ASKED, *INSTALLED, (RUN, "", 1), (WAIT, ""), (NODE, "READY")]


@pytest.fixture
def play(tmp_path, monkeypatch, capfd):
    """Launches while the fake plays a course, whose lines must be those printed and those run."""

    def play(course, **settings):
        for i, (_, reply, *status) in enumerate(course):
            (tmp_path / f"reply{i}").write_text(reply)
            (tmp_path / f"status{i}").write_text(str(*(status or [0])))
        try:
            launch(Settings(**POD, command=COMMAND, **settings))
        finally:
            printed = capfd.readouterr().out.splitlines()
            lines = [line for line, *_ in course]
            assert printed == lines
            calls = (tmp_path / "calls").read_text().splitlines()
            assert [call.split("\t")[:-1] for call in calls] == [shlex.split(x) for x in lines]

    (tmp_path / "calls").touch()
    (tmp_path / "bin").mkdir()
    for name in ("gcloud", "git", "sleep"):
        path = tmp_path / "bin" / name
        path.write_text(FAKE.format(folder=shlex.quote(str(tmp_path))))
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return play


@pytest.mark.parametrize("course", [UNDISTURBED, QUEUED, PREEMPTED])
def test_it_runs_to_the_end_and_deletes(play, course):
    play(course)


def test_what_is_kept_is_used_again(play):
    play(ALREADY_THERE, keep=True)


@pytest.mark.parametrize("keep", [False, True])
def test_a_failure_that_is_no_preemption_ends_it(play, keep):
    words = (
        r"^pod is ready, so that what failed above was no preemption; once that is mended, the "
        r"same line resumes$"
    )
    with pytest.raises(OSError, match=words):
        play(FAILING if keep else [*FAILING, (DELETE, "")], keep=keep)


@pytest.mark.parametrize("keep", [False, True])
def test_ctrl_c_deletes_what_is_not_kept(play, keep):
    course = [*NOBODY_ASKED, *INSTALLED, (RUN, "", "INT")]
    with pytest.raises(KeyboardInterrupt):
        play(course if keep else [*course, (DELETE, "")], keep=keep)


@pytest.mark.parametrize(
    ("course", "words"),
    [
        ([(CHANGES, " M README.md")],
         r"^changes that are in no commit do not reach the TPU; commit them$"),
        ([*NOBODY_ASKED[:2], (CREATE, "", 1)],
         f"^failed, as is told above: {CREATE}$"),
        ([*NOBODY_ASKED, (REQUEST, "FAILED")],
         r"^the request ended as FAILED; this tells why: gcloud compute tpus queued-resources "
         f"describe {WHERE}$"),
    ],
)  # fmt: skip
def test_what_ends_before_there_is_a_tpu(play, course, words):
    with pytest.raises((ValueError, OSError), match=words):
        play(course)


@pytest.mark.parametrize(
    ("type_", "spot", "created"),
    [
        ("v5litepod-8", False, "v5litepod-8 --runtime-version=v2-alpha-tpuv5-lite"),
        ("v6e-16", True, "v6e-16 --runtime-version=v2-alpha-tpuv6e --spot"),
        ("v5p-8", True, "v5p-8 --runtime-version=v2-alpha-tpuv5 --spot"),
        ("v4-8", False, "v4-8 --runtime-version=tpu-ubuntu2204-base"),
    ],
)
def test_a_dry_run_prints_the_lines_and_runs_none(monkeypatch, capfd, type_, spot, created):
    monkeypatch.setenv("PATH", "/nowhere")
    settings = {**POD, "accelerator_type": type_, "spot": spot, "command": COMMAND}
    launch(Settings(**settings, dry_run=True))
    create = CREATE.replace("v5litepod-16 --runtime-version=v2-alpha-tpuv5-lite", created)
    lines = [CHANGES, REQUEST, create, REQUEST, BUNDLE, COPY, INSTALL, RUN, DELETE]
    assert capfd.readouterr().out.splitlines() == lines


BAD = {
    "v5e-8": "--accelerator_type=v5e-8: expected a type such as v6e-8, v5p-8, v5litepod-8, v4-8",
    "train_dbn --workdir=gs://b/x": "--command=train_dbn --workdir=gs://b/x: train_dbn is no "
    "command; begin with one, such as experiments.train_dbn",
    "": "--command=: nothing is no command; begin with one, such as experiments.train_dbn",
    "experiments.train_dbm": "--command=experiments.train_dbm: experiments.train_dbm is no "
    "command; begin with one, such as experiments.train_dbn",
    "experiments.train_dbn --workdir=runs/x": "--command=experiments.train_dbn --workdir=runs/x: "
    "a folder on the TPU is lost with it; add --workdir=gs://bucket/folder",
    "experiments.train_dbn 'x": "--command=experiments.train_dbn 'x: No closing quotation",
}


@pytest.mark.parametrize("value", BAD)
def test_what_cannot_work_is_refused_in_a_sentence(value):
    settings = {**POD, "command": COMMAND}
    settings["accelerator_type" if value == "v5e-8" else "command"] = value
    with pytest.raises(ValueError, match=r"^--") as e:
        Settings(**settings)
    assert str(e.value) == BAD[value]


def test_without_gcloud_nothing_begins(monkeypatch, capfd):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ValueError, match=r"^gcloud is not on this machine; see https://"):
        launch(Settings(**POD, command=COMMAND))
    assert capfd.readouterr().out == ""


def test_the_page_shows_what_is_printed():
    line, _, rest = PAGE.partition("<!-- launch -->\n```sh\n")[2].partition("```\n")
    shown = rest.partition("```text\n")[2].partition("```")[0]
    _, _, module, *flags = shlex.split(line.replace("\\\n", ""))
    done = binaries.run(module, *flags, "--dry_run")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == shown


def test_the_commands_of_the_page_exist():
    commands = set(re.findall(r"experiments\.(\w+)", PAGE))
    assert {"launch_tpu", "train_dbn"} < commands
    for command in commands:
        assert (binaries.ROOT / "experiments" / f"{command}.py").is_file(), command
