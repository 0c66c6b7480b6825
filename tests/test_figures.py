"""What the pictures show: pixels, colours, labels and files, read back from what was written."""

import io
import itertools
import subprocess
import sys

import jax.numpy as jnp
import matplotlib
import numpy as np
import PIL.Image
import pytest

from dbn_jax import figures

MARGIN = 14


def pixels(figure):
    """The picture as a notebook shows it, two device pixels for each of the page."""
    data, _ = figure._repr_png_()
    return np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB"))


def sheet_tiles(page, shape, zoom, rows, columns, device=2):
    """Cuts the tiles out of a page whose sheet ends at the lower right margin."""
    gap = 2 if zoom > 1 else 1
    height, width = (side * zoom for side in shape[:2])
    tiles = []
    for row, column in itertools.product(range(rows), range(columns)):
        bottom = page.shape[0] - device * (MARGIN + 1 + (rows - 1 - row) * (height + 2 + gap))
        right = page.shape[1] - device * (MARGIN + 1 + (columns - 1 - column) * (width + 2 + gap))
        tiles.append(page[bottom - device * height : bottom, right - device * width : right])
    return tiles


def enlarged(image, factor):
    image = image.reshape(*image.shape[:2], -1)
    return np.broadcast_to(
        image.repeat(factor, axis=0).repeat(factor, axis=1),
        (image.shape[0] * factor, image.shape[1] * factor, 3),
    )


def shown_texts(figure):
    texts = list(figure.texts)
    for axes in figure.axes:
        texts += [*axes.texts, axes._left_title]
        for axis in filter(lambda axis: axis.get_visible(), (axes.xaxis, axes.yaxis)):
            low, high = sorted(axis.get_view_interval())
            places = zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=True)
            texts += [axis.label, *(text for place, text in places if low <= place <= high)]
    return [text for text in texts if text.get_text()]


def words(figure):
    return " | ".join(text.get_text() for text in shown_texts(figure))


def assert_readable(figure):
    """All text lies on the paper and none on another."""
    figure.canvas.draw()
    boxes = [(text.get_text(), text.get_window_extent()) for text in shown_texts(figure)]
    page = figure.bbox
    for text, box in boxes:
        assert page.x0 <= box.x0 <= box.x1 <= page.x1, text
        assert page.y0 <= box.y0 <= box.y1 <= page.y1, text
    for (text, a), (other, b) in itertools.combinations(boxes, 2):
        wide = min(a.x1, b.x1) - max(a.x0, b.x0)
        high = min(a.y1, b.y1) - max(a.y0, b.y0)
        # Boxes include the room for accents and tails; a tenth of a line may be shared.
        assert wide <= 0 or high <= 0.1 * min(a.height, b.height), (text, other)


@pytest.mark.parametrize("columns", [1, 4, 7])
@pytest.mark.parametrize(
    ("shape", "zoom"), [((28, 28), 1), ((8, 8), 7), ((5, 3), 11), ((16, 16, 3), 5)]
)
def test_every_pixel_of_a_sheet_is_the_images_grey_level(shape, zoom, columns):
    levels = np.random.default_rng(0).integers(0, 256, (2 * columns, *shape), dtype=np.uint8)
    figure = figures.image_sheet(
        levels.reshape(2 * columns, -1) / np.float32(255),
        image_shape=shape,
        columns=columns,
        zoom=zoom,
        title="",
    )
    tiles = sheet_tiles(pixels(figure), shape, zoom, 2, columns)
    for tile, image in zip(tiles, levels, strict=True):
        np.testing.assert_array_equal(tile, enlarged(image, 2 * zoom))


def test_frames_and_empty_places_differ_from_images():
    page = pixels(figures.image_sheet(np.zeros((3, 4)), image_shape=(2, 2), columns=2, title=""))
    sheet = page[: -2 * MARGIN, : -2 * MARGIN]
    assert (sheet[-60:, -60:] == 255).all()  # the fourth place
    tile = sheet_tiles(page, (2, 2), 48, 2, 2)[2]
    assert (tile == 0).all()
    frame = page[-2 * MARGIN - 2 : -2 * MARGIN, 2 * MARGIN : 2 * MARGIN + 2 * 98]
    assert (frame == frame[0, 0]).all()
    assert 80 < frame[0, 0, 0] < 180


def test_types_and_shapes_of_images_that_mean_the_same_give_the_same_picture():
    levels = np.random.default_rng(0).integers(0, 2, (6, 12))

    def draw(images, **kw):
        return pixels(figures.image_sheet(images, image_shape=(4, 3), title="same", **kw))

    expected = draw(levels.astype(np.float32))
    for images in (
        levels.astype(np.uint8),
        levels.reshape(6, 4, 3).astype(np.float64),
        jnp.asarray(levels, jnp.bfloat16),
    ):
        np.testing.assert_array_equal(draw(images), expected)
    shifted = draw((20 * levels - 10).astype(np.float32), value_range=(-10, 10))
    np.testing.assert_array_equal(shifted, expected)


def test_rounding_beyond_the_range_is_drawn_and_more_is_refused():
    images = np.array([[0.0, 1.0, -1e-6, 1 + 1e-6]], np.float32)
    tile = sheet_tiles(
        pixels(figures.image_sheet(images, image_shape=(2, 2), zoom=10, title="")), (2, 2), 10, 1, 1
    )[0]
    expected = np.array([[0, 255], [0, 255]], np.uint8)
    np.testing.assert_array_equal(tile, enlarged(expected, 20))
    with pytest.raises(ValueError, match=r"1 of 4 values lie outside 0 to 1 .*1\.01.*value_range="):
        figures.image_sheet(
            images * np.array([1, 1.01, 1, 1], np.float32), image_shape=(2, 2), title=""
        )


def field_tiles(weights, zoom=20, **settings):
    figure = figures.receptive_fields(
        weights, image_shape=(2, 2), columns=1, zoom=zoom, title="", **settings
    )
    page = pixels(figure)
    # One column from the left margin; the colour bar stands at the right.
    first = np.argwhere((page[-2 * MARGIN - 1] != 255).any(axis=-1))[0, 0] + 2
    pitch = 2 * (2 * zoom + 4)
    bottoms = [page.shape[0] - 2 * (MARGIN + 1) - row * pitch for row in range(weights.shape[1])]
    size = 4 * zoom
    tiles = [page[y - size : y, first : first + size] for y in reversed(bottoms)]
    # One device pixel of each weight.
    return [tile[zoom :: 2 * zoom, zoom :: 2 * zoom].reshape(4, 3) for tile in tiles]


def test_the_scale_of_weights_is_symmetric_about_a_white_zero():
    def colour_of(x):
        return np.array(matplotlib.colormaps["RdBu_r"](x, bytes=True)[:3])

    weights = np.array([[1.0, 0.0, -0.25, 0.25], [0.25, 0.0, -0.1, 0.1]]).T  # skewed: no −1
    tile, other = field_tiles(weights, limit=1.0)
    np.testing.assert_array_equal(tile[0], colour_of(1.0))
    np.testing.assert_array_equal(tile[1], colour_of(0.5))
    assert tile[1].min() > 240
    np.testing.assert_array_equal(tile[2], colour_of(0.375))
    np.testing.assert_array_equal(tile[3], colour_of(0.625))
    np.testing.assert_array_equal(other[0], colour_of(0.625))  # one scale for both
    red, blue = tile[0][[0, 2]]
    assert red > blue, "positive weights are red"
    np.testing.assert_array_equal(field_tiles(-weights, limit=1.0)[0][0], colour_of(0.0))


def test_each_unit_on_its_own_scale_hides_its_size():
    weights = np.array([[1.0, -0.5, 0.25, 0.0], [0.01, -0.005, 0.0025, 0.0], [0.0] * 4]).T
    strong, weak, none = field_tiles(weights, scale="unit")
    np.testing.assert_array_equal(strong, weak)
    assert (none == strong[3]).all()
    strong, weak, _ = field_tiles(weights)
    assert (strong != weak).any()


def test_outliers_among_weights_do_not_pale_the_rest_and_are_owned_up_to():
    weights = np.random.default_rng(0).uniform(-1, 1, (64, 100))
    weights[0, 0] = 1000.0
    said = words(figures.receptive_fields(weights, image_shape=(8, 8), title="weights"))
    assert "≥ 1 | " in said + " | "
    assert "≤ −1" in said
    said = words(figures.receptive_fields(weights, image_shape=(8, 8), title="", limit=1000.0))
    assert "+1e+03" in said
    assert "≥" not in said


def test_the_subtitle_says_how_many_units_and_which_scale():
    weights = np.random.default_rng(0).normal(size=(784, 500))
    figure = figures.receptive_fields(
        weights, image_shape=(28, 28), title="First layer", subtitle="CD-1"
    )
    assert "CD-1; first 100 of 500 units, one scale for all" in words(figure)
    assert "First layer" in words(figure)
    assert_readable(figure)
    figure = figures.receptive_fields(weights[:, :1], image_shape=(28, 28), title="", scale="unit")
    assert "1 unit, each on its own scale" in words(figure)


def test_development_shows_the_random_start_or_the_growth():
    start = np.random.default_rng(0).normal(0, 0.01, (16, 6))
    snapshots = np.stack([start, 50 * start])

    def draw(**kw):
        return figures.development(
            snapshots, image_shape=(4, 4), labels=["update 0", "update 40"], title="", **kw
        )

    own, common = draw(), draw(scale="common")
    limits = [np.percentile(np.abs(s), 99.8) for s in snapshots]
    assert f"update 0  (±{limits[0]:.2g})" in words(own)
    assert f"update 40  (±{limits[1]:.2g})" in words(own)
    assert f"±{limits[1]:.2g}" in words(common)

    # Saturation of colour in the left panel: the start is seen, or pale beside what it becomes.
    def colours_of_left_panel(figure):
        page = pixels(figure).astype(int)
        return np.ptp(page[:, : page.shape[1] // 2], axis=-1)

    panels = [colours_of_left_panel(own), colours_of_left_panel(common)]
    assert panels[0].max() > 100
    assert panels[1].max() < 20
    assert_readable(own)


def runs(values):
    """Drops repetitions: what one meets along a line of pixels."""
    return [int(value) for value, _ in itertools.groupby(values)]


def test_reconstructions_stand_under_their_data_in_bands():
    data = np.full((5, 4), 0.2)
    figure = figures.reconstructions(
        data, data + 0.6, image_shape=(2, 2), columns=3, zoom=9, title="t"
    )
    page = pixels(figure)[:, :, 0]
    column = page[:, -2 * MARGIN - 3 * 40 + 10]  # through the first images of both bands
    assert [v for v in runs(column) if v in (51, 204)] == [51, 204, 51, 204]
    column = page[:, -2 * MARGIN - 10]  # the second band has only two images
    assert [v for v in runs(column) if v in (51, 204)] == [51, 204]
    assert words(figure).count("reconstruction") == 2
    assert_readable(figure)


def test_named_rows_carry_names_and_notes_at_their_own_height():
    rows = {name: np.full((4, 4), level / 10) for level, name in enumerate(["data", "deep", "PCA"])}
    figure = figures.image_rows(
        rows, image_shape=(2, 2), zoom=20, title="t", notes={"deep": "3.00", "PCA": "13.87"}
    )
    assert_readable(figure)
    page = pixels(figure)[:, :, 0]
    middle = page[:, page.shape[1] // 2]
    places = {text.get_text(): text.get_window_extent() for text in shown_texts(figure)}
    for level, (name, note) in enumerate([("data", None), ("deep", "3.00"), ("PCA", "13.87")]):
        for text in filter(None, (name, note)):
            centre = round(page.shape[0] - (places[text].y0 + places[text].y1) / 2)
            assert middle[centre] == round(25.5 * level), text
    assert places["deep"].x1 < places["3.00"].x0


def test_chains_run_along_rows_under_their_step_numbers():
    frames = np.arange(8).reshape(4, 2, 1) / 8 + np.zeros(4)  # time, chain, pixel
    steps = jnp.array([0, 1, 10, 10_000])
    figure = figures.chains(frames, image_shape=(2, 2), steps=steps, title="t", zoom=24)
    page = pixels(figure)
    tiles = sheet_tiles(page, (2, 2), 24, 2, 4)
    seen = np.array([tile[0, 0, 0] for tile in tiles]).reshape(2, 4)
    np.testing.assert_array_equal(seen, np.round(255 * frames[:, :, 0].T))
    places = {text.get_text(): text.get_window_extent() for text in shown_texts(figure)}
    for column, text in enumerate(["0", "1", "10", "10,000"]):
        middle = page.shape[1] - 2 * (MARGIN + (3.5 - column) * 52 - 1 - 0.5 * 2)
        assert abs((places[text].x0 + places[text].x1) / 2 - middle) < 4, text
    assert {"chain 1", "chain 2", "Gibbs step"} <= places.keys()


def test_crowded_step_numbers_are_thinned_not_overprinted():
    frames = np.zeros((25, 2, 64))
    figure = figures.chains(
        frames, image_shape=(8, 8), steps=1000 * np.arange(25), title="t", zoom=2
    )
    assert_readable(figure)
    assert "0" in words(figure).split(" | ")
    assert "3,000" in words(figure)
    assert "1,000" not in words(figure).split(" | ")


def test_hidden_activities_show_and_count_dead_and_saturated_units():
    probabilities = np.random.default_rng(0).uniform(0.2, 0.8, (30, 20)).astype(np.float32)
    probabilities[:, 3], probabilities[:, 7], probabilities[:, 8] = 0.009, 1, 0.991
    figure = figures.hidden_activities(probabilities, title="Hidden units", max_cases=25)
    assert "1 unit off in every case, 2 on in every case" in words(figure)
    assert "first 25 of 30 cases" in words(figure)
    page = pixels(figure)
    black = (page[..., 0] <= 2).sum(axis=0) >= 25 * 12  # 6 pixels a case, 2 device pixels each
    assert len(np.flatnonzero(black)) == 12
    assert_readable(figure)


def curves_of(figure, axes):
    """The lines drawn from data, without the strokes beside the labels."""
    return [line for line in figure.axes[axes].lines if line.get_clip_on()]


def test_learning_curves_draw_what_there_is_in_one_colour_a_name():
    x = np.arange(4)
    train, test = np.array([4.0, 3, 2, 1]), np.array([5.0, np.nan, 3, np.nan])
    figure = figures.learning_curves(
        {
            "error": {"train": (x, train), "test": (x, test)},
            "free energy": {"test": (x, -test)},
            "norm": {"norm": (x, train)},
        },
        title="Learning curves",
        x_label="epoch",
        log_y=["norm"],
    )
    first, second = curves_of(figure, 0)
    np.testing.assert_array_equal(first.get_xydata(), np.stack([x, train], axis=1))
    np.testing.assert_array_equal(second.get_xydata(), [[0, 5], [2, 3]])
    assert curves_of(figure, 1)[0].get_color() == second.get_color() != first.get_color()
    assert [axes.get_yscale() for axes in figure.axes] == ["linear", "linear", "log"]
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["error", "free energy", "norm"]
    said = words(figure).split(" | ")
    assert said.count("test") == 2
    assert said.count("norm") == 1  # the panel's name labels its only line
    assert_readable(figure)


def test_ten_lines_that_end_together_stay_apart_in_look_and_label():
    x = np.arange(1, 20)
    lines = {f"rate {i}": (x, 1 / x + 1e-4 * i) for i in range(10)}
    figure = figures.learning_curves({"error": lines}, title="t", x_label="update", log_x=True)
    assert_readable(figure)
    looks = {(line.get_color(), str(line.get_linestyle())) for line in curves_of(figure, 0)}
    assert len(looks) == 10
    labels = [text for text in figure.axes[0].texts if text.get_text().startswith("rate")]
    assert [text.get_text() for text in labels] == list(lines)  # upwards, as the lines end
    centre = np.mean([text.get_position()[1] for text in labels])
    ends = figure.axes[0].transData.transform([(19, y[-1]) for _, y in lines.values()])[:, 1]
    box = figure.axes[0].get_window_extent()
    assert centre == pytest.approx(((ends - box.y0) / box.height).mean(), abs=0.01)


def test_a_line_that_diverges_says_so():
    y = np.array([1.0, 2.0, np.inf])
    figure = figures.learning_curves({"e": {"e": (range(3), y)}}, title="t", x_label="x")
    assert "e (infinite at the end)" in words(figure)


def test_histograms_count_every_value():
    rng = np.random.default_rng(0)
    arrays = {"weights": rng.normal(2, 0.5, (30, 20)), "updates": jnp.zeros(7)}
    figure = figures.histograms(arrays, title="Histograms", num_bins=10)
    for axes, array in zip(figure.axes, arrays.values(), strict=True):
        assert axes.patches[0].get_data().values.sum() == array.size
    assert len(figure.axes[0].patches[0].get_data().values) == 10
    assert "weights (600)" in words(figure)
    assert f"mean {arrays['weights'].mean():.2g}, s.d. {arrays['weights'].std():.2g}" in words(
        figure
    )
    assert_readable(figure)


def test_read_metrics(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,error,test error\n0,2.5,\n40,1e-3,nan\n80, ,-inf\n")
    metrics = figures.read_metrics(path)
    assert list(metrics) == ["step", "error", "test error"]
    np.testing.assert_array_equal(metrics["step"], [0, 40, 80])
    np.testing.assert_array_equal(metrics["error"], [2.5, 1e-3, np.nan])
    np.testing.assert_array_equal(metrics["test error"], [np.nan, np.nan, -np.inf])
    path.write_text("step,error\n")
    assert figures.read_metrics(path)["error"].shape == (0,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected a header"),
        ("a,a\n1,2\n", "distinct names"),
        ("a,b\n1,2\n3\n", "line 3: 1 cells, but the header names 2"),
        ("a,b\n1,two\n", "line 2, column \"b\": 'two' is not a number"),
    ],
)
def test_read_metrics_names_the_line_at_fault(tmp_path, text, message):
    path = tmp_path / "metrics.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        figures.read_metrics(path)


SQUARE = {"image_shape": (2, 2), "title": "t"}
NAN = np.array([[0.0, np.nan, 0.5, np.nan]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: figures.image_sheet(np.zeros((3, 5)), **SQUARE), r"\(3, 5\).*expected \(N, 4\)"),
        (lambda: figures.image_sheet(NAN, **SQUARE), r"images: 2 of 4 values.*first at \[0, 1\]"),
        (lambda: figures.image_sheet(np.zeros((0, 4)), **SQUARE), "empty"),
        (lambda: figures.image_sheet(np.zeros((1, 4)), image_shape=(4,), title=""), "image_shape"),
        (lambda: figures.image_sheet(np.zeros((1, 4)), **SQUARE, columns=0), "columns=0"),
        (lambda: figures.image_sheet(np.zeros((1, 4)), **SQUARE, zoom=0), "zoom=0"),
        (lambda: figures.image_sheet(np.zeros((1, 4)), **SQUARE, value_range=(1, 1)), "low < high"),
        (
            lambda: figures.image_sheet(np.zeros((4, 4)), **SQUARE, columns=2, row_labels=["a"]),
            "1 entries for 2 rows",
        ),
        (lambda: figures.receptive_fields(np.zeros((5, 3)), **SQUARE), r"expected \(4, hidden"),
        (lambda: figures.receptive_fields(NAN.T, **SQUARE), r"weights: 2 of 4.*first at \[1, 0\]"),
        (lambda: figures.receptive_fields(np.zeros((4, 0)), **SQUARE), "empty"),
        (lambda: figures.receptive_fields(np.zeros((4, 1)), **SQUARE, limit=0.0), "limit=0"),
        (
            lambda: figures.receptive_fields(np.zeros((4, 1)), **SQUARE, limit=1.0, scale="unit"),
            "limit=1",
        ),
        (lambda: figures.development(np.zeros((0, 4, 1)), **SQUARE, labels=[]), "empty"),
        (lambda: figures.development(np.zeros((2, 4, 1)), **SQUARE, labels=["a"]), "2 snapshots"),
        (lambda: figures.image_rows({}, **SQUARE), "rows is empty"),
        (
            lambda: figures.image_rows({"a": np.zeros((1, 4)), "b": NAN}, **SQUARE),
            '"b" images: 2 of 4',
        ),
        (
            lambda: figures.image_rows({"a": np.zeros((1, 4))}, **SQUARE, notes={"b": "1"}),
            r"notes for \['b'\]",
        ),
        (
            lambda: figures.image_rows({"a": np.zeros((1, 4)), "b": np.zeros((2, 4))}, **SQUARE),
            "different numbers of images: {'a': 1, 'b': 2}",
        ),
        (lambda: figures.chains(np.zeros((2, 1, 4)), **SQUARE, steps=[1]), "1 entries for 2 times"),
        (lambda: figures.hidden_activities(np.full((2, 2), 2.0), title="t"), "4 of 4 values"),
        (lambda: figures.learning_curves({}, title="t", x_label="x"), "no panel"),
        (lambda: figures.learning_curves({"p": {}}, title="t", x_label="x"), r"panels \['p'\]"),
        (
            lambda: figures.learning_curves(
                {"p": {"l": ([1], [0])}}, title="t", x_label="x", log_y="p"
            ),
            'line "l" of panel "p": y goes down to 0.*without log_y',
        ),
        (
            lambda: figures.learning_curves(
                {"p": {"l": ([1], [1])}}, title="t", x_label="x", log_y="q"
            ),
            r"log_y names \['q'\]",
        ),
        (
            lambda: figures.learning_curves({"p": {"l": ([1, 2], [1])}}, title="t", x_label="x"),
            "equal lengths",
        ),
        (
            lambda: figures.learning_curves({"p": {"l": ([1], [np.nan])}}, title="t", x_label="x"),
            "nothing to draw",
        ),
        (lambda: figures.histograms({}, title="t"), "arrays is empty"),
        (lambda: figures.histograms({"w": NAN}, title="t"), '"w": 2 of 4 values are NaN'),
    ],
)
def test_bad_input_is_refused_with_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_save_makes_folders_and_writes_the_whole_png(tmp_path):
    figure = figures.image_sheet(np.zeros((1, 4)), **SQUARE)
    path = tmp_path / "new" / "folder" / "sheet.png"
    figures.save(figure, path)
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(path).convert("RGB")), pixels(figure))
    assert [file.name for file in path.parent.iterdir()] == ["sheet.png"]
    with pytest.raises(ValueError, match=r"sheet\.jpg.*sheet\.png"):
        figures.save(figure, path.with_suffix(".jpg"))


def test_a_failed_save_leaves_the_old_picture_and_nothing_else(tmp_path, monkeypatch):
    figure = figures.image_sheet(np.zeros((1, 4)), **SQUARE)
    path = tmp_path / "sheet.png"
    figures.save(figure, path)
    before = path.read_bytes()

    def fails(*args, **kwargs):
        args[0].write(b"half a picture")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", fails)
    with pytest.raises(OSError, match="disk full"):
        figures.save(figure, path)
    monkeypatch.setattr(PIL.Image.Image, "save", lambda image, file, **kw: fails(file))
    with pytest.raises(OSError, match="disk full"):
        figures.animate([np.zeros((2, 2), np.uint8)], tmp_path / "a.gif")
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["sheet.png"]


def gif_frames(path):
    frames, durations = [], []
    with PIL.Image.open(path) as gif:
        for index in range(gif.n_frames):
            gif.seek(index)
            frames.append(np.asarray(gif.convert("RGB")))
            durations.append(gif.info["duration"])
        return frames, durations, gif.info["loop"]


def test_a_gif_loops_with_the_frames_and_times_asked_for(tmp_path):
    images = np.random.default_rng(0).integers(0, 2, (5, 3, 64)).astype(np.float32)
    sheets = (
        figures.image_sheet(image, image_shape=(8, 8), columns=3, zoom=3, title="")
        for image in images
    )
    path = tmp_path / "folder" / "chain.gif"
    figures.animate(sheets, path, frames_per_second=12.5, pause=0.5)
    frames, durations, loop = gif_frames(path)
    assert durations == [80, 80, 80, 80, 580]
    assert loop == 0  # for ever
    for frame, image in zip(frames, images, strict=True):
        tiles = sheet_tiles(frame, (8, 8), 3, 1, 3, device=1)
        for tile, binary in zip(tiles, image, strict=True):
            np.testing.assert_array_equal(tile, enlarged(255 * binary.reshape(8, 8), 3))


def test_colours_do_not_flicker_when_there_are_more_than_the_palette_holds(tmp_path):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (6, 40, 40, 3), dtype=np.uint8)
    for index, frame in enumerate(frames):  # each frame has its own favourite colours
        frame[..., index % 3] //= 4
    frames[:, :10, :10] = (200, 30, 120)
    frames[:, 20:] |= 0xF0  # nearly white
    frames[:, :2, 10:12] = 255
    path = tmp_path / "noise.gif"
    figures.animate(list(frames), path)
    read, _, _ = gif_frames(path)
    for frame in read:
        np.testing.assert_array_equal(frame[:10, :10], read[0][:10, :10])
        assert (frame[:2, 10:12] == 255).all()
    assert np.abs(read[0][0, 0].astype(int) - (200, 30, 120)).max() < 40
    assert len(np.unique(np.stack(read).reshape(-1, 3), axis=0)) <= 64


def test_frames_of_different_sizes_get_paper(tmp_path):
    path = tmp_path / "sizes.gif"
    figures.animate([np.zeros((4, 6), np.uint8), np.zeros((5, 3, 3), np.uint8)], path)
    first, second = gif_frames(path)[0]
    assert first.shape == second.shape == (5, 6, 3)
    assert (first[4] == 255).all()
    assert not first[:4].any()
    assert (second[:, 3:] == 255).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frames": []}, "no frames"),
        ({"frames": [np.zeros((2, 2))]}, "float64.*uint8"),
        ({"frames_per_second": 51.0}, "frames_per_second=51"),
        ({"pause": -1.0}, "pause=-1"),
        ({"num_colours": 257}, "num_colours=257"),
        ({"path": "a.png"}, r"name it a\.gif"),
    ],
)
def test_animate_refuses_bad_settings(tmp_path, monkeypatch, settings, message):
    monkeypatch.chdir(tmp_path)
    settings = {"frames": [np.zeros((2, 2), np.uint8)], "path": "a.gif"} | settings
    with pytest.raises(ValueError, match=message):
        figures.animate(**settings)
    assert not list(tmp_path.iterdir())


def test_the_users_matplotlib_settings_neither_change_nor_matter():
    def draw():
        return [
            pixels(figures.receptive_fields(np.eye(4), **SQUARE)),
            pixels(figures.histograms({"w": np.eye(4)}, title="t")),
        ]

    expected = draw()
    theirs = {
        "font.size": 30,
        "axes.facecolor": "black",
        "text.color": "red",
        "savefig.bbox": "tight",
        "savefig.dpi": 50,
        "image.interpolation": "bilinear",
    }
    with matplotlib.rc_context(theirs):
        before = dict(matplotlib.rcParams)
        got = draw()
        assert dict(matplotlib.rcParams) == before
    for ours, page in zip(got, expected, strict=True):
        np.testing.assert_array_equal(ours, page)


def test_a_notebook_shows_pictures_at_the_size_of_the_page():
    figure = figures.image_sheet(np.zeros((1, 4)), **SQUARE)
    data, size = figure._repr_png_()
    assert PIL.Image.open(io.BytesIO(data)).size == (2 * size["width"], 2 * size["height"])


def test_long_titles_are_broken_not_cut():
    figure = figures.image_sheet(np.zeros((1, 4)), image_shape=(2, 2), title="long words " * 20)
    assert_readable(figure)
    assert words(figure).count("\n") >= 2


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_pyplot_is_never_imported_and_a_missing_matplotlib_is_named():
    done = run_python(
        "import sys, numpy; from dbn_jax import figures\n"
        "figures.histograms({'w': numpy.ones(3)}, title='t')._repr_png_()\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "del sys.modules['dbn_jax.figures'], sys.modules['dbn_jax'].figures\n"
        "sys.modules['PIL.Image'] = None\n"
        "import dbn_jax.figures"
    )
    assert "ImportError: dbn_jax.figures needs matplotlib and pillow" in done.stderr
    assert "pip install 'dbn_jax[experiments]'" in done.stderr
