"""The page of a net: its engine computes what the library does, and what cannot be on a page."""

import base64
import io
import math
import pathlib
import re
import shutil
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from dbn_jax import associative_memory, data, dbn, files, model_file
from experiments import page
from experiments.common.data_settings import DataSettings
from tests import binaries, finished_runs
from tests.experiments import page_jobs

ROOT = pathlib.Path(__file__).parent.parent.parent
PUBLISHED = "experiments/results/digit_model"
STEPS = 100


@pytest.fixture(autouse=True)
def _at_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def net():
    return model_file.load(ROOT / PUBLISHED / "model.npz")


@pytest.fixture(scope="module")
def digits():
    return data.load("mnist5k").test


def grey(images):
    return jnp.asarray(images / np.float32(255), jnp.float32)


def packed(image):
    return base64.b64encode(zlib.compress(image.tobytes())).decode()


def check_posteriors(folder, net, images, modules=page_jobs.WEB):
    images = images[:100]
    (folder / "images").write_bytes(images.tobytes())
    job = {"way": "classify", "images": str(folder / "images"), "count": len(images)}
    [found] = page_jobs.run(folder, job | {"width": 28, "height": 28}, modules=modules)
    wanted = jnp.exp(associative_memory.classify(net, grey(images)))
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_posteriors_are_those_of_python(tmp_path, net, digits):
    check_posteriors(tmp_path, net, digits.images)


def test_passes_are_those_of_python(tmp_path, net, digits):
    image = grey(digits.images[0])
    [found] = page_jobs.run(tmp_path, {"way": "passes", "image": image.tolist()})
    wanted = dbn.up_pass(net, image)
    for one, other in zip(found["up"], wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    np.testing.assert_allclose(found["down"], dbn.down_pass(net, wanted[-1]), atol=1e-5)


def check_chain(folder, start, then, image=None, modules=page_jobs.WEB):
    """The lines that the page shows make the state that its engine is in."""
    job = {"way": "chain", "start": start, "then": then}
    if image is not None:
        job["packed"] = packed(image)
        job["start"] = start | {"image": grey(image).tolist()}
    [found] = page_jobs.run(folder, job, modules=modules)
    made = {}
    exec(found["lines"], made)
    x, moment = np.atleast_2d(made["x"]), jax.tree.map(np.atleast_2d, made["moment"])
    np.testing.assert_array_equal(found["x"], x)
    for layer, states in enumerate(moment.hidden):
        np.testing.assert_array_equal([m["hidden"][layer] for m in found["moments"]], states)
    np.testing.assert_allclose([m["pixels"] for m in found["moments"]], moment.pixels, atol=1e-5)
    np.testing.assert_allclose([m["labels"] for m in found["moments"]], moment.labels, atol=1e-5)
    energies = made["rbm"].free_energy(made["net"].top, jnp.asarray(x))
    np.testing.assert_allclose(found["energies"], energies, atol=0.1)
    return found


FREE, CLAMPED = {"kind": "features", "seed": 7}, {"kind": "features", "seed": 3, "label": 3}


@pytest.mark.usefixtures("implicit_promotion")
@pytest.mark.parametrize(
    ("start", "then"),
    [
        (FREE, [[None, STEPS]]),
        (CLAMPED, [[3, STEPS]]),
        # A label held, another one, none.
        ({"kind": "features", "seed": 2**31 + 5}, [[None, 5], [8, 30], [2, 20], [None, 7]]),
        ({"kind": "noise", "seed": 1}, [[None, 20], [4, 20]]),
        ({"kind": "noise", "seed": 1}, [[4, 3]]),
        ({"kind": "noise", "seed": 1}, []),
        ({"kind": "each", "seed": 4}, [[None, 20]]),
        ({"kind": "settle", "seed": 5}, [[None, 20]]),
        ({"kind": "image", "seed": 6}, [[None, 20]]),
    ],
)
def test_python_lines_make_the_state_of_the_page(tmp_path, digits, start, then, capsys):
    image = digits.images[17] if start["kind"] in ("settle", "image") else None
    found = check_chain(tmp_path, start, then, image)
    on = np.sum([[sum(h) for h in m["hidden"]] for m in found["moments"]], axis=0)
    printed = capsys.readouterr().out
    assert printed.startswith(f"{on.astype(int).tolist()} ")
    energies = np.float64(printed.partition("]")[2].split())
    np.testing.assert_allclose(energies, found["energies"], atol=0.11)


def chain(folder, net, digits, modules):
    check_chain(folder, FREE, [[None, STEPS]], modules=modules)


def posteriors(folder, net, digits, modules):
    check_posteriors(folder, net, digits.images, modules)


@pytest.mark.usefixtures("implicit_promotion")
@pytest.mark.parametrize(
    ("module", "written", "wrong", "check"),
    [
        ("threefry", "13, 15, 26, 6", "13, 15, 26, 7", chain),
        ("threefry", "drawn[i] >>> 9", "drawn[i] >>> 8", chain),
        ("network", "top.numFeatures + label)", "top.numFeatures + (9 - label))", posteriors),
        ("model_file", "(data[i] << 24) | (data[count + i] << 16)", "data[i] << 24", posteriors),
    ],
)
def test_a_mutated_engine_fails(tmp_path, net, digits, module, written, wrong, check):
    modules = tmp_path / "web"
    shutil.copytree(page_jobs.WEB, modules)
    source = (modules / f"{module}.js").read_text()
    assert source.count(written) == 1
    (modules / f"{module}.js").write_text(source.replace(written, wrong))
    with pytest.raises(AssertionError, match=r"Not equal to tolerance|Arrays are not equal"):
        check(tmp_path, net, digits, modules)


# From the authors' Random123: counters, keys, and the words of twenty rounds.
KNOWN = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((2**32 - 1, 2**32 - 1), (2**32 - 1, 2**32 - 1), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]


def test_random_numbers_are_those_of_jax(tmp_path):
    seeds = (0, 7, 2**32 - 1)
    jobs = [{"way": "known", "words": words, "key": key} for words, key, _ in KNOWN]
    jobs += [{"way": "random", "seed": seed} for seed in seeds]
    found = page_jobs.run(tmp_path, *jobs, model=None)
    assert [tuple(each) for each in found[: len(KNOWN)]] == [words for *_, words in KNOWN]
    for seed, answer in zip(seeds, found[len(KNOWN) :], strict=True):
        key = jax.random.key(np.uint32(seed))
        keys = jax.random.split(key, 3)
        np.testing.assert_array_equal(answer["split"], jax.random.key_data(keys))
        folded = jax.random.fold_in(key, 1234567)
        np.testing.assert_array_equal(answer["folded"], jax.random.key_data(folded))
        bits = jax.random.bits(key, (20,), "uint32")
        np.testing.assert_array_equal(answer["bits"], bits)
        np.testing.assert_array_equal(answer["rest"], bits[10:])


def test_damaged_models_are_refused(tmp_path):
    whole = (ROOT / PUBLISHED / "model.npz").read_bytes()
    (tmp_path / "whole").write_bytes(whole)
    middle = bytearray(whole)
    middle[1_000_000] ^= 1
    (tmp_path / "flipped").write_bytes(middle)
    (tmp_path / "cut").write_bytes(whole[:-1000])
    arrays = io.BytesIO()
    description = np.frombuffer(b'{"array": "x"}', np.uint8)
    np.savez_compressed(arrays, description=description, x=np.zeros(3))
    (tmp_path / "doubles").write_bytes(arrays.getvalue())
    sums = {path.name: files.sha256(path) for path in tmp_path.iterdir()}
    cases = [("whole", "whole"), ("flipped", "whole"), ("cut", "cut"), ("doubles", "doubles")]
    jobs = [{"way": "read", "path": str(tmp_path / a), "sha256": sums[b]} for a, b in cases]
    damaged = "The model in this page is damaged, or of an unknown kind"
    assert page_jobs.run(tmp_path, *jobs, model=None) == [
        "read",
        f"The model in this page has the SHA-256 {sums['flipped']}, but should have "
        f"{sums['whole']}: the page is damaged. Get it anew.",
        f"{damaged} (it is no zip file).",
        f"{damaged} (an array is of <f8).",
    ]


def test_where_browsers_make_no_checksums_the_page_says_so(tmp_path):
    """They make none of pages that come over http from another machine."""
    job = {"way": "verifyWithoutCrypto", "path": f"{PUBLISHED}/model.npz"}
    assert page_jobs.run(tmp_path, job, model=None) == [False]
    words = (page_jobs.WEB / "words.js").read_text()
    assert '"not verified, since browsers compute it only for files and pages over https."' in words


def test_digits_of_any_place_and_size_are_recognised_like_the_originals(tmp_path, net):
    """Of the net that they are shown to, the originals are training data, which it knows."""
    count, side = 500, 112
    rng = np.random.default_rng(0)
    test = data.load("mnist5k").test
    sheets = np.zeros((count, side, side), np.uint8)
    for sheet, image in zip(sheets, test.images, strict=False):
        size = rng.integers(28, side + 1)
        resized = PIL.Image.fromarray(image.reshape(28, 28)).resize((size, size), PIL.Image.BICUBIC)
        top, left = rng.integers(0, side - size + 1, 2)
        sheet[top : top + size, left : left + size] = resized
    shrunk = [PIL.Image.fromarray(sheet).resize((28, 28), PIL.Image.BOX) for sheet in sheets]
    (tmp_path / "placed").write_bytes(sheets.tobytes())
    (tmp_path / "shrunk").write_bytes(np.stack(shrunk).tobytes())
    jobs = [
        {"images": "placed", "width": side, "height": side, "normalised": True},
        {"images": "shrunk", "width": 28, "height": 28},
    ]
    common = {"way": "classify", "count": count}
    jobs = [common | job | {"images": str(tmp_path / job["images"])} for job in jobs]
    answers = np.argmax(page_jobs.run(tmp_path, *jobs), axis=-1)
    labels = test.labels[:count]
    original = np.asarray(associative_memory.classify(net, grey(test.images[:count]))).argmax(-1)
    wrong, wrong_shrunk, wrong_original = (each != labels for each in (*answers, original))
    # The standard error of a difference of counts, of which only those that differ have a part.
    error = math.sqrt(max(int(np.sum(wrong != wrong_original)), 1))
    assert abs(wrong.sum() - wrong_original.sum()) <= 3 * error
    assert wrong.mean() < 0.03
    # As they come, many are wrong: the check would find out.
    assert wrong_shrunk.mean() > 0.3


def test_digits_of_mnist_are_normalised_already(tmp_path, digits):
    images = digits.images[:20]
    jobs = [
        {"way": "normalise", "ink": image.tolist(), "width": 28, "height": 28} for image in images
    ]
    np.testing.assert_array_equal(page_jobs.run(tmp_path, *jobs, model=None), images)


def test_strokes_are_as_wide_in_large_and_small_drawings(tmp_path):
    seven = np.array([0.2, 0.1, 0.8, 0.1, 0.4, 0.9])
    jobs = [
        {"way": "strokes", "strokes": [(scale * seven + place).tolist()], "pen": 42}
        for scale, place in ((500, 20), (250, 300))
    ]
    jobs += [{"way": "strokes", "strokes": strokes, "pen": 42} for strokes in ([[80, 90]], [])]
    large, small, dot, nothing = np.array(page_jobs.run(tmp_path, *jobs, model=None))
    np.testing.assert_allclose(large, small, atol=2)
    assert np.count_nonzero(large.reshape(28, 28).any(axis=1)) in (20, 21)
    assert 4 <= np.count_nonzero(dot) < 20  # not blown up to a box of ink
    assert not nothing.any()


def random_net(folder, hidden_sizes=(4, 5), **options):
    options = {"data": DataSettings(dataset="mnist5k"), "num_pixels": 784} | options
    return finished_runs.random_net(folder / "net", hidden_sizes, **options)


def test_a_page_of_a_run(tmp_path, capsys):
    """Whole weights, no summary of errors, other layers than those of the published net."""
    run = random_net(tmp_path, (6, 5, 4))
    file = tmp_path / "net.html"
    page.write(run, str(file))
    page.write(run, str(file))  # a page is replaced
    text = file.read_text()
    size = len(text.encode())
    assert capsys.readouterr().out.endswith(2 * f"{file}: {size:,} bytes; open it in a browser\n")
    assert "784\\u20136\\u20135\\u20134 units" in text
    assert "The net has not learnt from these." in text
    image = np.arange(784) % 256 / 255
    [found] = page_jobs.run(
        tmp_path, {"way": "passes", "image": image.tolist()}, model=f"{run}/model.npz"
    )
    wanted = dbn.up_pass(model_file.load(f"{run}/model.npz"), jnp.asarray(image, jnp.float32))
    for one, other in zip(found["up"], wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_the_published_page_holds_the_model_itself_and_no_address(tmp_path):
    file = tmp_path / "digit_model.html"
    page.write(PUBLISHED, str(file))
    assert file.stat().st_size <= 4_600_000
    text = file.read_text()
    [model] = re.findall(r'<script type="text/plain" id="model">(.*?)</script>', text, re.DOTALL)
    assert base64.b64decode(model) == (ROOT / PUBLISHED / "model.npz").read_bytes()
    assert "It gets 1.0\\u00a0% of unseen digits wrong." in text
    assert "The net has learnt from these." in text
    rest = text.replace(model, "")
    assert not re.search(r"https?://\w|url\(|@import|\bfetch\(", rest)


def test_what_cannot_be_on_a_page(tmp_path):
    file = str(tmp_path / "page.html")
    options = {
        "labels": ({"labels": False}, "the net has no label units, so that it could not answer"),
        "data": ({"data": DataSettings(dataset="digits"), "num_pixels": 64}, "trained on digits"),
        "classes": ({"num_labels": 3}, "has 784 pixels and 3 labels; a page needs one of 784 and"),
        "layers": ({"hidden_sizes": (5,)}, "has one hidden layer, and no features below its mem"),
    }
    for name, (wrong, sentence) in options.items():
        run = random_net(tmp_path / name, **wrong)
        with pytest.raises(ValueError, match=sentence) as caught:
            page.write(run, file)
        assert str(caught.value).startswith(f"--pretrained={run}")
    good = random_net(tmp_path)
    with pytest.raises(ValueError, match=r"--file=page.txt: the name of a page ends in .html"):
        page.write(good, "page.txt")
    (tmp_path / "own.html").write_text("somebody's")
    with pytest.raises(ValueError, match=r"own.html is there already, and is no page of a net"):
        page.write(good, f"{tmp_path}/own.html")
    assert not pathlib.Path(file).exists()
    done = binaries.run("experiments.page", f"--pretrained={tmp_path}/none", f"--file={file}")
    assert (done.returncode, done.stderr.count("\n")) == (1, 2)
    assert "there is no finished run" in done.stderr


def test_modules_become_one_script(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "_WEB", tmp_path)
    (tmp_path / "a.js").write_text(
        'import * as b from "./b.js";\n\nexport const two = b.one + 1;\n'
    )
    (tmp_path / "b.js").write_text("export const one = 1;\n")
    assert page.script("a") == (
        '"use strict";\n'
        "const b = (() => {\nconst one = 1;\nreturn { one };\n})();\n"
        "const a = (() => {\n\nconst two = b.one + 1;\nreturn { two };\n})();\n"
    )
    (tmp_path / "a.js").write_text('import { one } from "./b.js";\n')
    with pytest.raises(ValueError, match=r"a.js: `import { one } from .* is not of a form"):
        page.script("a")
