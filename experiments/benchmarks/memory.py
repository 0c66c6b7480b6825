"""Import time, compile time and peak memory of updates in a fresh process.

``python -m experiments.benchmarks.memory 784x500x100`` measures one process and prints JSON. This
module imports nothing but the standard library, so that the imports it times are the first.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from experiments.common.memory import peak_rss

_ROOT = Path(__file__).parents[2]


def measure_here(case_text: str) -> dict:
    """Measures this process, which must not have imported jax before."""
    if "jax" in sys.modules:
        raise RuntimeError("jax is imported already: measure in a process of its own")
    times = [time.perf_counter()]
    import jax
    import optax  # noqa: F401

    times.append(time.perf_counter())
    import dbn_jax.rbm  # noqa: F401

    times.append(time.perf_counter())
    from experiments.benchmarks import programs, rbm_updates

    case = programs.Case.parse(case_text)
    batches = jax.device_put(programs.make_batches(case))
    jax.block_until_ready(batches)
    peak_before = peak_rss()
    program = rbm_updates.update(case, batches, 10, name="cd")
    jax.block_until_ready(program.call())
    device = jax.local_devices()[0].memory_stats() or {}
    return {
        "import_jax_optax_seconds": times[1] - times[0],
        "import_dbn_jax_rbm_seconds": times[2] - times[1],
        "compile_seconds": program.compile_seconds,
        "host_peak_bytes": peak_rss(),
        "host_peak_before_bytes": peak_before,
        "device_peak_bytes": device.get("peak_bytes_in_use"),
        "program_temporary_bytes": program.memory_bytes,
    }


def measure(case_text: str, num_processes: int) -> list[dict]:
    """Measures in processes of their own, one after the other.

    Returns:
      For each process: `import_jax_optax_seconds`; `import_dbn_jax_rbm_seconds`, what the import of
      dbn_jax.rbm adds; `compile_seconds` of a scan of CD-1 updates, tracing included;
      `host_peak_bytes` after running it, and `host_peak_before_bytes`, with the data alone;
      `device_peak_bytes`, None for CPUs; `program_temporary_bytes`, what XLA allots.
    """
    # A GPU's memory is not taken as a whole, so that its peak means something.
    environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    results = []
    for _ in range(num_processes):
        process = subprocess.run(
            [sys.executable, "-m", "experiments.benchmarks.memory", case_text],
            cwd=_ROOT,
            env=environment,
            capture_output=True,
            text=True,
        )
        if process.returncode:
            raise ChildProcessError(
                f"measuring {case_text} in a process of its own failed (a TPU serves one process "
                f"at a time; --nomemory leaves this part out):\n{process.stderr[-2000:]}"
            )
        results.append(json.loads(process.stdout.splitlines()[-1]))
    return results


if __name__ == "__main__":
    print(json.dumps(measure_here(sys.argv[1])))
