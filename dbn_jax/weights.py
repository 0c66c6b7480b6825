"""Models in one file: an RBM or a net, its unit types included, to publish and to load anywhere.

The file is a NumPy archive (.npz) of the arrays and a description of the classes that hold them,
as JSON; nothing in it is executed. Half precision halves it.
"""

import hashlib
import json
import os
import pathlib
import zipfile
from typing import Any

import jax.numpy as jnp
import numpy as np

from dbn_jax import dbn, pytrees, rbm, units

_CLASSES = {
    cls.__name__: cls for cls in (rbm.RBM, dbn.DBN, dbn.UntiedDBN, *units.Units.__subclasses__())
}
_DESCRIPTION = "description"


def save(path: str | os.PathLike, model: Any, *, dtype: Any = None) -> str:
    """Writes a model; the file appears whole or not at all.

    Args:
      path: of the file, such as ``model.npz``.
      model: an `rbm.RBM`, `dbn.DBN` or `dbn.UntiedDBN`.
      dtype: of the arrays in the file, such as ``jnp.float16``; None keeps theirs.

    Returns:
      The file's SHA-256, in hexadecimal, for `load`.

    Raises:
      TypeError: the model holds something else.
      OverflowError: a value is too large for `dtype`.
    """
    arrays: dict[str, np.ndarray] = {}
    description = _describe(model, "", arrays)
    for name, x in arrays.items():
        if dtype is not None:
            with np.errstate(over="ignore"):
                arrays[name] = x.astype(dtype)
            if not np.isfinite(arrays[name]).all() and np.isfinite(x).all():
                raise OverflowError(
                    f"{name} holds values up to {np.abs(x).max():.4g}, too large for "
                    f"{np.dtype(dtype)}; save it with a wider dtype"
                )
    path = pathlib.Path(path)
    partial = path.with_name(path.name + ".partial")
    text = np.frombuffer(json.dumps(description).encode(), np.uint8)
    with partial.open("wb") as file:
        np.savez_compressed(file, **{_DESCRIPTION: text}, **arrays)
    digest = _sha256(partial)
    partial.replace(path)
    return digest


def load(path: str | os.PathLike, *, sha256: str | None = None, dtype: Any = jnp.float32) -> Any:
    """Reads a model that `save` wrote.

    Args:
      path: of the file.
      sha256: what the file's SHA-256 must be; None does not look.
      dtype: of the model's arrays.

    Returns:
      The model.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is damaged, is none of `save`'s, or is not the one expected.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no model file {str(path)!r}")
    if sha256 is not None and _sha256(path) != sha256:
        raise ValueError(
            f"{str(path)!r} has the SHA-256 {_sha256(path)}, expected {sha256}: it is damaged, or "
            "another version; fetch it again"
        )
    try:
        # A handle of our own: NumPy leaves its own open when the archive is damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        description = json.loads(bytes(arrays.pop(_DESCRIPTION)))
        return _build(description, arrays, dtype)
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as e:
        raise ValueError(
            f"{str(path)!r} is no model file of dbn_jax, or is damaged ({type(e).__name__}: {e})"
        ) from e


def _describe(value, name, arrays):
    """JSON for a part of a model; its arrays go into `arrays` under their place in the model."""
    if type(value) in _CLASSES.values():
        fields = {
            field: _describe(getattr(value, field), f"{name}.{field}" if name else field, arrays)
            for field in pytrees.field_names(value)
        }
        return {"class": type(value).__name__, "fields": fields}
    if isinstance(value, tuple):
        items = [_describe(item, f"{name}.{i}", arrays) for i, item in enumerate(value)]
        return {"tuple": items}
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"value": value}
    if hasattr(value, "shape"):
        arrays[name] = np.asarray(value)
        return {"array": name}
    raise TypeError(
        f"{name or 'the model'} is of {type(value)}; expected an RBM, a DBN or an UntiedDBN"
    )


def _build(description, arrays, dtype):
    match description:
        case {"class": name, "fields": fields}:
            parts = {field: _build(part, arrays, dtype) for field, part in fields.items()}
            return _CLASSES[name](**parts)
        case {"tuple": items}:
            return tuple(_build(item, arrays, dtype) for item in items)
        case {"value": value}:
            return value
        case {"array": name}:
            return jnp.asarray(arrays[name], dtype)
    raise ValueError(f"unknown part {description!r}")


def _sha256(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
