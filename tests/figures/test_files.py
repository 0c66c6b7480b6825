"""Pictures and animations as files, read back from the disk."""

import numpy as np
import PIL.Image
import pytest

from dbn_jax import figures
from tests import binaries
from tests.pictures import SQUARE, enlarged, pixels, sheet_tiles


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
        figures.animate([np.zeros((2, 2), np.uint8)], tmp_path / "a.webp")
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["sheet.png"]


def read_film(path):
    frames, durations = [], []
    with PIL.Image.open(path) as film:
        for index in range(film.n_frames):
            film.seek(index)
            frames.append(np.asarray(film.convert("RGB")))
            durations.append(film.info["duration"])
        return frames, durations, film.info["loop"]


def test_a_film_loops_with_the_frames_and_times_asked_for(tmp_path):
    images = np.random.default_rng(0).integers(0, 2, (5, 3, 64)).astype(np.float32)
    page = {"image_shape": (8, 8), "columns": 3, "zoom": 3, "title": "t"}
    sheets = (figures.image_sheet(image, **page) for image in images)
    path = tmp_path / "folder" / "chain.webp"
    figures.animate(sheets, path, frames_per_second=12.5)
    frames, durations, loop = read_film(path)
    assert durations == [80, 80, 80, 80, 1080]
    assert loop == 0  # for ever
    for frame, image in zip(frames, images, strict=True):
        tiles = sheet_tiles(frame, (8, 8), 3, 1, 3, device=1)
        for tile, binary in zip(tiles, image, strict=True):
            np.testing.assert_array_equal(tile, enlarged(255 * binary.reshape(8, 8), 3))


def test_films_are_lossless(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (6, 40, 40, 3), dtype=np.uint8)
    figures.animate(list(noise), tmp_path / "noise.webp")
    np.testing.assert_array_equal(read_film(tmp_path / "noise.webp")[0], noise)


def test_a_film_is_a_sixth_of_the_gif(tmp_path):
    movie = read_film(binaries.ROOT / "experiments/results/digit_model/movie.webp")[0][:60]
    figures.animate(movie, tmp_path / "movie.webp")
    np.testing.assert_array_equal(read_film(tmp_path / "movie.webp")[0], movie)
    first, *others = map(PIL.Image.fromarray, movie)
    first.save(tmp_path / "movie.gif", save_all=True, append_images=others)
    webp, gif = ((tmp_path / f"movie.{end}").stat().st_size for end in ("webp", "gif"))
    assert 6 * webp < gif


def test_frames_of_different_sizes_get_paper(tmp_path):
    path = tmp_path / "sizes.webp"
    figures.animate([np.zeros((4, 6), np.uint8), np.zeros((5, 3, 3), np.uint8)], path)
    first, second = read_film(path)[0]
    assert first.shape == second.shape == (5, 6, 3)
    assert (first[4] == 255).all()
    assert not first[:4].any()
    assert (second[:, 3:] == 255).all()


def test_equal_frames_are_stored_once(tmp_path):
    frames = [np.full((4, 4, 3), 255 * (i % 2), np.uint8) for i in range(10)]
    path = tmp_path / "long.webp"
    figures.animate(frames + frames[-1:] * 600, path, frames_per_second=2)
    read, durations, _ = read_film(path)
    assert durations == [500] * 9 + [301_500]
    np.testing.assert_array_equal(read, frames)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frames": []}, "no frames"),
        ({"frames_per_second": np.nan}, "frames_per_second=nan"),
        ({"frames_per_second": 0}, "frames_per_second=0"),
        ({"frames_per_second": 51.0}, r"frames_per_second=51\.0: choose from 0\.001 to 50"),
        ({"frames": [np.zeros((2, 2))]}, "float64.*uint8"),
        ({"path": "a.png"}, r"name it a\.webp"),
    ],
)
def test_bad_settings_are_refused(tmp_path, monkeypatch, settings, message):
    monkeypatch.chdir(tmp_path)
    settings = {"frames": [np.zeros((2, 2), np.uint8)], "path": "a.webp"} | settings
    with pytest.raises(ValueError, match=message):
        figures.animate(**settings)
    assert not list(tmp_path.iterdir())
