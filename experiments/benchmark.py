"""Times learning: CD-1 and PCD-1 beside their matrix products alone, and beside other libraries.

    python -m experiments.benchmark --workdir=runs/benchmark            # all of it, 7 minutes
    python -m experiments.benchmark --quick                             # one size, a minute

Leave the machine alone meanwhile: on 2 cores any other process shows. The floor of an update is its
five matrix products alone, timed in the same process (`benchmark_programs.floor`). Programs take
turns, round after round, and every ratio is taken within a round before the median, because a
machine's speed drifts. The target is at most 1.15 × the floor for CD-1 at 784x500x100, and half the
time of the fastest other library. Those are timed that are installed; for all of them:

    pip install -e '.[peers]'

Updates of the whole digit model, by up-down and along the bound's gradient, are timed beside floors
of their own (`benchmark_updown`, `benchmark_bound`).

The JSON holds every single time; the table the medians and quartiles.
"""

import dataclasses
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np
from absl import app, flags

from dbn_jax.training import workdir
from experiments.benchmarks import memory, net_updates, peers, rbm_updates, table, timing
from experiments.benchmarks.bound_products import BOUND
from experiments.benchmarks.rbm_updates import Case, Program
from experiments.benchmarks.updown_products import UPDOWN
from experiments.common import endings

_STANDARD = Case(784, 500, 100)


@dataclasses.dataclass(frozen=True)
class Config:
    """What is measured.

    Attributes:
      cases: sizes for the comparison, each with every program and peer.
      peers: names of other libraries' trainers, see `peers.PEERS`.
      rounds: how often every program is timed.
      seconds: that one call of a program should take.
      scaling: from which size, and to which values, one quantity at a time, the scaling goes.
      net: sizes for the updates of a whole net.
      updown_gibbs_steps: iterations of the top RBM in an up-down update, each timed; none leaves
        it out.
      bound_gibbs_steps: likewise in an update along the bound's gradient.
      footprint_repeats: processes for import time, compile time and memory, for each case.
    """

    cases: tuple[Case, ...] = (
        _STANDARD,
        Case(784, 2000, 100),
        Case(784, 500, 1000),
        Case(500, 500, 100),
    )
    peers: tuple[str, ...] = tuple(peer.name for peer in peers.PEERS)
    rounds: int = 11
    seconds: float = 0.15
    scaling_case: Case = _STANDARD
    scaling_batches: tuple[int, ...] = (10, 30, 100, 300, 1000)
    scaling_widths: tuple[int, ...] = (125, 250, 500, 1000, 2000)
    scaling_gibbs_steps: tuple[int, ...] = (1, 2, 5, 10)
    scaling_ensembles: tuple[int, ...] = (1, 2, 4, 8, 16)
    net: net_updates.Net = dataclasses.field(default_factory=net_updates.Net)
    updown_gibbs_steps: tuple[int, ...] = (3, 6, 10)
    bound_gibbs_steps: tuple[int, ...] = (3, 10)
    footprint_repeats: int = 3

    def __post_init__(self):
        if self.rounds < 1 or not self.seconds > 0 or not self.cases:
            raise ValueError(
                f"rounds={self.rounds}, seconds={self.seconds}, {len(self.cases)} cases: all must "
                "be positive"
            )
        peers.select(self.peers)


QUICK = Config(
    cases=(_STANDARD,),
    rounds=5,
    seconds=0.1,
    scaling_batches=(10, 100, 1000),
    scaling_widths=(250, 500, 1000),
    scaling_gibbs_steps=(1, 5),
    scaling_ensembles=(1, 8),
    updown_gibbs_steps=(3,),
    bound_gibbs_steps=(3,),
    footprint_repeats=1,
)


def run(config: Config, log: Callable[[str], None] = print) -> dict:
    """Measures everything.

    Args:
      config: what.
      log: is handed the table piece by piece, and lines of progress.

    Returns:
      The report, ready for `json.dump`; `benchmark_table` says what is in it.
    """
    start = time.perf_counter()
    report = {
        "command": shlex.join(sys.argv),
        "commit": workdir.commit(),
        "versions": workdir.versions(),
        "machine": _describe_machine(),
        "config": _plain(config),
    }
    log(table.header(report))
    if config.footprint_repeats:
        # Before this process takes the device: a TPU serves one process at a time.
        report["footprint"] = {
            str(case): memory.measure(str(case), config.footprint_repeats) for case in config.cases
        }
        log(table.footprints(report["footprint"]))
    devices = jax.devices()
    report["device"] = {
        "platform": devices[0].platform,
        "kind": devices[0].device_kind,
        "count": len(devices),
    }
    log(f"device: {report['device']['kind']} × {report['device']['count']}")

    chosen = peers.select(config.peers)
    report["peers"] = {peer.name: peer.version() for peer in chosen}
    missing = sorted({peer.package for peer in chosen if report["peers"][peer.name] is None})
    report["missing_peers"] = missing
    if missing:
        log(f"not installed, so not timed: {', '.join(missing)}. To install: {peers.INSTALL}")
    chosen = [peer for peer in chosen if report["peers"][peer.name] is not None]

    report["cases"] = {}
    for case in config.cases:
        report["cases"][str(case)] = compare(case, chosen, config)
        log(table.comparison(case, report["cases"][str(case)], config.rounds))
    methods = ((UPDOWN, config.updown_gibbs_steps), (BOUND, config.bound_gibbs_steps))
    for method, gibbs_steps in methods:
        report[method.name] = []
        if gibbs_steps:
            results = net_updates.compare(
                method, config.net, gibbs_steps, config.rounds, config.seconds
            )
            report[method.name] = results
            log(table.whole_net(method, config.net, results))
    report["scaling"] = scale(config)
    if report["scaling"]:
        log(table.scaling(config.scaling_case, report["scaling"]))
    report["wall_seconds"] = time.perf_counter() - start
    log(f"{report['wall_seconds']:.0f} s in all")
    return report


def compare(case: Case, chosen: Sequence[peers.Peer], config: Config) -> dict[str, dict]:
    """Times every program and peer on one case.

    Returns:
      For each program what `Program` says of it, and
      `milliseconds`: of one update, in each round;
      `over_floor`: the same over the floor's in the same round;
      `over_update`: the same over that of our own update by the same learner (CD-1 for CD-1), no
      metrics kept, in the same round; not for the floor.
    """
    batches = rbm_updates.make_batches(case)
    on_device = jax.device_put(batches)
    num_updates = timing.num_updates(
        lambda n: rbm_updates.floor(case, on_device, n).call, config.seconds
    )
    programs = rbm_updates.all_programs(case, on_device, num_updates)
    for peer in chosen:

        def make(n, peer=peer):
            return peer.make(case, batches, n)

        n = timing.num_updates(make, config.seconds)
        programs.append(Program(peer.name, peer.what, peer.learner, n, make(n)))
    times = timing.time_in_turn(programs, config.rounds)

    floor = np.array(times["floor"])
    own = {"CD-1": np.array(times["cd"]), "PCD-1": np.array(times["pcd"])}
    results = {}
    for program in programs:
        milliseconds = np.array(times[program.name])
        results[program.name] = {
            **_describe(program),
            "images_per_second": None
            if program.name == "floor"
            else float(1e3 * case.batch_size / np.median(milliseconds)),
            "milliseconds": milliseconds.tolist(),
            "over_floor": (milliseconds / floor).tolist(),
            "over_update": (milliseconds / own[program.learner]).tolist()
            if program.learner
            else None,
        }
    return results


def scale(config: Config) -> dict[str, list[dict]]:
    """Times CD updates while one quantity grows: batch, hidden units, Gibbs steps, or models.

    Returns:
      For each quantity a list of `value`, `learner`, `milliseconds` of one update in each round
      (for an ensemble: of one update of all its models), and `gflops` of its products.
    """
    base = config.scaling_case
    points = []
    for batch in config.scaling_batches:
        points.append(("batch", batch, dataclasses.replace(base, batch_size=batch), {}))
    for width in config.scaling_widths:
        points.append(("hidden units", width, dataclasses.replace(base, num_hidden=width), {}))
    for steps in config.scaling_gibbs_steps:
        points.append(("Gibbs steps", steps, base, {"num_gibbs_steps": steps}))
    for models in config.scaling_ensembles:
        points.append(("models under vmap", models, base, {"ensemble": models}))

    if not points:
        return {}
    batches = jax.device_put(rbm_updates.make_batches(base))
    pilot = timing.num_updates(lambda n: rbm_updates.floor(base, batches, n).call, config.seconds)
    programs, flops = [], []
    for quantity, value, case, settings in points:
        operations = case.flops(settings.get("num_gibbs_steps", 1)) * settings.get("ensemble", 1)
        program = rbm_updates.update(
            case,
            jax.device_put(rbm_updates.make_batches(case)),
            timing.bounded(pilot * base.flops() / operations),
            name=f"{quantity} {value}",
            **settings,
        )
        programs.append(program)
        flops.append(operations)
    times = timing.time_in_turn(programs, config.rounds)
    results = {}
    for (quantity, value, _, _), program, operations in zip(points, programs, flops, strict=True):
        milliseconds = times[program.name]
        results.setdefault(quantity, []).append(
            {
                "value": value,
                **_describe(program),
                "milliseconds": milliseconds,
                "gflops": float(operations / np.median(milliseconds) / 1e6),
            }
        )
    return results


def _describe(program: Program) -> dict:
    """The fields of a program, but for what it calls and its name."""
    fields = {f.name: getattr(program, f.name) for f in dataclasses.fields(program)}
    return {name: value for name, value in fields.items() if name not in ("name", "call")}


def _plain(config: Config) -> dict:
    """The settings as JSON gives them back: lists, and cases as text."""

    def plain(value):
        if isinstance(value, tuple):
            return [plain(element) for element in value]
        return str(value) if isinstance(value, (Case, net_updates.Net)) else value

    return {f.name: plain(getattr(config, f.name)) for f in dataclasses.fields(config)}


def _describe_machine() -> dict:
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


def define_flags() -> None:
    """Defines the flags of this binary; only the binary itself does, not who imports it."""
    flags.DEFINE_string("workdir", None, "Folder for flags.txt, summary.json and table.txt.")
    flags.DEFINE_string("json", None, "File for the report alone.")
    flags.DEFINE_bool("quick", False, "One size and few rounds, about a minute.")
    flags.DEFINE_list("cases", None, "Sizes VISIBLExHIDDENxBATCH, such as 784x500x100.")
    flags.DEFINE_integer("rounds", None, "Times that each program is timed.", lower_bound=1)
    flags.DEFINE_list(
        "peers", None, "Other libraries' trainers, by name; --peers= for none. All by default."
    )
    flags.DEFINE_bool("scaling", True, "Measure how the cost grows.")
    flags.DEFINE_bool("updown", True, "Time the up-down update.")
    flags.DEFINE_bool("bound", True, "Time the update along the bound's gradient.")
    flags.DEFINE_bool("footprint", True, "Measure import, compile time and memory.")


def config_from_flags() -> Config:
    """Builds the settings; flags that are given go before --quick."""
    values = flags.FLAGS
    config = QUICK if values.quick else Config()
    changes = {}
    if values.cases is not None:
        changes["cases"] = tuple(map(Case.parse, values.cases))
    if values.rounds is not None:
        changes["rounds"] = values.rounds
    if values.peers is not None:
        changes["peers"] = tuple(values.peers)
    if not values.scaling:
        axes = ("batches", "widths", "gibbs_steps", "ensembles")
        changes |= {f"scaling_{axis}": () for axis in axes}
    if not values.updown:
        changes["updown_gibbs_steps"] = ()
    if not values.bound:
        changes["bound_gibbs_steps"] = ()
    if not values.footprint:
        changes["footprint_repeats"] = 0
    return dataclasses.replace(config, **changes)


def main(argv: Sequence[str]) -> None:
    """Parses the flags, measures, writes."""
    with endings.sentences(argv):
        _measure(config_from_flags())


def _measure(config):
    values, folder = flags.FLAGS, None
    file = None if values.json is None else Path(values.json)
    if values.workdir is not None:
        names = "quick", "cases", "rounds", "peers", "scaling", "updown", "bound", "footprint"
        settings = {name: values[name].value for name in names}
        folder = workdir.open_workdir(values.workdir, settings, program="experiments.benchmark")
        if folder.is_done:
            print(f"{folder.path} holds this benchmark already: see table.txt there")
            if file:
                _write_json(file, folder.summary()["figures"])
            return
    if file:
        _check_writable(file)
    lines = []

    def log(text):
        lines.append(text)
        print(text, flush=True)

    report = run(config, log)
    if file:
        _write_json(file, report)
    if folder:
        (folder.path / "table.txt").write_text("\n".join(lines) + "\n")
        folder.write_summary(report, seed=0)


def _check_writable(file):
    """Raises before anything is measured what writing would raise after; leaves no empty file."""
    is_new = not file.exists()
    file.open("a").close()
    if is_new:
        file.resolve().unlink()


def _write_json(file, report):
    file.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    define_flags()
    app.run(main)
