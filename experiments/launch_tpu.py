"""Runs a command on Cloud TPUs of one host or many, again after each preemption, and deletes them.

    python -m experiments.launch_tpu --name=rbm --zone=us-central1-a --spot \
        --accelerator_type=v5litepod-16 \
        --command='experiments.train_rbm --workdir=gs://BUCKET/rbm --ensemble=16'

To be run from a clone of the project, on a machine with `gcloud` that stays on. It asks for the
TPU by a queued resource and waits, copies the commit that is checked out to all hosts, installs it
there, and runs `python -m COMMAND` on all of them. A TPU that was preempted is deleted and asked
for anew, and the same command resumes from the bucket. At the end the TPU is deleted, also after a
failure and a Ctrl-C.

Each line of the shell is printed before it is run; with --dry_run none is run.
"""

import dataclasses
import importlib.util
import shlex
import shutil
import subprocess

from experiments.common import command_line
from experiments.common.settings import Declared, about, setting

# What Google names for JAX, by the beginning of the type: docs.cloud.google.com/tpu/docs/runtimes.
_RUNTIMES = {
    "v6e-": "v2-alpha-tpuv6e",
    "v5p-": "v2-alpha-tpuv5",
    "v5litepod-": "v2-alpha-tpuv5-lite",
    "v4-": "tpu-ubuntu2204-base",
}
# States of a request that will never be active again.
_ENDED = ("FAILED", "SUSPENDING", "SUSPENDED")
# uv brings a Python that is new enough; the hosts' own may be older than 3.11.
_INSTALL = (
    "rm -rf dbn_jax && git -c advice.detachedHead=false clone -q dbn_jax.bundle dbn_jax && "
    "cd dbn_jax && python3 -m pip install -q uv && python3 -m uv venv -q --python=3.12 && "
    "python3 -m uv pip install -q -r requirements-tpu.txt"
)
_REQUEST = "gcloud", "compute", "tpus", "queued-resources"
_HOSTS = "gcloud", "compute", "tpus", "tpu-vm"
_SECONDS = "60"  # between two looks at a queue; and for a preempted TPU to say that it is


class Settings(Declared, title="TPU"):
    """Which TPUs, and what they run."""

    name: str = setting(help="Name of the TPU and of the request for it.")
    zone: str = setting(help="Zone of Google Cloud, such as us-central1-a.")
    accelerator_type: str = setting(
        help="Type and size: v5litepod-8 is one host with 8 chips, v5litepod-16 is several hosts."
    )
    spot: bool = setting(False, "Ask for spot TPUs, which cost less and can be preempted.")
    command: str = setting(
        help="What every host runs after 'python -m', in quotes; its --workdir is in a bucket."
    )
    keep: bool = setting(
        False, "Keep the TPU, which goes on to cost, when the command has ended or failed."
    )
    dry_run: bool = setting(False, "Print the lines of an undisturbed run, and run nothing.")

    def __post_init__(self):
        super().__post_init__()
        if not any(map(self.accelerator_type.startswith, _RUNTIMES)):
            raise ValueError(
                f"--accelerator_type={self.accelerator_type}: expected a type such as "
                f"{', '.join(f'{start}8' for start in _RUNTIMES)}"
            )
        with about(f"--command={self.command}"):
            module, *words = shlex.split(self.command) or [""]
            if not module.startswith("experiments.") or not importlib.util.find_spec(module):
                raise ValueError(
                    f"{module or 'nothing'} is no command; begin with one, such as "
                    "experiments.train_dbn"
                )
            if not any(word.startswith("--workdir=gs://") for word in words):
                raise ValueError(
                    "a folder on the TPU is lost with it; add --workdir=gs://bucket/folder"
                )

    @property
    def runtime_version(self) -> str:
        """The software of the hosts."""
        return next(v for start, v in _RUNTIMES.items() if self.accelerator_type.startswith(start))


@dataclasses.dataclass(frozen=True)
class _Shell:
    """Prints lines of a shell, and runs them unless it is dry."""

    dry: bool

    def succeeds(self, *words: str) -> bool:
        """Whether a line ends well; a dry one does."""
        print(shlex.join(words), flush=True)
        return self.dry or subprocess.run(words, check=False).returncode == 0

    def run(self, *words: str) -> None:
        """Runs a line that has to end well."""
        if not self.succeeds(*words):
            raise OSError(f"failed, as is told above: {shlex.join(words)}")

    def answer(self, *words: str, dry: str) -> str:
        """What a line prints; nothing where it fails, such as for what does not exist."""
        print(shlex.join(words), flush=True)
        if self.dry:
            return dry
        done = subprocess.run(words, check=False, stdout=subprocess.PIPE, text=True)
        return done.stdout.strip()


class _TPU:
    """A TPU, and the queued request for it, which has its name."""

    def __init__(self, settings: Settings):
        self._settings = settings
        self._shell = _Shell(settings.dry_run)
        self._where = (settings.name, f"--zone={settings.zone}")

    def acquire(self) -> None:
        """Waits until the TPU is there; asks for it if nobody has, or if it was taken away."""
        state = self._request_state(dry="")
        if state in _ENDED:
            self.delete()
        if state in ("", *_ENDED):
            self._shell.run(
                *(*_REQUEST, "create", *self._where),
                f"--node-id={self._settings.name}",
                f"--accelerator-type={self._settings.accelerator_type}",
                f"--runtime-version={self._settings.runtime_version}",
                *(["--spot"] if self._settings.spot else []),
            )
        while (state := self._request_state(dry="ACTIVE")) != "ACTIVE":
            if state in _ENDED:
                describe = shlex.join([*_REQUEST, "describe", *self._where])
                raise OSError(f"the request ended as {state}; this tells why: {describe}")
            self._shell.run("sleep", _SECONDS)

    def _request_state(self, dry):
        words = *_REQUEST, "describe", *self._where, "--format=value(state.state)"
        return self._shell.answer(*words, dry=dry)

    def install(self) -> bool:
        """Installs the commit that is checked out here on all hosts; whether that ended well."""
        name, zone = self._where
        bundle = f"/tmp/{name}.bundle"
        self._shell.run("git", "bundle", "create", "-q", bundle, "HEAD")
        copy = *_HOSTS, "scp", bundle, f"{name}:dbn_jax.bundle", zone, "--worker=all"
        return self._shell.succeeds(*copy) and self._on_all(_INSTALL)

    def run(self) -> bool:
        """Runs the command on all hosts; whether that ended well."""
        return self._on_all(f"cd dbn_jax && .venv/bin/python -m {self._settings.command}")

    def _on_all(self, command):
        words = *_HOSTS, "ssh", *self._where, "--worker=all", f"--command={command}"
        return self._shell.succeeds(*words)

    def is_ready(self) -> bool:
        """Whether the TPU is still there, a while after something failed on it."""
        self._shell.run("sleep", _SECONDS)
        words = *_HOSTS, "describe", *self._where, "--format=value(state)"
        return self._shell.answer(*words, dry="READY") == "READY"

    def delete(self) -> None:
        """Deletes the TPU and its request."""
        self._shell.run(*_REQUEST, "delete", *self._where, "--force", "--quiet")

    def check_commit(self) -> None:
        """Raises ValueError if what is checked out here differs from its commit."""
        if self._shell.answer("git", "status", "--short", "--untracked-files=no", dry=""):
            raise ValueError("changes that are in no commit do not reach the TPU; commit them")


def launch(settings: Settings) -> None:
    """Runs the command on the TPU to its end."""
    if not settings.dry_run and shutil.which("gcloud") is None:
        raise ValueError("gcloud is not on this machine; see https://cloud.google.com/sdk/docs")
    tpu, lost = _TPU(settings), True
    tpu.check_commit()
    while lost:
        tpu.acquire()
        lost = False
        try:
            if not (tpu.install() and tpu.run()):
                lost = not tpu.is_ready()
                if not lost:
                    raise OSError(
                        f"{settings.name} is ready, so that what failed above was no preemption; "
                        "once that is mended, the same line resumes"
                    )
        finally:
            if lost or not settings.keep:
                tpu.delete()


if __name__ == "__main__":
    stopped = "stopped by Ctrl-C; a request that is still in the queue has to be deleted"
    command_line.main(launch, Settings, stopped=stopped)
