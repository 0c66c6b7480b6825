"""Checkpoints of training states, any pytrees of arrays, written with Orbax.

A checkpoint appears whole or not at all: Orbax writes into a temporary folder and renames it, and
the last good one stays until its successor is complete. With every tree goes a description of its
structure, so that what does not fit is refused in plain words before a byte is read; and a checksum
of every leaf, so that a damaged file is not taken for a state.
"""

import contextlib
import logging
import os
import pathlib
import re
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging as absl_logging

_SHOWN_DIFFERENCES = 8


class Checkpoints:
    """The checkpoints of one run, in one directory.

    Writing happens in the background; `save` returns when the arrays are copied. Use it as a
    context manager, or call `close`, so that the last one is complete before the program goes on.

    Attributes:
      directory: where they are; made at first use.
    """

    def __init__(self, directory: str | os.PathLike, *, max_to_keep: int = 2):
        """Names the directory; nothing is read or written yet.

        Args:
          directory: for this run's checkpoints alone.
          max_to_keep: older ones are deleted, each only after a newer one is complete.
        """
        if max_to_keep < 1:
            raise ValueError(f"max_to_keep is {max_to_keep}; at least one checkpoint must be kept")
        self.directory = pathlib.Path(directory).absolute()
        self._max_to_keep = max_to_keep
        self._lazy_manager: Any = None
        self._being_written: int | None = None

    @property
    def _manager(self):
        if self._lazy_manager is None:
            ocp = _orbax()
            options = ocp.CheckpointManagerOptions(
                max_to_keep=self._max_to_keep,
                cleanup_tmp_directories=True,  # left by a process that was killed while writing
            )
            with _explained(f"cannot open the checkpoints in {self.directory}"):
                self.directory.mkdir(parents=True, exist_ok=True)
                self._lazy_manager = ocp.CheckpointManager(self.directory, options=options)
        return self._lazy_manager

    def latest_step(self) -> int | None:
        """Returns the step of the newest complete checkpoint, None if there is none."""
        return self._manager.latest_step()

    def save(self, step: int, tree: Any) -> None:
        """Starts to write a checkpoint; waits for the one before it.

        Args:
          step: number of updates made; must grow from call to call.
          tree: pytree of arrays. Numpy arrays in it must not change until it is written.

        Raises:
          OSError: this or the previous checkpoint cannot be written, the disk being full, say; the
            last complete one is kept.
          ValueError: a leaf is no array, or is empty, or `step` does not grow.
        """
        newest = self._being_written if self._being_written is not None else self.latest_step()
        if newest is not None and step <= newest:
            raise ValueError(f"there is a checkpoint of step {newest} already; step is {step}")
        args = _save_args(tree)
        self.wait()
        self._being_written = step
        with self._writing():
            self._manager.save(step, args=args)

    def wait(self) -> None:
        """Waits until the last checkpoint is complete; raises OSError if it cannot be written."""
        if self._lazy_manager is not None:
            with self._writing():
                self._manager.wait_until_finished()

    def restore(self, like: Any) -> tuple[int, Any] | None:
        """Reads the newest checkpoint.

        Args:
          like: pytree with the wanted structure, shapes and dtypes, of arrays (whose values do not
            matter) or `jax.ShapeDtypeStruct`. Each leaf is placed as it is placed here.

        Returns:
          The step and the tree; None if there is no checkpoint.

        Raises:
          ValueError: the checkpoint's structure, shapes or dtypes differ; names the differences.
          OSError: it cannot be read.
        """
        self.wait()
        step = self.latest_step()
        if step is None:
            return None
        ocp, what = _orbax(), f"the checkpoint of step {step} in {self.directory}"
        remedy = f"delete {self.directory / str(step)} to go on from the one before it, if any"
        with _explained(f"cannot read {what}; {remedy}"):
            args = ocp.args.Composite(structure=ocp.args.JsonRestore())
            description = self._manager.restore(step, args=args).structure
        _check(description, like, what)
        with _explained(f"cannot read {what}; {remedy}"):
            args = ocp.args.Composite(tree=ocp.args.StandardRestore(jax.tree.map(_target, like)))
            tree = self._manager.restore(step, args=args).tree
            saved, found = description["checksums"], _checksums(tree)
            damaged = [name for name, checksum in found.items() if checksum != saved[name]]
            if damaged:
                raise ValueError(f"other bytes than were saved: {', '.join(damaged)}")
        return step, jax.tree.map(_place, like, tree)

    def close(self) -> None:
        """Waits for the last checkpoint and ends the background threads."""
        if self._lazy_manager is not None:
            try:
                self.wait()
            finally:
                manager, self._lazy_manager = self._lazy_manager, None
                manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    @contextlib.contextmanager
    def _writing(self):
        step = self._being_written
        kept = "the last complete checkpoint is kept: make room and run the same command again"
        with _explained(f"cannot write the checkpoint of step {step} in {self.directory}; {kept}"):
            yield


def _orbax():
    """Imports Orbax at first use: it is slow to import, and tells its doings to absl's log."""
    # Failures come as exceptions. Adding the same filter again changes nothing.
    absl_logging.get_absl_logger().addFilter(_is_not_from_orbax)
    import orbax.checkpoint as ocp

    return ocp


def _is_not_from_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in pathlib.Path(record.pathname).parts


@contextlib.contextmanager
def _explained(message: str):
    """Turns the many errors of the storage layers into one OSError that says what happened."""
    try:
        yield
    except Exception as e:
        # TensorStore reports a full disk as a ValueError with the system's words in it.
        if "No space left on device" in str(e) or "RESOURCE_EXHAUSTED" in str(e):
            message = f"{message} (no space left on device)"
        raise OSError(f"{message}\n{type(e).__name__}: {e}") from e


def _save_args(tree: Any):
    ocp = _orbax()
    description = _describe(tree)
    for path, leaf in description["leaves"].items():
        if re.search(r"\b0\b", leaf.partition("[")[2]):
            raise ValueError(f"leaf {path or 'the tree'} is {leaf}; Orbax cannot save empty arrays")
    description["checksums"] = _checksums(tree)
    return ocp.args.Composite(
        tree=ocp.args.StandardSave(tree), structure=ocp.args.JsonSave(description)
    )


def _checksums(tree: Any) -> dict[str, int | None]:
    """CRC-32 of each leaf's bytes; None where other hosts hold a part of it."""
    return {
        jax.tree_util.keystr(path) or "the tree": _checksum(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _checksum(leaf: Any) -> int | None:
    if isinstance(leaf, jax.Array):
        if not leaf.is_fully_addressable:
            return None
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
    array = np.ascontiguousarray(leaf)
    return zlib.crc32(array.reshape(-1).view(np.uint8))


def _describe(tree: Any) -> dict[str, dict[str, str]]:
    """Returns, for every path, a node's type with its static data, or a leaf's dtype and shape."""
    nodes: dict[str, str] = {}
    leaves: dict[str, str] = {}

    def visit(path, node):
        name = jax.tree_util.keystr(path)
        children, structure = jax.tree_util.tree_flatten_with_path(
            node, is_leaf=lambda x: x is not node
        )
        if structure.node_data() is None:
            if not hasattr(node, "dtype") and not isinstance(node, (bool, int, float)):
                raise ValueError(f"leaf {name or 'the tree'} is {node!r}, which is no array")
            dtype = node.dtype if hasattr(node, "dtype") else np.asarray(node).dtype
            leaves[name] = f"{dtype}[{','.join(map(str, np.shape(node)))}]"
        else:
            kind, static = structure.node_data()
            # Static data are values; should one be a function, its address means nothing.
            static = "" if not static else re.sub(r" at 0x[0-9a-f]+", "", repr(static))
            nodes[name] = kind.__qualname__ + static
        for key, child in children:
            if key:
                visit((*path, *key), child)

    visit((), tree)
    return {"nodes": nodes, "leaves": leaves}


def _check(saved: dict[str, dict[str, str]], like: Any, what: str) -> None:
    wanted = _describe(like)
    differences = [
        f"  {path or 'the tree'}: saved {saved[part].get(path, 'nothing')}, "
        f"wanted {wanted[part].get(path, 'nothing')}"
        for part in ("leaves", "nodes")
        for path in {**saved[part], **wanted[part]}
        if saved[part].get(path) != wanted[part].get(path)
    ]
    if differences:
        if len(differences) > _SHOWN_DIFFERENCES:
            more = len(differences) - _SHOWN_DIFFERENCES
            differences = [*differences[:_SHOWN_DIFFERENCES], f"  and {more} more"]
        raise ValueError(
            f"{what} does not fit; use the settings that it was made with, or another directory:\n"
            + "\n".join(differences)
        )


def _is_placed(x: Any) -> bool:
    """Whether a leaf was put on its devices on purpose, and must come back there."""
    if isinstance(x, jax.Array):
        return x.committed
    return getattr(x, "sharding", None) is not None


def _target(x: Any) -> Any:
    """Describes to Orbax how a leaf is to be restored."""
    if isinstance(x, (bool, int, float)) or jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return x
    if _is_placed(x):
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)
    return np.zeros(x.shape, x.dtype)


def _place(like: Any, x: Any) -> Any:
    """Makes a restored leaf the kind that `like` is.

    Orbax pins what it restores to devices. A leaf that was free to move must stay so, or it could
    not be used beside arrays that lie on other devices.
    """
    if not isinstance(like, (jax.Array, jax.ShapeDtypeStruct)) or _is_placed(like):
        return x
    if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
        data = np.asarray(jax.random.key_data(x))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
    return jax.device_put(np.asarray(x))
