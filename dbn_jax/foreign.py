"""RBMs that other programs wrote, as `rbm.RBM`, to measure them with the same ruler.

- .joblib, .pkl: a ``BernoulliRBM`` of scikit-learn, from ``joblib.dump(model, path)``, or the
  estimator of `dbn_jax.sklearn`. Reading such a file executes what it holds, so read only what you
  trust; the others hold numbers alone;
- .h5, .hdf5: rbms, from ``save_model``, whose last update is read;
- .h5, .hdf5: RestrictedBoltzmannMachines.jl, from ``save_rbm``;
- .mat: the MATLAB programs of Hinton and Salakhutdinov (2006), from ``save mnistvh vishid …``.

In all of them E(v, h) has the signs that it has here, and states the same values, so that log Z is
theirs. Categorical variables become groups of softmax units; images of several axes, rows in the
order in which the file has their pixels.
"""

import os
from collections.abc import Callable
from typing import IO, Any

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax import files, rbm, units

_JULIA = "rbm_hdf5_file_format_version"
_SHOWN_CHARACTERS = 200


def load(path: str | os.PathLike) -> rbm.RBM:
    """Reads an RBM of another program, in float32; the suffix says what the file is.

    Raises:
      FileNotFoundError: there is no such file.
      ImportError: the package that reads it is missing.
      ValueError: the file holds no RBM that is known, or is damaged.
    """
    path = files.path(path)
    readers: dict[str, Callable[[IO[bytes]], rbm.RBM]] = {
        ".joblib": _scikit_learn,
        ".pkl": _scikit_learn,
        ".h5": _hdf5,
        ".hdf5": _hdf5,
        ".mat": _matlab,
    }
    if path.suffix not in readers:
        raise ValueError(
            f"{str(path)!r} has none of the suffixes by which models of other programs are known: "
            f"{', '.join(readers)}"
        )
    if not path.is_file():
        raise FileNotFoundError(f"there is no model file {str(path)!r}")
    try:
        with path.open("rb") as file:
            return readers[path.suffix](file)
    except ImportError as e:
        raise ImportError(
            f"{str(path)!r} is read by a package that is missing ({e}): "
            "pip install 'dbn_jax[experiments]'"
        ) from e
    except Exception as e:  # what a damaged file makes these packages raise has no end
        detail = f"{type(e).__name__}: {str(e)[:_SHOWN_CHARACTERS]}".splitlines()[0]
        raise ValueError(
            f"{str(path)!r} holds no RBM that is known, or is damaged ({detail})"
        ) from e


def _array(x: Any) -> jax.Array:
    return jnp.asarray(x, jnp.float32)


def _rbm(weights: Any, visible: units.Units, hidden: units.Units) -> rbm.RBM:
    params = rbm.RBM(_array(weights), visible, hidden)
    sizes = visible.num_units, hidden.num_units
    if params.weights.shape != sizes:
        raise ValueError(
            f"its weights have the shape {params.weights.shape}, its biases that of {sizes} units"
        )
    if not all(np.isfinite(x).all() for x in jax.tree.leaves(params)):
        raise ValueError("it holds NaN or infinity")
    return params


def _binary(bias: Any) -> units.Bernoulli:
    return units.Bernoulli(_array(bias).ravel())


def _scikit_learn(file):
    import joblib
    from sklearn.neural_network import BernoulliRBM

    from dbn_jax.sklearn import RestrictedBoltzmannMachine

    model = joblib.load(file)
    if isinstance(model, RestrictedBoltzmannMachine):
        return model.state_.params
    if not isinstance(model, BernoulliRBM):
        raise ValueError(
            f"it holds a {type(model).__name__}; dump the fitted BernoulliRBM alone, of a pipeline "
            "its step"
        )
    visible, hidden = _binary(model.intercept_visible_), _binary(model.intercept_hidden_)
    return _rbm(model.components_.T, visible, hidden)


def _hdf5(file):
    import h5py

    with h5py.File(file) as archive:
        if "model_type" in archive:
            return _rbms(archive)
        if _JULIA in archive:
            return _julia(archive)
        raise ValueError(
            f"it has neither the model_type of rbms nor the {_JULIA} of "
            "RestrictedBoltzmannMachines.jl"
        )


def _rbms(archive):
    kind = archive["model_type"].asstr()[()]
    if kind not in ("BBRBM", "PBRBM"):
        raise ValueError(f"it holds a {kind}; BBRBM and PBRBM are known")
    last = max(int(name.removeprefix("update_")) for name in archive if name.startswith("update_"))
    params = archive[f"update_{last}/params"]
    weights, bias = params["weight_matrix"][()], params["vbias"][()]
    visible = _binary(bias)
    if kind == "PBRBM":  # (sites, colours); those of a site are neighbours
        visible = units.Softmax(visible.bias, bias.shape[-1])
    return _rbm(weights.reshape(-1, weights.shape[-1]), visible, _binary(params["hbias"][()]))


def _julia(archive):
    version, kind = (archive[name].asstr()[()] for name in (_JULIA, "rbm_type"))
    if version != "1.0.0":
        raise ValueError(f"its format has the version {version}; 1.0.0 is known")
    if kind != "RBM":
        raise ValueError(f"it holds a {kind}: write the RBM by save_rbm(path, unstandardize(rbm))")
    (visible, v_scale), (hidden, h_scale) = (
        _julia_layer(archive[f"{side}_type"].asstr()[()], archive[f"{side}_par"][()])
        for side in ("visible", "hidden")
    )
    # HDF5 has Julia's axes in the opposite order.
    weights = archive["weights"][()].reshape(len(h_scale), len(v_scale)).T
    return _rbm(v_scale[:, None] * weights * h_scale, visible, hidden)


def _julia_layer(kind, parameters):
    """A layer, and σ of its units: the statistic of Gaussian ones is x/σ; of others σ is 1."""
    theta = parameters[..., 0].ravel()
    bias, scale = _array(theta), np.ones_like(theta)
    match kind:
        case "Binary":
            return units.Bernoulli(bias), scale
        case "Spin":
            return units.Spin(bias), scale
        case "Potts":
            return units.Softmax(bias, parameters.shape[-2]), scale
        case "Gaussian":  # U = |γ|x²/2 − θx
            scale = 1 / np.sqrt(np.abs(parameters[..., 1].ravel()))
            bias, log_sigma = _array(theta * scale), _array(np.log(scale))
            parts = bias, log_sigma, jnp.zeros_like(bias), log_sigma
            return units.Gaussian(*parts, learn_sigma=True), scale
    raise ValueError(f"it has {kind} units; Binary, Spin, Potts and Gaussian ones are known")


def _matlab(file):
    import scipy.io

    arrays = scipy.io.loadmat(file)
    if "labhid" in arrays:
        raise ValueError("it has label units (labhid), which are not read: no likelihood is whole")
    if "vishid" not in arrays:
        names = ", ".join(name for name in arrays if not name.startswith("__"))
        raise ValueError(f"it has {names}; the weights of a first layer, vishid, are read")
    # `hidrecbiases` in the first layer of an autoencoder, `hidbiases` in an RBM alone.
    hidden = arrays["hidrecbiases" if "hidrecbiases" in arrays else "hidbiases"]
    return _rbm(arrays["vishid"], _binary(arrays["visbiases"]), _binary(hidden))
