"""The benchmark's results as tables of text."""

import collections
from collections.abc import Mapping

import numpy as np

from dbn_jax.training import workdir
from experiments.benchmarks import convolutional_updates, net_updates, temporal_updates
from experiments.benchmarks.programs import Case
from experiments.common.tables import columns

_EPOCH = 60_000  # images of MNIST


def median_and_quartiles(values, form: str = ".3g") -> str:
    """Writes "median (lower quartile–upper quartile)"."""
    low, middle, high = np.percentile(values, (25, 50, 75))
    return f"{middle:{form}} ({low:{form}}–{high:{form}})"


def header(machine: dict) -> str:
    """The commit, machine and versions of the measurements."""
    versions = ", ".join(f"{name} {found}" for name, found in workdir.versions().items() if found)
    text = (
        f"commit {workdir.commit()}\n{machine['processor']}, {machine['cores']} cores; {versions}"
    )
    load = machine["load_average"]
    if load is not None and load > 0.3 * machine["cores"]:
        text += (
            f"\nWARNING: load average {load:.1f} before the first measurement: other processes "
            "are at work, and the figures will suffer"
        )
    return text


def memory(results: dict[str, list[dict]]) -> str:
    """Import times over all processes, then compile time and memory by case."""
    processes = [process for case in results.values() for process in case]

    def seconds(name, processes=processes):
        return median_and_quartiles([process[name] for process in processes], ".2f")

    def mebibytes(name, processes):
        values = [process[name] for process in processes if process[name] is not None]
        return f"{np.median(values) / 2**20:.0f}" if values else "–"

    kinds = {
        "host peak MiB": "host_peak_bytes",
        "with data alone": "host_peak_before_bytes",
        "XLA's buffers": "program_temporary_bytes",
        "device peak": "device_peak_bytes",
    }
    rows = [["case", "compile s", *kinds]]
    for case, repeats in results.items():
        peaks = [mebibytes(name, repeats) for name in kinds.values()]
        rows.append([case, seconds("compile_seconds", repeats), *peaks])
    return (
        f"\nimport jax, optax: {seconds('import_jax_optax_seconds')} s; dbn_jax.rbm adds "
        f"{seconds('import_dbn_jax_rbm_seconds')} s ({len(processes)} processes)\n\n"
        f"A fresh process that compiles and makes CD-1 updates\n{columns(rows)}"
    )


def comparison(case: Case, results: dict[str, dict], rounds: int) -> str:
    """One case: every program with its time, its ratios, and what it does.

    Ratios are taken within a round: to the floor, and to our own update by the same learner, no
    metrics kept. On a machine whose neighbours make noise, the ratio of the fastest times is
    nearest to what a quiet one would say: noise only adds.
    """
    times = {name: np.array(result["milliseconds"]) for name, result in results.items()}
    ours = {"CD-1": times.get("cd"), "PCD-1": times.get("pcd")}
    width = max(len(result["what"]) for result in results.values())
    rows = [["", "learner", "ms per update", "images/s", "× floor", "fastest", "× ours"]]
    rows[0].append("does".ljust(width))
    for name, result in results.items():
        learner, speed, over_ours = result["learner"], "–", "–"
        if learner:
            speed = f"{1e3 * case.batch_size / np.median(times[name]):,.0f}"
            over_ours = median_and_quartiles(times[name] / ours[learner], ".2f")
        rows.append(
            [
                name,
                learner or "–",
                median_and_quartiles(times[name]),
                speed,
                median_and_quartiles(times[name] / times["floor"], ".2f"),
                f"{min(times[name]) / min(times['floor']):.2f}",
                over_ours,
                result["what"].ljust(width),
            ]
        )
    return (
        f"\n{case.num_visible} visible × {case.num_hidden} hidden units, batch {case.batch_size}: "
        f"median (quartiles) of {rounds} rounds, and the fastest × the floor's fastest\n"
        f"{columns(rows)}\n{_products(results)}"
    )


def _products(results):
    """Whether the compiled programs make the products of the floor, and no others."""
    # None is what is not compiled here; {} is compiled, but no product was recognised.
    counted = {
        name: result["products"]
        for name, result in results.items()
        if result["products"] is not None
    }
    if not any(counted.values()):
        return "matrix products in each compiled program: none recognised"
    if any(products != counted["floor"] for products in counted.values()):
        return f"WARNING: the compiled programs differ in their matrix products: {counted}"
    shapes = ", ".join(f"{count} of {shape}" for shape, count in counted["floor"].items())
    return f"matrix products in each compiled program, by result: {shapes}"


def whole_net(method: net_updates.Method, net: net_updates.Net, results: list[dict]) -> str:
    """Updates of a whole net: time, ratio to the products alone, and an epoch of MNIST."""
    rows = [["iterations at the top", "ms per update", "products alone", "× them", "s per epoch"]]
    for result in results:
        times, alone = np.array(result["milliseconds"]), np.array(result["floor_milliseconds"])
        rows.append(
            [
                str(result["gibbs_steps"]),
                median_and_quartiles(times),
                median_and_quartiles(alone),
                median_and_quartiles(times / alone, ".2f"),
                f"{1e-3 * _EPOCH / net.batch_size * np.median(times):.1f}",
            ]
        )
    return f"\n{method.title}, {net}; an epoch has {_EPOCH:,} images\n{columns(rows)}"


def sequences(size: temporal_updates.Size, results: dict[str, dict]) -> str:
    """Updates of an RNN-RBM and its peers: time, and ratios within a round."""
    times = {name: np.array(result["milliseconds"]) for name, result in results.items()}
    num_frames = size.num_sequences * size.num_frames
    rows = [["", "ms per update", "frames/s", "× products alone", "× ours", "does"]]
    width = max(len(result["what"]) for result in results.values())
    rows[0][-1] = rows[0][-1].ljust(width)
    for name, result in results.items():
        speed, over_ours = "–", "–"
        if result["learner"]:
            speed = f"{1e3 * num_frames / np.median(times[name]):,.0f}"
            over_ours = median_and_quartiles(times[name] / times["update"], ".2f")
        over_floor = median_and_quartiles(times[name] / times["floor"], ".2f")
        rows.append(
            [
                name,
                median_and_quartiles(times[name]),
                speed,
                over_floor,
                over_ours,
                result["what"].ljust(width),
            ]
        )
    return f"\nRNN-RBM, {size}\n{columns(rows)}"


def images(
    sizes: Mapping[str, convolutional_updates.Size], results: dict[str, dict[str, dict]]
) -> str:
    """Updates of convolutional RBMs: time, by pixel, and ratios within a round; memory.

    "–" is what was not measured.
    """
    rows = [
        [
            *("", "batch", "ms per update", "ns per pixel", "× products alone", "fastest"),
            *("unpooled × them", "learnergy × unpooled", "dense × update"),
            *("MiB temporary", "arguments", "dense: temporary", "arguments"),
        ]
    ]
    for name, found in results.items():
        size = sizes[name]
        times = {program: np.array(result["milliseconds"]) for program, result in found.items()}
        update = times["update"]
        rows.append(
            [
                str(size),
                str(size.batch_size),
                median_and_quartiles(update),
                f"{1e6 * np.median(update) / size.num_pixels:.0f}",
                _ratio(times, "update", "floor"),
                f"{min(update) / min(times['floor']):.2f}",
                _ratio(times, "unpooled", "floor"),
                _ratio(times, "learnergy_conv", "unpooled"),
                _ratio(times, "dense", "update"),
                *_update_mebibytes(found["update"]),
                *_update_mebibytes(found.get("dense", {"memory": None})),
            ]
        )
    return (
        "\nConvolutional RBMs, CD-1, units pooled in blocks: median (quartiles) of the rounds, and "
        "the fastest × the products' fastest;\nbuffers of an update compiled alone: temporary, and "
        f"those of its state and batch\n{columns(rows)}"
    )


def _ratio(times, program, other):
    if program not in times:
        return "–"
    return median_and_quartiles(times[program] / times[other], ".2f")


def _update_mebibytes(result):
    if result["memory"] is None:
        return "–", "–"
    return [f"{result['memory'][kind] / 2**20:.1f}" for kind in ("temporary", "arguments")]


def ahead_of_time(topology: str, results: list[dict]) -> str:
    """What updates cost on TPUs; see `ahead_of_time.predict`."""
    rows = [["batch of each chip", "chips", "MFLOP", "MB", "kernels", "cycles", "µs", "floor µs"]]
    rows[0] += ["collectives", "MB", "µs", "images/s", "scaling"]
    for result in results:
        found = collections.Counter(kind for kind, _ in result["collectives"])
        first = result["num_devices"] == 1
        rows.append(
            [
                f"{result['name']}, {result['batch_size']}" if first else "",
                str(result["num_devices"]),
                f"{result['flops'] / 1e6:,.0f}",
                f"{result['main_bytes'] / 1e6:.1f}",
                str(result["kernels"]),
                f"{result['cycles']:,}",
                f"{1e6 * result['computing']:.1f}",
                f"{1e6 * result['floor']:.1f}",
                ", ".join(f"{count} {kind}" for kind, count in found.items()) or "–",
                f"{sum(size for _, size in result['collectives']) / 1e6:.2f}",
                f"{1e6 * result['communicating']:.1f}",
                f"{result['per_second']:,.0f}",
                "–" if first else f"{result['scaling']:.0%}",
            ]
        )
    return (
        f"\nUpdates compiled for {topology}, nothing run: operations of products and bytes of the "
        "main memory on each chip,\nlibtpu's estimate of its cycles, and what the links between "
        f"chips take; in AIS, chains instead of images\n{columns(rows)}"
    )


def streamed(results: dict[str, dict[str, dict]]) -> str:
    """Updates by case on rows from a file, beside those on rows that lie on the device."""
    rows = [["", "ms per update, resident", "streamed", "× resident"]]
    for case, result in results.items():
        resident, read = (np.array(result[k]["milliseconds"]) for k in ("resident", "streamed"))
        ratio = median_and_quartiles(read / resident, ".2f")
        rows.append([case, median_and_quartiles(resident), median_and_quartiles(read), ratio])
    return f"\nCD-1 in the training loop, streamed beside resident data\n{columns(rows)}"


def scaling(case: Case, results: dict[str, list[dict]]) -> str:
    """How the time of an update grows, from one case."""
    blocks = []
    for quantity, points in results.items():
        rows = [[quantity, "ms per update", "× first", "GFLOP/s in products"]]
        first = np.median(points[0]["milliseconds"])
        for point in points:
            milliseconds = np.median(point["milliseconds"])
            rows.append(
                [
                    str(point["value"]),
                    median_and_quartiles(point["milliseconds"]),
                    f"{milliseconds / first:.2f}",
                    f"{point['flops'] / milliseconds / 1e6:.0f}",
                ]
            )
        blocks.append(columns(rows))
    title = f"\nCost of a CD update while one quantity changes, the others as in {case}\n"
    return title + "\n\n".join(blocks)
