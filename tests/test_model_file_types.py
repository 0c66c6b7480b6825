"""Model files with units and weights of one's own, wherever their classes were defined."""

import dataclasses
import os
import pathlib
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from dbn_jax import linear, model_file, pytrees, units
from tests.test_model_file import forge, pair


@pytrees.dataclass
class MyUnits(units.Spin):
    """Of a class that derives from a type of the package, too; a static field without a default."""

    levels: int | None = pytrees.static(default=None)


@pytrees.dataclass
class MyWeights(linear.LinearMap):
    matrix: jax.Array

    @property
    def shape(self):
        return self.matrix.shape

    def up(self, x):
        return x @ self.matrix


def own():
    model = pair(3, 2, visible=MyUnits(levels=4))
    return dataclasses.replace(model, weights=MyWeights(model.weights))


def test_own_types_that_the_program_knows(tmp_path):
    """Of a module, and of a function, of which the last counts that was defined."""

    def define():
        @pytrees.dataclass
        class Local(units.Spin):
            pass

        return Local

    first, last = define(), define()
    for model in (own(), pair(3, 2, visible=last()), pair(3, 2, visible=first())):
        model_file.save(tmp_path / "model.npz", model)
        loaded = model_file.load(tmp_path / "model.npz")
        assert type(loaded.visible) is {first: last}.get(type(model.visible), type(model.visible))
        jax.tree.map(np.testing.assert_array_equal, jax.tree.leaves(loaded), jax.tree.leaves(model))
    loaded = model_file.load(tmp_path / "model.npz", types=[first])  # what is given comes first
    assert type(loaded.visible) is first


def test_own_types_take_no_name_from_the_package(tmp_path):
    theirs = pair(3, 2, visible=units.Spin())

    @pytrees.dataclass
    class Spin(units.Units):
        bias: jax.Array | None = None
        support = (0.0, 1.0)
        cumulant = mean = sample = units.Bernoulli.mean

    model_file.save(tmp_path / "theirs.npz", theirs)
    model_file.save(tmp_path / "own.npz", pair(3, 2, visible=Spin()))
    loaded = model_file.load(tmp_path / "theirs.npz", types=[Spin])
    assert type(loaded.visible) is units.Spin
    assert type(model_file.load(tmp_path / "own.npz").visible) is Spin


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("this:MyUnits", "this.MyUnits: import this first, or pass types=(MyUnits,)"),
        ("this:A.MyUnits", "this.A.MyUnits: import this first, or pass types=(MyUnits,)"),
        ("a.b:f.<locals>.MyUnits", "a.b.f.<locals>.MyUnits: pass types=(MyUnits,)"),
        (
            "__main__:MyUnits",
            "MyUnits, of a notebook or script: define it first, or pass types=(MyUnits,)",
        ),
        # Loaded, but no units.
        ("os:system", "os.system: import os first, or pass types=(system,)"),
        ("jax:Array", "jax.Array: import jax first, or pass types=(Array,)"),
    ],
)
def test_own_types_that_the_program_does_not_know(tmp_path, name, words):
    """Files import nothing: the module `this` would print a poem."""
    path = tmp_path / "model.npz"
    forge(path, own(), visible={"class": name, "fields": {"bias": {"array": "visible.bias"}}})
    with pytest.raises(
        ValueError, match=rf"^'{path}' has units or weights of type {re.escape(words)}$"
    ):
        model_file.load(path)
    assert "this" not in sys.modules
    if name.endswith("MyUnits"):
        assert type(model_file.load(path, types=(MyUnits,)).visible) is MyUnits


def test_types_of_a_script_are_found_where_it_is_one_and_where_they_are_given(tmp_path):
    """In processes of their own, as users have them."""
    (tmp_path / "my_units.py").write_text(
        "import jax\n"
        "from dbn_jax import model_file, pytrees, rbm, units\n"
        "@pytrees.dataclass\n"
        "class MyUnits(units.Spin):\n"
        "    pass\n"
        "if __name__ == '__main__':\n"
        "    params = rbm.init_params(jax.random.key(0), 3, 2, visible=MyUnits())\n"
        "    model_file.save('model.npz', params)\n"
        "    print(type(model_file.load('model.npz').visible))\n"
    )
    loading = (
        "from dbn_jax import model_file; import my_units; "
        "print(type(model_file.load('model.npz', types=[my_units.MyUnits]).visible))"
    )
    root = str(pathlib.Path(__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": root}
    printed = [
        subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
        ).stdout.strip()
        for arguments in (["my_units.py"], ["-c", loading])
    ]  # fmt: skip
    assert printed == ["<class '__main__.MyUnits'>", "<class 'my_units.MyUnits'>"]


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize("types", [MyUnits, [dict], ["MyUnits"]])
def test_types_that_are_none_are_refused(tmp_path, types):
    with pytest.raises(
        TypeError, match=r"give a tuple of classes of units or weights, such as \(M"
    ):
        model_file.load(tmp_path / "model.npz", types=types)


@pytest.mark.parametrize(
    ("value", "what"),
    [(np.arange(3, dtype=np.int32), "an array of int32"), ({1: 2}, "of <class 'dict'>")],
)
def test_own_types_with_what_no_file_holds_are_refused(tmp_path, value, what):
    model = pair(3, 2, visible=MyUnits())
    model = dataclasses.replace(model, visible=dataclasses.replace(model.visible, levels=value))
    with pytest.raises(TypeError, match=f"^visible.levels is {what}; a model file holds arrays"):
        model_file.save(tmp_path / "model.npz", model)
    assert not list(tmp_path.iterdir())
