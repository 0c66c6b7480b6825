"""RBMs against enumeration: energies, means, gradients; how they begin; their messages."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.sparse
import scipy.stats

from dbn_jax import rbm, units
from tests import oracles, significance
from tests.small_rbms import FALSE_ALARM, PAIRS, allclose, make, some_states

# No function knows two types at once: each of them, on either side, beside one whose statistic has
# a scale, or beside one with which Poisson units have a joint.
COMPARED = [(v, h) for v, h in PAIRS if "gaussian learnt" in (v, h)]
COMPARED += [("poisson", "bernoulli"), ("bernoulli", "poisson")]

# Exact quantities.


@jax.jit
def everything(params, v, h):
    inputs = rbm.hidden_inputs(params, v)
    return {
        "energy": rbm.energy(params, v, h),
        "free_energy": rbm.free_energy(params, v),
        "hidden_mean": rbm.hidden_mean(params, v),
        "visible_mean": rbm.visible_mean(params, h),
        "reconstruction": rbm.reconstruct(params, v),
        "gradient": rbm.free_energy_gradient(params, v, inputs),
        "autodiff": jax.grad(lambda params: jnp.mean(rbm.free_energy(params, v)))(params),
    }


@pytest.mark.parametrize(("visible", "hidden"), COMPARED)
def test_every_type_on_either_side_against_the_oracle(x64, visible, hidden):
    params = make(visible, hidden, dtype=jnp.float64)
    model = oracles.Model.of(params, max_input=8.0)
    v, h = some_states(model.visible, (2, 3)), some_states(model.hidden, (2, 3), seed=1)
    found = everything(params, v, h)
    allclose(found["energy"], model.energy(v, h))
    allclose(found["free_energy"], model.free_energy(v))
    hidden_mean = model.hidden_given(v) @ model.hidden.states
    allclose(found["hidden_mean"], hidden_mean)
    allclose(found["visible_mean"], model.visible_given(h) @ model.visible.states)
    allclose(found["reconstruction"], model.visible_given(hidden_mean) @ model.visible.states)
    expected = model.free_energy_gradient(v.reshape(6, -1))
    for name in ("gradient", "autodiff"):
        leaves = oracles.leaves(found[name])
        for leaf in expected:
            allclose(leaves[leaf], expected[leaf], atol=1e-8)


# Initial parameters.


def test_initial_parameters():
    params = rbm.init_params(jax.random.key(0), 300, 200, weight_scale=0.5)
    flat = np.float64(params.weights).ravel()
    significance.assert_mean(flat, np.array(0.0), FALSE_ALARM)
    significance.assert_mean(flat**2, np.array(0.25), FALSE_ALARM)
    assert scipy.stats.kstest(flat / 0.5, "norm").pvalue > FALSE_ALARM
    assert params.weights.shape == (300, 200)
    assert not np.any(params.visible.bias)
    assert not np.any(params.hidden.bias)
    other = rbm.init_params(jax.random.key(1), 300, 200)
    # As numpy rounds the product; fused with the drawing it would be rounded otherwise.
    draws = np.asarray(jax.random.normal(jax.random.key(1), (300, 200)))
    np.testing.assert_array_equal(other.weights, np.float32(0.01) * draws)
    assert abs(np.std(np.asarray(other.weights)) / 0.01 - 1) < 0.02  # 7 standard errors
    assert not np.allclose(other.weights * 50, params.weights)


def test_visible_biases_fitted_to_data_give_its_means():
    params = rbm.init_params(jax.random.key(0), 3, 2)
    data = jnp.asarray([[1, 0, 0.2], [1, 0, 0.4], [0, 0, 0.6]], jnp.float32)
    fitted = rbm.fit_visible(params, data[None])  # of any leading axes
    untrained = dataclasses.replace(fitted, weights=jnp.zeros_like(params.weights))
    expected = (np.asarray(data).sum(0) + 0.5) / 4  # half a count of each extreme
    allclose(rbm.visible_mean(untrained, jnp.ones(2)), expected, rtol=1e-5)
    np.testing.assert_array_equal(fitted.weights, params.weights)
    with pytest.raises(ValueError, match=r"shape \(3, 2\); .* 3 visible units"):
        rbm.fit_visible(params, data[:, :2])
    with pytest.raises(TypeError, match="uint8 numbers"):
        rbm.fit_visible(params, data.astype(jnp.uint8))


# Errors name the value and the remedy.


def cd(batch, **options):
    return rbm.cd_gradient(jax.random.key(0), make("bernoulli", "bernoulli"), batch, **options)


def pcd_without_chains():
    optimizer = optax.sgd(0.1)
    state = rbm.init_state(make("bernoulli", "bernoulli"), optimizer)
    rbm.pcd_step(jax.random.key(0), state, jnp.ones((2, 3)), optimizer=optimizer)


def pcd(batch, **options):
    params = make("bernoulli", "bernoulli")
    return rbm.pcd_gradient(jax.random.key(0), params, jnp.ones((4, 3)), batch, **options)


ERRORS = {
    "bytes": (
        lambda: cd(jnp.ones((2, 3), jnp.uint8)),
        TypeError,
        r"uint8 numbers; .*astype\('float32'\) / 255",
    ),
    "integers for pcd": (lambda: pcd(jnp.ones((2, 3), jnp.int32)), TypeError, "int32 numbers"),
    "wrong width": (
        lambda: cd(jnp.ones((2, 4))),
        ValueError,
        r"shape \(2, 4\); .* 3 visible units",
    ),
    "wrong width for pcd": (lambda: pcd(jnp.ones((2, 5))), ValueError, r"shape \(2, 5\); .* 3"),
    "no axis": (lambda: cd(jnp.ones(())), ValueError, r"shape \(\); .* 3 visible units"),
    "no example": (
        lambda: cd(jnp.ones((0, 3))),
        ValueError,
        r"shape \(0, 3\): it holds no example",
    ),
    "no steps": (
        lambda: cd(jnp.ones((2, 3)), num_gibbs_steps=0),
        ValueError,
        "Gibbs steps is 0; it must be at least 1",
    ),
    "no steps for pcd": (
        lambda: pcd(jnp.ones((2, 3)), num_gibbs_steps=-2),
        ValueError,
        "Gibbs steps is -2",
    ),
    "no steps for gibbs": (
        lambda: rbm.gibbs(
            jax.random.key(0), make("bernoulli", "bernoulli"), jnp.ones((2, 3)), jnp.int32(0)
        ),
        ValueError,
        "Gibbs steps is 0",
    ),
    "half a step": (
        lambda: rbm.check_steps(jnp.float32(1.5)),
        TypeError,
        "the number of Gibbs steps is a float32; it must be a whole number",
    ),
    "empty chains": (
        lambda: rbm.init_chains(jax.random.key(0), make("bernoulli", "bernoulli"), 0),
        ValueError,
        "num_chains is 0; it must be at least 1",
    ),
    "no chains": (
        pcd_without_chains,
        ValueError,
        r"init_state\(params, optimizer, chains=init_chains\(key, params, num_chains\)\)",
    ),
    "class for an instance": (
        lambda: rbm.init_params(jax.random.key(0), 3, 2, visible=units.Bernoulli),
        TypeError,
        r"Bernoulli.* is not a unit type; pass an instance, such as Bernoulli\(\)",
    ),
    "name for an instance": (
        lambda: rbm.init_params(jax.random.key(0), 3, 2, hidden="bernoulli"),
        TypeError,
        "'bernoulli' is not a unit type",
    ),
    "no units": (
        lambda: rbm.init_params(jax.random.key(0), 3, 0),
        ValueError,
        "num_units is 0",
    ),
    "units that do not fit": (
        lambda: rbm.init_params(jax.random.key(0), 5, 2, visible=units.Softmax(num_classes=3)),
        ValueError,
        "5 softmax units .* groups of 3",
    ),
}


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize("case", ERRORS)
def test_wrong_arguments_are_refused(case):
    call, error, message = ERRORS[case]
    with pytest.raises(error, match=message):
        call()


def test_weight_mask():
    """The weights of all RBMs of a tree, and neither biases nor a learnt σ."""
    tree = make("gaussian learnt", "bernoulli"), make("bernoulli", "concat")
    masks = rbm.weight_mask(tree)
    assert jax.tree.structure(masks) == jax.tree.structure(tree)
    assert all(mask.weights is True for mask in masks)
    assert sum(jax.tree.leaves(masks)) == 2
    # Also beside other parameters.
    assert rbm.weight_mask({"net": tree, "weights": 1.0, "pair": (2.0, 3.0)}) == {
        "net": masks, "weights": False, "pair": (False, False)
    }  # fmt: skip
    assert rbm.weight_mask(jnp.zeros(3)) is False


@pytest.mark.parametrize("scale", [0.1, np.float64(0.1)])  # the latter is no Python number
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_all_parameters_have_the_dtype_asked_for(scale, dtype):
    params = rbm.init_params(jax.random.key(0), 4, 3, weight_scale=scale, dtype=dtype)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(dtype)}


@pytest.mark.parametrize(
    ("make_batch", "words"),
    [
        (scipy.sparse.csr_matrix, "batch is a csr_matrix, not .* make one by its .toarray()"),
        (np.ndarray.tolist, "batch[0] is a list, not .* make one by numpy.asarray"),
        (lambda x: x.astype(object), "batch is an array of object, not of numbers: convert it"),
    ],
)
@pytest.mark.usefixtures("unchecked_annotations")
def test_batches_that_are_no_arrays(make_batch, words):
    """By every entry, in one sentence, whatever JAX would say."""
    params, key, optimizer = make("bernoulli", "bernoulli"), jax.random.key(0), optax.sgd(0.1)
    state = rbm.init_state(params, optimizer, chains=rbm.init_chains(key, params, 2))
    batch = make_batch(np.ones((2, 3), np.float32))
    words = re.escape(words).replace(re.escape(".*"), ".*")
    for call in (
        lambda: rbm.cd_step(key, state, batch, optimizer=optimizer),
        lambda: rbm.pcd_step(key, state, batch, optimizer=optimizer),
        lambda: rbm.cd_gradient(key, params, batch),
        lambda: rbm.pcd_gradient(key, params, state.chains, batch),
    ):
        with pytest.raises(TypeError, match=f"^{words}$"):
            call()
    others = words.replace("batch", "(data|v)", 1)
    for call in (rbm.fit_visible, rbm.free_energy, rbm.hidden_mean, rbm.reconstruct):
        with pytest.raises(TypeError, match=f"^{others}$"):
            call(params, batch)
