"""RBMs of other programs: log Z by their own energies, written out in numpy."""

import itertools
import re
import sys

import h5py
import joblib
import numpy as np
import pytest
import scipy.io
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import make_pipeline

from dbn_jax import foreign, likelihood, rbm
from dbn_jax.sklearn import RestrictedBoltzmannMachine

RNG = np.random.default_rng(0)
BITS = np.array(list(itertools.product([0, 1], repeat=4)))


def log_z_of(path):
    return float(likelihood.exact_log_partition(foreign.load(path)))


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_scikit_learn(tmp_path):
    """Its free energy, F(v) = −b·v − Σ log(1 + exp(c + Wv)), summed over all v."""
    model = BernoulliRBM(3, n_iter=30, learning_rate=0.5, random_state=0).fit(BITS[:5])
    joblib.dump(model, tmp_path / "rbm.joblib", compress=3)
    minus_free = -np.array([model._free_energy(v[None])[0] for v in BITS])
    assert np.ptp(minus_free) > 2
    close(log_z_of(tmp_path / "rbm.joblib"), logsumexp(minus_free))
    params = foreign.load(tmp_path / "rbm.joblib")
    v = BITS.astype(np.float32)
    close(rbm.hidden_mean(params, v), model.transform(BITS))


def test_the_estimator_of_this_package(tmp_path):
    model = RestrictedBoltzmannMachine(3, n_iter=1, random_state=0).fit(BITS)
    joblib.dump(model, tmp_path / "rbm.pkl")
    assert log_z_of(tmp_path / "rbm.pkl") == model.log_z_


def write_rbms(path, kind, updates):
    """As `rbms.io.save_model` of rbms 0.5 does, but for its random numbers."""
    with h5py.File(path, "a") as f:
        for number, (weights, visible, hidden) in updates.items():
            checkpoint = f.create_group(f"update_{number}")
            named = {"weight_matrix": weights, "vbias": visible, "hbias": hidden}
            params = checkpoint.create_group("params")
            for name, x in named.items():
                params[name] = checkpoint[name] = x.astype(np.float32)
            checkpoint["time"] = 1.5
        f["parallel_chains"] = np.zeros((3, len(visible)), np.float32)
        f["model_type"] = kind


def drawn(*shape):
    return tuple(RNG.normal(size=s) for s in (shape, shape[:-1], shape[-1:]))


def test_rbms_of_binary_units(tmp_path):
    """E = −b·v − c·h − vᵀWh, of the last update, which is not the last by name."""
    weights, b, c = drawn(4, 3)
    write_rbms(tmp_path / "rbm.h5", "BBRBM", {2: drawn(4, 3), 10: (weights, b, c), 9: drawn(4, 3)})
    h = BITS[:8, 1:]
    minus_energy = (BITS @ b)[:, None] + h @ c + BITS @ weights @ h.T
    close(log_z_of(tmp_path / "rbm.h5"), logsumexp(minus_energy))


def test_rbms_of_colours(tmp_path):
    """E = −Σ_i b[i, v_i] − c·h − Σ_ia W[i, v_i, a] h_a, with v_i one of three colours."""
    weights, b, c = drawn(2, 3, 4)
    write_rbms(tmp_path / "rbm.hdf5", "PBRBM", {1: (weights, b, c)})
    minus_energy = [
        b[0, i] + b[1, j] + h @ c + (weights[0, i] + weights[1, j]) @ h
        for i, j in itertools.product(range(3), repeat=2)
        for h in BITS
    ]
    close(log_z_of(tmp_path / "rbm.hdf5"), logsumexp(minus_energy))


def test_what_rbms_itself_writes(tmp_path):
    io = pytest.importorskip("rbms.io")
    torch = pytest.importorskip("torch")
    from rbms.partition_function.exact import compute_partition_function_rbm

    for name, shape in (("BBRBM", (4, 3)), ("PBRBM", (2, 3, 4))):
        parts = [torch.tensor(x, dtype=torch.float32) for x in drawn(*shape)]
        model = io.map_model[name](*parts)
        io.save_model(str(tmp_path / f"{name}.h5"), model, model.init_chains(2), 7, 1.0)
        states = torch.tensor(np.unique(BITS[:, -shape[-1] :], axis=0), dtype=torch.float32)
        expected = compute_partition_function_rbm(model, states)
        np.testing.assert_allclose(log_z_of(tmp_path / f"{name}.h5"), expected, rtol=1e-5)


def write_julia(path, visible, hidden, weights, **changes):
    """As `save_rbm` of RestrictedBoltzmannMachines.jl 4 does; arrays have Julia's axes.

    A layer is the name of its type and its parameters, which come first of the axes. In HDF5 the
    axes of a Julia array stand in the opposite order.
    """
    texts = {
        "rbm_hdf5_file_format_version": "1.0.0",
        "rbm_type": "RBM",
        "visible_type": visible[0],
        "hidden_type": hidden[0],
    }
    with h5py.File(path, "w") as f:
        for name, text in (texts | changes).items():
            f[name] = text
        arrays = {"visible_par": visible[1], "hidden_par": hidden[1], "weights": weights}
        for name, x in arrays.items():
            f[name] = np.transpose(x)


def interaction(weights, v, h):
    """Σ v_ij w_ijk h_k, with the axes of Julia's arrays."""
    return np.einsum("ij,ijk,k->", v, weights, h)


@pytest.mark.parametrize("kind", ["Binary", "Spin"])
def test_julia_images(tmp_path, kind):
    """E = −Σ θ_ij v_ij − Σ θ_k h_k − Σ v_ij w_ijk h_k, of images of 2×3 pixels."""
    weights, visible, hidden = drawn(2, 3, 4)
    write_julia(tmp_path / "rbm.h5", (kind, visible[None]), ("Binary", hidden[None]), weights)
    states = itertools.product([0, 1] if kind == "Binary" else [-1, 1], repeat=6)
    minus_energy = [
        np.sum(visible * v) + hidden @ h + interaction(weights, v, h)
        for v in (np.reshape(state, (2, 3)) for state in states)
        for h in BITS
    ]
    close(log_z_of(tmp_path / "rbm.h5"), logsumexp(minus_energy))


def test_julia_pixels_come_in_the_order_of_its_memory(tmp_path):
    """vec(v) in Julia: the first axis varies fastest."""
    weights, visible, hidden = drawn(2, 3, 4)
    write_julia(tmp_path / "rbm.h5", ("Binary", visible[None]), ("Binary", hidden[None]), weights)
    bias = foreign.load(tmp_path / "rbm.h5").visible.bias
    close(bias, [visible[i, j] for j in range(3) for i in range(2)])


def test_julia_colours_and_gaussian_units(tmp_path):
    """E_v = −Σ θ_qi v_qi with v one-hot of q = 3; E_h = Σ |γ|h²/2 − θh, summed out by its formula.

    ∫ exp(Ih − E_h) dh = √(2π/|γ|) exp((θ + I)²/(2|γ|)).
    """
    weights, visible, theta = drawn(3, 2, 4)
    gamma = np.array([0.5, -2.0, 1.0, 3.0])
    hidden = np.stack([theta, gamma])
    write_julia(tmp_path / "rbm.h5", ("Potts", visible[None]), ("Gaussian", hidden), weights)
    log_weights = []
    for i, j in itertools.product(range(3), repeat=2):
        inputs = weights[i, 0] + weights[j, 1]
        free = (theta + inputs) ** 2 / (2 * abs(gamma)) + np.log(2 * np.pi / abs(gamma)) / 2
        log_weights.append(visible[i, 0] + visible[j, 1] + free.sum())
    close(log_z_of(tmp_path / "rbm.h5"), logsumexp(log_weights))


@pytest.mark.parametrize("name", ["hidbiases", "hidrecbiases"])
def test_matlab(tmp_path, name):
    """Binary units with P(h) = σ(v·vishid + hidbiases); biases are rows."""
    weights, b, c = drawn(4, 3)
    arrays = {"vishid": weights, "visbiases": b[None], name: c[None], "epoch": 10}
    scipy.io.savemat(tmp_path / "mnistvh.mat", arrays)
    h = BITS[:8, 1:]
    minus_energy = (BITS @ b)[:, None] + h @ c + BITS @ weights @ h.T
    close(log_z_of(tmp_path / "mnistvh.mat"), logsumexp(minus_energy))


def wrong(path, what):
    """Writes a file from which no RBM can be made."""
    weights, b, c = drawn(4, 3)
    binary = ("Binary", b[None]), ("Binary", c[None])
    match what:
        case "pipeline":
            joblib.dump(make_pipeline(BernoulliRBM(2), LogisticRegression()), path)
        case "unfitted":
            joblib.dump(BernoulliRBM(2), path)
        case "text":
            path.write_bytes(b"no model at all")
        case "other":
            with h5py.File(path, "w") as f:
                f["x"] = 1
        case "half":
            write_julia(path, *binary, weights)
            path.write_bytes(path.read_bytes()[:600])
        case "kind":
            write_rbms(path, "EBM", {1: (weights, b, c)})
        case "sizes":
            write_rbms(path, "BBRBM", {1: (weights, b[:3], c)})
        case "nan":
            write_rbms(path, "BBRBM", {1: (weights, b * np.nan, c)})
        case "version":
            write_julia(path, *binary, weights, rbm_hdf5_file_format_version="2.0.0")
        case "standardised":
            write_julia(path, *binary, weights, rbm_type="StandardizedRBM")
        case "xrelu":
            hidden = "xReLU", np.stack([c] * 4)
            write_julia(path, binary[0], hidden, weights)
        case "labels":
            parts = {"vishid": weights, "hidbiases": c, "visbiases": b, "labhid": weights}
            scipy.io.savemat(path, parts)
        case "layer":
            scipy.io.savemat(path, {"hidpen": weights, "penrecbiases": c, "hidgenbiases": b})


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "pipeline.joblib",
            "ValueError: it holds a Pipeline; dump the fitted BernoulliRBM alone, of a pipeline "
            "its step",
        ),
        (
            "unfitted.pkl",
            "AttributeError: 'BernoulliRBM' object has no attribute 'intercept_visible_'",
        ),
        ("text.joblib", "KeyError: 110)"),
        ("text.h5", "OSError: Unable to synchronously open file"),
        ("text.mat", ""),  # what SciPy says differs between versions
        (
            "other.h5",
            "ValueError: it has neither the model_type of rbms nor the "
            "rbm_hdf5_file_format_version of RestrictedBoltzmannMachines.jl",
        ),
        ("half.h5", "OSError: Unable to synchronously open file (truncated file"),
        ("kind.h5", "ValueError: it holds a EBM; BBRBM and PBRBM are known"),
        (
            "sizes.h5",
            "ValueError: its weights have the shape (4, 3), its biases that of (3, 3) units",
        ),
        ("nan.h5", "ValueError: it holds NaN or infinity"),
        ("version.h5", "ValueError: its format has the version 2.0.0; 1.0.0 is known"),
        (
            "standardised.h5",
            "ValueError: it holds a StandardizedRBM: write the RBM by save_rbm(path, "
            "unstandardize(rbm))",
        ),
        (
            "xrelu.h5",
            "ValueError: it has xReLU units; Binary, Spin, Potts and Gaussian ones are known",
        ),
        (
            "labels.mat",
            "ValueError: it has label units (labhid), which are not read: no likelihood is whole",
        ),
        (
            "layer.mat",
            "ValueError: it has hidpen, penrecbiases, hidgenbiases; the weights of a first layer, "
            "vishid, are read",
        ),
    ],
)
def test_a_file_without_an_rbm_is_refused(tmp_path, name, words):
    path = tmp_path / name
    wrong(path, path.stem)
    sentence = f"'{path}' holds no RBM that is known, or is damaged ({words}"
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        foreign.load(path)


def test_what_is_no_file_of_another_program_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^there is no model file '.*none\.mat'$"):
        foreign.load(tmp_path / "none.mat")
    words = "has none of the suffixes by which models of other programs are known: .joblib, .pkl"
    with pytest.raises(ValueError, match=re.escape(words)):
        foreign.load(tmp_path / "model.npz")


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    write_rbms(tmp_path / "rbm.h5", "BBRBM", {1: drawn(4, 3)})
    monkeypatch.setitem(sys.modules, "h5py", None)
    words = (
        r"is read by a package that is missing \(.*h5py.*\): pip install 'dbn_jax\[experiments\]'$"
    )
    with pytest.raises(ImportError, match=words):
        foreign.load(tmp_path / "rbm.h5")
