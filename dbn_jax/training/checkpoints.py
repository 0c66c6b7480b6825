"""Checkpoints of training states, any pytrees of arrays, written with Orbax.

A checkpoint appears whole or not at all: Orbax writes into a temporary folder and renames it (in a
bucket it ends it by a file commit_success.txt), and the last good one stays until its successor is
complete. With every tree goes a description of its structure, so that what does not fit is refused
in plain words before an array is read; what it belongs to (`belonging`), so that no run goes on
with other things than it began with; and a checksum of its arrays, for Orbax verifies its indices
only, not the values in its files.
"""

import contextlib
import logging
import os
import pathlib
import re
import sys
import types
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging as absl_logging

from dbn_jax import files, parallel
from dbn_jax.training import belonging

_MAX_TO_KEEP = 2
_SHOWN_DIFFERENCES = 8
_SHOWN_CHARACTERS = 200
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_NOTHING: Mapping[str, Any] = types.MappingProxyType({})


class Checkpoints(contextlib.AbstractContextManager):
    """The checkpoints of one run, in a directory that holds nothing else.

    Writing happens in the background; `save` returns when the arrays are copied. Use it as a
    context manager, or call `close`, so that the last one is complete before the program goes on.
    What cannot be opened, written (the disk being full, say) or read is an OSError that says what
    to do; the last complete checkpoint is kept.
    """

    def __init__(self, directory: str | os.PathLike):
        self.directory = files.absolute(directory)
        ocp = _orbax()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=_MAX_TO_KEEP,
            cleanup_tmp_directories=True,  # left by a process that was killed while writing
        )
        with _explained(f"cannot open the checkpoints in {self.directory}"):
            self.directory.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(self.directory, options=options)

    def latest_step(self) -> int | None:
        """Step of the newest checkpoint, None if there is none."""
        return self._manager.latest_step()

    def save(self, step: int, tree: Any, made_with: Mapping[str, Any] = _NOTHING) -> None:
        """Starts to write a checkpoint, when the one before it is complete.

        The step must grow from call to call. The leaves are arrays, not empty; numpy arrays must
        not change until they are written. `made_with` is what it belongs to, as JSON.
        """
        description, tree = _describe(tree), _encode(tree)
        ocp = _orbax()
        args = ocp.args.Composite(
            tree=ocp.args.StandardSave(tree),
            structure=ocp.args.JsonSave(
                {
                    "paths": description,
                    "made_with": dict(made_with),
                    "checksums": _checksums(tree),
                }
            ),
        )
        self.wait()
        with self._writing():
            begun = self._manager.save(step, args=args)
        if not begun:
            newest = self.latest_step()
            raise ValueError(f"there is a checkpoint of step {newest} already; step is {step}")

    def wait(self) -> None:
        """Waits until the last checkpoint is complete."""
        with self._writing():
            self._manager.wait_until_finished()

    def restore(self, like: Any, made_with: Mapping[str, Any] = _NOTHING) -> tuple[int, Any] | None:
        """Reads the step and the tree of the newest checkpoint; None if there is none.

        It must have the structure, shapes and dtypes of `like`, and belong to `made_with`. Each
        leaf is placed as it is placed there.
        """
        self.wait()
        step = self.latest_step()
        if step is None:
            return None
        ocp, what = _orbax(), f"the checkpoint of step {step} in {self.directory}"
        remedy = f"delete {self.directory / str(step)} to go on from the one before it, if any"
        with _explained(f"cannot read {what}", remedy):
            args = ocp.args.Composite(structure=ocp.args.JsonRestore())
            saved = self._manager.restore(step, args=args)["structure"]
            paths, belongs_to = (dict(saved[name]) for name in ("paths", "made_with"))
            checksums = saved["checksums"]
        _check_fit(paths, _describe(like), what)
        belonging.check(belongs_to, made_with, what)
        with _explained(f"cannot read {what}", remedy), _without_late_callbacks():
            target = jax.tree.map(_target, _encode(like))
            args = ocp.args.Composite(tree=ocp.args.StandardRestore(target))
            tree = self._manager.restore(step, args=args)["tree"]
            pairs = zip(_checksums(tree), checksums, strict=True)
            if any(a != b for a, b in pairs if None not in (a, b)):
                raise ValueError("its arrays hold other bytes than were saved")
        return step, jax.tree.map(_place, like, tree)

    def close(self) -> None:
        """Waits for the last checkpoint and ends the background threads."""
        try:
            self.wait()
        finally:
            self._manager.close()

    def __exit__(self, *exception) -> None:
        self.close()

    def _writing(self):
        return _explained(
            f"cannot write a checkpoint in {self.directory} (the last complete one is kept, and "
            "the same command goes on from it)"
        )


def _orbax():
    """Imports Orbax at first use: it is slow to import, and tells its doings to absl's log."""
    # Failures come as exceptions. Adding the same filter again changes nothing.
    absl_logging.get_absl_logger().addFilter(_is_not_from_orbax)
    import orbax.checkpoint as ocp

    return ocp


def _is_not_from_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in pathlib.Path(record.pathname).parts


@contextlib.contextmanager
def _without_late_callbacks():
    """Silences the arrays that are still being read when one of them has failed.

    They call into an event loop that Orbax has closed, and Python prints a traceback for each.
    """
    before = sys.unraisablehook

    def hook(unraisable):
        if str(unraisable.exc_value) != "Event loop is closed":
            before(unraisable)

    sys.unraisablehook = hook
    yield
    sys.unraisablehook = before  # not after a failure: they come later


@contextlib.contextmanager
def _explained(message: str, remedy: str = ""):
    """Turns the many errors of the storage layers into one OSError that says what happened."""
    try:
        yield
    except Exception as e:
        # TensorStore adds kilobytes of its settings to the system's words.
        reason = files.why(e).partition("\n")[0]
        if len(reason) > _SHOWN_CHARACTERS:
            reason = reason[:_SHOWN_CHARACTERS] + " …"
        raise OSError("; ".join(filter(None, (f"{message}: {reason}", remedy)))) from e


def _describe(tree: Any) -> dict[str, str]:
    """What is at each path: a node's class with its static data, or an array's dtype and shape."""
    found: dict[str, str] = {}

    def visit(path, node):
        name = jax.tree_util.keystr(path) or "the tree"
        children, structure = jax.tree_util.tree_flatten_with_path(
            node, is_leaf=lambda x: x is not node
        )
        if structure.node_data() is None:
            found[name] = _describe_leaf(name, node)
            return
        kind, static = structure.node_data()
        # The keys of a dict are in the paths. Where a function lies in memory, such as one of a
        # Flax module, is another place in each process.
        told = _ADDRESS.sub("", str(static)) if static and kind is not dict else ""
        found[name] = kind.__qualname__ + told
        for key, child in children:
            visit((*path, *key), child)

    visit((), tree)
    return found


def _describe_leaf(name: str, x: Any) -> str:
    if not isinstance(x, (jax.Array, np.ndarray, np.generic)):
        raise ValueError(f"leaf {name} is {x!r}, which is no array")
    description = f"{x.dtype}[{','.join(map(str, x.shape))}]"
    if x.size == 0:
        raise ValueError(f"leaf {name} is {description}; Orbax cannot save empty arrays")
    return description


def _check_fit(saved: dict[str, str], wanted: dict[str, str], what: str) -> None:
    differences = [
        f"  {path}: saved {saved.get(path, 'nothing')}, wanted {wanted.get(path, 'nothing')}"
        for path in {**saved, **wanted}
        if saved.get(path) != wanted.get(path)
    ]
    if len(differences) > _SHOWN_DIFFERENCES:
        more = len(differences) - _SHOWN_DIFFERENCES
        differences[_SHOWN_DIFFERENCES:] = [f"  and {more} more"]
    if differences:
        raise ValueError(
            f"{what} does not fit; use the settings that it was made with, or another directory:\n"
            + "\n".join(differences)
        )


def _checksums(tree: Any) -> list[int | None]:
    """CRC-32 of the bytes of each array; None for those of which other hosts alone hold a part."""

    def checksum(x):
        if not parallel.is_here(x):
            return None
        return zlib.crc32(np.ascontiguousarray(x).reshape(-1).view(np.uint8).data)

    return [checksum(x) for x in jax.tree.leaves(tree)]


def _is_key(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def _encode(tree: Any) -> Any:
    """Makes words of random keys."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, tree)


def _target(x: Any) -> Any:
    """Describes to Orbax how a leaf is to be restored.

    Orbax pins arrays to devices. A leaf that was free to move must stay so, or it could not be used
    beside arrays that lie on other devices: it comes back as a numpy array.
    """
    if isinstance(x, jax.Array) and x.committed:
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)
    return np.empty(x.shape, x.dtype)


def _place(like: Any, x: Any) -> Any:
    """Makes a restored leaf the kind that `like` is."""
    if not isinstance(like, jax.Array):
        return x
    x = jnp.asarray(x)
    return jax.random.wrap_key_data(x, impl=jax.random.key_impl(like)) if _is_key(like) else x
