"""Every notebook runs from top to bottom, and is committed as such a run left it."""

import ast
import pathlib
import re
import runpy
import shutil
import sys
import tempfile
import types

import jupyter_client
import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from tests import binaries

ROOT = pathlib.Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "colab").glob("*.ipynb"))

# Smaller values for names that the cell tagged "parameters" assigns: the whole run in seconds.
FAST = {
    "rbm_in_ten_minutes": {
        "num_chains": 1_000,
        "num_toy_updates": 10,
        "num_epochs": 1,
        "max_gibbs_steps": 3,
        "num_ensemble_epochs": 1,
    },
    "digit_model": {
        "model": "../experiments/results/digit_model",
        "num_digits": 100,
        "num_samples": 3,
        "num_gibbs_steps": 3,
    },
    "autoencoder": {
        "model": "../experiments/results/autoencoder",
        "num_images": 200,
        "sizes": (20, 4),
        "num_epochs": 2,
        "num_finetune_epochs": 2,
        "num_mapped": 100,
        "num_map_updates": 10,
    },
    "locality": {
        "num_maps": 4,
        "num_epochs": 1,
        "num_dreaming_epochs": 1,
        "num_epochs_above": 1,
        "num_memory_epochs": 1,
        "num_searched": 50,
        "num_gibbs_steps": 3,
        "num_annealing_steps": 50,
    },
    "sequences": {
        "num_frames": 20,
        "num_test": 3,
        "num_rbm_updates": 2,
        "num_conditional_updates": 2,
        "num_rtrbm_updates": 2,
        "num_rnn_updates": 2,
        "num_dreamt": 5,
        "num_tiny_updates": 10,
    },
    "why_it_works": {"num_chains": 100, "num_sweeps": 10, "num_updates": 20},
}

first_cells = types.SimpleNamespace(**runpy.run_path(str(ROOT / "colab" / "first_cells.py")))
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shorten(notebook, values):
    """Inserts a cell that assigns `values` after the parameters, as papermill does."""
    (place,) = [
        i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", [])
    ]
    assigned = {
        target.id
        for statement in ast.parse(notebook.cells[place].source).body
        for target in statement.targets
    }
    assert assigned == set(values)
    source = "\n".join(f"{name} = {value!r}" for name, value in values.items())
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(source))


def check_outputs(notebook):
    """Cells ran in order, without errors or warnings, and all that they drew is there."""
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    pictures = 0
    for cell in cells:
        for output in cell.outputs:
            assert output.output_type != "error", cell.source
            assert output.get("name") != "stderr", output.text
            shown = output.get("data", {})
            is_figure = re.match(r"<(Figure|Picture) ", shown.get("text/plain", ""))
            assert bool(is_figure) == ("image/png" in shown), cell.source
            pictures += bool(is_figure)
        if re.search(r"\bfigures\.\w+\(|\bPicture\(|\bshow\(", cell.source):
            kinds = {kind for output in cell.outputs for kind in output.get("data", {})}
            assert kinds & {"image/png", "text/html"}, cell.source
    assert pictures


def test_there_are_notebooks_and_each_has_fast_settings():
    assert {path.stem for path in NOTEBOOKS} == set(FAST)


def execute(notebook, folder, tmp_path):
    """Runs the cells in a kernel whose folder this is, and notes what each puts out."""
    # Sockets with names: of free ports, two kernels that start at once may choose the same.
    sockets = tempfile.mkdtemp()  # a short name, as those of sockets must be
    connection, _ = jupyter_client.write_connection_file(
        str(tmp_path / "kernel.json"), transport="ipc", ip=f"{sockets}/kernel"
    )
    profile = f"--ipython-dir={tmp_path}"  # no start-up files of the user's
    kernel = binaries.start("ipykernel_launcher", f"-f={connection}", profile, folder=folder)
    client = jupyter_client.BlockingKernelClient(connection_file=connection)
    client.load_connection_file()
    client.hb_channel.time_to_dead = 60.0  # a kernel on a busy machine is late, and not dead
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        for cell in code_cells(notebook):
            cell.outputs = []

            def note(message, outputs=cell.outputs):
                if message["msg_type"] not in ("status", "execute_input"):
                    outputs.append(nbformat.v4.output_from_msg(message))

            reply = client.execute_interactive(cell.source, timeout=120, output_hook=note)
            content = reply["content"]
            assert content["status"] == "ok", "\n".join(content["traceback"])
            cell.execution_count = content["execution_count"]
    finally:
        client.stop_channels()
        kernel.kill()
        kernel.join()
        shutil.rmtree(sockets)


@every_notebook
def test_runs_from_top_to_bottom(path, tmp_path):
    notebook = read(path)
    shorten(notebook, FAST[path.stem])
    execute(notebook, path.parent, tmp_path)
    check_outputs(notebook)


@every_notebook
def test_is_committed_with_the_outputs_of_one_run(path):
    check_outputs(read(path))


@every_notebook
def test_first_cell_and_button_are_those_of_the_published_address(path):
    prepared = read(path)
    first_cells.prepare(prepared, path.stem, first_cells.published())
    assert prepared == read(path), "run python colab/first_cells.py"


@pytest.mark.parametrize("address", ["https://github.com/a/b", "https://github.com/a/b.git/"])
def test_buttons_of_an_address_on_github(address):
    notebook = read(NOTEBOOKS[0])
    for _ in range(2):
        first_cells.prepare(notebook, "autoencoder", address)
    button, title = notebook.cells[:2]
    assert "(https://colab.research.google.com/github/a/b/blob/main/colab/auto" in button.source
    assert title.source.startswith("# A deep autoencoder")


def test_the_published_address_is_read_from_pyproject(tmp_path):
    pyproject = tmp_path / "pyproject.toml"
    pyproject.write_text('[project]\n[project.urls]\nRepository = "https://example.org/x"\n')
    assert first_cells.published(pyproject) == "https://example.org/x"


def run_first_cell(repository, folder, monkeypatch):
    """Runs it in a folder outside of clones; returns the commands that it gives."""
    notebook = read(NOTEBOOKS[0])
    first_cells.prepare(notebook, NOTEBOOKS[0].stem, repository)
    cell = TransformerManager().transform_cell(code_cells(notebook)[0].source)
    commands = []

    def system(command):
        commands.append(command)
        (folder / "dbn_jax" / "colab").mkdir(parents=True)

    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.path", [*sys.path])
    shell = types.SimpleNamespace(system=system)
    exec(cell, {"get_ipython": lambda: shell})
    return commands


def test_first_cell_outside_of_a_clone(tmp_path, monkeypatch, capsys):
    commands = run_first_cell("https://example.org/x", tmp_path, monkeypatch)
    assert commands == ["git clone -q --depth=1 {REPOSITORY} dbn_jax"]  # IPython puts it in
    assert pathlib.Path.cwd() == tmp_path / "dbn_jax" / "colab"
    assert capsys.readouterr().out.startswith("running on ")


def test_first_cell_outside_of_a_clone_before_publication(tmp_path, monkeypatch):
    words = "^dbn_jax is not published yet: open this notebook in the folder colab of a clone$"
    with pytest.raises(RuntimeError, match=words):
        run_first_cell("", tmp_path, monkeypatch)


@every_notebook
def test_ends_with_exercises(path):
    last = read(path).cells[-1].source
    assert last.startswith("## Exercises")
    assert re.findall(r"^(\d)\. ", last, re.MULTILINE) == ["1", "2", "3", "4"]


@every_notebook
def test_is_small_and_free_of_traces_of_a_machine(path):
    assert path.stat().st_size < 1_500_000
    notebook = read(path)
    for cell in notebook.cells:
        assert not cell.metadata.get("execution"), "times of execution change at every run"
        assert not re.fullmatch("[0-9a-f]{8}", cell.id), "ids that are names survive a rebuild"
    for cell in code_cells(notebook):
        for output in cell.outputs:
            text = output.get("text", "") + output.get("data", {}).get("text/plain", "")
            assert not re.search(r"(^|[\s'\"(=])(/\w|[A-Z]:\\)|object at 0x", text), text
