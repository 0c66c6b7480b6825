"""Writes a page to play with a net: one file, which opens by double-click, without a network.

    python -m experiments.page --pretrained=experiments/results/digit_model --file=digit_model.html

puts the model file of a net of MNIST's digits, as it is, into a page (4.5 MB for the published
784-500-500-2000 net), beside the JavaScript that computes with it. Draw a digit, and the net
recognises it; let it dream, and it generates digits, while one sees its image, all of its hidden
units and the energy. It draws the random numbers of JAX, and shows lines of Python that make the
very state that it is in. Any browser of 2023 or later will do, that of a phone too. A page of a run
that is not published works as well, but is larger: its weights have all their bits.

The sources are in `experiments/web/`: modules that import each other whole, as in
``import * as network from "./network.js"``. Browsers refuse modules that lie in files, so that here
they become functions of one script each for the page and for the worker in it.
"""

import base64
import json
import pathlib
import re
import zlib
from typing import Any

import numpy as np

from dbn_jax import data, dbn, files
from experiments.common import command_line, pretrained
from experiments.common.settings import Declared, setting

_WEB = pathlib.Path(__file__).parent / "web"
_MARK = '<meta name="generator" content="dbn_jax experiments.page">'
_IMPORT = re.compile(r'^import \* as (\w+) from "\./\1\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async function|function|const|class) (\w+))", re.MULTILINE)
_DATA_SETS = ("mnist", "mnist5k")
_NUM_PIXELS, _NUM_LABELS = 784, 10


class Settings(Declared, title="Model"):
    """Whose page is written, and where."""

    pretrained: str = setting(
        help="Workdir of the run whose net is on the page, or the folder where it is published."
    )
    file: str = setting(help="File that the page is written to, such as digit_model.html.")


def write(pretrained_path: str, file: str) -> None:
    """Writes the page of the net of a run; a file that is not such a page is not replaced."""
    place = files.path(file)
    if place.suffix != ".html":
        raise ValueError(f"--file={file}: the name of a page ends in .html")
    if place.is_file() and _MARK not in place.read_bytes()[:4096].decode(errors="replace"):
        raise ValueError(f"--file={file} is there already, and is no page of a net; name another")
    net, source = pretrained.load(pretrained_path, pretrained.NETS)
    _check(pretrained_path, net, source)
    model = files.path(pretrained_path) / "model.npz"
    about = _about(pretrained_path, net, source) | {"sha256": files.sha256(model)}
    page = html(model.read_bytes(), about)
    files.write_text(place, page)
    print(f"{file}: {len(page.encode()):,} bytes; open it in a browser")


def html(model: bytes, about: dict[str, Any]) -> str:
    """The page of a model file, and of what is told about it."""
    parts = {
        "<style>/* style */": "<style>\n" + (_WEB / "style.css").read_text(),
        "/* worker */": script("worker"),
        "/* model */": base64.b64encode(model).decode(),
        "/* about */": json.dumps(about),
        "/* main */": script("main"),
    }
    page = (_WEB / "index.html").read_text()
    for place, part in parts.items():
        before, after = page.split(place)
        page = before + part + after
    return page


def script(name: str) -> str:
    """A module and all that it imports, as one script without modules."""
    modules: dict[str, str] = {}
    _collect(name, modules)
    return '"use strict";\n' + "".join(modules.values())


def _collect(name, modules):
    """Adds a module, after those that it imports, as a function that returns what it exports."""
    if name in modules:
        return
    source = (_WEB / f"{name}.js").read_text()
    for other in _IMPORT.findall(source):
        _collect(other, modules)
    exported = ", ".join(_EXPORT.findall(source))
    body = _EXPORT.sub("", _IMPORT.sub("", source))
    if left := re.search(r"^(import .* from|export) .*", body, re.MULTILINE):
        raise ValueError(f"{name}.js: `{left[0]}` is not of a form that a page can hold")
    modules[name] = f"const {name} = (() => {{\n{body}return {{ {exported} }};\n}})();\n"


def _check(path, net, source):
    """Raises ValueError unless the page can show the net: features, labels, MNIST's digits."""
    if not dbn.num_labels(net):
        raise ValueError(
            f"--pretrained={path}: the net has no label units, so that it could not answer; a page "
            "needs one that was trained with --labels"
        )
    if source.dataset not in _DATA_SETS:
        raise ValueError(
            f"--pretrained={path} was trained on {source.dataset}; what is drawn on the page is "
            f"scaled and centred like the digits of {' and '.join(_DATA_SETS)}, so that it needs a "
            "net of those"
        )
    sizes = dbn.num_pixels(net), dbn.num_labels(net)
    if sizes != (_NUM_PIXELS, _NUM_LABELS):
        raise ValueError(
            f"--pretrained={path}: the net has {sizes[0]} pixels and {sizes[1]} labels; a page "
            f"needs one of {_NUM_PIXELS} and {_NUM_LABELS}, for whole images of all ten digits"
        )
    if not net.recognition:
        raise ValueError(
            f"--pretrained={path}: the net has one hidden layer, and no features below its memory; "
            "a page needs one of two hidden layers or more"
        )


def _about(path, net, source):
    """What the page tells of its net, and the handwritten digits that it offers."""
    rate = pretrained.run_summary(path)["results"].get("error_rate_mean_field")
    hidden = [layer.hidden.num_units for layer in (*net.recognition, net.top)]
    sizes = "–".join(f"{size:,}" for size in (_NUM_PIXELS, *hidden))
    wrong = "" if rate is None else f" It gets {100 * rate:.1f}\xa0% of unseen digits wrong."
    return {
        "path": f"{path}/model.npz",
        "hidden": hidden,
        "labels": _NUM_LABELS,
        "facts": f"A net of {sizes} units, with ten label units.{wrong}",
        "examples": _examples(source),
    }


def _examples(source):
    """A handwritten digit of each class, and whether the net has seen it."""
    digits = data.load("mnist5k").test  # of MNIST's training images
    rows = [np.flatnonzero(digits.labels == label)[0] for label in range(_NUM_LABELS)]
    packed = zlib.compress(digits.images[rows].tobytes(), 9)
    seen = source.dataset != "mnist5k"
    return {
        "packed": base64.b64encode(packed).decode(),
        "digits": list(range(_NUM_LABELS)),
        "note": f"The net has {'learnt from' if seen else 'not learnt from'} these. "
        f"It has never seen yours{'' if seen else ', either'}.",
    }


if __name__ == "__main__":
    command_line.main(lambda settings: write(settings.pretrained, settings.file), Settings)
