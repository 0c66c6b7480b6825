"""The comparison of pipelines, on few digits."""

import numpy as np
import pytest

from experiments.benchmarks import digit_pipelines


def test_copies_are_moved_by_one_pixel():
    images = np.arange(1.0, 13.0).reshape(2, 2, 3)
    copies = digit_pipelines.moved(images).reshape(5, 2, 2, 3)
    np.testing.assert_array_equal(copies[0], images)
    expected = [
        [[0, 1, 2], [0, 4, 5]],
        [[2, 3, 0], [5, 6, 0]],
        [[0, 0, 0], [1, 2, 3]],
        [[4, 5, 6], [0, 0, 0]],
    ]
    np.testing.assert_array_equal(copies[1:, 0], expected)


@pytest.mark.usefixtures("implicit_promotion", "unchecked_annotations")
def test_all_models_learn_features_of_digits():
    settings = digit_pipelines.Settings(seeds=2, passes=2, images=100)
    lines = digit_pipelines.measure(settings).splitlines()
    assert lines[0].split("  ")[0] == "learner"
    assert [line.split("  ")[0] for line in lines[1:]] == list(digit_pipelines.MODELS)
    for line in lines[1:]:
        accuracy = float(line.split("%")[0].split()[-1])
        assert 50 < accuracy < 100, line  # of ten classes
