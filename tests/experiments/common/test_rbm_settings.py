"""What settings of an RBM's learning become: its learner, and its optimizer."""

import jax
import numpy as np
import pytest

from dbn_jax import learning, rbm
from experiments.common.rbm_settings import LEARNERS, LayerSettings, MemorySettings, RBMSettings


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
    first, second = RBMSettings(epochs=3), RBMSettings(epochs=3, gibbs_steps=2)
    assert first.make_optimizer(10) is second.make_optimizer(10)


@pytest.mark.parametrize(
    ("num_images", "epochs"), [(60_000, 60), (4000, 60), (3999, 61), (1433, 168), (20, 12_000)]
)
def test_fewer_images_are_passed_over_more_often(num_images, epochs):
    assert RBMSettings().suited(num_images, grey=False).epochs == epochs
    assert RBMSettings(epochs=7).suited(num_images, grey=False).epochs == 7


@pytest.mark.parametrize(
    ("num_pixels", "epochs", "rate"),
    [(3072, 60, 0.1), (784, 60, 0.1), (392, 120, 0.2), (64, 240, 1)],
)
def test_few_pixels_get_more_updates_and_a_higher_rate(num_pixels, epochs, rate):
    found = LayerSettings().suited(4000, num_pixels, grey=False)
    assert (found.epochs, found.learning_rate) == (epochs, pytest.approx(rate))
    assert LayerSettings(learning_rate=0.3).suited(4000, num_pixels, grey=True).learning_rate == 0.3


def test_what_is_not_drawn_is_not_reconstructed_by_drawing():
    grey, drawn = (RBMSettings().suited(4000, grey=grey) for grey in (True, False))
    assert grey.make_learner() == learning.CD(sample_visible=False)
    assert drawn.make_learner() == learning.CD(sample_visible=True)
    chosen = RBMSettings(reconstruction="samples")
    assert chosen.suited(4000, grey=True).reconstruction == "samples"
    top = MemorySettings()
    assert [top.suited(4000, grey=x).learning_rate for x in (True, False)] == [0.005, 0.02]
    # Other learners reconstruct nothing, and their flags.txt does not say that they do.
    assert RBMSettings(learner="pcd").suited(4000, grey=True).reconstruction is None


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
