"""What an update costs a fresh process: import, compile time and peak memory, for `benchmark`.

``python -m experiments.benchmarks.memory 784x500x100`` measures one process and prints JSON. This
module imports nothing but the standard library, so that the imports it times are the first.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_STATUS = Path("/proc/self/status")


def peak_rss() -> int | None:
    """Largest resident memory of this process so far, in bytes; None where it is not told."""
    # Where there is VmHWM: it starts anew at exec, while ru_maxrss keeps a larger parent's peak.
    status = _STATUS.read_text() if _STATUS.exists() else ""
    if told := re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE):
        return int(told[1]) * 1024
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def measure_here(case_text: str) -> dict:
    """Imports, compiles and runs CD-1 in this process, which must not have imported jax before.

    Args:
      case_text: such as 784x500x100.

    Returns:
      Seconds and bytes, see `measure`.
    """
    if "jax" in sys.modules:
        raise RuntimeError("jax is imported already: measure in a process of its own")
    times = [time.perf_counter()]
    import jax
    import optax  # noqa: F401

    times.append(time.perf_counter())
    import dbn_jax.rbm  # noqa: F401

    times.append(time.perf_counter())
    from experiments.benchmarks import rbm_updates

    case = rbm_updates.Case.parse(case_text)
    batches = jax.device_put(rbm_updates.make_batches(case))
    jax.block_until_ready(batches)
    rss_before = peak_rss()
    program = rbm_updates.update(case, batches, num_updates=10)
    jax.block_until_ready(program.call())
    device = jax.local_devices()[0].memory_stats() or {}
    return {
        "import_jax_optax_seconds": times[1] - times[0],
        "import_dbn_jax_rbm_seconds": times[2] - times[1],
        "compile_seconds": program.compile_seconds,
        "host_peak_bytes": peak_rss(),
        "host_peak_before_bytes": rss_before,
        "device_peak_bytes": device.get("peak_bytes_in_use"),
        "program_temporary_bytes": program.memory_bytes,
    }


def measure(case_text: str, repeats: int) -> list[dict]:
    """Measures in processes of their own, one after the other.

    Args:
      case_text: such as 784x500x100.
      repeats: number of processes.

    Returns:
      For each process: `import_jax_optax_seconds`; `import_dbn_jax_rbm_seconds`, what the import of
      dbn_jax.rbm adds; `compile_seconds` of a scan of CD-1 updates, tracing included;
      `host_peak_bytes` after running it, and `host_peak_before_bytes`, with the data alone;
      `device_peak_bytes`, None for CPUs; `program_temporary_bytes`, what XLA allots.

    Raises:
      RuntimeError: a process failed; the message ends with what it printed.
    """
    # A GPU's memory is not taken as a whole, so that its peak means something.
    environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    results = []
    for _ in range(repeats):
        process = subprocess.run(
            [sys.executable, "-m", "experiments.benchmarks.memory", case_text],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
        )
        if process.returncode:
            raise RuntimeError(
                f"measuring {case_text} in a process of its own failed (a TPU serves one process "
                f"at a time; --nofootprint leaves this part out):\n{process.stderr[-2000:]}"
            )
        results.append(json.loads(process.stdout.splitlines()[-1]))
    return results


if __name__ == "__main__":
    print(json.dumps(measure_here(sys.argv[1])))
