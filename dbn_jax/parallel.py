"""Many devices, and many hosts: what lies where, on a mesh of all of them.

JAX's compiler parts a program among the devices of a mesh by where its arrays lie. Commands enter a
mesh by `devices`; `shard` then says that its devices share the rows of an array, such as the
examples of a batch, and parameters lie on all of them. Random numbers belong to the rows, not to
the devices, so that the results differ from those of one device by rounding only. On several hosts
each has a process, all of them run the same program, and the first alone writes files.

Without a mesh all functions leave arrays as they are.
"""

import contextlib
import functools
import math
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from dbn_jax.typing import AnyArray, PyTree

T = TypeVar("T")

MEMBERS, ROWS = "members", "rows"  # the axes of a mesh: the models of an ensemble, and rows
# What names a process where no cluster does; JAX itself reads JAX_COORDINATOR_ADDRESS.
_PROCESS = {"num_processes": "JAX_NUM_PROCESSES", "process_id": "JAX_PROCESS_ID"}
_LAST_WORDS = 1.0  # seconds that the first process stays for those that fail as it does


def start() -> None:
    """Joins the other processes of a cluster, if there is one; before anything is computed.

    JAX finds TPU pods, SLURM, Open MPI and Kubernetes by itself. Elsewhere the environment
    variables JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID tell of it. With
    JAX_NUM_PROCESSES=1 it looks for none. An OSError says that a cluster cannot be joined.
    """
    if os.environ.get("JAX_NUM_PROCESSES") == "1":
        return
    given: dict[str, Any] = {name: _number(v) for name, v in _PROCESS.items() if v in os.environ}
    # It would take SIGTERM away from processes that do not ask it; the training loop asks them all.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(**given)
    except ValueError as e:
        if given or "coordinator_address" not in str(e):
            variables = ", ".join(("JAX_COORDINATOR_ADDRESS", *_PROCESS.values()))
            raise ValueError(f"{e} Set all of {variables}, or none") from e
    except RuntimeError as e:
        raise OSError(
            f"cannot join the other processes of a cluster ({str(e).splitlines()[0]}); "
            "JAX_NUM_PROCESSES=1 runs this one alone"
        ) from e


def _number(variable):
    text = os.environ[variable]
    if not text.isdecimal():
        raise ValueError(f"{variable}={text}; it must be a whole number")
    return int(text)


def stop() -> None:
    """Parts from the other processes of a cluster; waits until all of them are here."""
    if jax.distributed.is_initialized():
        jax.distributed.shutdown()


def leave(code: int) -> NoReturn:
    """Ends this process of several at once, so that those that wait for its results end as well.

    Python's own end would wait for them in `jax.distributed.shutdown`. With the first process goes
    JAX's service, and then all others that are left.
    """
    if is_first():
        time.sleep(_LAST_WORDS)
    os._exit(code)


@contextlib.contextmanager
def devices(count: int | None = None, *, members: int = 1) -> Iterator[None]:
    """A context in which so many devices, all by default, share the work.

    Of an ensemble they share the members first, and the rows of each member's batches among the
    devices that are left.
    """
    found = jax.devices()
    if count is not None and count > len(found):
        raise ValueError(
            f"{count} devices are asked for, but JAX finds {len(found)} here: ask for fewer"
        )
    if jax.process_count() > 1 and count not in (None, len(found)):
        raise ValueError(f"{count} devices of several hosts are asked for; they share all or none")
    chosen = found[:count]
    if len(chosen) == 1:
        yield
        return
    shape = math.gcd(members, len(chosen)), -1
    mesh = Mesh(np.array(chosen).reshape(shape), (MEMBERS, ROWS))
    with jax.set_mesh(mesh):
        yield


def num_devices() -> int:
    """Number of devices that share the work."""
    return jax.sharding.get_mesh().size or 1


def is_first() -> bool:
    """Whether this is the process that writes files."""
    return jax.process_index() == 0


def wait_for_all(what: str) -> None:
    """Waits until all processes are here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


def on_first(action: Callable[[], None]) -> None:
    """The first process does something, and the others wait for it; if it fails, so do they."""
    failure = None
    if is_first():
        try:
            action()
        except Exception as e:
            failure = e
    failed = of_all([failure is not None])[0, 0]
    if failure is not None:
        raise failure
    if failed:
        raise OSError("the first process failed, and says why")


def of_all(numbers: list[int | float]) -> np.ndarray:
    """The numbers of all processes, (processes, …)."""
    if jax.process_count() == 1:
        return np.array([numbers])
    return multihost_utils.process_allgather(np.array(numbers))


def is_here(x: AnyArray | np.generic) -> bool:
    """Whether this process can read the whole array."""
    return not isinstance(x, jax.Array) or x.is_fully_addressable or x.is_fully_replicated


def share_members(tree: T, mesh: Mesh) -> T:
    """Shares the members of an ensemble, the first axis of each array, among the devices.

    On a mesh without an axis for them, all devices have all.
    """
    where = NamedSharding(mesh, P(MEMBERS) if MEMBERS in mesh.shape else P())
    return jax.tree.map(_copy(where), tree)


@functools.lru_cache
def _copy(where):
    return jax.jit(lambda x: x, out_shardings=where)


def fetch(tree: PyTree) -> PyTree:
    """Arrays as numpy arrays on every host."""
    return jax.device_get(
        jax.tree.map(lambda x: x if is_here(x) else everywhere(x, x.sharding.mesh), tree)
    )


def shard(tree: T, axis: int = 0) -> T:
    """Lets the devices of the mesh share the rows of arrays, which are along this axis.

    Of arrays that are not traced, the number of rows must be a multiple of `num_shares`.
    """
    return _constrain(tree, P(*[None] * axis, ROWS))


def rows_like(data: PyTree) -> NamedSharding | None:
    """Where batches of data lie: over what shares the data's rows, or else those of `devices`."""
    for x in jax.tree.leaves(data):
        where = getattr(x, "sharding", None)
        if isinstance(where, NamedSharding) and where.spec and where.spec[0] is not None:
            return NamedSharding(where.mesh, P(where.spec[0]))
    mesh = jax.sharding.get_mesh()
    return NamedSharding(mesh, P(ROWS)) if ROWS in mesh.shape else None


def place(tree: T, where: NamedSharding | None) -> T:
    """Arrays at a place, in a compiled function; None leaves it to the compiler."""
    if where is None:
        return tree
    explicit = AxisType.Explicit in where.mesh.axis_types
    move = jax.sharding.reshard if explicit else jax.lax.with_sharding_constraint
    return jax.tree.map(lambda x: move(x, where), tree)


def whole(tree: T) -> T:
    """Gives the rows of arrays back to all devices."""
    return _constrain(tree, P())


def _constrain(tree, spec):
    mesh = jax.sharding.get_abstract_mesh()
    kind = dict(zip(mesh.axis_names, mesh.axis_types, strict=True)).get(ROWS)
    if kind != AxisType.Auto:  # in shard_map it is Manual
        return tree
    return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, spec), tree)


def num_shares() -> int:
    """Number of devices that share the rows of arrays."""
    return jax.sharding.get_mesh().shape.get(ROWS, 1)


def mesh_of(tree: PyTree) -> Mesh | None:
    """The mesh that arrays lie on, or else that of `devices`; None if there is none."""
    for x in jax.tree.leaves(tree):
        match x:
            case jax.Array(sharding=NamedSharding(mesh=Mesh() as mesh)):
                return mesh
    mesh = jax.sharding.get_mesh()
    return None if mesh.empty else mesh


def everywhere(tree: T, mesh: Mesh | None = None) -> T:
    """Copies arrays whole to all devices of a mesh, without one to the device."""
    where = None if mesh is None else NamedSharding(mesh, P())

    def copy(x):
        if where is None:
            return jax.device_put(x)
        if isinstance(x, jax.Array):
            return _copy(where)(x)
        x = np.asarray(x)
        # Each process its own copy: device_put would compare them.
        return jax.make_array_from_callback(x.shape, where, lambda index: x[index])

    return jax.tree.map(copy, tree)
