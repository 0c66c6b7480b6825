"""Turns the report of `benchmark` into text that is read at a glance."""

import numpy as np

from experiments.benchmarks import net_updates
from experiments.benchmarks.rbm_updates import Case

_EPOCH = 60_000  # images of MNIST


def spread(values, form: str = ".3g") -> str:
    """Writes "median (lower quartile–upper quartile)"."""
    low, middle, high = np.percentile(values, (25, 50, 75))
    return f"{middle:{form}} ({low:{form}}–{high:{form}})"


def columns(rows: list[list[str]]) -> str:
    """Lines up rows of text; the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def header(report: dict) -> str:
    """Where and with what it is measured."""
    machine = report["machine"]
    versions = ", ".join(
        f"{name} {version}" for name, version in report["versions"].items() if version
    )
    text = (
        f"{report['command']}\n"
        f"commit {report['commit']}\n"
        f"{machine['processor']}, {machine['cores']} cores; {versions}"
    )
    load = machine["load_average"]
    if load is not None and load > 0.3 * machine["cores"]:
        text += (
            f"\nWARNING: load average {load:.1f} before the first measurement: other processes "
            "are at work, and the figures will suffer"
        )
    return text


def footprints(results: dict[str, list[dict]]) -> str:
    """Import times over all processes, then compile time and memory by case."""
    processes = [process for case in results.values() for process in case]

    def seconds(name):
        return spread([process[name] for process in processes], ".2f")

    def mebibytes(value):
        return "–" if value is None else f"{value / 2**20:.0f}"

    rows = [
        ["case", "compile s", "host peak MiB", "with data alone", "XLA's buffers", "device peak"]
    ]
    for case, repeats in results.items():
        keys = (
            "host_peak_bytes",
            "host_peak_before_bytes",
            "program_temporary_bytes",
            "device_peak_bytes",
        )
        known = [[r[key] for r in repeats if r[key] is not None] for key in keys]
        memory = [mebibytes(np.median(values) if values else None) for values in known]
        rows.append([case, spread([r["compile_seconds"] for r in repeats], ".2f"), *memory])
    return (
        f"\nimport jax, optax: {seconds('import_jax_optax_seconds')} s; dbn_jax.rbm adds "
        f"{seconds('import_dbn_jax_rbm_seconds')} s ({len(processes)} processes)\n\n"
        f"A fresh process that compiles and makes CD-1 updates\n{columns(rows)}"
    )


def comparison(case: Case, results: dict[str, dict], rounds: int) -> str:
    """One case: every program with its time, its ratio to the floor, and what it does.

    On a machine whose neighbours make noise, the ratio of the fastest times is nearest to what a
    quiet one would say: noise only adds.
    """
    titles = ("learner", "ms per update", "images/s", "× floor", "fastest", "× ours", "does")
    rows = [["", *titles]]
    fastest_floor = min(results["floor"]["milliseconds"])
    for name, result in results.items():
        speed = result["images_per_second"]
        rows.append(
            [
                name,
                result["learner"] or "–",
                spread(result["milliseconds"]),
                "–" if speed is None else f"{speed:,.0f}",
                spread(result["over_floor"], ".2f"),
                f"{min(result['milliseconds']) / fastest_floor:.2f}",
                "–" if result["over_update"] is None else spread(result["over_update"], ".2f"),
                result["what"],
            ]
        )
    width = max(len(row[-1]) for row in rows)
    rows = [[*row[:-1], row[-1].ljust(width)] for row in rows]
    text = (
        f"\n{case.num_visible} visible × {case.num_hidden} hidden units, batch {case.batch_size}: "
        f"median (quartiles) of {rounds} rounds, and the fastest × the floor's fastest\n"
        f"{columns(rows)}"
    )
    # None is what is not compiled here; {} is compiled, but no product was recognised.
    counted = {
        name: result["products"]
        for name, result in results.items()
        if result["products"] is not None
    }
    if not any(counted.values()):
        text += "\nmatrix products in each compiled program: none recognised"
    elif all(products == counted["floor"] for products in counted.values()):
        shapes = ", ".join(f"{count} of {shape}" for shape, count in counted["floor"].items())
        text += f"\nmatrix products in each compiled program, by result: {shapes}"
    else:
        text += f"\nWARNING: the compiled programs differ in their matrix products: {counted}"
    return text


def whole_net(method: net_updates.Method, net: net_updates.Net, results: list[dict]) -> str:
    """Updates of a whole net: time, ratio to the products alone, and an epoch of MNIST."""
    rows = [["iterations at the top", "ms per update", "products alone", "× them", "s per epoch"]]
    for result in results:
        updates = _EPOCH / net.batch_size
        rows.append(
            [
                str(result["gibbs_steps"]),
                spread(result["milliseconds"]),
                spread(result["floor_milliseconds"]),
                spread(result["over_floor"], ".2f"),
                f"{1e-3 * updates * np.median(result['milliseconds']):.1f}",
            ]
        )
    return f"\n{method.title}, {net}; an epoch has {_EPOCH:,} images\n{columns(rows)}"


def scaling(case: Case, results: dict[str, list[dict]]) -> str:
    """How the time of an update grows, from one case."""
    blocks = []
    for quantity, points in results.items():
        rows = [[quantity, "ms per update", "× first", "GFLOP/s in products"]]
        first = np.median(points[0]["milliseconds"])
        for point in points:
            rows.append(
                [
                    str(point["value"]),
                    spread(point["milliseconds"]),
                    f"{np.median(point['milliseconds']) / first:.2f}",
                    f"{point['gflops']:.0f}",
                ]
            )
        blocks.append(columns(rows))
    title = f"\nCost of a CD update while one quantity changes, the others as in {case}\n"
    return title + "\n\n".join(blocks)
