"""Training of a classifier in a run: its optimizers, and the epoch that is taken."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import data
from experiments.common import classification


@pytest.mark.usefixtures("implicit_promotion")
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_optimizers_by_hand(optimizer):
    """The first update of a weight with gradient 2 and of a bias with gradient −3."""
    rule = classification._optimizer(optimizer, 0.1, 0.9, 0.01, 10, 0)
    params = {"softmax": {"kernel": jnp.full((1, 1), 5.0), "bias": jnp.full(1, 5.0)}}
    gradient = {"softmax": {"kernel": jnp.full((1, 1), 2.0), "bias": jnp.full(1, -3.0)}}
    updates, _ = jax.jit(lambda: rule.update(gradient, rule.init(params), params))()
    expected = {"sgd": (-0.1 * (2 + 0.05), 0.3), "adam": (-0.1 * (1 + 0.05), 0.1)}[optimizer]
    found = updates["softmax"]["kernel"][0, 0], updates["softmax"]["bias"][0]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_softmax_layer_alone_does_not_learn_longer_than_all():
    with pytest.raises(ValueError, match="--top_only_epochs=9 is more than --epochs=4"):
        classification.ClassifierSettings(epochs=4, top_only_epochs=9)


def test_each_presentation_distorts_the_images_anew_if_that_is_asked_for():
    rows = {"images": jnp.full((2, 16), 255, jnp.uint8), "labels": jnp.array([1, 2])}
    transform = data.Transform(scale=255.0)
    plain = classification.Labelled(transform, (4, 4), 0.0, 0.0)
    np.testing.assert_array_equal(plain(None, rows)[0], np.ones((2, 16)))
    moved = classification.Labelled(transform, (4, 4), 0.0, 1.0)
    (one, labels), (other, _) = (moved(jax.random.key(seed), rows) for seed in (0, 1))
    assert not np.array_equal(one, other)
    np.testing.assert_array_equal(labels, rows["labels"])
