"""Times updates of CD-1 and PCD-1, their matrix products alone, and other libraries.

    python -m experiments.benchmark --workdir=runs/benchmark                # 9 minutes
    python -m experiments.benchmark --workdir=runs/benchmark_quick --quick  # one size, 3 minutes
    python -m experiments.benchmark --workdir=runs/benchmark_v5e --tpu=v5e:2x2  # 6 minutes, no TPU

Run nothing else meanwhile: on 2 cores any other process changes the times. The *floor* of an update
is a program that makes its five matrix products and nothing else, timed in the same process
(`rbm_updates.floor`). Because a machine's speed drifts, programs take turns, round after round, and
each ratio is taken within a round before the median. The target is at most 1.15 × the floor for
CD-1 at 784x500x100, and half the time of the fastest other library. Only installed libraries are
timed; to install all of them:

    pip install -e '.[peers]'

Updates of the whole digit model, by up-down and by ascent of the bound, of RNN-RBMs, on the sizes
of piano rolls and of bouncing balls, and of convolutional RBMs, on images from 28×28 to 512×512 and
with 16 to 256 maps, are timed beside floors of their own (`updown_products`, `bound_products`,
`temporal_updates`, `convolutional_updates`). The target of the last is at most 1.3 × the floor.
summary.json holds every single time, table.txt the medians and quartiles.
"""

import dataclasses
import os
import platform
from pathlib import Path

import jax

from dbn_jax import files
from experiments.benchmarks import (
    ahead_of_time,
    convolutional_updates,
    memory,
    net_updates,
    other_libraries,
    rbm_updates,
    streamed_updates,
    table,
    temporal_updates,
)
from experiments.benchmarks.bound_products import BOUND
from experiments.benchmarks.programs import Case
from experiments.benchmarks.updown_products import UPDOWN
from experiments.common import runs
from experiments.common.settings import Declared, setting

_PEERS = tuple(p.name for p in other_libraries.everyone())
_CASES = ("784x500x100", "784x2000x100", "784x500x1000", "500x500x100")
_SCALING = {
    "batch": (10, 30, 100, 300, 1000),
    "hidden units": (125, 250, 500, 1000, 2000),
    "Gibbs steps": (1, 2, 5, 10),
    "models under vmap": (1, 2, 4, 8, 16),
}
_NET = net_updates.Net()
_SEQUENCES = temporal_updates.SIZES
_IMAGES = convolutional_updates.SIZES
_AHEAD_OF_TIME = ahead_of_time.Size()
_STREAMED = (100, 1000)  # sizes of batches
_SECONDS = 0.15  # that one call of a program should take


class Settings(Declared):
    """What is measured."""

    quick: bool = setting(
        False, "Measure one size, in few rounds, and every second value of all other lists."
    )
    cases: tuple[str, ...] | None = setting(
        None, f"Sizes to measure, as VISIBLExHIDDENxBATCH; by default {','.join(_CASES)}."
    )
    rounds: int | None = setting(
        None,
        "Number of times that every program is timed; by default 11, or 5 with --quick.",
        at_least=1,
        at_most=10_000,
    )
    peers: tuple[str, ...] = setting(
        _PEERS, "Programs of other libraries that are timed too.", choices=(*_PEERS, "none")
    )
    scaling: bool = setting(
        True, "Measure how the time of an update grows with batch, layer, steps and models."
    )
    updown: bool = setting(True, "Time the up-down update of a whole net.")
    bound: bool = setting(True, "Time the update of a whole net by ascent of the bound.")
    temporal: bool = setting(True, "Time the update of RNN-RBMs, on sequences.")
    convolutional: bool = setting(
        True, "Time the update of convolutional RBMs, by size of image and number of maps."
    )
    streamed: bool = setting(
        True, "Time updates on rows that are read from a file beside those on the device."
    )
    memory: bool = setting(True, "Measure memory, import and compile time of a fresh process.")
    tpu: str | None = setting(
        None,
        "A slice of TPUs, such as v5e:2x2. Updates are compiled for it and nothing is timed; no "
        "TPU is needed, but libtpu.",
    )

    def __post_init__(self):
        super().__post_init__()
        for text in self.cases or ():
            Case.parse(text)
        if self.tpu is not None:
            others = {field.name for field in dataclasses.fields(self)} - {"tpu"}
            self.refuse(tuple(others), f"with --tpu={self.tpu}, where nothing is timed")


def run(settings: Settings, workdir: str) -> dict:
    """Measures, prints the tables, and writes them to table.txt."""
    run = runs.open(settings, workdir)
    if run.is_done:
        return run.report()
    if settings.tpu is not None:
        return _ahead_of_time(run, settings.tpu)
    num_cases, rounds, processes, stride = (1, 5, 1, 2) if settings.quick else (4, 11, 3, 1)
    cases = [Case.parse(text) for text in settings.cases or _CASES[:num_cases]]
    rounds = settings.rounds or rounds
    lines = []

    def log(text):
        lines.append(text)
        print(text, flush=True)

    results = {"machine": _describe_machine()}
    log(table.header(results["machine"]))
    if settings.memory:
        # Before this process takes the device: a TPU serves one process at a time.
        results["memory"] = {str(case): memory.measure(str(case), processes) for case in cases}
        log(table.memory(results["memory"]))
    log(f"device: {jax.devices()[0].device_kind} × {jax.device_count()}")

    asked = [peer for peer in other_libraries.everyone() if peer.name in settings.peers]
    results["peers"] = {peer.name: peer.version() for peer in asked}
    missing = sorted({peer.package for peer in asked if results["peers"][peer.name] is None})
    if missing:
        remedy = f"To install: {other_libraries.INSTALL}"
        log(f"not installed, so not timed: {', '.join(missing)}. {remedy}")

    def present(peers):
        return [peer for peer in peers if peer in asked and peer.package not in missing]

    results["cases"] = {}
    for case in cases:
        peers = present(other_libraries.PEERS)
        results["cases"][str(case)] = found = rbm_updates.compare(case, peers, rounds, _SECONDS)
        log(table.comparison(case, found, rounds))
    for wanted, method, steps in (
        (settings.updown, UPDOWN, (3, 6, 10)),
        (settings.bound, BOUND, (3, 10)),
    ):
        if wanted:
            found = net_updates.compare(method, _NET, steps[::stride], rounds, _SECONDS)
            results[method.name] = found
            log(table.whole_net(method, _NET, found))
    if settings.temporal:
        sizes = dict(list(_SEQUENCES.items())[::stride])
        peers = present(other_libraries.SEQUENCE_PEERS)
        results["temporal"] = temporal_updates.compare(sizes, peers, rounds, _SECONDS)
        for name, found in results["temporal"].items():
            log(table.sequences(sizes[name], found))
    if settings.convolutional:
        sizes = dict(list(_IMAGES.items())[::stride])
        peers = present(other_libraries.IMAGE_PEERS)
        results["convolutional"] = convolutional_updates.compare(sizes, peers, rounds, _SECONDS)
        log(table.images(sizes, results["convolutional"]))
    if settings.streamed:
        results["streamed"] = {
            str(case): streamed_updates.compare(case, rounds, _SECONDS)
            for case in (cases[0]._replace(batch_size=size) for size in _STREAMED[::stride])
        }
        log(table.streamed(results["streamed"]))
    if settings.scaling:
        values = {quantity: values[::stride] for quantity, values in _SCALING.items()}
        results["scaling"] = rbm_updates.scale(cases[0], values, rounds, _SECONDS)
        log(table.scaling(cases[0], results["scaling"]))
    files.write_text(run.path / "table.txt", "\n".join(lines) + "\n")
    return run.finish(results)


def _ahead_of_time(run, topology):
    """Compiles updates for a slice of TPUs, and writes what is to be expected of them."""
    devices = ahead_of_time.devices(topology)
    measured = ahead_of_time.measure(_AHEAD_OF_TIME, devices)
    predicted = ahead_of_time.predict(measured, ahead_of_time.chip(topology))
    header = table.header(_describe_machine())
    run.save_table(f"{header}\n{table.ahead_of_time(topology, predicted)}\n")
    return run.finish({"machine": _describe_machine(), "tpu": predicted})


def _describe_machine():
    """The processor, how busy it is, and the variables that change how fast it computes."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    variables = ("XLA_FLAGS", "JAX_PLATFORMS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    return {
        "platform": platform.platform(),
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "environment": {name: os.environ[name] for name in variables if name in os.environ},
    }


if __name__ == "__main__":
    runs.main(run, Settings)
