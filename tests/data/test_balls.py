"""Bouncing balls: the physics of a plain loop, first states, pictures, and the published errors."""

import jax
import numpy as np
import pytest

from dbn_jax import data
from dbn_jax.data import balls


def trajectory(x, v, num_frames):
    """One sequence as the published program moves it, ball by ball."""
    x, v, frames, count = x.copy(), v.copy(), [], len(x)
    for _ in range(num_frames):
        frames.append(x.copy())
        for _ in range(2):
            x += 0.5 * v
            for i in range(count):
                for axis in range(2):
                    if x[i, axis] < 1.2:
                        v[i, axis] = abs(v[i, axis])
                    if x[i, axis] > 8.8:
                        v[i, axis] = -abs(v[i, axis])
            for i in range(count):
                for j in range(i):
                    apart = x[i] - x[j]
                    if np.linalg.norm(apart) < 2.4:
                        normal = apart / np.linalg.norm(apart)
                        v_i, v_j = normal @ v[i], normal @ v[j]
                        v[i] += normal * (v_j - v_i)
                        v[j] += normal * (v_i - v_j)
    return np.array(frames)


@pytest.mark.parametrize("num_balls", [1, 3])
def test_balls_move_as_in_a_plain_loop(x64, num_balls):
    first = balls.draw_first(jax.random.key(0), 8, num_balls)
    x, v = (np.asarray(state, np.float64) for state in first)
    moved = balls.move(x, v, 100)
    expected = [trajectory(*state, 100) for state in zip(x, v, strict=True)]
    np.testing.assert_allclose(moved, expected, atol=1e-9)


def test_first_states_fit_into_the_box_and_have_one_speed():
    x, v = map(np.asarray, balls.draw_first(jax.random.key(1), 500, 3))
    assert 2 <= x.min() <= 2.1
    assert 8.7 <= x.max() <= 8.8
    pairs = x[:, [0, 0, 1]] - x[:, [1, 2, 2]]
    assert np.linalg.norm(pairs, axis=2).min() >= 2.4
    np.testing.assert_allclose(np.sqrt((v**2).sum((1, 2))), 0.5, rtol=1e-5)
    # Uniform but for the rest: the middle of the range, sd of a uniform one over the root of 3000.
    assert abs(x.mean() - 5.4) < 4 * 6.8 / np.sqrt(12 * x.size)


def test_pixels_are_the_formula_at_their_centres():
    centres = np.array([[[[2.5, 7.0], [3.1, 7.3]]]], np.float32)
    picture = np.asarray(balls.render(centres, 5)).reshape(5, 5)
    expected = np.zeros((5, 5))
    for x, y in centres[0, 0]:
        for row in range(5):
            for column in range(5):
                squared = (1 + 2 * column - x) ** 2 + (1 + 2 * row - y) ** 2
                expected[row, column] += np.exp(-((squared / 1.44) ** 4))
    assert expected.max() > 1
    np.testing.assert_allclose(picture, np.minimum(expected, 1), atol=1e-6)


def test_held_out_sequences_are_those_of_the_seed_and_of_no_small_key():
    sizes = {"size": 6, "num_balls": 2, "num_frames": 3}
    one, same, other = (data.load_sequences("balls", seed=seed, **sizes) for seed in (0, 0, 1))
    assert (len(one.train), len(one.validation), len(one.test)) == (0, 100, 200)
    np.testing.assert_array_equal(one.test, same.test)
    rows = np.reshape([*one.test, *one.validation, *other.test], (500, -1))
    training = balls.simulate(jax.random.key(0), 200, 3, size=6, num_balls=2)
    rows = np.concatenate([rows, np.reshape(training, (200, -1))])
    assert len(np.unique(rows, axis=0)) == len(rows)
    assert (one.kind, one.image_shape) == ("grey", (6, 6))
    assert one.columns[7] == "row 1 column 1"


def test_copying_the_last_frame_has_the_known_error():
    """Measured elsewhere on a program of its own: 2.99, where a sequence's sd is 0.06."""
    frames = np.asarray(balls.simulate(jax.random.key(2), 30, 128, size=15))
    errors = np.mean(np.sum(np.diff(frames, axis=1) ** 2, 2), 1)
    assert abs(errors.mean() - 2.99) < 4 * errors.std(ddof=1) / np.sqrt(30)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"num_balls": 7}, "num_balls=7: choose from 1 to 6, more hardly fit into the box"),
        ({"num_balls": 0}, "num_balls=0: choose from 1 to 6"),
        ({"size": 0}, "size=0: choose at least 1"),
        ({"num_frames": 0}, "num_frames=0: choose at least 1"),
        ({"data_dir": "x"}, "balls are simulated and take no data_dir \\(got 'x'\\): leave it out"),
    ],
)
def test_bad_settings_are_named(option, message):
    with pytest.raises(ValueError, match=message):
        data.load_sequences("balls", **option)
