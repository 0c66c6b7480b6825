"""What updates cost on TPUs, without a TPU: compiled ahead of time by libtpu.

libtpu says how many cycles it expects each kernel to take; `hlo` reads that, and what else a
program does, in its text. A program is compiled for one chip and for all chips of a slice, each
with a batch, and chains, of its own; parameters lie on all of them. What the links between chips
take is added, without latency and without overlap, for a ring through all chips:

    all-reduce  2 (n − 1)/n · bytes      all-gather  (n − 1) · bytes

through two ports of each chip, in both directions. The *floor* is what the chip must do at least:
the matrix products at the peak of bfloat16, or the bytes at the bandwidth of the main memory.

These are predictions. Kernels without an estimate, and operations on single numbers between them,
count as nothing.
"""

import dataclasses
import functools
import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from dbn_jax import networks, parallel, rbm
from dbn_jax.learning import backprop
from dbn_jax.likelihood import annealing
from dbn_jax.training import batches, chunk
from experiments.benchmarks import (
    convolutional_updates,
    hlo,
    net_updates,
    programs,
    rbm_updates,
)
from experiments.benchmarks.bound_products import BOUND
from experiments.benchmarks.programs import Case, Learning
from experiments.benchmarks.updown_products import UPDOWN

INSTALL = 'pip install "jax[tpu]"'
# libtpu would ask the cloud which machine this is, tell that there is no answer, and refuse to be
# loaded by a second process, which here uses no chip.
_ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
_NUM_UPDATES = 1000  # of a loop; so many that none is unrolled


class Chip(NamedTuple):
    """A kind of TPU.

    Attributes:
      peak: of bfloat16 products, operations per second.
      bandwidth: of the main memory, bytes per second.
      port: bytes per second of a port to another chip, both directions together.
      flops_per_cycle: at the peak.
    """

    peak: float
    bandwidth: float
    port: float
    flops_per_cycle: int

    @property
    def clock(self) -> float:
        """Cycles per second."""
        return self.peak / self.flops_per_cycle


# From https://docs.cloud.google.com/tpu/docs/v5e and …/v6e (a port is a fourth of a chip's
# bidirectional bandwidth). The last column: v5e has four units of 128 × 128 multiplications and
# additions a cycle. Of v6e two of 256 × 256 are told; but libtpu expects 456 thousand operations in
# a cycle of a large product, so they make twice as many.
CHIPS = {
    "v5e": Chip(197e12, 819e9, 100e9, 2 * 4 * 128**2),
    "v6e": Chip(918e12, 1638e9, 200e9, 2 * 4 * 256**2),
}


@dataclasses.dataclass(frozen=True)
class Size:
    """Sizes of the models, and the batches of each chip."""

    rbm: tuple[int, int] = (784, 500)
    batch_sizes: tuple[int, ...] = (100, 1000)
    net: net_updates.Net = dataclasses.field(default_factory=net_updates.Net)
    num_gibbs_steps: int = 3
    classifier: tuple[int, ...] = (784, 500, 2000, 10)
    images: tuple[convolutional_updates.Size, ...] = tuple(
        convolutional_updates.SIZES[name] for name in ("28×28", "64×64")
    )
    num_images: int = 60_000


class Work(NamedTuple):
    """A program to be compiled: `lower(mesh)` traces it for the chips of a mesh."""

    name: str
    batch_size: int  # of each chip
    lower: Callable[[jax.sharding.Mesh], jax.stages.Lowered]


def chip(topology: str) -> Chip:
    """The kind of TPU of a slice such as v5e:2x2; ValueError if it is not known."""
    kind, _, shape = topology.partition(":")
    if kind not in CHIPS or not shape:
        raise ValueError(
            f"--tpu={topology}: expected {' or '.join(CHIPS)}, a colon, and the shape of a slice, "
            "such as v5e:2x2"
        )
    return CHIPS[kind]


def devices(topology: str) -> Sequence[jax.Device]:
    """The chips of a slice such as v5e:2x2, to compile for; ValueError if there is no such slice.

    ImportError without libtpu.
    """
    chip(topology)
    if importlib.util.find_spec("libtpu") is None:
        raise ImportError(
            f"--tpu={topology} compiles with libtpu, which is not installed: {INSTALL}"
        )
    from jax.experimental import topologies

    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        return topologies.get_topology_desc(topology, "tpu").devices
    except Exception as e:  # libtpu's own, of many kinds
        raise ValueError(f"--tpu={topology}: libtpu knows no such slice ({e})") from e


def works(size: Size, num_chips: int) -> Iterator[Work]:
    """The programs that are compiled, with batches for this number of chips."""
    for b in size.batch_sizes:
        case = Case(*size.rbm, b * num_chips)
        v = programs.make_batches(case)
        for name, persistent in (("CD-1", False), ("PCD-1", True)):
            learning = rbm_updates.learning(case, v, persistent=persistent)
            yield Work(name, b, functools.partial(_loop, learning))
        chunk_of_updates = functools.partial(_chunk, case, size.num_images)
        yield Work("CD-1, training loop", b, chunk_of_updates)
    net = dataclasses.replace(size.net, batch_size=size.net.batch_size * num_chips)
    for method in (UPDOWN, BOUND):
        learning = net_updates.learning(method, net, size.num_gibbs_steps)
        yield Work(method.title, size.net.batch_size, functools.partial(_loop, learning))
    learning = _classification(size.classifier, net.batch_size)
    yield Work("Classifier", size.net.batch_size, functools.partial(_loop, learning))
    for images in size.images:
        case = dataclasses.replace(images, batch_size=images.batch_size * num_chips)
        learning = convolutional_updates.learning(case)
        rows, columns, _ = images.image_shape
        name = f"Convolutional CD-1, {rows}×{columns}"
        yield Work(name, images.batch_size, functools.partial(_loop, learning))
    num_chains = size.batch_sizes[0]
    case = Case(*size.rbm, num_chains * num_chips)
    yield Work("AIS, a temperature", num_chains, functools.partial(_ais, case))


def measure(size: Size, devices: Sequence[jax.Device]) -> list[dict[str, Any]]:
    """The work of every program on one device and on all.

    Returns:
      For each program and number of devices: `name`, `batch_size` of each device, `num_devices`,
      and what `hlo.Update` says.
    """
    results = []
    for number in dict.fromkeys((1, len(devices))):
        mesh = jax.sharding.Mesh(
            np.asarray(devices[:number]).reshape(1, number),
            (parallel.MEMBERS, parallel.ROWS),
            axis_types=2 * (AxisType.Auto,),
        )
        for work in works(size, number):
            found = hlo.update(work.lower(mesh).compile().as_text())
            about = {"name": work.name, "batch_size": work.batch_size, "num_devices": number}
            results.append(about | dataclasses.asdict(found))
    return sorted(results, key=lambda result: (result["name"], result["batch_size"]))


def predict(results: Sequence[dict[str, Any]], chip: Chip) -> list[dict[str, Any]]:
    """What is to be expected of the chips.

    Returns:
      The results of `measure` with, in seconds, `computing`, `communicating` and the `floor` of
      each update; `per_second`, images or chains of all chips; and `scaling`, that number by chip
      over that of one chip alone.
    """
    predicted = []
    for result in results:
        computing = result["cycles"] / chip.clock
        communicating = sum(
            _share(kind, result["num_devices"]) * num_bytes / chip.port
            for kind, num_bytes in result["collectives"]
        )
        floor = max(result["flops"] / chip.peak, result["main_bytes"] / chip.bandwidth)
        examples = result["batch_size"] * result["num_devices"]
        predicted.append(
            {
                **result,
                "computing": computing,
                "communicating": communicating,
                "floor": floor,
                "per_second": examples / (computing + communicating),
            }
        )
    alone = {_program(x): x["per_second"] for x in predicted if x["num_devices"] == 1}
    return [
        {**x, "scaling": x["per_second"] / x["num_devices"] / alone[_program(x)]} for x in predicted
    ]


def _program(result):
    return result["name"], result["batch_size"]


def _share(kind, n):
    """How often the bytes of each of n chips in a ring go through its ports."""
    return {
        "all-reduce": 2 * (n - 1) / n,
        "all-gather": n - 1,
        "reduce-scatter": (n - 1) / n,
        "all-to-all": (n - 1) / n,
        "collective-permute": 1,
    }[kind]


def _place(mesh: jax.sharding.Mesh, tree: Any, *axes: str | None) -> Any:
    """Shapes of arrays whose axes are shared out over these axes of a mesh."""
    sharding = NamedSharding(mesh, PartitionSpec(*axes))
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def _loop(learning: Learning, mesh: jax.sharding.Mesh) -> jax.stages.Lowered:
    """Updates in a scan, as `programs.updates` makes them."""
    key, state, batches = learning.arguments()

    def place(path, x):
        axes = (parallel.ROWS,) if path[0].name == "chains" else ()
        return _place(mesh, x, *axes)

    arguments = (
        _place(mesh, key),
        jax.tree_util.tree_map_with_path(place, state),
        _place(mesh, batches, None, parallel.ROWS),
    )
    with jax.set_mesh(mesh):
        return jax.jit(learning.loop(_NUM_UPDATES)).lower(*arguments)


def _chunk(case: Case, num_images: int, mesh: jax.sharding.Mesh) -> jax.stages.Lowered:
    """CD-1 as `training.train` runs it, on images of bytes that every chip has."""

    def transform(key, v):
        del key
        return v.astype(jnp.float32) / 255

    images = np.zeros((num_images, case.num_visible), np.uint8)
    keys = (jax.random.key(2), jax.random.key(3))
    source = batches.Batches(images, keys[0], case.batch_size, None)
    source.where = NamedSharding(mesh, PartitionSpec(parallel.ROWS))
    learning = rbm_updates.learning(case, programs.make_batches(case))
    state = chunk.prepare_state(learning.state, None, is_ensemble=False)
    stepper = chunk.Stepper(learning.step, transform, state, source, keys=keys)
    inputs = _place(mesh, stepper.inputs(stepper.state, stepper.sums, 0, 1))
    with jax.set_mesh(mesh):
        return chunk.advance.lower(*inputs)


def _classification(sizes: Sequence[int], batch_size: int) -> Learning:
    """A classifier by backpropagation."""
    graphdef, params = backprop.split(networks.init_classifier(jax.random.key(0), sizes))
    optimizer = programs.make_optimizer()

    def step(key, state, v, labels):
        return backprop.step(
            key,
            state,
            (v, labels),
            graphdef=graphdef,
            loss=backprop.classification_loss,
            optimizer=optimizer,
        )

    v = programs.make_batches(Case(sizes[0], 1, batch_size))
    labels = np.arange(v.shape[0] * v.shape[1], dtype=np.int32).reshape(v.shape[:2]) % sizes[-1]
    return Learning(step, rbm.init_state(params, optimizer), (v, labels))


def _ais(case: Case, mesh: jax.sharding.Mesh) -> jax.stages.Lowered:
    """Annealing of chains, as many as a batch has examples."""

    def estimate(key, params, betas):
        return annealing.ais(key, params, betas=betas, num_chains=case.batch_size)

    arguments = (jax.random.key(2), rbm_updates.init_params(case), annealing.published_betas())
    arguments = _place(mesh, arguments)
    with jax.set_mesh(mesh):
        return jax.jit(estimate).lower(*arguments)
