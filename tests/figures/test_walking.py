"""Stick figures: the same from wherever they come, their sides told apart, the camera with them."""

import functools

import numpy as np
import pytest

from dbn_jax import figures
from tests.pictures import MARGIN, assert_readable, pixels, shown_texts, words

BLUE, ORANGE, INK = (0, 114, 178), (213, 94, 0), (26, 26, 26)
BONES = [(0, 1), (0, 2), (0, 3)]
SIDES = {"left": [1, 4], "right": [2, 5]}
still = functools.partial(figures.stick_figures, every=2, title="t", **SIDES)
film = functools.partial(figures.stick_films, title="t", **SIDES)


def walker(steps=5, speed=0.25, size=1.0, heading=0.0, turning=0.0, up=1):
    """A hip, the left foot ahead and the right one behind, a head; hands against the feet."""
    angles = heading + turning * np.arange(steps)
    ahead = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    to_the_left = ahead[:, ::-1] * (-1, 1)
    way = speed * (ahead.cumsum(axis=0) - ahead[0])
    body = size * np.array(
        [[0, 0.5, -0.5, 0, -0.5, 0.5], [0, 0.1, -0.1, 0, 0.1, -0.1], [1, 0, 0, 2, 1, 1]]
    )
    positions = np.zeros((steps, 6, 3))
    ground = way[:, None] + np.einsum("tx,j->tjx", ahead, body[0])
    ground += np.einsum("tx,j->tjx", to_the_left, body[1])
    positions[:, :, [(up + 1) % 3, (up + 2) % 3]] = ground
    positions[:, :, up] = body[2]
    return positions


def places(page, colour):
    """Where a colour is on the page, (down, across)."""
    return np.argwhere((page == colour).all(axis=-1))


def test_poses_stand_in_columns_over_the_numbers_of_their_frames():
    figure = still({"real": walker(), "dreamt": walker()}, BONES)
    assert_readable(figure)
    assert "left limbs blue, right limbs orange" in words(figure)
    assert "real | dreamt | frame | 1 | 3 | 5" in words(figure)
    head = places(pixels(figure), INK)[:, 1]
    for text in shown_texts(figure):
        if text.get_text() in ("1", "3", "5"):
            box = text.get_window_extent()
            assert np.abs(head - (box.x0 + box.x1) / 2).min() < 4
    plain = figures.stick_figures({"real": walker()}, BONES, every=1, title="t")
    assert "limbs" not in words(plain)
    assert not len(places(pixels(plain), BLUE))


@pytest.mark.parametrize("up", [0, 1, 2])
@pytest.mark.parametrize("heading", [0.0, 2.0, -2.0])
@pytest.mark.parametrize("sides", [{}, {"right": ()}])
def test_people_walk_to_the_right_wherever_they_walk(heading, up, sides):
    page = pixels(still({"real": walker(heading=heading, up=up)}, BONES, every=5, up=up, **sides))
    expected = pixels(still({"real": walker()}, BONES, every=5, **sides))
    np.testing.assert_allclose(page.astype(int), expected.astype(int), atol=2)
    assert places(page, BLUE)[:, 1].max() > places(page, INK)[:, 1].max()  # the foot ahead


def test_the_left_is_blue_and_the_right_orange():
    page = pixels(still({"real": walker()}, BONES, every=5))
    left, right = places(page, BLUE), places(page, ORANGE)
    assert right[:, 1].max() < left[:, 1].max()  # the left foot is ahead
    assert right[:, 1].min() < left[:, 1].min()


def test_all_have_one_scale_and_stand_on_the_ground():
    child = walker(size=0.5) + np.array([0, 7, 0])
    page = pixels(still({"real": walker(), "child": child}, BONES, every=5))
    rows = places(page, ORANGE)[:, 0]
    gap = np.diff(rows).argmax() + 1
    tall, small = np.ptp(rows[:gap]), np.ptp(rows[gap:])
    assert tall / small == pytest.approx(2, rel=0.1)
    ground = places(page, (160, 160, 160))[:, 0]
    for feet in (rows[:gap].max(), rows[gap:].max()):
        assert 0 <= np.abs(ground - feet).min() <= 8


def test_the_camera_goes_along_and_the_ground_passes():
    # A body of height 2 has marks 1 apart, which pass in four frames.
    frames = film({"real": walker()}, BONES)
    assert frames.dtype == np.uint8
    feet = places(frames[0], ORANGE)[:, 0].max()
    for frame in frames:
        np.testing.assert_array_equal(frame[:feet], frames[0][:feet])

    def marks(frame):
        return places(frame[feet + 8 : feet + 11], (160, 160, 160))[:, 1]

    assert set(marks(frames[0])) == set(marks(frames[4])) != set(marks(frames[1]))
    assert (marks(frames[0])[0] - marks(frames[1])[0]) % 110 == pytest.approx(27.5, abs=1)


def test_the_camera_turns_with_a_walk_in_a_circle():
    def width(walk, frame=40):  # at the ends less is known of where they face
        across = [
            places(film({"a": walk}, BONES)[frame], colour)[:, 1] for colour in (ORANGE, BLUE)
        ]
        return across[1].max() - across[0].min()

    straight = width(walker(80))
    assert straight == pytest.approx(110, abs=4)  # from foot to foot, half of the height
    assert width(walker(80, turning=0.05)) == pytest.approx(straight, abs=2)
    assert width(walker(80, speed=-0.25)) == straight  # backwards


def test_films_of_people_have_room_on_the_paper():
    people = {name: walker() for name in ("real", "predicted one frame ahead", "dreamt")}
    frames = film(people, BONES, notes={"dreamt": ["given"] * 2 + ["dreamt"] * 3})
    ink = np.argwhere((frames != 255).any(axis=(0, 3)))
    assert (ink.min(axis=0) >= MARGIN).all()
    assert (ink.max(axis=0) < np.array(frames.shape[1:3]) - MARGIN).all()
    assert frames.shape[2] < 1000
