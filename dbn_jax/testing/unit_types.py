"""What a unit type has to be, piece by piece."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax.testing import formulas, samples
from dbn_jax.testing.sentences import apart, fail, number, worst
from dbn_jax.testing.tables import Table, check_size, number_of_states
from dbn_jax.typing import Array, Key
from dbn_jax.units import Units

_ROWS = 6  # of inputs; given the first three of them samples are drawn
_SAMPLED = 3
_DATA = 512  # examples that units are fitted to; the mean of so many equal ones is exact
_DTYPES = ("float32", "bfloat16", "float64")


def check_units(
    key: Key[Array, ""], units: Units, num_units: int = 2, *, dtypes: Sequence[str] = _DTYPES
) -> None:
    """Raises AssertionError, in one sentence, unless units keep the contract of `units.Units`.

    The cumulant, means and gradients are those of exp(I·s(x) − U(x)), by enumeration of `states`,
    or of whole numbers, or by quadrature over `support`; the bias is the coefficient of s in −U;
    samples have the right distribution and are independent; `fit` gives the means of data;
    `support`, `tail` and `states` say the truth. The class is a pytree, works in `jit` and `vmap`,
    with any leading axes and in several dtypes, and is finite at large inputs.

    Args:
      key: consumed.
      units: a description such as ``MyUnits()``, which gets random parameters: what `init` makes,
        with normal noise of 0.5. Or units with parameters, where those have to be.
      num_units: of a description; few, for all joint states are listed: one or two of real values.
      dtypes: in which the type has to work. Without "float64", formulae need be as exact as
        float32 is.
    """
    _check_pytree(units)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    made = _with_parameters(rng, units, num_units)
    check_size(made)
    for dtype in dtypes:
        _check_results(made, dtype)
    inputs = rng.uniform(-2, 2, (_ROWS, made.num_units)).astype(np.float32)
    drawn = samples.draw(key, made, inputs[:_SAMPLED])
    if np.array_equal(drawn, samples.draw(jax.random.fold_in(key, 1), made, inputs[:_SAMPLED])):
        fail(made, "sample", "two keys draw the same values: use the key")
    _check_values(made, drawn)
    _check_sharing(key, made, drawn[0])
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), made)
        for element in wide.elements():
            formulas.check_tail(element)
        formulas.check_bias(wide, drawn[0])
        table = Table.of(wide, inputs.astype(np.float64), drawn[:, 0])
        tolerance = 1e-8 if "float64" in dtypes else 1e-5
        formulas.check_gradients(wide, table, inputs.astype(np.float64), tolerance)
    samples.check(made, table, inputs[:_SAMPLED].astype(np.float64), drawn)
    _check_programs(key, made, inputs)
    _check_extremes(key, made, table)
    _check_fit(made, drawn[:_DATA, 0])


def _check_pytree(units: Units) -> None:
    if not isinstance(units, Units):
        raise TypeError(f"check_units takes units such as MyUnits(), not {units!r}")
    name, remedy = type(units).__name__, "decorate the class with dbn_jax.pytrees.dataclass"
    if not dataclasses.is_dataclass(units):
        raise AssertionError(f"{name} is no dataclass: {remedy}")
    if any(isinstance(leaf, Units) for leaf in jax.tree.leaves(units)):
        raise AssertionError(f"{name} is no pytree: {remedy}")
    try:
        hash(jax.tree.map(lambda leaf: None, units))  # what kind of units they are
    except TypeError as e:
        raise AssertionError(
            f"{name} has static fields that jax.jit cannot compare ({e}): use numbers, text and "
            "tuples"
        ) from e
    for element in units.elements():
        support = getattr(element, "support", None)
        if not isinstance(support, tuple) or len(support) != 2:
            raise AssertionError(
                f"{type(element).__name__} has the support {support!r}: give the smallest and "
                "largest value of a unit, such as support: ClassVar = (0.0, 1.0)"
            )


def _with_parameters(rng: np.random.Generator, units: Units, num_units: int) -> Units:
    """Units in float32: as they are, or of a description with random parameters."""
    if leaves := jax.tree_util.tree_leaves_with_path(units):
        if getattr(units, "bias", None) is None:
            names = ", ".join(jax.tree_util.keystr(path) for path, _ in leaves)
            raise AssertionError(
                f"{type(units).__name__} has parameters before `init` makes them: {names}. Make "
                "them static, by dbn_jax.pytrees.static, or None"
            )
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), units)
    made = units.init(num_units)
    if type(made) is not type(units) or not jax.tree.leaves(made):
        fail(units, "init", f"it returns {made!r}; expected units of the same type, with biases")
    if made.num_units != num_units:
        fail(units, "init", f"{num_units} units are asked for, but num_units is {made.num_units}")
    if np.any(bias := np.asarray(made.bias)):
        fail(units, "init", f"the biases begin at {number(bias)}; expected zeros")
    with _said(units, "init", "it does not take a dtype, such as bfloat16, after num_units"):
        narrow = units.init(num_units, jnp.bfloat16)
    for path, leaf in jax.tree_util.tree_leaves_with_path(narrow):
        if leaf.dtype != jnp.bfloat16:
            place = jax.tree_util.keystr(path)
            fail(units, "init", f"with dtype=bfloat16 it makes {place} of {leaf.dtype}")
    return jax.tree.map(  # in numpy, which compiles nothing
        lambda x: jnp.asarray(np.asarray(x) + 0.5 * rng.normal(size=x.shape), x.dtype), made
    )


# Shapes and dtypes.


def _check_results(made: Units, dtype: str) -> None:
    """What every method returns, of inputs with and without leading axes; nothing is computed."""
    batches = {"energy": (), "cumulant": ()}  # the rest keep the last axis
    is_fitted = _is_fitted(made)
    with jax.enable_x64(dtype == "float64"):
        made = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), made)
        size = (made.num_units,)
        for shape in (size, (2, 3, *size)):
            x = jax.ShapeDtypeStruct(shape, dtype)
            for method in ("energy", "statistic", "cumulant", "mean", "mean_statistic", "sample"):
                wanted = (*shape[:-1], *batches.get(method, size))
                _check_result(made, method, x, wanted, dtype)
        if is_fitted:
            data = jax.ShapeDtypeStruct((_DATA, *size), dtype)
            fitted = _traced(made, "fit", lambda made, x: made.fit(x), made, data)
            if (found := _described(fitted)) != (expected := _described(made)):
                fail(made, "fit", f"of parameters {expected} it makes {found}")


def _described(tree: Units) -> str:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return ", ".join(f"{jax.tree_util.keystr(path)} {x.dtype}{x.shape}" for path, x in leaves)


def _check_result(
    made: Units, method: str, x: jax.ShapeDtypeStruct, wanted: tuple[int, ...], dtype: str
) -> None:
    def call(made, x):
        if method == "sample":
            return made.sample(jax.random.key(0), x)
        return getattr(made, method)(x)

    found = _traced(made, method, call, made, x)
    if not hasattr(found, "shape") or found.shape != wanted:
        shape = getattr(found, "shape", found)
        given = "values" if method in ("energy", "statistic") else "inputs"
        fail(made, method, f"of {given} of shape {x.shape} it makes {shape}; expected {wanted}")
    if found.dtype != dtype:
        remedy = "give constants the dtype of the inputs, or end with .astype(inputs.dtype)"
        fail(made, method, f"in {dtype} it returns {found.dtype}: {remedy}")


def _traced(made: Units, method: str, call: Callable[..., Any], *args: Any) -> Any:
    """What a function returns, without computing it."""
    with _said(made, method, f"it does not run in jax.jit, in {jax.tree.leaves(made)[0].dtype}"):
        return jax.eval_shape(call, *args)


@contextlib.contextmanager
def _said(made: Units, method: str, sentence: str) -> Iterator[None]:
    """Any exception of code under test becomes a sentence."""
    try:
        yield
    except Exception as e:
        reason = str(e).strip().partition("\n")[0]
        message = f"{sentence} ({type(e).__name__}: {reason})"
        raise AssertionError(f"{type(made).__name__}.{method}: {message}") from e


def _is_fitted(made: Units) -> bool:
    """Whether the type says how it is fitted to data; hidden units need not."""
    return all(
        type(element)._match is not Units._match or type(element).fit is not Units.fit
        for element in made.elements()
    )


# Values.


def _check_values(made: Units, drawn: np.ndarray) -> None:
    """That states are as `states` and `support` say, and samples among them."""
    start = 0
    for element in made.elements():
        x = drawn[..., start : start + element.num_units]
        start += element.num_units
        low, high = element.support
        num_states = number_of_states(element)
        if num_states is not None:
            _check_states(element, num_states, x, low, high)
        if not (outside := ~((low <= x) & (x <= high))).any():
            continue
        fail(element, "sample", f"it drew {number(x[outside][0])}; the support is {number(low)} "
             f"to {number(high)}")  # fmt: skip


def _check_states(
    element: Units, num_states: int, drawn: np.ndarray, low: float, high: float
) -> None:
    with _said(element, "states", f"it does not run, for {num_states} numbers"):
        states = element.states(jnp.arange(num_states)[None])
    shape = (1, num_states, element.num_units)
    found = f"{states.dtype} of shape {states.shape}" if hasattr(states, "shape") else repr(states)
    if found != (expected := f"float32 of shape {shape}"):
        fail(
            element,
            "states",
            f"of numbers of shape {shape[:2]} it makes {found}; expected {expected}",
        )
    states = np.asarray(states[0])
    rows, index = np.unique(states, axis=0, return_inverse=True)
    if len(rows) < num_states:
        first, second = np.flatnonzero(index.ravel() == np.bincount(index.ravel()).argmax())[:2]
        fail(element, "states", f"number {first} and number {second} are {number(states[first])}")
    if (states.min(), states.max()) != (np.float32(low), np.float32(high)):
        fail(
            element,
            "states",
            f"they lie between {number(states.min())} and {number(states.max())}, but the support "
            f"is {number(low)} to {number(high)}",
        )
    x = np.unique(drawn.astype(np.float32).reshape(-1, element.num_units), axis=0)
    both = np.unique(np.concatenate([rows, x]), axis=0)
    if len(both) > len(rows):
        unknown = next(each for each in x if not (rows == each).all(axis=1).any())
        fail(
            element,
            "sample",
            f"it drew {number(unknown)}, which is none of the {num_states} states that `states` "
            "lists",
        )


def _check_sharing(key: Key[Array, ""], made: Units, values: np.ndarray) -> None:
    """`total_shared` is the transpose of `spread`, and `pool_transposed` that of `pool`."""
    rng, x = np.random.default_rng(0), jnp.asarray(values, jnp.float32)
    pairs = (
        ("total_shared", "spread", made.total_shared(x).shape[-1]),
        ("pool", "pool_transposed", made.num_pooled),
    )
    for method, back, size in pairs:
        few = jnp.asarray(rng.normal(size=size), jnp.float32)
        many = jnp.asarray(rng.normal(size=made.num_units), jnp.float32)
        found, expected = getattr(made, method)(many) @ few, many @ getattr(made, back)(few)
        if worst(found, expected, 1e-4) is not None:
            one, other = apart(float(found), float(expected))
            fail(made, method, f"it is not the transpose of {back}: y·{method}(x) is {one}, and "
                 f"x·{back}(y) {other}")  # fmt: skip
    pooled = made.pool(x)
    for method, back in (
        ("unpool", made.unpool(key, pooled)),
        ("unpool_mean", made.unpool_mean(pooled)),
    ):
        again = made.pool(back)
        if (place := worst(again, pooled, 1e-5)) is not None:
            row = place[0]
            fail(made, method, f"of {number(pooled[row])} it makes what pools to "
                 f"{number(again[row])}")  # fmt: skip


# Programs.


def _everything(key: Array, made: Units, inputs: Array) -> tuple[dict[str, Array], Any]:
    """Samples and all methods, and the gradients that learning takes."""
    x = made.sample(key, inputs)

    def total(made, inputs):
        return made.cumulant(inputs).sum() + made.mean(inputs).sum() + made.energy(x).sum()

    values = {
        "sample": x,
        "energy": made.energy(x),
        "statistic": made.statistic(x),
        "cumulant": made.cumulant(inputs),
        "mean": made.mean(inputs),
        "mean_statistic": made.mean_statistic(inputs),
    }
    return values, jax.grad(total, argnums=(0, 1))(made, inputs)


_one = jax.jit(_everything)
_mapped = jax.jit(jax.vmap(_everything))


def _check_programs(key: Key[Array, ""], made: Units, inputs: np.ndarray) -> None:
    """Models side by side are as each alone."""
    models = [made, jax.tree.map(lambda leaf: leaf + jnp.asarray(0.25, leaf.dtype), made)]
    keys = jax.random.split(key)
    rows = jnp.asarray(np.stack([inputs, inputs[::-1]]))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *models)
    with _said(made, "sample", "it does not run, or another method, in jax.vmap"):
        together = _mapped(keys, stacked, rows)[0]
    for i, model in enumerate(models):
        alone = _one(keys[i], model, rows[i])[0]
        gap = np.abs(np.asarray(together["sample"][i]) - np.asarray(alone["sample"]))
        same = gap <= 1e-2 * (1 + np.abs(np.asarray(alone["sample"])))
        # Inverting a distribution function magnifies rounding, and a few draws may flip.
        if same.mean() < 0.8:
            fail(made, "sample", "models in jax.vmap give other values than one by one")
        for method, value in alone.items():
            if method in ("sample", "energy", "statistic") and not same.all():
                continue
            if worst(together[method][i], value, 1e-2) is not None:
                fail(made, method, "models in jax.vmap give other values than one by one")


def _check_extremes(key: Key[Array, ""], made: Units, table: Table) -> None:
    """Finite values and gradients at inputs that leave no choice."""
    # exp(I) is the mean of counts: beyond 88 it is infinite in float32, and rightly so.
    largest = 50.0 if any(part.tail == "factorial" for part in made.elements()) else 1e4
    row = (largest * np.linspace(-1, 0.8, made.num_units)).astype(np.float32)
    rows = np.stack([row, -row] * (_ROWS // 2))
    values, slopes = _one(key, made, jnp.asarray(rows))
    for method, value in values.items():
        if not (finite := np.isfinite(value)).all():
            worst_value = number(np.asarray(value)[~finite][0])
            fail(made, method, f"at inputs {number(row)} it is {worst_value}: it has to be finite")
    for path, slope in jax.tree_util.tree_leaves_with_path(slopes):
        if not np.isfinite(slope).all():
            place = jax.tree_util.keystr(path[1:]) or "the inputs"
            fail(
                made,
                "cumulant",
                f"at inputs {number(row)} a derivative by {place} of cumulant, mean or energy is "
                f"{number(slope)}: it has to be finite",
            )
    if number_of_states(made) is not None:
        wide = rows.astype(np.float64)
        only = table.states[table.logits(wide).argmax(axis=1)]
        for method in ("mean", "sample"):
            if (place := worst(values[method], only, 1e-4)) is not None:
                one, other = apart(np.asarray(values[method])[place], only[place])
                where = f"at inputs {number(rows[place[0]])}"
                fail(made, method, f"{where} it is {one} (unit {place[1]}), expected {other}")
        if (place := worst(values["cumulant"], table.cumulant(wide), 1e-4)) is not None:
            one, other = apart(np.asarray(values["cumulant"])[place], table.cumulant(wide)[place])
            where = f"at inputs {number(rows[place[0]])}"
            fail(made, "cumulant", f"{where} it is {one}, but {table.name} is {other}")


# Fitting to data.


@jax.jit
def _fit(made: Units, data: Array) -> tuple[Units, Array]:
    fitted = made.fit(data)
    return fitted, fitted.mean(jnp.zeros_like(data[0]))


def _check_fit(made: Units, data: np.ndarray) -> None:
    if not _is_fitted(made):
        return
    _, found = _fit(made, jnp.asarray(data, jnp.float32))
    elements = made.elements()
    share = made.spread(made.total_shared(jnp.asarray(data.mean(axis=0), jnp.float32)))
    counted = made.spread(made.total_shared(jnp.ones(made.num_units)))
    expected = np.asarray(share / counted)  # places that share parameters share their mean
    # Half a count of each extreme value, or of each class, is added to bounded data.
    width = np.concatenate([np.full(part.num_units, part.support[1] - part.support[0])
                            for part in elements])  # fmt: skip
    allowed = np.where(np.isfinite(width), width * (made.num_units + 1) / 2 / len(data), 0)
    gap = np.abs(np.asarray(found) - expected)
    wrong = ~(gap <= allowed + 1e-3 * (1 + np.abs(expected)))
    if wrong.any():
        i = int(np.nanargmax(np.where(wrong, gap, -1))) if not np.isnan(gap).all() else 0
        one, other = apart(np.asarray(found)[i], expected[i])
        fail(
            made,
            "fit",
            f"with zero weights the mean of unit {i} is {one}, but that of the data is {other}: "
            "_match has to set parameters that give the mean it is given",
        )
    constant = np.broadcast_to(data[0], data.shape)
    for path, leaf in jax.tree_util.tree_leaves_with_path(
        _fit(made, jnp.asarray(constant, jnp.float32))[0]
    ):
        if not np.isfinite(leaf).all():
            place = jax.tree_util.keystr(path)
            fail(made, "fit", f"of data that are {number(data[0])} throughout it makes {place} "
                 f"{number(leaf)}: it has to be finite")  # fmt: skip
