"""The kit for unit types of one's own: right ones pass, and each mistake has its sentence."""

import re

import jax
import jax.numpy as jnp
import pytest

from dbn_jax import pytrees, testing, units
from tests.testing.own_units import Grey, Ternary
from tests.testing.wrong_units import SENTENCES, Biased

KEY = jax.random.key(0)


@pytest.mark.parametrize(
    "layer", [Ternary(), Ternary(cost=-1.0), Grey(), units.Concat((Grey(), Ternary()), (1, 1))]
)
def test_right_types_pass(layer):
    testing.check_units(KEY, layer)


@pytrees.dataclass
class Single(Ternary):
    """As exact as float32, in any dtype."""

    def cumulant(self, inputs):
        return super().cumulant(inputs).astype(jnp.float32).astype(inputs.dtype)


def test_types_have_to_work_in_the_dtypes_that_are_asked_for():
    testing.check_units(KEY, Single(), dtypes=["float32"])
    with pytest.raises(AssertionError, match=r"^Single.cumulant: .* is \d\.\d{6,}, but log Σ"):
        testing.check_units(KEY, Single())


def test_units_with_parameters_keep_them():
    bias = jnp.array([20.0, -20.0, 0.0])  # the first two never vary
    with pytest.raises(AssertionError, match=r"^Biased.sample: at input \S+ \(unit 2\) the mean"):
        testing.check_units(KEY, Biased(bias))


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize("what", [Ternary, 3])
def test_what_is_no_units_is_refused(what):
    sentence = f"check_units takes units such as MyUnits(), not {what!r}"
    with pytest.raises(TypeError, match=f"^{re.escape(sentence)}$"):
        testing.check_units(KEY, what)


@pytest.mark.parametrize(("layer", "num_units"), [(units.Bernoulli(), 26), (units.Gaussian(), 3)])
def test_too_many_states_are_refused(layer, num_units):
    sentence = (
        f"{num_units} {type(layer).__name__} units have more than the 400,000 states or nodes that "
        "can be summed over: give a smaller num_units"
    )
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        testing.check_units(KEY, layer, num_units)


@pytest.mark.parametrize("wrong", SENTENCES, ids=lambda cls: cls.__name__)
def test_each_mistake_has_its_sentence(wrong):
    sentence = re.escape(wrong.__name__ + SENTENCES[wrong]).replace("…", ".*")  # JAX's own words
    with pytest.raises(AssertionError, match=f"^{sentence}$"):
        testing.check_units(KEY, wrong())


@pytrees.dataclass
class Learnt(Ternary):
    rate: float = 0.5


@pytrees.dataclass
class Listed(Ternary):
    values: object = pytrees.static(default=None)


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        (
            Learnt(),
            "Learnt has parameters before `init` makes them: .rate. Make them static, by "
            "dbn_jax.pytrees.static, or None",
        ),
        (
            Listed(values=[1, 2]),
            "Listed has static fields that jax.jit cannot compare (unhashable type: 'list'): use "
            "numbers, text and tuples",
        ),
    ],
)
def test_fields_that_jax_cannot_handle_are_named(layer, sentence):
    with pytest.raises(AssertionError, match=f"^{re.escape(sentence)}$"):
        testing.check_units(KEY, layer)
