"""Patches of photographs: where they come from, and their whitening."""

import re
import socket

import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax.data import patches

COUNTS = {"num_train": 2000, "num_validation": 300, "num_test": 300}


@pytest.fixture(scope="module")
def few():
    return patches.load(size=6, **COUNTS)


def stripes(amplitudes):
    """60×100 pixels; every second column is dark, the others as bright as their region's number."""
    bright = np.repeat(amplitudes, (70, 10, 20))
    return np.tile(bright * (np.arange(100) % 2), (60, 1)).astype(np.uint8)


@pytest.fixture
def one_striped(monkeypatch):
    """A single photograph of stripes, of contrast 10, 40 and 100 in its three regions."""
    monkeypatch.setattr(patches, "PHOTOGRAPHS", {"stripes": None})
    monkeypatch.setattr(patches, "photograph", lambda name: stripes([20, 80, 200]))


def test_photographs_are_there_without_a_network(monkeypatch):
    monkeypatch.setattr(socket, "socket", None)
    for name in patches.PHOTOGRAPHS:
        picture = patches.photograph(name)
        assert picture.dtype == np.uint8
        assert min(picture.shape) >= 300
        assert picture.std() > 20  # of 255 grey levels


def test_unknown_photographs_are_refused():
    with pytest.raises(ValueError, match="'lena' is none of china, flower"):
        patches.photograph("lena")


@pytest.mark.parametrize("length", [0, 100, 5000])
def test_photographs_that_are_cut_are_named(tmp_path, monkeypatch, length):
    whole = patches.embedded.shipped("", *patches.PHOTOGRAPHS["brick"]).read_bytes()
    file = tmp_path / "brick.png"
    file.write_bytes(whole[:length])
    monkeypatch.setattr(patches.embedded, "shipped", lambda *names: file)
    words = rf"(?s)^{re.escape(str(file))} is damaged .* --force-reinstall scikit-image$"
    with pytest.raises(ValueError, match=words):
        patches.photograph("brick")


def test_parts_come_from_regions_that_share_no_pixel(one_striped):
    # All places of a part, so that one patch across a border would be among them.
    places = {"train": 55 * 65, "validation": 55 * 5, "test": 55 * 15}
    counts = {f"num_{part}": count for part, count in places.items()}
    data = patches.load(size=6, shrink=1, min_contrast=0, **counts)
    for part, contrast in (("train", 10), ("validation", 40), ("test", 100)):
        rows = getattr(data, part)
        assert rows.shape == (places[part], 36)
        # Stripes of ± the contrast; and the noise, uniform with variance 1/12, without its mean.
        levels = np.sign(rows) * contrast
        assert np.abs(rows - levels).max() < 1
        noise = (rows - levels).astype(np.float64)
        error = np.sqrt((1 / 80 - 1 / 144) / noise.size)  # kurtosis of a uniform variable
        assert abs(noise.var() - (1 - 1 / 36) / 12) < 5 * error
        np.testing.assert_allclose(rows.mean(axis=1), 0, atol=2e-5)
    # Each place is used once: half of the patches begin with a dark column.
    assert np.mean(data.train[:, 0] < 0) == pytest.approx(33 / 65)
    with pytest.raises(
        ValueError, match=r"num_test is 826, but .* have 825 places .* ask for fewer"
    ):
        patches.load(size=6, shrink=1, min_contrast=0, **{**counts, "num_test": 826})


def test_patches_of_little_contrast_are_left_out(one_striped):
    with pytest.raises(ValueError, match=r"have 0 places for train .*contrast of at least 10\.5"):
        patches.load(size=6, shrink=1, min_contrast=10.5, **COUNTS)
    # Means over two columns leave no stripes.
    with pytest.raises(ValueError, match=r"have 0 places for train"):
        patches.load(size=3, shrink=2, min_contrast=1, **COUNTS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": 1}, "size is 1; it must be at least 2"),
        ({"shrink": 0}, "shrink is 0; it must be at least 1"),
        ({"min_contrast": -1.0}, "min_contrast is -1.0; it must be at least 0"),
        ({"num_test": 0}, "num_test is 0; it must be at least 1"),
        ({"size": 40}, r"size is 40, but the validation region .* china has 213×32 pixels"),
    ],
)
def test_bad_numbers(change, words):
    with pytest.raises(ValueError, match=words):
        patches.load(**{**COUNTS, **change})


def test_a_seed_decides_places_and_noise(few):
    again = patches.load(size=6, **COUNTS)
    other = patches.load(size=6, seed=1, **COUNTS)
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(few, part), getattr(again, part))
        assert not np.isin(getattr(few, part)[:, 0], getattr(other, part)[:, 0]).any()
    assert few.train.dtype == np.float32
    assert few.image_shape == (6, 6)


def test_whitened_training_patches_have_identity_covariance(few):
    for kept in (None, 20):
        whitening = patches.fit_whitening(few.train, kept)
        z = np.asarray(whitening.whiten(jnp.asarray(few.train)), np.float64)
        size = kept or 35
        np.testing.assert_allclose(np.cov(z, rowvar=False, bias=True), np.eye(size), atol=1e-4)
        np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-4)


def test_whitening_turns_back(few):
    x = jnp.asarray(few.test)
    whitening = patches.fit_whitening(few.train)
    z = whitening.whiten(x)
    np.testing.assert_allclose(whitening.unwhiten(z), x, atol=2e-3)  # of 255 grey levels
    # ZCA by its definition: the inverse square root of the covariance.
    train = few.train.astype(np.float64)
    centred = train - train.mean(axis=0)
    _, scales, directions = np.linalg.svd(centred / np.sqrt(len(train)), full_matrices=False)
    assert scales[-1] < 1e-4 * scales[-2]  # the null direction: that of the patches' mean
    root = (directions[:-1].T / scales[:-1]) @ directions[:-1]
    expected = (few.test - train.mean(axis=0)) @ root
    np.testing.assert_allclose(whitening.zca(z), expected, atol=2e-3)
    # The fewer directions are those of largest variance.
    fewer = patches.fit_whitening(few.train, 10)
    np.testing.assert_allclose(fewer.scales, scales[:10], rtol=1e-4)


def test_whitening_that_cannot_be(few):
    for kept in (0, 36):
        with pytest.raises(ValueError, match=rf"num_components is {kept}; .* 1 to 35 directions"):
            patches.fit_whitening(few.train, kept)
    with pytest.raises(ValueError, match="20 patches vary in fewer than 35 directions"):
        patches.fit_whitening(few.train[:20])
