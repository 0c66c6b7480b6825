"""Pictures and animations as files, read back from the disk."""

import numpy as np
import PIL.Image
import pytest

from dbn_jax import figures
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
    page = {"image_shape": (8, 8), "columns": 3, "zoom": 3, "title": "t"}
    sheets = (figures.image_sheet(image, **page) for image in images)
    path = tmp_path / "folder" / "chain.gif"
    figures.animate(sheets, path, frames_per_second=12.5)
    frames, durations, loop = gif_frames(path)
    assert durations == [80, 80, 80, 80, 1080]
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


def test_few_colours_are_kept_and_equal_frames_stored_once(tmp_path):
    """Of a hundred frames in few colours no palette leaves any out."""
    frames = [np.full((4, 4, 3), 255 * (i % 2), np.uint8) for i in range(100)]
    frames[37] = np.full((4, 4, 3), (213, 94, 0), np.uint8)
    path = tmp_path / "long.gif"
    figures.animate(frames + frames[-1:] * 600, path, frames_per_second=2)
    read, durations, _ = gif_frames(path)
    assert durations == [500] * 99 + [301_500]
    np.testing.assert_array_equal(read, frames)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frames": []}, "no frames"),
        ({"frames_per_second": np.nan}, "frames_per_second=nan"),
        ({"frames_per_second": 0}, "frames_per_second=0"),
        ({"frames_per_second": 51.0}, "frames_per_second=51"),
        ({"frames_per_second": 0.001}, "stays for 1001 s, and GIF has 655 s at most"),
        ({"frames": [np.zeros((2, 2), np.uint8)] * 66, "frames_per_second": 0.1}, "stays for 661"),
        ({"frames": [np.zeros((2, 2))]}, "float64.*uint8"),
        ({"num_colours": 257}, "num_colours=257"),
        ({"path": "a.png"}, r"name it a\.gif"),
    ],
)
def test_bad_settings_are_refused(tmp_path, monkeypatch, settings, message):
    monkeypatch.chdir(tmp_path)
    settings = {"frames": [np.zeros((2, 2), np.uint8)], "path": "a.gif"} | settings
    with pytest.raises(ValueError, match=message):
        figures.animate(**settings)
    assert not list(tmp_path.iterdir())
