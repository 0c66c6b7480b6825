"""The binaries in processes of their own, forked from one that has imported what they import.

`python -m experiments.train_dbn` spends most of three seconds on imports. A fork server of
`multiprocessing` does that once for all tests of a process, and every command line gets a fork of
it, in which the module runs as `python -m` runs it. JAX may be forked as long as no backend has
started: it starts in the fork.
"""

import atexit
import dataclasses
import multiprocessing
import os
import pathlib
import re
import runpy
import sys
import tempfile
from multiprocessing import forkserver
from unittest import mock

from tests import buckets

ROOT = pathlib.Path(__file__).parent.parent
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "experiments.baselines", "experiments.evaluate", "experiments.finetune_classifier",
        "experiments.finetune_updown", "experiments.generate", "experiments.train_autoencoder",
        "experiments.train_convolutional", "experiments.train_patches", "experiments.train_rbm",
        "experiments.train_sequences", "ipykernel.ipkernel", "orbax.checkpoint",
    ]
)  # fmt: skip


def environment():
    """Of the processes: that of the tests, with one device."""
    one_device = re.sub(r"--xla_force_host_platform_device_count=\d+", "", os.environ["XLA_FLAGS"])
    return {
        **os.environ,
        "XLA_FLAGS": one_device,
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
    }


@dataclasses.dataclass(frozen=True)
class Done:
    """How a process ended, as in `subprocess.CompletedProcess`."""

    returncode: int
    stdout: str
    stderr: str


def start(
    module, *flags, output=os.devnull, errors=os.devnull, folder=ROOT, variables=None, prepare=None
):
    """Starts `python -m module flags…` in the folder; what it prints goes to the files.

    Variables are added to those of the process, and `prepare` is called in it first. Of the
    variables of this process, those of an emulated bucket hold there at once; all others as they
    were when the first command started.
    """
    with mock.patch.dict(os.environ, environment()):
        forkserver.ensure_running()
    variables = buckets.variables() | (variables or {})
    arguments = (module, flags, output, errors, folder, variables, prepare)
    process = _CONTEXT.Process(target=_main, args=arguments, daemon=True)
    process.start()
    return process


def run(module, *flags):
    """Runs `python -m module flags…` to its end; see `start`."""
    with tempfile.TemporaryDirectory() as folder:
        output, errors = pathlib.Path(folder, "output"), pathlib.Path(folder, "errors")
        process = start(module, *flags, output=output, errors=errors)
        process.join()
        return Done(process.exitcode, output.read_text(), errors.read_text())


def _main(module, flags, output, errors, folder, variables, prepare):
    os.environ.update(variables)
    for descriptor, path in ((1, output), (2, errors)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
        os.close(file)
    os.chdir(folder)
    if prepare is not None:
        prepare()
    sys.argv = [module, *flags]
    sys.modules.pop(module, None)  # or `runpy` warns
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # as Python does at the end, but not in forks
