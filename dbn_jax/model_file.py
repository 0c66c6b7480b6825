"""Models in one file: an RBM, a net or a network, unit types included, to publish and to load.

The file is a NumPy archive (.npz) of the arrays and a description of the classes that hold them,
as JSON. Its checksum stands beside it, as sha256sum writes it.

A file runs nothing of its own and imports nothing. It names classes: those of this package, and
units and weights of one's own by module and name, which have to be known to the program already,
imported or given as `types`. Only classes that derive from those of this package are looked at, and
all that happens to them is that they are made, of arrays, numbers and text.
"""

import dataclasses
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import tree_leaves_with_path

from dbn_jax import convolutional, dbn, files, linear, parallel, rbm, temporal, units

_SEQUENCES = (
    temporal.ConditionalRBM,
    temporal.TRBM,
    temporal.RTRBM,
    temporal.RNNRBM,
    temporal.Stack,
)
_MODELS = (rbm.RBM, dbn.DBN, dbn.UntiedDBN, *_SEQUENCES)
# Of `dbn_jax.networks`, which is imported only for files that hold one: it needs Flax. So does
# `temporal.cells`.
_LAYERS = ("Layer", "ConvolutionalLayer")
_NETWORKS = ("Classifier", "Autoencoder")
# What classes of one's own derive from.
_BASES = (units.Units, linear.LinearMap, *_MODELS)
_DESCRIPTION = "description"
# An archive that unpacks to more than this many bytes, and to this many times its own size, is no
# model: learnt weights compress to a half.
_LARGE, _INFLATION = 10**9, 100
_SHOWN_CHARACTERS = 200


def save(path: str | os.PathLike, model: Any, *, dtype: Any = None) -> None:
    """Writes a model, and its SHA-256 to ``path + ".sha256"``; each appears whole or not at all.

    Args:
      path: of the file, such as ``model.npz``.
      model: an `rbm.RBM`, `dbn.DBN` or `dbn.UntiedDBN`, a `networks.Classifier` or
        `networks.Autoencoder`, or a `temporal.TemporalRBM`, with units and weights of any type;
        TypeError if it is something else.
      dtype: of weight matrices and filters in the file, such as ``jnp.bfloat16``, which makes it
        half as large or smaller; OverflowError if a weight is too large for it. None keeps theirs.
        Biases, which take little room, are kept as they are.
    """
    arrays: dict[str, Any] = {}
    description = json.dumps(_describe(model, "", arrays, dtype))
    arrays[_DESCRIPTION] = np.frombuffer(description.encode(), np.uint8)
    path, archive = files.path(path), io.BytesIO()
    np.savez_compressed(archive, **arrays)
    with files.replacing(path) as file:
        file.write(archive.getbuffer())
        if parallel.is_first():  # the checksum is never beside a file that it does not belong to
            _sidecar(path).unlink(missing_ok=True)
    digest = hashlib.sha256(archive.getbuffer()).hexdigest()
    files.write_text(_sidecar(path), f"{digest}  {path.name}\n")


def load(path: str | os.PathLike, *, dtype: Any = jnp.float32, types: Sequence[type] = ()) -> Any:
    """Reads a model that `save` wrote, its arrays in `dtype`, and verifies a checksum beside it.

    Args:
      path: of the file.
      dtype: of the arrays.
      types: classes of units or weights of your own, which stand for those of these names in the
        file, wherever they were defined. Those that are imported already are found without it.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is damaged, is none of `save`'s, or has another checksum; its arrays do
        not fit each other, or hold NaN or infinity; or it holds a type that is not known.
    """
    if isinstance(types, type) or not all(
        isinstance(cls, type) and issubclass(cls, _BASES) for cls in types
    ):
        raise TypeError(
            f"types is {types!r}; give a tuple of classes of units or weights, such as (MyUnits,)"
        )
    path = files.path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no model file {str(path)!r}")
    _check_sum(path)
    try:
        # A handle of our own: NumPy leaves its own open when the archive is damaged.
        with path.open("rb") as file:
            _check_size(file)
            with np.load(file, allow_pickle=False) as archive:
                arrays = dict(archive)
        model = _build(json.loads(bytes(arrays.pop(_DESCRIPTION))), arrays, dtype, types)
        _check_model(model)
        return model
    except _UnknownType as e:
        raise ValueError(f"{str(path)!r} has units or weights of type {e}") from None
    except Exception as e:  # there is little that NumPy and zlib do not raise at a flipped bit
        detail = str(e).partition("\n")[0][:_SHOWN_CHARACTERS]
        raise ValueError(
            f"{str(path)!r} is no model file of dbn_jax, or is damaged "
            f"({type(e).__name__}: {detail})"
        ) from e


def _check_sum(path):
    if (sidecar := _sidecar(path)).exists():
        expected, digest = files.read_text(sidecar).split()[:1], files.sha256(path)
        if expected != [digest]:
            raise ValueError(
                f"{str(path)!r} has the SHA-256 {digest}, but {sidecar.name} says "
                f"{' '.join(expected) or 'nothing'}: one of the two is damaged or of another "
                "version; fetch both again"
            )


def _sidecar(path):
    return path.with_name(path.name + ".sha256")


def _check_size(file):
    """Refuses archives that would fill the memory."""
    packed = file.seek(0, os.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > max(_LARGE, _INFLATION * packed):
        raise ValueError(f"its {packed:,} bytes unpack to {unpacked:,}")
    file.seek(0)


def _describe(value, name, arrays, dtype):
    """JSON for a part of a model; its arrays go into `arrays` under their place in the model."""
    parts = _parts(value)
    if parts is not None:
        fields = {
            field: _describe(part, f"{name}.{field}" if name else field, arrays, dtype)
            for field, part in parts.items()
        }
        return {"class": _name(type(value)), "fields": fields}
    if hasattr(value, "initialize_carry"):
        from dbn_jax.temporal import cells

        how, own = cells.describe(value)
        own = {place: _describe(x, f"{name}{place}", arrays, dtype) for place, x in own.items()}
        return {"cell": how, "arrays": own}
    if isinstance(value, tuple):
        return {"tuple": [_describe(x, f"{name}.{i}", arrays, dtype) for i, x in enumerate(value)]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"value": value}
    if not name:
        raise TypeError(
            f"the model is of {type(value)}; expected an RBM, a DBN, an UntiedDBN, a Classifier, "
            "an Autoencoder or a model of sequences"
        )
    if not (hasattr(value, "shape") and jnp.issubdtype(value.dtype, jnp.floating)):
        what = f"an array of {value.dtype}" if hasattr(value, "shape") else f"of {type(value)}"
        raise TypeError(
            f"{name} is {what}; a model file holds arrays of real numbers, units and weights, and "
            "numbers, text and tuples"
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
    if isinstance(value, (*_MODELS, linear.LinearMap, units.Units)):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    name = type(value).__name__
    if name in _LAYERS + _NETWORKS and type(value).__module__ == "dbn_jax.networks":
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


def _build(description, arrays, dtype, types):
    match description:
        case {"class": str(name), "fields": fields}:
            parts = {field: _build(part, arrays, dtype, types) for field, part in fields.items()}
            return _class(name, types)(**parts)
        case {"cell": dict(how), "arrays": dict(parts)}:
            from dbn_jax.temporal import cells

            built = {place: _build(part, arrays, dtype, types) for place, part in parts.items()}
            return cells.rebuild(built, **how)
        case {"tuple": items}:
            return tuple(_build(item, arrays, dtype, types) for item in items)
        case {"value": bool() | int() | float() | str() | None as value}:
            return value
        case {"array": name}:
            x = arrays[name]
            if x.dtype not in (np.float32, np.float64):
                raise ValueError(f"the array {name} is of {x.dtype}, not of real numbers")
        case {"planes": name, "dtype": ("float16" | "bfloat16") as stored}:
            upper, lower = arrays[name].astype(np.uint16)
            x = (upper << 8 | lower).view(jnp.dtype(stored))
        case _:
            raise ValueError(f"unknown part {str(description)[:80]}")
    if not (x.size and np.isfinite(x).all()):
        raise ValueError(f"the array {name} {'holds NaN or infinity' if x.size else 'is empty'}")
    return jnp.asarray(x, dtype)


class _UnknownType(Exception):
    """A type of one's own that the program does not have; its text ends a sentence."""


def _name(cls):
    """What a class is called in files: of this package "Spin", of others "my_units:MyUnits"."""
    if cls.__module__.partition(".")[0] == "dbn_jax":
        return cls.__name__
    return f"{cls.__module__}:{cls.__qualname__}"


def _class(name: str, types: Sequence[type]) -> Any:
    if name in _LAYERS + _NETWORKS:
        from dbn_jax import networks

        return getattr(networks, name)
    module, _, qualified = name.rpartition(":")
    short = qualified.rpartition(".")[2]
    if module:
        for cls in types:
            if cls.__name__ == short:
                return cls
    # Now: a program's own types may be defined after this module is imported. Of several by one
    # name, such as a notebook's cell makes that is run again, the last.
    found = {_name(cls): cls for cls in (*_MODELS, *_subclasses(_BASES))}
    if name in found:
        return found[name]
    if not module:
        raise ValueError(f"there is no class {name} in dbn_jax")
    remedy = f"pass types=({short},)"
    if module == "__main__":
        raise _UnknownType(f"{qualified}, of a notebook or script: define it first, or {remedy}")
    if "<locals>" not in qualified:
        remedy = f"import {module} first, or {remedy}"
    raise _UnknownType(f"{module}.{qualified}: {remedy}")


def _subclasses(bases: Sequence[type]) -> Iterator[type]:
    for base in bases:
        for subclass in base.__subclasses__():
            yield subclass
            yield from _subclasses([subclass])


def _check_model(model):
    """Raises ValueError unless the parts of a model fit each other."""
    match model:
        case rbm.RBM():
            _check_rbm("the RBM", model)
        case dbn.DBN(layers=layers):
            _check_stack("layer", layers)
        case dbn.UntiedDBN(recognition=up, generative=down, top=top):
            _check_stack("recognition layer", (*up, top))
            _check_stack("generative layer", (*down, top))
            for i, (one, other) in enumerate(zip(up, down, strict=True)):
                if one.weights.shape != other.weights.shape:
                    raise ValueError(
                        f"layer {i} recognises with weights of shape {one.weights.shape}, and "
                        f"generates with weights of shape {other.weights.shape}"
                    )
        case temporal.TemporalRBM():
            _check_sequences(model)
        case _ if type(model).__name__ in _NETWORKS:
            _check_network(model)
        case _:
            raise ValueError(f"it holds a {type(model).__name__}, which is no model")


def _check_sequences(model):
    """Compares the parts of a model of sequences with each other."""
    if isinstance(model, temporal.Stack):
        for layer in model.layers:
            _check_sequences(layer)
        temporal.Stack(model.layers)
        return
    _check_frames(model)


def _check_frames(model):
    """Compares what sets the biases of frames with the RBM; memories stay as large as they are."""
    if not isinstance(model.rbm, rbm.RBM):
        raise ValueError(f"the frames' model is a {type(model.rbm).__name__}, not an RBM")
    _check_rbm("the RBM", model.rbm)
    num_visible, num_hidden = model.rbm.weights.shape
    match model:
        case temporal.RTRBM():
            memory = model.initial
            wanted = {"recurrent": (num_hidden, num_hidden), "initial": (num_hidden,)}
        case temporal.RNNRBM():
            memory = model.initial
            size = np.shape(jax.tree.leaves(memory)[-1])[-1]
            wanted = {"to_visible": (size, num_visible), "to_hidden": (size, num_hidden)}
        case temporal.ConditionalRBM(to_visible=None, to_hidden=None, order=0):
            return
        case temporal.ConditionalRBM(to_visible=jax.Array() as to_visible):
            if not 0 <= model.order * num_visible <= len(to_visible):
                raise ValueError(
                    f"the order is {model.order}, but to_visible has the shape {to_visible.shape}"
                )
            memory = model.start(jnp.zeros(model.style_size))
            size = len(to_visible)
            wanted = {"to_visible": (size, num_visible), "to_hidden": (size, num_hidden)}
        case _:
            raise ValueError(f"the order is {model.order}, but there are no weights to the past")
    _check_shapes("", wanted, {name: np.shape(getattr(model, name)) for name in wanted})
    v = jnp.zeros(num_visible, model.rbm.weights.dtype)
    after = jax.eval_shape(lambda: model.update(jax.random.key(0), memory, v))
    shapes = [
        {jax.tree_util.keystr(path): x.shape for path, x in tree_leaves_with_path(tree)}
        for tree in (after, memory)
    ]
    _check_shapes("the memory", *shapes)


def _check_stack(name, layers):
    for i, layer in enumerate(layers):
        if not isinstance(layer, rbm.RBM):
            raise ValueError(f"{name} {i} is a {type(layer).__name__}, not an RBM")
        _check_rbm(f"{name} {i}", layer)
    dbn.stack(layers)


def _check_rbm(name, params):
    if getattr(params.weights, "ndim", 0) < 2:
        raise ValueError(f"{name}: the weights are no matrix")
    *models, num_visible, _ = params.weights.shape
    _check_units(f"{name}, visible", params.visible, (*models, num_visible))
    _check_hidden(f"{name}, hidden", params.weights, params.hidden)


def _check_hidden(name, weights, maps):
    *models, _, num_hidden = weights.shape
    _check_units(name, maps, (*models, num_hidden))
    if isinstance(weights, convolutional.Local):
        of_maps = weights.map_shape[:2]
        if (shape := getattr(maps, "shape", of_maps)) != of_maps:
            raise ValueError(f"{name}: maps of {shape} units; beside its weights, {of_maps}")


def _check_units(name, layer, shape):
    """Compares the parameters of units with those that their type has for so many units."""
    if not isinstance(layer, units.Units):
        raise ValueError(f"{name} is a {type(layer).__name__}, not units")
    for field in dataclasses.fields(layer):
        if field.metadata.get("static") and field.default is not None:
            value, kind = getattr(layer, field.name), type(field.default)
            if not isinstance(value, (int, kind) if kind is float else kind):
                raise ValueError(f"{name}.{field.name} is {value!r}, not of type {kind.__name__}")
    *models, size = shape
    if isinstance(layer, units.Maps):
        _check_units(f"{name}.each", layer.each, (*models, size // layer.num_places))
    wanted, found = (
        {jax.tree_util.keystr(path): np.shape(x) for path, x in tree_leaves_with_path(tree)}
        for tree in (jax.eval_shape(lambda: layer.init(size)), layer)
    )
    _check_shapes(name, {path: (*models, *each) for path, each in wanted.items()}, found)


def _check_network(model):
    if not all(model.parts().values()):
        raise ValueError("a part of the network has no layers")
    shapes = []
    for i, layer in enumerate(model.layers()):
        name, parts = f"layer {i}", layer.parts()
        if "maps" in parts:
            _check_hidden(name, **parts)
        else:
            *models, _, outputs = parts["kernel"].shape
            _check_shapes(name, {".bias": (*models, outputs)}, {".bias": parts["bias"].shape})
        shapes.append(layer.shape)
    if "decoder" in model.parts() and shapes[-1][-1] != shapes[0][-2]:
        raise ValueError(f"it takes {shapes[0][-2]} pixels and returns {shapes[-1][-1]}")


def _check_shapes(name, wanted, found):
    for path in {**wanted, **found}:
        one, other = wanted.get(path, "nothing"), found.get(path, "nothing")
        if one != other:
            raise ValueError(f"{name}{path} has the shape {other}; beside its weights, {one}")
