"""Where a figure comes from: command, commit, machine, versions, devices."""

import datetime
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

import jax

_ROOT = Path(__file__).resolve().parent.parent


def describe_run() -> dict:
    """Describes the run but for its devices, which it does not touch.

    Returns:
      `command`, `date` (UTC), `commit` (None outside a git checkout), `machine`, `environment` (the
      variables that change what is computed or how fast) and `versions`.
    """
    git = ["git", "-C", str(_ROOT)]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        status = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        commit += " with changes" if status else ""
    except (OSError, subprocess.CalledProcessError):
        commit = None  # not a git checkout
    cpu = Path("/proc/cpuinfo")
    names = [
        line.partition(":")[2].strip()
        for line in (cpu.read_text().splitlines() if cpu.exists() else [])
        if line.startswith("model name")
    ]
    packages = ("jax", "jaxlib", "optax", "numpy")
    variables = ("XLA_FLAGS", "JAX_PLATFORMS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    return {
        "command": shlex.join(sys.argv),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "machine": {
            "platform": platform.platform(),
            "processor": names[0] if names else platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        },
        "environment": {name: os.environ[name] for name in variables if name in os.environ},
        "versions": {
            "python": platform.python_version(),
            **{package: importlib.metadata.version(package) for package in packages},
        },
    }


def describe_device() -> dict:
    """The devices that jax computes on; starts them."""
    devices = jax.devices()
    return {
        "platform": devices[0].platform,
        "kind": devices[0].device_kind,
        "count": len(devices),
    }
