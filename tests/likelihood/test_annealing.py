"""Annealed importance sampling, forwards and backwards, against enumeration and quadrature."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import rbm, units
from dbn_jax.likelihood import annealing, partition
from tests import oracles, significance
from tests.small_rbms import make

# Few steps, so that the weights vary and every factor of them matters; and uneven ones.
BETAS = jnp.array([0.0, 0.2, 0.5, 1.0])
# By visible type: one with a scale of its own, and two inside Concat, among them. Hidden layers can
# be enumerated, so that exact draws are made.
ANNEALED = {"bernoulli": "softmax", "concat": "binomial", "gaussian learnt": "spin"}


def test_annealed_weights_are_unbiased_for_the_partition_function():
    def both_ways(case):
        params, base, h, key = case
        v = rbm.sample_visible(key, params, h)
        forward = annealing.ais(
            jax.random.key(0), params, base=base, betas=BETAS, num_chains=len(v)
        )
        backward = annealing.reverse_ais(jax.random.key(1), params, v, base=base, betas=BETAS)
        return forward.log_weights, backward

    cases, log_zs = {}, {}
    rng = np.random.default_rng(0)
    for i, (visible, hidden) in enumerate(ANNEALED.items()):
        # Strong weights: noise that the steps share, or wrong by a step, is then noticed.
        params = make(visible, hidden, seed=i, scale=0.5)
        base = make(visible, hidden, seed=100 + i, scale=0.5).visible
        model = oracles.Model.of(params)
        log_zs[visible], p = model.log_z(), model.hidden_marginal()
        states = model.hidden.states[rng.choice(len(p), 10_000, p=p / p.sum())]
        cases[visible] = params, base, jnp.asarray(states, jnp.float32), jax.random.key(i)
    results = jax.jit(lambda cases: {name: both_ways(case) for name, case in cases.items()})(cases)
    # Relative to what is exact: weights for Z; and, from draws of the model backwards, for 1/Z.
    ratios = {
        (name, way): np.exp(sign * (np.asarray(log_weights, np.float64) - log_zs[name]))
        for name, both in results.items()
        for way, sign, log_weights in zip(("Z", "1/Z"), (1, -1), both, strict=True)
    }
    significance.assert_mean(ratios, dict.fromkeys(ratios, 1.0))
    assert min(np.std(ratio) for ratio in ratios.values()) > 0.01


def test_summary_of_the_weights():
    params = make("spin", "bernoulli")
    forward = annealing.ais(jax.random.key(0), params, betas=BETAS, num_chains=50)
    w = np.exp(np.asarray(forward.log_weights, np.float64))
    np.testing.assert_allclose(forward.log_z, np.log(w.mean()), rtol=1e-6)
    expected = w.std(ddof=1) / w.mean() / math.sqrt(len(w))
    np.testing.assert_allclose(forward.standard_error, expected, rtol=1e-4)
    expected = w.sum() ** 2 / (w**2).sum()
    np.testing.assert_allclose(forward.effective_sample_size, expected, rtol=1e-4)


def test_reverse_annealing_is_unbiased_for_where_the_annealing_ends():
    # Not for p(v): for the distribution of the forward chain's last state, by transition matrices.
    params = make("bernoulli", "spin", scale=1.0, weight_scale=2.0)
    base = make("bernoulli", "spin", seed=1, scale=1.0).visible
    p = None
    for beta in np.asarray(BETAS):
        visible = jax.tree.map(lambda x, y, b=beta: (1 - b) * x + b * y, base, params.visible)
        model = oracles.Model.of(rbm.RBM(beta * params.weights, visible, params.hidden))
        p = model.visible_marginal() if p is None else p @ model.gibbs(1)
    model = oracles.Model.of(params)
    assert significance.total_variation(p, model.visible_marginal()) > 0.01
    v = jnp.asarray(model.visible.states, jnp.float32)
    grid = jnp.broadcast_to(v, (20_000, *v.shape))
    r = annealing.reverse_ais(jax.random.key(0), params, grid, base=base, betas=BETAS)
    log_p = partition.log_likelihood(params, grid, r)
    assert log_p.shape == grid.shape[:2]
    significance.assert_mean(np.exp(np.asarray(log_p, np.float64)), p)


def test_published_schedule():
    betas = np.asarray(annealing.published_betas())
    assert betas.shape == (14_501,)
    assert (betas[0], betas[-1]) == (0, 1)
    assert (np.diff(betas) > 0).all()
    ends = np.searchsorted(betas, np.float32([0.5, 0.9]))
    np.testing.assert_array_equal(np.diff([0, *ends, 14_500]), [500, 4_000, 10_000])
    for num_steps in (3, 10, 1000):
        betas = np.asarray(annealing.published_betas(num_steps))
        assert betas.shape == (num_steps + 1,)
        assert (betas[0], betas[-1]) == (0, 1)
        assert (np.diff(betas) > 0).all()
    with pytest.raises(ValueError, match="num_steps is 2"):
        annealing.published_betas(2)


@pytest.mark.parametrize(
    ("effective", "num_chains", "few"),
    [(9.94, 100, True), (10.0, 100, False), (1.94, 4, True), (2.0, 4, False)],
)
def test_few_chains_of_many_are_told(effective, num_chains, few):
    said = annealing.few_chains(effective, num_chains)
    assert said.startswith(f"only {effective:.1f} of {num_chains} chains carry" if few else "")
    assert bool(said) == few


def test_one_chain_has_no_standard_error():
    params = make((units.Bernoulli(), 3), (units.Bernoulli(), 2))
    with pytest.raises(ValueError, match="num_chains is 1; a standard error takes at least 2"):
        annealing.ais(jax.random.key(0), params, betas=BETAS, num_chains=1)


def test_annealing_maps_and_keeps_precision():
    with jax.enable_x64(True):
        models = [make("concat", "gaussian learnt", seed=i) for i in range(3)]
        models = jax.tree.map(lambda x: x.astype(jnp.float64), models)
        ensemble = jax.tree.map(lambda *x: jnp.stack(x), *models)
        keys = jax.random.split(jax.random.key(0), 3)

        def estimate(key, params):
            return annealing.ais(key, params, betas=BETAS, num_chains=5)

        mapped = jax.jit(jax.vmap(estimate))(keys, ensemble)
        for i, params in enumerate(models):
            one = estimate(keys[i], params)
            assert one.log_z.dtype == jnp.float64
            np.testing.assert_allclose(mapped.log_weights[i], one.log_weights, rtol=1e-10)


def test_what_annealing_refuses():
    params = make("bernoulli", "spin")
    key, v = jax.random.key(0), jnp.zeros((2, 3))
    for base in (units.Spin().init(3), units.Bernoulli().init(5), units.Bernoulli()):
        with pytest.raises(ValueError, match=r"make it with params\.visible\.fit"):
            annealing.ais(key, params, base=base)
        with pytest.raises(ValueError, match=r"make it with params\.visible\.fit"):
            annealing.reverse_ais(key, params, v, base=base)
    for betas in ([0.0, 0.5], [0.1, 1.0], [0.0, 0.6, 0.5, 1.0]):
        with pytest.raises(ValueError, match="must rise from 0 to 1"):
            annealing.ais(key, params, betas=jnp.array(betas))
    with pytest.raises(ValueError, match="1 entry"):
        annealing.reverse_ais(key, params, v, betas=jnp.array([1.0]))
    real = rbm.RBM(jnp.array([[1.2]]), units.Gaussian().init(1), units.Gaussian().init(1))
    for annealed in (
        lambda: annealing.ais(key, real, betas=BETAS),
        lambda: annealing.reverse_ais(key, real, v[:, :1], betas=BETAS),
    ):
        with pytest.raises(ValueError, match=r"not normalisable: .* is 1\.2, and must be below 1"):
            annealed()


def test_half_precision_does_not_reach_the_estimates():
    """Parameters in bfloat16 are a model like any other, of which log Z is found as well."""
    model = make((units.Bernoulli(), 40), (units.Bernoulli(), 10), scale=0.5)
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), model)
    wide = jax.tree.map(lambda x: x.astype(jnp.float32), half)
    expected = float(partition.exact_log_partition(wide))
    assert float(partition.exact_log_partition(half)) == pytest.approx(expected, rel=1e-6)
    betas = annealing.published_betas(500)
    for params in (half, wide):
        found = annealing.ais(jax.random.key(0), params, betas=betas, num_chains=50)
        assert found.log_z.dtype == jnp.float32
        assert abs(float(found.log_z) - expected) < 5 * float(found.standard_error) + 1e-3


def test_betas_that_do_not_rise_are_refused():
    key, params = jax.random.key(0), make("bernoulli", "spin")
    with pytest.raises(ValueError, match="must rise from 0 to 1"):
        annealing.ais(key, params, betas=jnp.array([0.0, jnp.nan, 1.0]))
