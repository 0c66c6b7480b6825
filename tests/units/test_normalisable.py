"""Which pairs of unit types have a normalisable joint."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import rbm, units
from dbn_jax.units import normalisable
from tests.random_models import at_random
from tests.small_rbms import FORBIDDEN, LAYERS, PAIRS


@pytest.mark.parametrize(("visible", "hidden"), FORBIDDEN)
def test_pairs_without_a_normalisable_joint_are_refused(visible, hidden):
    (visible, num_visible), (hidden, num_hidden) = LAYERS[visible], LAYERS[hidden]
    with pytest.raises(ValueError, match=r"no normalisable joint.*such as Bernoulli or Binomial"):
        rbm.init_params(jax.random.key(0), num_visible, num_hidden, visible=visible, hidden=hidden)


@pytest.mark.parametrize(("visible", "hidden"), PAIRS)
def test_all_other_pairs_are_made_and_are_normalisable(visible, hidden):
    (visible, num_visible), (hidden, num_hidden) = LAYERS[visible], LAYERS[hidden]

    def init():
        sizes = num_visible, num_hidden
        return rbm.init_params(jax.random.key(0), *sizes, visible=visible, hidden=hidden)

    normalisable.check(at_random(0, init, 0.01))


def real_pair(weights, visible="gaussian", hidden="gaussian"):
    num_visible, num_hidden = np.shape(weights)
    return rbm.RBM(
        jnp.asarray(weights, jnp.float32),
        LAYERS[visible][0].init(num_visible),
        LAYERS[hidden][0].init(num_hidden),
    )


@pytest.mark.parametrize("support", [(0.0, np.inf), (-np.inf, 0.0)])
@pytest.mark.parametrize("wrong", [{}, {"tail": "bounded"}, {"tail": "heavy"}])
def test_types_without_a_limit_say_how_their_tail_falls(support, wrong):
    tail = wrong.get("tail", "bounded")
    with pytest.raises(TypeError, match=rf"Counts .*{tail}.*'quadratic' or 'factorial'"):
        type("Counts", (units.Units,), {"support": support} | wrong)
    type("Counts", (units.Units,), {"support": support, "tail": "factorial"})
    type("Counts", (units.Units,), {"support": (0.0, 1.0)})
    with pytest.raises(TypeError, match=r"Counts .*'quadratic' or 'factorial'"):
        type("Counts", (units.Poisson,), {"tail": "bounded"})


NOT_BELOW_1 = r"largest singular value .* is (\S+), and must be below 1; use a smaller"


@pytest.mark.parametrize("visible", ["gaussian", "gaussian learnt"])
@pytest.mark.parametrize("factor", [0.5, 0.999, 1.001, 3.0])
def test_gaussian_pairs_are_normalisable_while_the_quadratic_form_is_definite(visible, factor):
    """(v − b)²/2σ² + (h − c)²/2τ² − vᵀWh/στ is definite in v/σ and h/τ: σ must not matter."""
    weights = np.random.default_rng(0).normal(size=(3, 2))
    weights *= factor / np.linalg.norm(weights, 2)
    form = np.block([[np.eye(3), -weights], [-weights.T, np.eye(2)]])
    definite = np.linalg.eigvalsh(form)[0] > 0
    assert definite == (factor < 1)
    params = real_pair(weights, visible=visible)
    if definite:
        normalisable.check(params)
    else:
        with pytest.raises(ValueError, match=NOT_BELOW_1):
            normalisable.check(params)


def test_the_boundary_itself_is_not_normalisable():
    with pytest.raises(ValueError, match=NOT_BELOW_1):
        normalisable.check(real_pair([[1.0]]))
    with pytest.raises(ValueError, match=NOT_BELOW_1):
        normalisable.check(real_pair([[-1.0]]))
    with pytest.raises(ValueError, match=NOT_BELOW_1):
        normalisable.check(real_pair([[1.0]], "relu", "relu"))
    normalisable.check(real_pair([[np.nextafter(np.float32(1), np.float32(0))]]))


def test_only_weights_that_can_blow_up_count():
    normalisable.check(real_pair([[-50.0, 0.3], [-2.0, -9.0]], "relu", "relu"))
    with pytest.raises(ValueError, match=NOT_BELOW_1):
        normalisable.check(real_pair([[-50.0, 1.3], [-2.0, -9.0]], "relu", "relu"))
    with pytest.raises(ValueError, match=NOT_BELOW_1):  # a Gaussian unit takes either sign
        normalisable.check(real_pair([[-50.0]], "relu", "gaussian"))
    # Concat: only the Gaussian unit (the first) beside the rectified ones.
    weights = np.array([[0.5, 0.5], [9, 9], [-9, 9], [9, 0]])
    normalisable.check(real_pair(weights, "real concat", "relu"))
    weights[0] = [0.8, 0.8]
    with pytest.raises(ValueError, match=r"is 1\.131, and must"):
        normalisable.check(real_pair(weights, "real concat", "relu"))


@pytest.mark.parametrize("hidden", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_named(hidden, value):
    with pytest.raises(ValueError, match="the weights hold NaN or infinity"):
        normalisable.check(real_pair([[value]], "gaussian", hidden))
