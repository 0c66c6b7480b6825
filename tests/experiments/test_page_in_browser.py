"""The page of the published net in Chromium, from a file and without a network."""

import contextlib
import math
import os
import pathlib
import re
import shutil

import numpy as np
import pytest

from experiments import page

ROOT = pathlib.Path(__file__).parent.parent.parent
_INSTALL = "apt-get install chromium; pip install -e '.[test]'"
_SECONDS = 60_000  # milliseconds that anything may take on a busy machine


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason=f"no Playwright: {_INSTALL}")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip(f"there is no Chromium: {_INSTALL}")
    with playwright.sync_playwright() as driver:
        # Chromium's sandbox does not start for root, as whom CI runs.
        rights = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = driver.chromium.launch(executable_path=program, args=rights)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    with contextlib.chdir(ROOT):
        path = tmp_path_factory.mktemp("page") / "digit_model.html"
        page.write("experiments/results/digit_model", str(path))
        return path


@pytest.fixture
def opened(browser, file):
    """Opens the page; at the end, nothing was said on the console and nobody was asked."""
    seen = []

    def open_page(path=file, width=1280, height=900, **options):
        viewport = {"width": width, "height": height}
        context = browser.new_context(viewport=viewport, offline=True, **options)
        context.set_default_timeout(_SECONDS)
        view = context.new_page()
        view.on("console", lambda message: seen.append(message.text))
        view.on("pageerror", lambda error: seen.append(str(error)))
        view.on("request", lambda request: seen.append(request.url))
        view.goto(path.as_uri())
        contexts.append(context)
        return view

    contexts = []
    yield open_page
    for context in contexts:
        context.close()
    others = [text for text in seen if not text.startswith(("file:///", "blob:null/"))]
    assert others == []
    assert sum(text.startswith("file:") for text in seen) == len(contexts)


def wait_for(view, place, pattern):
    """Waits until an element has a text that the pattern is found in, and returns it."""
    found = view.locator(place).filter(has_text=re.compile(pattern))
    found.wait_for(state="attached")
    return found.inner_text()


def ready(view):
    view.locator("#free:enabled").wait_for()
    return view


# In a pad of width 1: two arcs, drawn in one go.
THREE = [
    (0.5 + radius * math.cos(math.radians(angle)), y + radius * math.sin(math.radians(angle)))
    for y, radius in ((0.32, 0.15), (0.64, 0.17))
    for angle in range(-140, 100, 12)
]


def draw(view, points, scale=1.0, place=(0.0, 0.0)):
    pad = view.locator("#pad")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    x, y, width = box["x"], box["y"], box["width"]
    points = [
        (x + width * (place[0] + scale * a), y + width * (place[1] + scale * b)) for a, b in points
    ]
    view.mouse.move(*points[0])
    view.mouse.down()
    for point in points[1:]:
        view.mouse.move(*point)
    view.mouse.up()


def test_draws_and_dreams_offline(opened, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    view = ready(opened())
    assert wait_for(view, "#facts", "verified").endswith(": verified.")
    assert view.locator("#settle").is_disabled()
    assert view.locator("#play").is_disabled()
    draw(view, THREE)
    wait_for(view, "#verdict", r"It takes this for a\s3, (over )?9\d")
    view.screenshot(path=tmp_path / "seen.png", full_page=True)
    view.locator("#clear").click()
    wait_for(view, "#verdict", "Draw something")
    draw(view, THREE, scale=0.3, place=(0.65, 0.05))  # small, in a corner
    wait_for(view, "#verdict", r"It takes this for a\s3, (over )?9\d")

    view.locator("#settle").click()
    wait_for(view, "#verdict", r"Making up its mind, step \d\d: a\s3")
    view.screenshot(path=tmp_path / "settling.png", full_page=True)
    view.locator("#python summary").click()
    for begin, words in (("#from-drawing", "freely"), ("#each", "Ten"), ("#free", "freely")):
        view.locator(begin).click()
        wait_for(view, "#verdict", rf"{words}.*tep \d\d")
        view.screenshot(path=tmp_path / f"{begin[1:]}.png", full_page=True)
    draw(view, THREE)  # in the middle of a dream
    wait_for(view, "#verdict", r"It takes this for a\s3")
    view.locator("#free").click()
    wait_for(view, "#verdict", r"freely.*tep \d\d")
    # The dream goes on with a label held, and its past is in the lines of Python.
    view.get_by_role("button", name="Dream of 7").click()
    wait_for(view, "#verdict", r"Dreaming of a\s7, step \d+. Press 7 again to let go")
    view.locator("#play").click()
    wait_for(view, "#play", "Play")
    view.wait_for_timeout(1000)
    before = view.locator("#lines").inner_text()
    view.locator("#steps").click()
    view.locator("#lines").filter(has_not_text=before).wait_for()
    lines = wait_for(view, "#lines", r"\[\(None, \d+\), \(7, \d{3,}\)\]")
    layers = view.locator(".layer span").all_inner_texts()
    energy = view.locator("#energy-note").inner_text()
    assert len(list(tmp_path.glob("*.png"))) == 5
    view.locator("#play").click()
    wait_for(view, "#verdict", r"step \d")
    view.locator("#clear").click()
    wait_for(view, "#verdict", "Draw something")
    view.wait_for_timeout(300)
    assert view.locator("#verdict").inner_text().startswith("Draw something")  # it stays empty
    view.context.close()

    import jax

    with jax.numpy_dtype_promotion("standard"):
        exec(lines, {})
    printed = capsys.readouterr().out
    on = [int(text.partition(" of")[0]) for text in reversed(layers)]
    assert printed.startswith(f"{on} ")
    [told] = re.findall(r"memory: (−?\d+\.\d) nats now", energy)
    assert float(printed.split()[-1]) == pytest.approx(float(told.replace("−", "-")), abs=0.11)


def test_seeds_repeat_dreams(opened):
    view = ready(opened(reduced_motion="reduce"))
    view.locator("#free").click()
    verdict = wait_for(view, "#verdict", "step 101")
    first = view.locator("#energy-note").inner_text()
    assert view.locator("#play").inner_text() == "Play"  # it steps, and does not move
    view.locator("#free").click()
    assert view.locator("#seed").input_value() == "1"
    view.locator("#energy-note").filter(has_not_text=first).wait_for()
    view.locator("#seed").fill("0")
    view.locator("#seed").press("Enter")
    view.locator("#energy-note").filter(has_text=first).wait_for()
    assert view.locator("#verdict").inner_text() == verdict


def test_by_keyboard_alone(opened):
    view = ready(opened())
    for _ in range(3):
        view.keyboard.press("Tab")
        if view.locator("#examples button:focus").count():
            break
    else:
        pytest.fail("three presses of Tab do not reach the examples")
    for _ in range(4):
        view.keyboard.press("Tab")
    view.keyboard.press("Enter")
    wait_for(view, "#verdict", r"It takes this for a\s4")
    wait_for(view, "#spoken", r"Most probable: a\s4, ")
    view.keyboard.press("5")
    wait_for(view, "#verdict", r"Dreaming of a\s5, step")
    view.locator("body").evaluate("() => document.activeElement.blur()")
    view.keyboard.press(" ")
    wait_for(view, "#play", "Play")
    view.keyboard.press(" ")
    wait_for(view, "#play", "Pause")
    view.keyboard.press("5")
    wait_for(view, "#verdict", "Dreaming freely")


def test_on_a_phone_what_happens_is_in_sight(opened):
    view = ready(opened(width=360, height=740, has_touch=True))
    draw(view, THREE)
    wait_for(view, "#verdict", r"It takes this for a\s3")

    def is_in_sight(place):
        box = view.locator(place).bounding_box()
        return box["y"] >= 0 and box["y"] + box["height"] <= 740

    assert is_in_sight("#pad")
    assert is_in_sight("#verdict")
    view.get_by_role("button", name="Dream of 6").click()
    wait_for(view, "#verdict", r"Dreaming of a\s6")
    assert is_in_sight("#image")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_hinders(browser, opened, scheme, tmp_path):
    """No serious finding of axe, and on a phone no scrolling to the side and no small target."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason=_INSTALL)
    # What looks into the page is a script that its own policy would refuse.
    view = ready(opened(width=360, height=740, color_scheme=scheme, bypass_csp=True))
    view.locator("#python summary").click()
    for begin in ("#examples button:nth-child(3)", "#each"):
        view.locator(begin).click()
        wait_for(view, "#verdict", r"takes this|Step \d\d")
        found = axe.Axe().run(view).response["violations"]
        assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []
        assert view.evaluate("() => document.documentElement.scrollWidth") == 360
    view.screenshot(path=tmp_path / "phone.png", full_page=True)
    sizes = view.evaluate(
        "() => [...document.querySelectorAll('button, select, input, summary')].filter("
        "(e) => e.offsetParent).map((e) => [e.offsetWidth, e.offsetHeight])"
    )
    assert np.min(sizes) >= 44


def test_a_damaged_page_says_so(opened, file, tmp_path):
    text = file.read_text()
    place = text.index('id="model">') + 1_000_000
    text = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
    (tmp_path / "damaged.html").write_text(text)
    view = opened(tmp_path / "damaged.html")
    wait_for(view, "#failed", "The model in this page has the SHA-256 .*: the page is damaged")
    assert view.locator("#free").is_disabled()
