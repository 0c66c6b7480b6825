"""Other libraries' RBMs, each trained as its own users train it, for `benchmark`.

All learn the same binary RBM from the same batches with one Gibbs step. They differ in what else
they do, and `Peer.what` says so. None needs to be installed: ``pip install -e '.[peers]'`` installs
all of them.
"""

import dataclasses
import importlib
import importlib.metadata
from collections.abc import Callable

import jax
import numpy as np

from experiments.benchmarks.rbm_updates import Case

INSTALL = "pip install -e '.[peers]'"
_RATE = 0.05
_MOMENTUM = 0.5

# (case, batches (batches, batch, visible), number of updates) -> a function that makes them.
Maker = Callable[[Case, np.ndarray, int], Callable[[], None]]


@dataclasses.dataclass(frozen=True)
class Peer:
    """One way to train an RBM with another library.

    Attributes:
      name: for the report.
      module: that must be importable.
      package: that provides it.
      learner: "CD-1" or "PCD-1".
      what: it computes, in words.
      make: prepares updates, untimed; see `Maker`.
    """

    name: str
    module: str
    package: str
    learner: str
    what: str
    make: Maker

    def version(self) -> str | None:
        """Version of the installed package, or None if it cannot be imported."""
        try:
            importlib.import_module(self.module)
        except ModuleNotFoundError as error:
            # A peer that is there but broken is not reported as missing.
            if error.name != self.module.partition(".")[0]:
                raise
            return None
        return importlib.metadata.version(self.package)


def _cycle(batches, num_updates):
    """The batches that a call takes, in order."""
    return [batches[t % len(batches)] for t in range(num_updates)]


def _sklearn(case: Case, batches: np.ndarray, num_updates: int):
    from sklearn.neural_network import BernoulliRBM

    model = BernoulliRBM(
        n_components=case.num_hidden,
        learning_rate=_RATE,
        batch_size=case.batch_size,
        random_state=0,
    )
    # It computes in float64 and would convert anything else in every call.
    data = list(batches.astype(np.float64))

    def run():
        for batch in _cycle(data, num_updates):
            model.partial_fit(batch)

    return run


def _torch_device() -> str:
    import torch

    return "cuda" if jax.default_backend() == "gpu" and torch.cuda.is_available() else "cpu"


def _wait(device: str) -> None:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


def _torch_autograd(case: Case, batches: np.ndarray, num_updates: int):
    import torch
    from torch import nn
    from torch.nn import functional

    class RBM(nn.Module):
        """Binary RBM in the way of most tutorials: the loss is a difference of free energies."""

        def __init__(self, num_visible, num_hidden):
            super().__init__()
            self.weight = nn.Parameter(0.01 * torch.randn(num_hidden, num_visible))
            self.visible_bias = nn.Parameter(torch.zeros(num_visible))
            self.hidden_bias = nn.Parameter(torch.zeros(num_hidden))

        def forward(self, v):
            """Draws a reconstruction of v."""
            h = torch.sigmoid(functional.linear(v, self.weight, self.hidden_bias)).bernoulli()
            return torch.sigmoid(
                functional.linear(h, self.weight.t(), self.visible_bias)
            ).bernoulli()

        def free_energy(self, v):
            """Mean over the batch."""
            x = functional.linear(v, self.weight, self.hidden_bias)
            return -(v @ self.visible_bias + functional.softplus(x).sum(1)).mean()

    device = _torch_device()
    torch.manual_seed(0)
    model = RBM(case.num_visible, case.num_hidden).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=_RATE, momentum=_MOMENTUM)
    data = list(torch.from_numpy(batches).to(device))

    def run():
        for v in _cycle(data, num_updates):
            reconstruction = model(v).detach()
            loss = model.free_energy(v) - model.free_energy(reconstruction)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        _wait(device)

    return run


def _torch_explicit(case: Case, batches: np.ndarray, num_updates: int):
    import torch

    device = _torch_device()
    torch.manual_seed(0)
    size = (case.num_visible, case.num_hidden)
    weights = 0.01 * torch.randn(size, device=device)
    visible_bias = torch.zeros(case.num_visible, device=device)
    hidden_bias = torch.zeros(case.num_hidden, device=device)
    velocity = [torch.zeros_like(p) for p in (weights, visible_bias, hidden_bias)]
    data = list(torch.from_numpy(batches).to(device))

    @torch.no_grad()
    def run():
        for v in _cycle(data, num_updates):
            p = torch.sigmoid(v @ weights + hidden_bias)
            last_v = torch.bernoulli(torch.sigmoid(torch.bernoulli(p) @ weights.t() + visible_bias))
            last_p = torch.sigmoid(last_v @ weights + hidden_bias)
            gradients = (
                (v.t() @ p - last_v.t() @ last_p) / len(v),
                (v - last_v).mean(0),
                (p - last_p).mean(0),
            )
            parameters = (weights, visible_bias, hidden_bias)
            for parameter, change, gradient in zip(parameters, velocity, gradients, strict=True):
                change.mul_(_MOMENTUM).add_(gradient, alpha=_RATE)
                parameter.add_(change)
        _wait(device)

    return run


def _rbms(persistent: bool) -> Maker:
    def make(case: Case, batches: np.ndarray, num_updates: int):
        import torch
        from rbms.bernoulli_bernoulli.classes import BBRBM
        from rbms.dataset.dataset_class import RBMDataset
        from rbms.training.pcd import fit_batch_pcd

        device = _torch_device()
        torch.manual_seed(0)
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
        def run():
            nonlocal chains
            for _ in range(num_updates):
                chosen = torch.randperm(len(dataset))[: case.batch_size]
                batch = (dataset.data[chosen], dataset.weights[chosen])
                if not persistent:
                    chains = params.init_chains(case.batch_size, weights=batch[1], start_v=batch[0])
                optimizer.zero_grad(set_to_none=False)
                chains, _ = fit_batch_pcd(batch, chains, params, gibbs_steps=1, beta=1.0)
                optimizer.step()
            _wait(device)

        return run

    return make


def _learnergy(case: Case, batches: np.ndarray, num_updates: int):
    import torch
    from learnergy.models.bernoulli import RBM

    torch.manual_seed(0)
    device = _torch_device()
    model = RBM(
        n_visible=case.num_visible,
        n_hidden=case.num_hidden,
        learning_rate=_RATE,
        momentum=_MOMENTUM,
        use_gpu=device == "cuda",
    )
    images = torch.from_numpy(np.concatenate(_cycle(batches, num_updates)))
    dataset = torch.utils.data.TensorDataset(images, torch.zeros(len(images)))

    def run():
        model.fit(dataset, batch_size=case.batch_size, epochs=1)
        _wait(device)

    return run


PEERS = (
    Peer(
        name="sklearn",
        module="sklearn.neural_network",
        package="scikit-learn",
        learner="PCD-1",
        what="BernoulliRBM.partial_fit; float64, no momentum",
        make=_sklearn,
    ),
    Peer(
        name="torch",
        module="torch",
        package="torch",
        learner="CD-1",
        what="eager, update rule written out, momentum",
        make=_torch_explicit,
    ),
    Peer(
        name="torch_autograd",
        module="torch",
        package="torch",
        learner="CD-1",
        what="eager, autograd of free energies, SGD with momentum",
        make=_torch_autograd,
    ),
    Peer(
        name="rbms",
        module="rbms.training.pcd",
        package="rbms",
        learner="CD-1",
        what="fit_batch_pcd from the data, centred; no momentum, its archive not written",
        make=_rbms(persistent=False),
    ),
    Peer(
        name="rbms_pcd",
        module="rbms.training.pcd",
        package="rbms",
        learner="PCD-1",
        what="fit_batch_pcd, centred; no momentum, its archive not written",
        make=_rbms(persistent=True),
    ),
    Peer(
        name="learnergy",
        module="learnergy.models.bernoulli",
        package="learnergy",
        learner="CD-1",
        what="RBM.fit; autograd, momentum, data loader and pseudo-likelihood included",
        make=_learnergy,
    ),
)


def select(names: tuple[str, ...]) -> list[Peer]:
    """Returns the peers of these names.

    Raises:
      ValueError: a name is unknown, or given more than once.
    """
    known = {peer.name: peer for peer in PEERS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"no peer {', '.join(unknown)}: choose from {', '.join(known)}")
    repeated = [name for name in known if names.count(name) > 1]
    if repeated:
        raise ValueError(f"peer {', '.join(repeated)} is given more than once: name each once")
    return [known[name] for name in names]
