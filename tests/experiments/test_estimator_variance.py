"""The table of variances, against what is known of a small net."""

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax import dbn, learning, rbm
from dbn_jax.learning import bound_gradient
from dbn_jax.likelihood import bound, partition
from experiments import estimator_variance
from tests import finished_runs
from tests.random_models import at_random


def test_measures_the_variance_of_a_known_gradient():
    key = jax.random.key(0)
    net = at_random(2, lambda: dbn.stack((rbm.init_params(key, 4, 3), rbm.init_params(key, 3, 2))))
    v = jnp.array([[1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0]])

    def loss(net):
        return partition.exact_log_partition(net.top) - jnp.mean(bound.exact(net, v)[0].total)

    exact = jax.jit(jax.grad(loss))(dbn.untie(net)).recognition[0].weights
    exact = np.asarray(exact, np.float64)
    keys = jax.random.split(jax.random.key(3), 400)
    estimator = bound_gradient.LeaveOneOut(2)
    found = estimator_variance.measure(keys, net, (v, None), estimator)
    estimates = jax.vmap(
        lambda key: bound_gradient.gradient(
            key, dbn.untie(net), None, v, learner=learning.CD(), estimator=estimator
        )[0].recognition[0].weights
    )  # fmt: skip
    variances = np.var(jax.jit(estimates)(keys), axis=0, ddof=1)
    np.testing.assert_allclose(found["variance"], variances.sum(), rtol=1e-3)
    # The estimate of the squared length varies by about 2·|g|·σ/√n, σ² the variance along g.
    spread = 2 * np.sqrt((exact**2).sum() * found["variance"] / 400)
    assert abs(found["squared_length"] - (exact**2).sum()) < 5 * spread
    assert found["milliseconds"] > 0


def test_table(tmp_path, capsys):
    net = finished_runs.random_net(tmp_path / "net", (16, 20))
    settings = estimator_variance.Settings(pretrained=net, batch_size=10, num_estimates=20)
    capsys.readouterr()
    summary = estimator_variance.run(settings, str(tmp_path / "variance"))
    table = (tmp_path / "variance/table.txt").read_text()
    assert capsys.readouterr().out.startswith(table)
    results = summary["results"]["estimators"]
    for name in estimator_variance.ESTIMATORS:
        assert f"{name:34}{results[name]['variance']:>12.4g}" in table
    without = results["leave one out"]["variance"]
    assert results["leave one out, slopes"]["variance"] < without
    assert results["score function, no baseline"]["variance"] > without
    # Done already, it prints the table again.
    assert estimator_variance.run(settings, str(tmp_path / "variance")) == summary
    assert capsys.readouterr().out.startswith(f"{table}done already")
