"""What cannot be drawn is refused with what is wrong."""

from functools import partial

import numpy as np
import pytest

from dbn_jax import figures
from tests.pictures import SQUARE

ONE, TWO = np.zeros((1, 4)), np.zeros((2, 4))
NAN = np.array([[0.0, np.nan, 0.5, np.nan]])
LABELS = np.arange(20) % 5

sheet = partial(figures.image_sheet, **SQUARE)
captioned = partial(figures.captioned_sheet, **SQUARE)
rows = partial(figures.image_rows, **SQUARE)
fields = partial(figures.receptive_fields, **SQUARE)
motion = partial(figures.motion_fields, **SQUARE)
recurrent = partial(figures.recurrent_weights, title="t")
films = partial(figures.films, **SQUARE)
strip = partial(figures.film_strip, **SQUARE)
rolls = partial(figures.piano_rolls, title="t")
moment = partial(figures.moment, **SQUARE)
moments = partial(figures.moments, **SQUARE)
curves = partial(figures.learning_curves, title="t", x_label="x")
bars = partial(figures.bars, names=["a", "b"], title="t")
confusion = partial(figures.confusion_matrix, title="t")


def reliability(*arrays):
    figures.reliability(*map(np.array, arrays), title="t")


def walk(shape=(2, 3, 3), bones=((0, 1),), value=0.0, **settings):
    people = {"real": np.arange(np.prod(shape)).reshape(shape) + value}
    figures.stick_films(people, bones, title="t", **settings)


def points(labels=LABELS, value=0.0, **settings):
    figures.map_of_points({"m": np.full((20, 2), value)}, labels, title="t", **settings)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sheet(np.zeros((3, 5))), r"images of shape \(3, 5\).*expected \(N, 4\)"),
        (lambda: sheet(NAN), r"images: 2 of 4 values.*first at \[0, 1\]"),
        (lambda: sheet(np.zeros((0, 4))), "empty"),
        (lambda: sheet(ONE + 1.01), r"4 of 4 values lie outside 0 to 1 .*1\.01.*value_range="),
        (lambda: sheet(ONE, image_shape=(4,)), r"image_shape=\(4,\)"),
        (lambda: sheet(ONE, columns=0), "columns=0"),
        (lambda: sheet(ONE, zoom=0), "zoom=0"),
        (lambda: sheet(ONE, value_range=(1, 1)), "low < high"),
        (lambda: captioned(TWO, ["a"]), "captions has 1 entries for 2 images"),
        (lambda: rows({}), "rows is empty"),
        (lambda: rows({"a": ONE, "b": NAN}), '"b" images: 2 of 4'),
        (lambda: rows({"a": ONE}, notes={"b": "1"}), r"notes for \['b'\]"),
        (lambda: rows({"a": ONE, "b": TWO}), "different numbers of images: {'a': 1, 'b': 2}"),
        (lambda: figures.chains(TWO[:, None], **SQUARE, steps=[1]), "1 entries for 2 times"),
        (lambda: fields(np.zeros((5, 3))), r"transposed weights of shape \(3, 5\).*\(N, 4\)"),
        (lambda: fields(NAN.T), r"weights: 2 of 4.*first at \[0, 1\]"),
        (lambda: fields(ONE.T, limit=0.0), "limit=0"),
        (lambda: fields(ONE.T, limit=1.0, scale="unit"), "limit=1"),
        (lambda: fields(ONE.T, scale="all"), 'scale="all": expected "common" or "unit"'),
        (lambda: figures.development(np.zeros((0, 4, 1)), **SQUARE, labels=[]), "empty"),
        (lambda: figures.development(np.zeros((2, 4, 1)), **SQUARE, labels="a"), "2 snapshots"),
        (lambda: figures.hidden_activities(np.full((2, 2), 2.0), title="t"), "4 of 4 values"),
        (lambda: motion(np.zeros((2, 5, 1))), r"weights to the frames of shape \(2, 5\).*\(N, 4\)"),
        (lambda: motion(np.zeros((2, 4, 1)), delays=[1]), "delays has 1 entries for 2 arrays"),
        (lambda: recurrent(np.zeros((2, 3))), r"\(2, 3\): expected \(units, units\)"),
        (lambda: recurrent(np.eye(2) * np.nan), "weights: 4 of 4 values are NaN"),
        (lambda: recurrent(np.eye(2), limit=0.0), "limit=0"),
        (lambda: films({}), "films is empty: give at least one name with its frames"),
        (lambda: films({"a": ONE, "b": TWO}), "different numbers of frames: {'a': 1, 'b': 2}"),
        (lambda: films({"a": NAN}), 'film "a": 2 of 4 values are NaN'),
        (lambda: films({"a": ONE}, notes={"b": "1"}), r"notes for \['b'\], but the films are"),
        (lambda: films({"a": TWO}, notes={"a": "1"}), r'notes\["a"\] has 1 entries for 2 frames'),
        (lambda: films({"a": TWO}, zoom=0), "zoom=0"),
        (lambda: strip({"a": TWO}, every=0), "every=0"),
        (lambda: strip({"a": ONE, "b": TWO}, every=1), "different numbers of frames"),
        (lambda: rolls({}), "rolls is empty"),
        (lambda: rolls({"a": TWO, "b": TWO[:, :3]}), "numbers of notes: {'a': 4, 'b': 3}"),
        (lambda: rolls({"a": TWO + 2}), 'roll "a": 8 of 8 values lie outside 0 to 1'),
        (lambda: rolls({"a": TWO}, given={"a": 2}), r'given\["a"\]=2: the roll has 2 steps'),
        (lambda: rolls({"a": TWO}, given={"b": 1}), r"given for \['b'\], but the rolls are"),
        (lambda: walk((2, 3, 2)), r'positions of "real" of shape \(2, 3, 2\): expected \(frames'),
        (lambda: walk(value=np.nan), 'positions of "real": 18 of 18 values are NaN'),
        (lambda: walk(bones=[(0, 3)]), "name joints 0 to 3, but there are 0 to 2"),
        (lambda: walk(bones=[(0, 1, 2)]), r"bones of shape \(1, 3\): expected pairs"),
        (lambda: walk(left=[7]), "name joints 0 to 7, but there are 0 to 2"),
        (lambda: walk(left=[1], right=[1]), "left and right joints lie over one another"),
        (lambda: walk(up=3), "up=3: expected 0, 1 or 2"),
        (lambda: walk((1, 1, 3), [(0, 0)]), "all joints are at one height"),
        (lambda: moment(np.zeros(4), {}), "layers is empty"),
        (lambda: moment(np.zeros(4), {"top": np.ones(2) * 2}), r'layers\["top"\]: 2 of 2 values'),
        (lambda: moment(np.zeros(4), {}, clamped="b"), r"clamped=\"b\", but the labels are \[\]"),
        (lambda: moments(TWO, {"a": TWO}, times="a"), "times has 1 entries for 2 images"),
        (lambda: moments(ONE, {"a": ONE}, times="a", notes="ab"), "notes has 2 entries for 1"),
        (lambda: curves({}), "no panel"),
        (lambda: curves({"p": {}}), r"no line in panels \['p'\]"),
        (lambda: curves({"p": {"l": ([1], [0])}}, log_y="p"), '"l" of .* down to 0.*without log_y'),
        (lambda: curves({"p": {"l": ([1], [1])}}, log_y="q"), r"log_y names \['q'\]"),
        (lambda: curves({"p": {"l": ([1, 2], [1])}}), "equal lengths"),
        (lambda: curves({"p": {"l": ([1], [np.nan])}}), "nothing to draw"),
        (lambda: curves({"p": {"l": ([1], [1], [-1])}}), "standard error of 0 or more for each"),
        (lambda: curves({"p": {"l": ([1, 2], [1, 2], [1])}}), "each of 2 points"),
        (lambda: bars({"p": {}}), r"no series in panels \['p'\]"),
        (lambda: bars({"p": {"s": [1, np.nan]}}), 'series "s" of panel "p": 1 of 2 values'),
        (lambda: bars({"p": {"s": [1, 2, 3]}}), 'names has 2 entries for 3 values in series "s"'),
        (lambda: bars({"p": {f"s{i}": [1, 2] for i in range(8)}}), r"series \['s7'\].*7 at most"),
        (lambda: figures.histograms({}, title="t"), "arrays is empty"),
        (lambda: figures.histograms({"w": NAN}, title="t"), '"w": 2 of 4 values are NaN'),
        (lambda: confusion(np.ones((2, 3))), r"\(2, 3\).*\(classes"),
        (lambda: confusion(np.array([[1, -1], [0, 1]])), "counts go down to -1"),
        (lambda: confusion(np.full((2, 2), np.inf)), "counts: 4 of 4 values are NaN or infinite"),
        (lambda: reliability([1, 1], [1, 1], [1, 1, 1]), "counts has 3 entries for 2 bins"),
        (lambda: reliability([1, 1], [1], [1, 1]), "share_right has 1 entries for 2 bins"),
        (lambda: reliability([1, 1], [1, 1], [3, 0]), "counts must be at least 1"),
        (lambda: reliability([np.nan], [1], [1]), "confidence: 1 of 1 values are NaN"),
        (lambda: reliability([0.5], [1.01], [1]), "share_right must be between 0 and 1"),
        (lambda: figures.map_of_points({}, LABELS, title="t"), "maps is empty"),
        (lambda: points(value=np.nan), r'maps\["m"\]: 40 of 40 values are NaN'),
        (lambda: points(labels=LABELS[:5]), r'labels has 5 entries for 20 points in maps\["m"\]'),
        (lambda: points(labels=LABELS - 1), "labels go down to -1"),
        (lambda: points(thumbnails=ONE), "image_shape=None"),
        (lambda: points(thumbnails=TWO, image_shape=(2, 2)), "thumbnails has 2 entries"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
