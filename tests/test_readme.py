"""The programs of README and quick start run as they stand, but for smaller numbers."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PAGES = "".join((ROOT / page).read_text() for page in ("README.md", "docs/quickstart.md"))
SNIPPETS = dict(re.findall(r"<!-- snippet: (\w+) -->\n```python\n(.*?)```", PAGES, re.DOTALL))
SMALLER = {
    "rbm": {"images.reshape": "images[:200].reshape"},
    "stack": {
        "num_epochs=60": "num_epochs=1, show_progress=False",
        "(500, 500)": "(20, 20)",
        "labels, 2000": "labels, 30",
        "num_gibbs_steps=1000": "num_gibbs_steps=2",
    },
}


@pytest.mark.usefixtures("implicit_promotion")
@pytest.mark.parametrize("name", SMALLER)
def test_snippets(name, tmp_path, monkeypatch, capsys):
    program = SNIPPETS[name]
    for written, smaller in SMALLER[name].items():
        assert written in program
        program = program.replace(written, smaller)
    assert len(program.splitlines()) <= 25
    monkeypatch.chdir(tmp_path)
    exec(program, {})
    printed = capsys.readouterr().out
    if name == "rbm":
        assert float(printed.split()[0]) > 0
    else:
        assert "error_rate_mean_field" in printed
        assert (tmp_path / "digits.png").stat().st_size > 10_000
