"""Pictures of notebooks for other pages: learn/pictures/<notebook>_<number of the picture>.png."""

import base64
import json
import pathlib

_DOCS = pathlib.Path(__file__).parents[1]


def setup(app):
    """Takes the pictures out of the notebooks before Sphinx looks for them."""
    folder = _DOCS / "learn" / "pictures"
    folder.mkdir(exist_ok=True)
    for notebook in (_DOCS.parent / "colab").glob("*.ipynb"):
        for number, picture in enumerate(_pictures(notebook), start=1):
            (folder / f"{notebook.stem}_{number}.png").write_bytes(picture)
    return {"parallel_read_safe": True}


def _pictures(notebook):
    for cell in json.loads(notebook.read_text())["cells"]:
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", {}):
                yield base64.b64decode(output["data"]["image/png"])
