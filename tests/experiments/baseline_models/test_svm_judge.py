"""The judge of generated images: how good it is, and what it refuses."""

import numpy as np
import pytest

from dbn_jax import data
from experiments.baseline_models import svm_judge


def test_shares_by_hand():
    intended = np.array([0, 0, 0, 0, 7, 7, 3])
    answers = np.array([0, 0, 0, 7, 7, 0, 0])
    assert svm_judge.shares(answers, intended) == {0: 0.75, 3: 0.0, 7: 0.5}


def test_the_judge_is_good_and_its_error_is_that_on_images_it_has_not_seen():
    dataset = data.load("digits")
    found = svm_judge.train(dataset, 10_000)
    assert found.num_train == len(dataset.train)
    grey = dataset.test.images / dataset.scale
    wrong = found.answers(grey) != dataset.test.labels
    assert found.error == pytest.approx(wrong.mean())
    assert found.error < 0.06  # of 360; 0.9 is chance
    seen = found.answers(dataset.train.images / dataset.scale) != dataset.train.labels
    assert seen.mean() < found.error  # what it would have said of those it has seen
    # Without the look at the ink, pages without or full of it would have classes.
    pages = np.stack([np.zeros(64), np.ones(64), grey[0]])
    assert set(found.classifier.predict(pages)) <= set(range(10))
    assert list(found.answers(pages)) == [svm_judge.NONE, svm_judge.NONE, dataset.test.labels[0]]
    # The bounds are those of the class that the machine sees, not of all.
    thin = grey[dataset.test.labels == 0].mean(axis=0)
    low = found.least[0] / thin.sum()
    answers = found.answers(np.stack([1.01 * low * thin, 0.99 * low * thin]))
    np.testing.assert_array_equal(found.classifier.predict([low * thin]), 0)
    np.testing.assert_array_equal(answers, [0, svm_judge.NONE])
    few = svm_judge.train(dataset, 40)
    assert few.num_train == 40
    assert few.error > 2 * found.error
    by_rows = found.answers(grey[:60].reshape(3, 20, 64))
    np.testing.assert_array_equal(by_rows.ravel(), found.answers(grey[:60]))
