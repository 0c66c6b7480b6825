"""What settings of an RBM's learning become: its learner, and its optimizer."""

import jax
import numpy as np
import pytest

from dbn_jax import learning, rbm
from experiments.common.rbm_settings import LEARNERS, MemorySettings, RBMSettings


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (RBMSettings(gibbs_steps=3), learning.CD(3)),
        (RBMSettings(reconstruction="probabilities"), learning.CD(sample_visible=False)),
        (RBMSettings(learner="pcd", num_chains=7), learning.PCD(7)),
        (RBMSettings(learner="fast_pcd", fast_rate=0.2), learning.FastPCD(100, 1, 0.2)),
        (
            RBMSettings(learner="tempering", temperatures=4, min_beta=0.5),
            learning.ParallelTempering(100, 4, 1, 0.5),
        ),
        (RBMSettings(learner="exact"), learning.Exact()),
        (MemorySettings(learner="labelled_pcd", label_cost=3.0), learning.LabelledPCD(100, 1, 3.0)),
        (MemorySettings(learner="cd"), learning.CD()),
        (RBMSettings(centring="enhanced"), learning.Centred(learning.CD(), 0.5, 1.0)),
        (
            MemorySettings(learner="labelled_pcd", centring="centred", sparsity_target=0.1),
            learning.Sparse(learning.Centred(learning.LabelledPCD(100, 1, 10.0)), 0.1, 0.1),
        ),
    ],
)
def test_settings_make_their_learner(settings, expected):
    assert settings.make_learner() == expected


def test_every_learner_can_be_made():
    for name in LEARNERS:
        assert isinstance(RBMSettings(learner=name).make_learner(), learning.Learner)


def test_equal_settings_make_one_optimizer():
    assert RBMSettings().make_optimizer(10) is RBMSettings(gibbs_steps=2).make_optimizer(10)


@pytest.mark.usefixtures("implicit_promotion")
def test_momentum_switches_and_rate_decays():
    settings = RBMSettings(epochs=8, momentum_epochs=2, learning_rate_decay="linear")
    optimizer = settings.make_optimizer(5)
    params = rbm.init_params(jax.random.key(0), 3, 2)
    state = optimizer.init(params)
    seen = []
    for _ in range(40):
        _, state = optimizer.update(params, state, params)
        seen.append({k: float(v) for k, v in state[1].hyperparams.items()})
    momentum = [s["momentum"] for s in seen]
    np.testing.assert_allclose(momentum, [0.5] * 10 + [0.9] * 30, rtol=1e-6)
    rates = [s["learning_rate"] for s in seen]
    np.testing.assert_allclose(rates[:21], 0.1, rtol=1e-5)
    np.testing.assert_allclose(rates[30], 0.1 * (1 - 0.99 / 2), rtol=1e-5)
