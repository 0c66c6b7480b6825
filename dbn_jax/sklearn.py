"""An RBM as a step of scikit-learn's pipelines and searches: a thin estimator over the learners.

    model = RestrictedBoltzmannMachine(100, learner=learning.PCD(), random_state=0)
    pipeline = make_pipeline(model, LogisticRegression())

Learning is `training.train` with `learning.step`; what it makes, `state_.params`, is an `rbm.RBM`,
which every function of the library takes. scikit-learn comes with ``dbn_jax[experiments]``.
"""

import functools
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import sparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state, gen_batches
from sklearn.utils.validation import check_is_fitted, validate_data

from dbn_jax import learning, likelihood, rbm, sources, training, units
from dbn_jax.data import blocks
from dbn_jax.learning import health
from dbn_jax.likelihood import annealing, partition

_CHAINS = 100


class RestrictedBoltzmannMachine(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A restricted Boltzmann machine; `transform` gives the means of its hidden units.

    Rows may be sparse; they are made dense a batch at a time.

    Args:
      n_components: number of hidden units.
      visible: unit type of the features, such as ``units.Gaussian()`` for standardised ones; None
        is `units.Bernoulli`, for values in [0, 1].
      hidden: unit type of the components; None is `units.Bernoulli`.
      learner: any of `dbn_jax.learning`; None is ``learning.CD()``.
      learning_rate: of gradient ascent.
      momentum: of gradient ascent.
      batch_size: rows of an update; of fewer rows than that, `fit` takes all.
      n_iter: passes over the rows.
      ais_steps: steps of the annealing that estimates log Z where it cannot be computed.
      verbose: whether learning shows its progress.
      random_state: decides all random numbers of `fit` and `partial_fit`.

    Attributes:
      state_: the `rbm.State` of learning; ``state_.params`` is the RBM.
      seed_: of all random numbers; the training loop makes the same RBM with it.
      log_z_: log of the partition function, computed when it is first asked for: exactly if the
        smaller layer has at most 2²⁰ states, else by annealed importance sampling.
      log_z_standard_error_: of that estimate; 0 if log Z is exact.
      n_features_in_: number of visible units.
    """

    def __init__(
        self,
        n_components: int = 256,
        *,
        visible: units.Units | None = None,
        hidden: units.Units | None = None,
        learner: learning.Learner | None = None,
        learning_rate: float = 0.1,
        momentum: float = 0.0,
        batch_size: int = 10,
        n_iter: int = 10,
        ais_steps: int = 1000,
        verbose: int = 0,
        random_state: Any = None,
    ):
        self.n_components = n_components
        self.visible = visible
        self.hidden = hidden
        self.learner = learner
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.ais_steps = ais_steps
        self.verbose = verbose
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> "RestrictedBoltzmannMachine":
        """Learns from the rows of X, from new weights on; y is not used.

        Raises `training.Diverged` if an update makes NaN or infinity.
        """
        X = self._start(X)
        settings = training.Settings(
            seed=self.seed_,
            num_epochs=self.n_iter,
            batch_size=min(self.batch_size, X.shape[0]),
            show_progress=bool(self.verbose),
        )
        rows = _SparseRows(X) if sparse.issparse(X) else X
        step = functools.partial(learning.step, **self._how)
        try:
            self._learnt(training.train(step, self.state_, rows, settings=settings))
        except training.Interrupted as e:  # a search would count it as a bad fit, and go on
            raise KeyboardInterrupt(str(e)) from e
        return self

    def partial_fit(self, X: Any, y: Any = None) -> "RestrictedBoltzmannMachine":
        """One update, with all rows of X as its batch: of a new RBM, or of the one that there is.

        Update t has the key ``fold_in(key(seed_), t)``, as in the training loop. ValueError if
        parameters have been set that make other arrays, such as `n_components`.
        """
        if hasattr(self, "state_"):
            rows = jax.ShapeDtypeStruct((1, self.state_.params.weights.shape[0]), np.float32)
            if _shapes(self.state_) != _shapes(jax.eval_shape(self._first_state, rows)):
                raise ValueError(
                    "the RBM was made with other parameters than are set now, and cannot go on "
                    "with these: call fit, which makes a new one"
                )
            X = self._validated(X)
        else:
            X = self._start(X)
        key = jax.random.fold_in(jax.random.key(self.seed_), self.state_.step)
        self._learnt(learning.step(key, self.state_, _dense(X), **self._how)[0])
        return self

    def transform(self, X: Any) -> np.ndarray:
        """The means of the hidden units given each row, E[h | v]."""
        check_is_fitted(self)
        return _of_rows(rbm.hidden_mean, self.state_.params, self._validated(X))

    def score_samples(self, X: Any) -> np.ndarray:
        """The log-likelihood log p(v) of each row in nats, with `log_z_`.

        Rows are states, and a grey level is none, but the mean of one: ValueError. What is to be
        ranked needs no Z: ``-rbm.free_energy(model.state_.params, v)`` differs from log p by a
        constant.
        """
        check_is_fitted(self)
        X = self._validated(X)
        _check_states(self.state_.params.visible, X)
        log_z = jnp.float32(self.log_z_)
        return _of_rows(functools.partial(_log_likelihood, log_z), self.state_.params, X)

    def score(self, X: Any, y: Any = None) -> float:
        """The mean log-likelihood of the rows, which searches maximise."""
        return float(self.score_samples(X).mean(dtype=np.float64))

    def sample(
        self, n_samples: int = 1, *, num_gibbs_steps: int = 1000, random_state: Any = None
    ) -> np.ndarray:
        """Draws rows: where chains end that start at the base rates of the data."""
        check_is_fitted(self)
        start_key, chain_key = jax.random.split(jax.random.key(_seed(random_state)))
        v = self._base.sample(start_key, jnp.zeros((n_samples, self._base.num_units)))
        return np.asarray(rbm.gibbs(chain_key, self.state_.params, v, num_gibbs_steps)[0])

    @property
    def log_z_(self) -> float:
        """log Z."""
        return self._log_z[0]

    @property
    def log_z_standard_error_(self) -> float:
        """The standard error of log Z."""
        return self._log_z[1]

    @functools.cached_property
    def _log_z(self):
        check_is_fitted(self)
        params = self.state_.params
        if partition.num_states(params) <= partition.FEW_STATES:
            return float(likelihood.exact_log_partition(params)), 0.0
        betas = likelihood.published_betas(self.ais_steps)
        # Spare numbers, like the first weights.
        key = jax.random.fold_in(training.spare_key(self.seed_), self.state_.step)
        estimate = likelihood.ais(key, params, base=self._base, betas=betas, num_chains=_CHAINS)
        if fault := annealing.few_chains(float(estimate.effective_sample_size), _CHAINS):
            warnings.warn(f"{fault}: raise ais_steps from {self.ais_steps}", stacklevel=4)
        return float(estimate.log_z), float(estimate.standard_error)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.positive_only = _is_positive(self._units[0])
        tags.transformer_tags.preserves_dtype = []  # all is float32
        return tags

    @property
    def _n_features_out(self):
        return self.state_.params.hidden.num_units

    def _start(self, X):
        """Makes a new RBM whose biases fit the rows, and returns these, checked."""
        X = self._validated(X, reset=True)
        self.seed_ = _seed(self.random_state)
        some = sources.spread_numbers(X.shape[0], min(X.shape[0], annealing.NUM_BASE))
        self._learnt(self._first_state(_dense(X[some])))
        self._base = self.state_.params.visible
        return X

    def _first_state(self, rows):
        """What learning begins with: biases that fit the rows."""
        weight_key, chain_key = jax.random.split(training.spare_key(self.seed_))
        visible, hidden = self._units
        params = rbm.init_params(
            weight_key, rows.shape[1], self.n_components, visible=visible, hidden=hidden
        )
        return learning.init_state(chain_key, rbm.fit_visible(params, rows), **self._how)

    def _learnt(self, state):
        self.state_ = state
        vars(self).pop("_log_z", None)

    @property
    def _units(self):
        """The types of the visible and of the hidden units."""
        pair = [units.Bernoulli() if x is None else x for x in (self.visible, self.hidden)]
        rbm.check_types(*pair)
        return pair

    @property
    def _how(self):
        """The learner and the optimizer."""
        learner = learning.CD() if self.learner is None else self.learner
        if not isinstance(learner, learning.Learner):
            raise TypeError(f"{learner!r} is not a learner; pass an instance, such as CD()")
        return {"learner": learner, "optimizer": _optimizer(self.learning_rate, self.momentum)}

    def _validated(self, X: Any, *, reset: bool = False) -> Any:
        X = validate_data(self, X, accept_sparse="csr", dtype=np.float32, reset=reset)
        visible = self._units[0].init(X.shape[1]) if reset else self.state_.params.visible
        for rows in _blocks(X):
            for place, fault in health.check_data(visible, rows).items():
                if place.split(".")[-1] in ("range", "one_hot"):
                    if _is_positive(visible) and rows.min() < 0:  # in scikit-learn's own words
                        fault = f"Negative values in data: {fault}"
                    raise ValueError(fault)
        return X


@functools.cache  # another object, though equal, would be another program
def _optimizer(learning_rate, momentum):
    return optax.sgd(learning_rate, momentum or None)


def _seed(random_state):
    return int(check_random_state(random_state).randint(2**32, dtype=np.uint32))


def _log_likelihood(log_z, params, v):
    return likelihood.log_likelihood(params, v, log_z)


def _shapes(state):
    return jax.tree.map(lambda x: x.shape, state)


def _is_positive(visible):
    return all(part.support[0] >= 0 for part in visible.elements())


def _check_states(visible, X):
    """Raises ValueError if a row holds what is no state of its unit, such as a mean."""
    parts = visible.elements()
    ends = np.cumsum([part.num_units for part in parts])
    for rows in _blocks(X):
        for part, x in zip(parts, np.split(rows, ends[:-1], axis=1), strict=True):
            if (step := _step(part)) is None:
                continue
            low = part.support[0]
            nearest = low + step * np.rint((x - low) / step)
            if (between := x[~np.isclose(x, nearest)]).size:
                raise ValueError(
                    f"the rows hold {between[0]:.4g}, which no {type(part).__name__} unit can be, "
                    "and only states have a likelihood: draw them, with your rows as their means, "
                    "or round to them"
                )


def _step(part):
    """How far the values of a unit lie apart; None if it takes real numbers."""
    low, high = part.support
    if part.tail == "factorial":  # counts
        return 1.0
    num_values = 2 if isinstance(part, units.Softmax) else part._num_values
    return None if num_values is None else (high - low) / (num_values - 1)


def _of_rows(function, params, X):
    """``function(params, v)`` of the rows, a thousand at a time."""
    return np.concatenate([np.asarray(function(params, rows)) for rows in _blocks(X)])


def _blocks(X):
    return (_dense(X[rows]) for rows in gen_batches(X.shape[0], blocks.BLOCK))


def _dense(X):
    return X.toarray() if sparse.issparse(X) else X


class _SparseRows:
    """A data source: rows that become dense as they are read."""

    def __init__(self, X: Any):
        self._rows = X

    def __len__(self) -> int:
        return self._rows.shape[0]

    def __getitem__(self, number: int) -> np.ndarray:
        return self.__getitems__([number])[0]

    def __getitems__(self, numbers: list[int]) -> np.ndarray:
        return self._rows[numbers].toarray()
