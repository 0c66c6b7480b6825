"""What type checkers say of a program that uses the package."""

import json
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
CLIENT = "tests/typing_client.py"
LINES = [*enumerate((ROOT / CLIENT).read_text().splitlines(), start=1)]
MISTAKES = {number for number, line in LINES if "# mistake" in line}
REVEALED = {number for number, line in LINES if line.startswith("reveal_type")}
# An array of numpy's, of any shape and dtype.
GENERAL = r"ndarray\[([^][]|\[[^][]*\])*\]"


def run(*command):
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr  # there are mistakes
    return done.stdout


def check(found):
    """Of (file, line, kind, text) the errors are the mistakes, and what is revealed is known."""
    errors = [each for each in found if each[2] == "error"]
    assert {(file, line) for file, line, *_ in errors} == {(CLIENT, n) for n in MISTAKES}, errors
    revealed = {line: text for _, line, kind, text in found if kind == "revealed"}
    assert revealed.keys() == REVEALED
    for text in revealed.values():
        assert not re.search(r"\b(Any|Unknown)\b", re.sub(GENERAL, "", text)), text


def test_mypy_knows_the_types_of_a_client_and_finds_its_mistakes(tmp_path):
    options = "--follow-imports=silent", "--no-error-summary", f"--cache-dir={tmp_path}"
    lines = run("mypy", *options, CLIENT).splitlines()
    found = [
        re.match(r"(.*?):(\d+): (error|note): (Revealed type is )?(.*)", line) for line in lines
    ]
    # Optax has no py.typed: what comes from it is Any to mypy.
    check(
        [
            (m[1], int(m[2]), "revealed" if m[4] else m[3], m[5].replace("optimizer: Any", ""))
            for m in found
        ]
    )


def test_pyright_knows_the_types_of_a_client_and_finds_its_mistakes():
    if shutil.which("node") is None:
        pytest.skip("Node is not installed: apt-get install nodejs")
    options = "--outputjson", f"--pythonpath={sys.executable}"
    report = json.loads(run("pyright", *options, CLIENT))
    check(
        [
            (
                str(pathlib.Path(each["file"]).relative_to(ROOT)),
                each["range"]["start"]["line"] + 1,
                "revealed" if each["message"].startswith("Type of") else each["severity"],
                each["message"],
            )
            for each in report["generalDiagnostics"]
        ]
    )
