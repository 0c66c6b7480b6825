"""RBMs of other libraries, each trained the way its users train it: the benchmark's peers.

All of `PEERS` train the same binary RBM on the same batches with one Gibbs step; `Peer.what` says
what else each of them does. None needs to be installed; `INSTALL` installs all of them.

None of these libraries has an RBM with a memory (learnergy 2.0 and rbms 0.5 have none), so that
`SEQUENCE_PEERS` is an RNN-RBM in plain PyTorch. `IMAGE_PEERS` are convolutional RBMs; none of them
pools its hidden units block by block as it learns.
"""

import dataclasses
import functools
import importlib.metadata
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from experiments.benchmarks.programs import Case, Program

INSTALL = "pip install -e '.[peers]'"
_RATE = 0.05
_MOMENTUM = 0.5

# (sizes, batches, number of updates) -> a function that makes them. Sizes are a `Case`, batches
# (batches, batch, visible); for sequences a `temporal_updates.Size`, and its batches; for images a
# `convolutional_updates.Size`, and its batches.
_Maker = Callable[[Any, np.ndarray, int], Callable[[], None]]


@dataclasses.dataclass(frozen=True)
class Peer:
    """One way to train an RBM with another library.

    Attributes:
      name: its name in the table.
      package: the package that it needs.
      learner: "CD-1" or "PCD-1"; "CD" where the sizes say the number of steps.
      what: what it computes, in words.
      make: prepares updates; this is not timed.
    """

    name: str
    package: str
    learner: str
    what: str
    make: _Maker

    def version(self) -> str | None:
        """Version of the package, or None if it is not installed."""
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return None

    def program(self, case: Any, batches: np.ndarray, num_updates: int) -> Program:
        """Updates by batches in turn, such as (batches, batch, visible)."""
        return Program(
            name=self.name,
            what=self.what,
            learner=self.learner,
            num_updates=num_updates,
            call=self.make(case, batches, num_updates),
        )


def _cycle(step, data, num_updates):
    """A function that makes updates by batches in turn, and waits for them."""

    def run():
        for t in range(num_updates):
            step(data[t % len(data)])
        _wait()

    return run


def _sklearn(case: Case, batches: np.ndarray, num_updates: int):
    from sklearn.neural_network import BernoulliRBM

    model = BernoulliRBM(
        n_components=case.num_hidden,
        learning_rate=_RATE,
        batch_size=case.batch_size,
        random_state=0,
    )
    # It computes in float64 and would convert anything else in every call.
    return _cycle(model.partial_fit, list(batches.astype(np.float64)), num_updates)


def _torch():
    """PyTorch, seeded, and its device: a GPU if JAX has one too."""
    import torch

    torch.manual_seed(0)
    has_gpu = jax.default_backend() == "gpu" and torch.cuda.is_available()
    return torch, "cuda" if has_gpu else "cpu"


def _wait():
    """Waits for what PyTorch has started on a GPU."""
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _torch_autograd(case: Case, batches: np.ndarray, num_updates: int):
    torch, device = _torch()
    from torch import nn
    from torch.nn.functional import linear, softplus

    class RBM(nn.Module):
        """Binary RBM in the way of most tutorials: the loss is a difference of free energies."""

        def __init__(self, num_visible, num_hidden):
            super().__init__()
            self.weight = nn.Parameter(0.01 * torch.randn(num_hidden, num_visible))
            self.visible_bias = nn.Parameter(torch.zeros(num_visible))
            self.hidden_bias = nn.Parameter(torch.zeros(num_hidden))

        def forward(self, v):
            """Draws a reconstruction of v."""
            h = torch.sigmoid(linear(v, self.weight, self.hidden_bias)).bernoulli()
            return torch.sigmoid(linear(h, self.weight.t(), self.visible_bias)).bernoulli()

        def free_energy(self, v):
            """Mean over the batch."""
            x = linear(v, self.weight, self.hidden_bias)
            return -(v @ self.visible_bias + softplus(x).sum(1)).mean()

    model = RBM(case.num_visible, case.num_hidden).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=_RATE, momentum=_MOMENTUM)

    def step(v):
        reconstruction = model(v).detach()
        loss = model.free_energy(v) - model.free_energy(reconstruction)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return _cycle(step, list(torch.from_numpy(batches).to(device)), num_updates)


def _torch_explicit(case: Case, batches: np.ndarray, num_updates: int):
    torch, device = _torch()
    weights = 0.01 * torch.randn((case.num_visible, case.num_hidden), device=device)
    visible_bias = torch.zeros(case.num_visible, device=device)
    hidden_bias = torch.zeros(case.num_hidden, device=device)
    parameters = (weights, visible_bias, hidden_bias)
    velocity = [torch.zeros_like(p) for p in parameters]

    @torch.no_grad()
    def step(v):
        p = torch.sigmoid(v @ weights + hidden_bias)
        last_v = torch.bernoulli(torch.sigmoid(torch.bernoulli(p) @ weights.t() + visible_bias))
        last_p = torch.sigmoid(last_v @ weights + hidden_bias)
        gradients = (
            (v.t() @ p - last_v.t() @ last_p) / len(v),
            (v - last_v).mean(0),
            (p - last_p).mean(0),
        )
        for parameter, change, gradient in zip(parameters, velocity, gradients, strict=True):
            change.mul_(_MOMENTUM).add_(gradient, alpha=_RATE)
            parameter.add_(change)

    return _cycle(step, list(torch.from_numpy(batches).to(device)), num_updates)


def _torch_rnn_rbm(size, batches: np.ndarray, num_updates: int):
    torch, device = _torch()
    from torch import nn
    from torch.nn.functional import softplus

    class RNNRBM(nn.Module):
        """RNN-RBM with a GRU, its loss a difference of free energies."""

        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(size.num_visible, size.num_recurrent, batch_first=True)
            self.to_visible = nn.Linear(size.num_recurrent, size.num_visible)
            self.to_hidden = nn.Linear(size.num_recurrent, size.num_hidden)
            self.weight = nn.Parameter(0.01 * torch.randn(size.num_visible, size.num_hidden))

        def biases(self, v):
            """Those of each frame, (sequences, frames, ...), from the frames before it."""
            u, _ = self.gru(v[:, :-1])
            u = torch.cat([torch.zeros_like(u[:, :1]), u], 1)
            return self.to_visible(u), self.to_hidden(u)

        def free_energy(self, v, visible_bias, hidden_bias):
            """Mean over all frames."""
            x = v @ self.weight + hidden_bias
            return -((v * visible_bias).sum(-1) + softplus(x).sum(-1)).mean()

        @torch.no_grad()
        def gibbs(self, v, visible_bias, hidden_bias):
            """Draws a fantasy of each frame."""
            for _ in range(size.num_gibbs_steps):
                h = torch.sigmoid(v @ self.weight + hidden_bias).bernoulli()
                v = torch.sigmoid(h @ self.weight.t() + visible_bias).bernoulli()
            return v

    model = RNNRBM().to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=_RATE, momentum=_MOMENTUM)

    def step(v):
        biases = model.biases(v)
        fantasy = model.gibbs(v, *biases)
        loss = model.free_energy(v, *biases) - model.free_energy(fantasy, *biases)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return _cycle(step, list(torch.from_numpy(batches).to(device)), num_updates)


def _rbms(case: Case, batches: np.ndarray, num_updates: int, *, persistent: bool):
    torch, device = _torch()
    from rbms.bernoulli_bernoulli.classes import BBRBM
    from rbms.dataset.dataset_class import RBMDataset
    from rbms.training.pcd import fit_batch_pcd

    data = batches.reshape(-1, case.num_visible)
    dataset = RBMDataset(
        data=data,
        labels=np.zeros(len(data)),
        weights=np.ones(len(data), np.float32),
        names=np.arange(len(data)).astype(str),
        dataset_name="benchmark",
        is_binary=True,
        device=device,
    )
    params = BBRBM.init_parameters(case.num_hidden, dataset, device, torch.float32)
    params.init_grad()
    chains = params.init_chains(num_samples=case.batch_size)
    optimizer = torch.optim.SGD(params.parameters(), lr=_RATE, maximize=True)

    @torch.no_grad()
    def step(_):  # it draws its batches itself
        nonlocal chains
        chosen = torch.randperm(len(dataset))[: case.batch_size]
        batch = (dataset.data[chosen], dataset.weights[chosen])
        if not persistent:
            chains = params.init_chains(case.batch_size, weights=batch[1], start_v=batch[0])
        optimizer.zero_grad(set_to_none=False)
        chains, _ = fit_batch_pcd(batch, chains, params, gibbs_steps=1, beta=1.0)
        optimizer.step()

    return _cycle(step, batches, num_updates)


def _learnergy(case: Case, batches: np.ndarray, num_updates: int):
    from learnergy.models.bernoulli import RBM

    sizes = {"n_visible": case.num_visible, "n_hidden": case.num_hidden}
    return _fit(RBM, sizes, batches, num_updates)


def _learnergy_conv(size, batches: np.ndarray, num_updates: int):
    from learnergy.models.bernoulli import ConvRBM

    *visible_shape, num_channels = size.image_shape
    sizes = {
        "visible_shape": tuple(visible_shape),
        "n_channels": num_channels,
        "filter_shape": (size.filter_size, size.filter_size),
        "n_filters": size.num_maps,
    }
    return _fit(ConvRBM, sizes, batches, num_updates)


def _fit(kind, sizes, batches, num_updates):
    """A function that makes an epoch of updates of one of learnergy's models."""
    torch, device = _torch()
    model = kind(**sizes, learning_rate=_RATE, momentum=_MOMENTUM, use_gpu=device == "cuda")
    images = torch.from_numpy(batches[np.arange(num_updates) % len(batches)]).flatten(0, 1)
    dataset = torch.utils.data.TensorDataset(images, torch.zeros(len(images)))

    def run():
        model.fit(dataset, batch_size=batches.shape[1], epochs=1)
        _wait()

    return run


PEERS = (
    Peer(
        name="sklearn",
        package="scikit-learn",
        learner="PCD-1",
        what="BernoulliRBM.partial_fit; float64, no momentum",
        make=_sklearn,
    ),
    Peer(
        name="torch",
        package="torch",
        learner="CD-1",
        what="eager, update rule written out, momentum",
        make=_torch_explicit,
    ),
    Peer(
        name="torch_autograd",
        package="torch",
        learner="CD-1",
        what="eager, autograd of free energies, SGD with momentum",
        make=_torch_autograd,
    ),
    Peer(
        name="rbms",
        package="rbms",
        learner="CD-1",
        what="fit_batch_pcd from the data, centred; no momentum, its archive not written",
        make=functools.partial(_rbms, persistent=False),
    ),
    Peer(
        name="rbms_pcd",
        package="rbms",
        learner="PCD-1",
        what="fit_batch_pcd, centred; no momentum, its archive not written",
        make=functools.partial(_rbms, persistent=True),
    ),
    Peer(
        name="learnergy",
        package="learnergy",
        learner="CD-1",
        what="RBM.fit; autograd, momentum, data loader and pseudo-likelihood included",
        make=_learnergy,
    ),
)
SEQUENCE_PEERS = (
    Peer(
        name="torch_rnn_rbm",
        package="torch",
        learner="CD",
        what="eager, torch.nn.GRU, autograd of free energies, SGD with momentum",
        make=_torch_rnn_rbm,
    ),
)
IMAGE_PEERS = (
    Peer(
        name="learnergy_conv",
        package="learnergy",
        learner="CD-1",
        what="ConvRBM.fit; autograd, momentum and data loader included",
        make=_learnergy_conv,
    ),
)


def everyone() -> tuple[Peer, ...]:
    """All of them."""
    return (*PEERS, *SEQUENCE_PEERS, *IMAGE_PEERS)
