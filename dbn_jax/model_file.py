"""Models in one file: an RBM, a net or a network, unit types included, to publish and to load.

The file is a NumPy archive (.npz) of the arrays and a description of the classes that hold them,
as JSON; nothing in it is executed. Its checksum stands beside it, as sha256sum writes it.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np

from dbn_jax import dbn, rbm, units

_CLASSES = {
    cls.__name__: cls for cls in (rbm.RBM, dbn.DBN, dbn.UntiedDBN, *units.Units.__subclasses__())
}
# Of `dbn_jax.networks`, which is imported only for files that hold one: it needs Flax.
_NETWORKS = ("Layer", "Classifier", "Autoencoder")
_DESCRIPTION = "description"


def save(path: str | os.PathLike, model: Any, *, dtype: Any = None) -> None:
    """Writes a model, and its SHA-256 to ``path + ".sha256"``; each appears whole or not at all.

    Args:
      path: of the file, such as ``model.npz``.
      model: an `rbm.RBM`, `dbn.DBN` or `dbn.UntiedDBN`, or a `networks.Classifier` or
        `networks.Autoencoder`; TypeError if it is something else.
      dtype: of the weight matrices in the file, such as ``jnp.bfloat16``, which makes it half as
        large or smaller; OverflowError if a weight is too large for it. None keeps theirs. Biases,
        which take little room, are kept as they are.
    """
    arrays: dict[str, np.ndarray] = {}
    description = json.dumps(_describe(model, "", arrays, dtype))
    arrays[_DESCRIPTION] = np.frombuffer(description.encode(), np.uint8)
    path = pathlib.Path(path)
    partial, sidecar = path.with_name(path.name + ".partial"), _sidecar(path)
    with partial.open("wb") as file:
        np.savez_compressed(file, **arrays)
    digest = _sha256(partial)
    # The checksum is never beside a file that it does not belong to.
    sidecar.unlink(missing_ok=True)
    partial.replace(path)
    partial.write_text(f"{digest}  {path.name}\n")
    partial.replace(sidecar)


def load(path: str | os.PathLike, *, dtype: Any = jnp.float32) -> Any:
    """Reads a model that `save` wrote, its arrays in `dtype`, and verifies a checksum beside it.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is damaged, is none of `save`'s, or has another checksum.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no model file {str(path)!r}")
    _check_sum(path)
    try:
        # A handle of our own: NumPy leaves its own open when the archive is damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = dict(archive)
        return _build(json.loads(bytes(arrays.pop(_DESCRIPTION))), arrays, dtype)
    except Exception as e:  # there is little that NumPy and zlib do not raise at a flipped bit
        raise ValueError(
            f"{str(path)!r} is no model file of dbn_jax, or is damaged ({type(e).__name__}: {e})"
        ) from e


def _check_sum(path):
    if (sidecar := _sidecar(path)).exists():
        expected, digest = sidecar.read_text().split()[:1], _sha256(path)
        if expected != [digest]:
            raise ValueError(
                f"{str(path)!r} has the SHA-256 {digest}, but {sidecar.name} says "
                f"{' '.join(expected) or 'nothing'}: one of the two is damaged or of another "
                "version; fetch both again"
            )


def _sidecar(path):
    return path.with_name(path.name + ".sha256")


def _sha256(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _describe(value, name, arrays, dtype):
    """JSON for a part of a model; its arrays go into `arrays` under their place in the model."""
    parts = _parts(value)
    if parts is not None:
        fields = {
            field: _describe(part, f"{name}.{field}" if name else field, arrays, dtype)
            for field, part in parts.items()
        }
        return {"class": type(value).__name__, "fields": fields}
    if isinstance(value, tuple):
        return {"tuple": [_describe(x, f"{name}.{i}", arrays, dtype) for i, x in enumerate(value)]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"value": value}
    if not hasattr(value, "shape"):
        raise TypeError(
            f"{name or 'the model'} is of {type(value)}; expected an RBM, a DBN, an UntiedDBN, a "
            "Classifier or an Autoencoder"
        )
    x = np.asarray(value)
    if dtype is not None and x.ndim > 1:
        x = _cast(x, dtype, name)
    if x.dtype.itemsize != 2:
        arrays[name] = x
        return {"array": name}
    # The upper bytes, sign and exponent, take few values: on their own they compress to about
    # half, whereas between the lower ones, which are noise, nothing does.
    bits = x.view(np.uint16)
    arrays[name] = np.stack([bits >> 8, bits & 255]).astype(np.uint8)
    return {"planes": name, "dtype": x.dtype.name}


def _parts(value):
    """What a model, or an object in it, is made of; None for anything else."""
    if type(value) in _CLASSES.values():
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if type(value).__name__ in _NETWORKS and type(value).__module__ == "dbn_jax.networks":
        return value.parts()
    return None


def _cast(x, dtype, name):
    with np.errstate(over="ignore"):
        cast = x.astype(dtype)
    if not np.isfinite(cast).all() and np.isfinite(x).all():
        raise OverflowError(
            f"{name} holds values up to {np.abs(x).max():.4g}, too large for "
            f"{cast.dtype.name}; save it with a wider dtype"
        )
    return cast


def _build(description, arrays, dtype):
    match description:
        case {"class": name, "fields": fields}:
            parts = {field: _build(part, arrays, dtype) for field, part in fields.items()}
            return _class(name)(**parts)
        case {"tuple": items}:
            return tuple(_build(item, arrays, dtype) for item in items)
        case {"value": value}:
            return value
        case {"array": name}:
            return jnp.asarray(arrays[name], dtype)
        case {"planes": name, "dtype": stored}:
            upper, lower = arrays[name].astype(np.uint16)
            return jnp.asarray((upper << 8 | lower).view(jnp.dtype(stored)), dtype)
    raise ValueError(f"unknown part {description!r}")


def _class(name):
    if name in _NETWORKS:
        from dbn_jax import networks

        return getattr(networks, name)
    return _CLASSES[name]
