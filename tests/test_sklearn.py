"""The estimator: scikit-learn's own checks, the library's numbers, and what pipelines need."""

import dataclasses
import functools
import pickle
import re
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

from dbn_jax import learning, rbm, training, units
from dbn_jax.likelihood import partition
from dbn_jax.sklearn import RestrictedBoltzmannMachine
from tests import oracles, random_models, significance

pytestmark = pytest.mark.usefixtures("implicit_promotion", "unchecked_annotations")

ROWS = (np.random.default_rng(0).random((60, 6)) < np.linspace(0.1, 0.9, 6)).astype(np.float32)
SMALL = RestrictedBoltzmannMachine(4, n_iter=3, learning_rate=0.3, random_state=5)


def fitted(**changes):
    return clone(SMALL).set_params(**changes).fit(ROWS)


def equal(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.filterwarnings("ignore")
def test_checks_of_scikit_learn_pass_on_real_numbers():
    machine = RestrictedBoltzmannMachine(visible=units.Gaussian(), learning_rate=0.001)
    estimator_checks.check_estimator(machine)


@pytest.mark.filterwarnings("ignore")
def test_checks_of_scikit_learn_pass_on_binary_rows(monkeypatch):
    enforce = estimator_checks._enforce_estimator_tags_X

    def binary(estimator, X, **options):
        X = np.asarray(enforce(estimator, X, **options))
        return (np.median(X) < X).astype(X.dtype)

    monkeypatch.setattr(estimator_checks, "_enforce_estimator_tags_X", binary)
    estimator_checks.check_estimator(RestrictedBoltzmannMachine())


def test_hidden_means_and_likelihoods_are_those_of_the_model():
    model = fitted()
    exact = oracles.Model.of(model.state_.params)
    weights, c = (np.asarray(model.state_.params.weights), model.state_.params.hidden.bias)
    means = 1 / (1 + np.exp(-(ROWS @ weights + np.asarray(c))))
    np.testing.assert_allclose(model.transform(ROWS), means, rtol=1e-5)
    assert list(model.get_feature_names_out())[3] == "restrictedboltzmannmachine3"
    log_p = exact.log_likelihood(ROWS)
    np.testing.assert_allclose(model.score_samples(ROWS), log_p, rtol=1e-5)
    assert model.log_z_standard_error_ == 0
    np.testing.assert_allclose(model.score(ROWS), log_p.mean(), rtol=1e-5)
    v = model.sample(4000, num_gibbs_steps=30, random_state=1)
    significance.assert_mean(v, exact.visible_marginal() @ exact.visible.states)
    equal(v, model.sample(4000, num_gibbs_steps=30, random_state=1))


def test_where_log_z_is_estimated_its_error_is_told(monkeypatch):
    exact = fitted().log_z_
    monkeypatch.setattr(partition, "FEW_STATES", 3)
    model = fitted(ais_steps=200)
    assert abs(model.log_z_ - exact) < 5 * model.log_z_standard_error_ < 0.1
    # Learnt on, it has another.
    before = model.log_z_
    assert model.partial_fit(ROWS).log_z_ != before
    far = fitted(ais_steps=3)
    far.state_ = dataclasses.replace(
        far.state_, params=random_models.jolt(0, model.state_.params, 9.0)
    )
    words = r"^only \d\.\d of 100 chains carry .* too high: raise ais_steps from 3$"
    with pytest.warns(UserWarning, match=words):
        assert np.isfinite(far.score(ROWS))


@pytest.mark.parametrize("learner", [None, learning.PCD(7), learning.Centred(learning.PCD(7))])
def test_it_learns_as_the_library_does_to_the_bit(learner):
    how = {"learner": learner or learning.CD(), "optimizer": optax.sgd(0.3, 0.5)}
    model = fitted(learner=learner, momentum=0.5)
    weight_key, chain_key = jax.random.split(training.spare_key(model.seed_))
    params = rbm.fit_visible(rbm.init_params(weight_key, 6, 4), ROWS)
    first = learning.init_state(chain_key, params, **how)
    step = functools.partial(learning.step, **how)
    settings = training.Settings(seed=model.seed_, num_epochs=3, batch_size=10, show_progress=False)
    equal(model.state_, training.train(step, first, ROWS, settings=settings))

    model, state, key = clone(model), first, jax.random.key(model.seed_)
    for t, batch in enumerate(np.split(np.concatenate([ROWS, ROWS]), 4)):
        model.partial_fit(batch)
        if t == 0:  # its biases fit the first batch
            params = rbm.fit_visible(rbm.init_params(weight_key, 6, 4), batch)
            state = learning.init_state(chain_key, params, **how)
        state, _ = learning.step(jax.random.fold_in(key, t), state, jnp.asarray(batch), **how)
    equal(model.state_, state)


def test_sparse_rows_are_as_dense_ones():
    model, of_sparse = fitted(), clone(SMALL).fit(sparse.csr_array(ROWS))
    equal(of_sparse.state_, model.state_)
    equal(of_sparse.transform(sparse.coo_array(ROWS)), model.transform(ROWS))
    equal(of_sparse.partial_fit(sparse.csr_array(ROWS)).state_, model.partial_fit(ROWS).state_)


def test_it_is_cloned_pickled_piped_and_searched():
    model = fitted(learner=learning.PCD(9))
    assert clone(model).get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        clone(model).transform(ROWS)
    again = pickle.loads(pickle.dumps(model))
    equal(again.transform(ROWS), model.transform(ROWS))
    equal(again.partial_fit(ROWS).state_, model.partial_fit(ROWS).state_)

    labels = ROWS[:, 0] > 0
    grid = {
        "restrictedboltzmannmachine__learner": [learning.CD(), learning.PCD(5)],
        "restrictedboltzmannmachine__n_components": [2, 3],
    }
    pipeline = make_pipeline(SMALL, LogisticRegression(C=1e4))
    search = GridSearchCV(pipeline, grid, cv=2).fit(ROWS, labels)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_score_ > 0.9
    # Alone it is searched by its likelihood.
    search = GridSearchCV(SMALL, {"learning_rate": [1e-3, 30.0]}, cv=2).fit(ROWS)
    assert search.best_params_ == {"learning_rate": 1e-3}
    named = clone(SMALL).set_output(transform="pandas").fit_transform(ROWS)
    assert list(named.columns) == [f"restrictedboltzmannmachine{i}" for i in range(4)]


def test_ctrl_c_ends_a_search(monkeypatch):
    """After any other exception a search goes on: the fit that failed counts as NaN."""
    fits = []

    def stopped(step, state, rows, *, settings):
        fits.append(settings)
        raise training.Interrupted(7, signal.SIGINT, state, saved=False)

    monkeypatch.setattr(training, "train", stopped)
    with pytest.raises(KeyboardInterrupt, match=r"^stopped by SIGINT after 7 updates; nothing is"):
        GridSearchCV(SMALL, {"n_components": [2, 3]}, cv=2).fit(ROWS)
    assert len(fits) == 1


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (
            200 * ROWS,
            "the data lie in [0, 200], but Bernoulli units take values in [0, 1]; rescale the "
            "data, or choose another type of visible units",
        ),
        (
            1 - 3 * ROWS,
            "Negative values in data: the data lie in [-2, 1], but Bernoulli units take values in "
            "[0, 1]; rescale the data, or choose another type of visible units",
        ),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit", "transform", "score_samples"])
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_rows_that_no_unit_can_have_are_refused(X, words, method, kind):
    model = SMALL if method == "fit" else fitted()
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        getattr(model, method)(kind(X))


@pytest.mark.parametrize(
    ("visible", "states", "means", "words"),
    [
        (units.Bernoulli(), ROWS, ROWS / 2, "0.5, which no Bernoulli"),
        (units.Spin(), 2 * ROWS - 1, 0 * ROWS, "0, which no Spin"),
        (units.Binomial(num_trials=2), 2 * ROWS, ROWS / 2, "0.5, which no Binomial"),
        (units.Poisson(), 9 * ROWS, ROWS / 4, "0.25, which no Poisson"),
        (
            units.Concat((units.Gaussian(), units.Softmax(num_classes=3)), (3, 3)),
            np.float32([[0.3, 1.2, -2, 0, 1, 0]] * 9),
            np.float32([[0.3, 1.2, -2, 0, 0.7, 0.3]]),
            "0.7, which no Softmax",
        ),
    ],
)
def test_means_have_no_likelihood(visible, states, means, words):
    model = clone(SMALL).set_params(visible=visible, learning_rate=1e-3).fit(states)
    assert np.isfinite(model.score(states))
    words = (
        f"the rows hold {words} unit can be, and only states have a likelihood: draw them, with "
        "your rows as their means, or round to them"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        model.score_samples(means)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"visible": "gaussian"}, "'gaussian' is not a unit type; pass an instance, such as"),
        ({"learner": "pcd"}, "'pcd' is not a learner; pass an instance, such as CD()"),
        ({"learner": learning.PCD}, "<class 'dbn_jax.learning.learners.PCD'> is not a learner; "),
        (
            {"visible": units.Softmax(num_classes=4)},
            "6 softmax units cannot be split into groups of 4; use a multiple of num_classes",
        ),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_parameters_that_make_no_rbm_are_named(parameters, words, method):
    with pytest.raises((TypeError, ValueError), match=f"^{re.escape(words)}"):
        getattr(clone(SMALL).set_params(**parameters), method)(ROWS)


@pytest.mark.parametrize(
    "parameters",
    [
        {"momentum": 0.5},
        {"n_components": 5},
        {"visible": units.Gaussian()},
        {"learner": learning.PCD(7)},
    ],
)
def test_an_rbm_goes_on_with_parameters_that_fit_it_alone(parameters):
    model = fitted()
    model.set_params(learner=learning.CD(2), learning_rate=0.01).partial_fit(ROWS)
    words = (
        "the RBM was made with other parameters than are set now, and cannot go on with these: "
        "call fit, which makes a new one"
    )
    with pytest.raises(ValueError, match=f"^{words}$"):
        model.set_params(**parameters).partial_fit(ROWS)
