"""Greedy learning: what layers see of the data, what they start from, and a net that recognises."""

import dataclasses
import functools
import itertools

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dbn_jax import (
    convolutional,
    data,
    dbn,
    label_units,
    learning,
    recognition,
    training,
    units,
)
from dbn_jax.learning import greedy
from tests import significance
from tests.random_models import random_rbm

SIZES = (6, 5, 6)  # as many units at the top: a key used twice would be noticed
IMAGES = np.random.default_rng(0).integers(0, 256, (1100, SIZES[0])).astype(np.uint8)
LABELS = np.arange(len(IMAGES)) % 3
GREY, DRAWN = data.Transform("none"), data.Transform("stochastic")
LAYERS = tuple(
    random_rbm((units.Bernoulli(), v), (units.Bernoulli(), h), seed=v, weight_scale=2.0)
    for v, h in itertools.pairwise(SIZES)
)
OPTIMIZER = optax.sgd(0.1)


def upwards(v, layers=LAYERS):
    """Hidden probabilities of the last layer, in numpy: sigmoids of products."""
    for layer in layers:
        w, bias = np.float64(layer.weights), np.float64(layer.hidden.bias)
        v = 1 / (1 + np.exp(-(v @ w + bias)))
    return v


@pytest.mark.parametrize("count", [0, 1, 2])
def test_rows_are_images_or_probabilities(count):
    rows = greedy.Stack(GREY, layers=LAYERS[:count]).rows(IMAGES)
    if count == 0:
        assert rows is IMAGES
    else:
        np.testing.assert_allclose(rows, upwards(IMAGES / 255, LAYERS[:count]), rtol=1e-5)
    assert greedy.Stack(DRAWN, redrawn=True, layers=LAYERS[:count]).rows(IMAGES) is IMAGES


def seen(view, rows, seed=0):
    return np.asarray(data.apply(view, jax.random.key(seed), rows))


def test_a_layer_sees_pixels_probabilities_or_states():
    stack = greedy.Stack(GREY)
    assert stack.view(samples=True) is GREY
    rows = stack.add(LAYERS[0]).rows(IMAGES)
    np.testing.assert_array_equal(seen(stack.add(LAYERS[0]).view(), rows), rows)
    many = np.broadcast_to(rows[0], (20_000, SIZES[1]))
    states = seen(stack.add(LAYERS[0]).view(samples=True), many)
    assert set(np.unique(states)) == {0.0, 1.0}
    significance.assert_mean(states, np.float64(rows[0]))


@pytest.mark.parametrize("samples", [False, True])
def test_upper_layers_see_pixels_drawn_anew(samples):
    """Over many presentations of one image, against the enumeration of its pixels."""
    stack = greedy.Stack(DRAWN, redrawn=True, layers=LAYERS)
    many = np.broadcast_to(IMAGES[0], (20_000, SIZES[0]))
    found = seen(stack.view(samples=samples), many)
    assert (set(np.unique(found)) == {0.0, 1.0}) == samples
    states = np.array(list(np.ndindex(*[2] * SIZES[0])), np.float64)
    grey = IMAGES[0] / 255
    p = np.prod(np.where(states == 1, grey, 1 - grey), axis=-1)
    significance.assert_mean(found, p @ upwards(states))
    # The power: probabilities of the grey image would be noticed.
    with pytest.raises(AssertionError):
        significance.assert_mean(found, upwards(grey))


def test_labels_stand_one_hot_beside_the_features():
    stack = greedy.Stack(GREY, layers=LAYERS)
    rows = {"features": stack.rows(IMAGES), "labels": LABELS}
    expected = np.concatenate([rows["features"], np.eye(3)[LABELS]], axis=-1)
    np.testing.assert_array_equal(seen(stack.view(num_labels=3), rows), expected)
    # Labels are sure where features are drawn.
    drawn = seen(stack.view(samples=True, num_labels=3), rows)
    assert set(np.unique(drawn[:, :-3])) == {0.0, 1.0}
    np.testing.assert_array_equal(drawn[:, -3:], np.eye(3)[LABELS])


def first_state(rows, num_hidden, **changes):
    options = {"view": GREY, "learner": learning.PCD(7), "optimizer": OPTIMIZER} | changes
    return greedy.init_state(jax.random.key(0), rows, num_hidden, **options)


def test_first_biases_are_those_of_all_the_data():
    """Also where these are sorted."""
    images = np.sort(np.repeat(IMAGES, 3, axis=0), axis=0)
    params = first_state(images, 8).params
    assert params.weights.shape == (6, 8)
    means = 1 / (1 + np.exp(-np.float64(params.visible.bias)))
    np.testing.assert_allclose(means, images.mean(axis=0) / 255, atol=0.005)


def test_a_layer_may_start_as_the_one_below_turned_upside_down():
    # So strong that each example turns on a hidden unit of its own, which turns it on again.
    strong = jnp.full((4, 4), -50.0) + 100 * jnp.eye(4)
    below = dataclasses.replace(
        random_rbm(*[(units.Bernoulli(), 4)] * 2, scale=0.0), weights=strong
    )
    rows = np.eye(4, dtype=np.float32)[[2, 0, 1]]
    state = first_state(rows, 6, view=greedy.Activities(samples=False), below=below)
    np.testing.assert_array_equal(state.params.weights[:, :4], below.weights.T)
    np.testing.assert_array_equal(state.params.visible.bias, below.hidden.bias)
    # Chains start at the examples, in turn.
    expected = rows[np.arange(7) % 3]
    np.testing.assert_array_equal(state.chains[:, :4], expected)
    # A layer with small random weights would not: its chains start at random.
    plain = first_state(rows, 6, view=greedy.Activities(samples=False))
    assert np.any(np.asarray(plain.chains)[:, :4] != expected)


def test_an_rbm_that_has_learnt_goes_on_as_it_is():
    """Its biases stay, whatever the means of the data, and its chains start at examples."""
    strong = jnp.full((4, 4), -50.0) + 100 * jnp.eye(4)
    learnt = random_rbm(*[(units.Bernoulli(), 4)] * 2, scale=1.0)
    learnt = dataclasses.replace(learnt, weights=strong)
    rows = np.eye(4, dtype=np.float32)[[2, 0, 1]]
    state = first_state(rows, learnt, view=greedy.Activities(samples=False))
    jax.tree.map(np.testing.assert_array_equal, state.params, learnt)
    np.testing.assert_array_equal(state.chains, rows[np.arange(7) % 3])


def settings(num_epochs=1, **changes):
    options = {"seed": 5, "batch_size": 100, "num_epochs": num_epochs, "show_progress": False}
    return training.Settings(**options | changes)


def test_layers_are_trained_one_after_the_other_with_seeds_of_their_own():
    options = {"learner": learning.CD(), "optimizer": OPTIMIZER}
    stack = greedy.Stack(GREY)
    for size in (5, 4):
        stack = greedy.add_layer(stack, IMAGES, size, samples=True, settings=settings(), **options)
    net = greedy.add_top(stack, IMAGES, LABELS, 7, num_labels=3, settings=settings(), **options)
    states = greedy.Activities(samples=True)
    grown, visible = greedy.Stack(GREY), units.Bernoulli()
    for i, size in enumerate((5, 4, 7)):
        rows, view = grown.rows(IMAGES), states if i else GREY
        if i == 2:  # the top, beside labels
            rows, view = {"features": rows, "labels": LABELS}, greedy.BesideLabels(states, 3)
            visible = label_units.visible_units(4, 3)
        made = settings(seed=training.seed_of_phase(5, i))
        layer = greedy.train(rows, size, view=view, visible=visible, settings=made, **options)
        jax.tree.map(np.testing.assert_array_equal, net.layers[i], layer.params)
        grown = grown.add(layer.params)


def test_layers_learn_from_rows_of_a_data_source(tmp_path):
    """As of arrays: first biases, examples at which chains start, and updates."""
    options = {"view": GREY, "learner": learning.PCD(7), "optimizer": OPTIMIZER}
    np.save(tmp_path / "images.npy", IMAGES)
    sources = (
        IMAGES,
        np.load(tmp_path / "images.npy", mmap_mode="r"),
        grain.MapDataset.source(IMAGES),
    )
    states = [greedy.train(rows, 5, settings=settings(), **options) for rows in sources]
    for state in states[1:]:
        jax.tree.map(np.testing.assert_array_equal, state.params, states[0].params)


@pytest.mark.parametrize("layers", [(), LAYERS])
def test_layers_of_other_than_binary_units_are_refused(layers):
    """But for the pixels that the first layer sees; `train` takes any."""
    stack, options = greedy.Stack(GREY, layers=layers), {"settings": settings(), "samples": True}
    options |= {"learner": learning.CD(), "optimizer": OPTIMIZER}
    wrong = [{"hidden": units.Spin()}] + [{"visible": units.Spin()}] * bool(layers)
    words = r"the \w+ units are Spin; layers of other than binary units are for greedy\.train"
    for side in wrong:
        with pytest.raises(ValueError, match=words):
            greedy.add_layer(stack, IMAGES, 4, **side, **options)
        with pytest.raises(ValueError, match=words):
            greedy.add_top(stack, IMAGES, LABELS, 4, num_labels=3, **side, **options)
    if not layers:
        grown = greedy.add_layer(stack, IMAGES, 4, visible=units.Gaussian(), **options)
        assert isinstance(grown.layers[0].visible, units.Gaussian)


def convolution(shape, filter_size=2, **options):
    """A layer of 2 maps of all filters that touch the image."""

    def init(key, num_visible):
        del num_visible
        return convolutional.init_params(key, shape, 2, filter_size, border="full", **options)

    return init


@pytest.mark.parametrize("samples", [False, True])
def test_convolutional_layers_are_trained_one_after_the_other(samples):
    """What a layer pools is what the next one sees; a dense one at the end."""
    images = np.random.default_rng(1).integers(0, 256, (300, 16)).astype(np.uint8)
    options = {"learner": learning.CD(), "optimizer": optax.sgd(0.01)}
    layers = (convolution((4, 4, 1), 3, block=2), convolution((3, 3, 2), block=2), 5)
    stack = grown = greedy.Stack(GREY)
    for i, layer in enumerate(layers):
        trained = {"samples": samples, "settings": settings(), **options}
        stack = greedy.add_layer(stack, images, layer, **trained)
        made = settings(seed=training.seed_of_phase(5, i))
        view = greedy.Activities(samples) if i else GREY
        alone = greedy.train(grown.rows(images), layer, view=view, settings=made, **options)
        jax.tree.map(np.testing.assert_array_equal, stack.layers[i], alone.params)
        grown = grown.add(alone.params)
    assert [layer.weights.shape for layer in stack.layers] == [(16, 72), (18, 32), (8, 5)]
    net = stack.net(random_rbm((units.Bernoulli(), 5), (units.Bernoulli(), 4)))
    *_, features = dbn.recognise(net, jnp.asarray(images[:3] / 255, jnp.float32))
    np.testing.assert_allclose(stack.rows(images[:3]), features, rtol=1e-5)


def test_the_bias_of_a_channel_is_that_of_the_data_of_all_places():
    state = first_state(IMAGES, convolution((2, 3, 1)))
    mean = 1 / (1 + np.exp(-np.float64(state.params.visible.bias)))
    np.testing.assert_allclose(mean, [IMAGES.mean() / 255], atol=0.01)
    assert state.chains.shape == (7, 24)


@pytest.mark.usefixtures("unchecked_annotations")
def test_convolutional_layers_that_do_not_fit_are_refused():
    options = {"learner": learning.CD(), "optimizer": OPTIMIZER, "settings": settings()}

    def add(*layers, **more):
        stack = greedy.Stack(GREY)
        for layer in layers:
            stack = greedy.add_layer(stack, IMAGES, layer, **options, **more)

    with pytest.raises(ValueError, match=r"shape \(1000, 6\); .* must hold the 9 visible units"):
        add(convolution((3, 3, 1)))
    with pytest.raises(ValueError, match="the hidden units are Spin; layers of other than binary"):
        add(convolution((2, 3, 1), hidden=units.Spin()))
    with pytest.raises(ValueError, match="the visible units are Gaussian; layers of other than"):
        add(convolution((2, 3, 1)), convolution((3, 4, 2), visible=units.Gaussian()))
    add(convolution((2, 3, 1), visible=units.Gaussian()))  # pixels may be real


@pytest.mark.parametrize("labels", [LABELS + 1, LABELS - 1])
def test_labels_out_of_range_are_refused(labels):
    options = {"learner": learning.CD(), "optimizer": OPTIMIZER, "settings": settings()}
    words = "there is no label (-1|3); those of 3 classes are 0 to 2: number the classes from 0"
    with pytest.raises(ValueError, match=words):
        greedy.add_top(greedy.Stack(GREY), IMAGES, labels, 4, num_labels=3, **options)


def test_a_net_learns_to_recognise_digits():
    dataset, to_pixels = data.binarise(data.load("digits"), "none")
    images = dataset.train.images
    optimizer = optax.sgd(0.1, momentum=0.5)
    stack = greedy.add_layer(
        greedy.Stack(to_pixels),
        images,
        60,
        learner=learning.CD(),
        optimizer=optimizer,
        settings=settings(40, batch_size=20),
    )
    net = greedy.add_top(
        stack,
        images,
        dataset.train.labels,
        100,
        learner=learning.LabelledPCD(20),
        optimizer=optimizer,
        settings=settings(40, batch_size=20),
    )
    test = dataset.test
    answers = recognition.log_posteriors(jax.random.key(0), net, test.images, to_pixels)
    assert recognition.error_rate(answers, test.labels) < 0.2  # 0.9 is chance


def test_an_update_is_that_of_the_learner_without_metrics_that_cost_time():
    state, key = first_state(IMAGES, 8), jax.random.key(1)
    options = {"learner": learning.PCD(7), "optimizer": OPTIMIZER}
    batch = data.apply(GREY, key, IMAGES[:10])
    found, metrics = jax.jit(functools.partial(greedy.step, **options))(key, state, batch)
    expected, everything = jax.jit(functools.partial(learning.step, **options))(key, state, batch)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), found, expected)
    assert metrics
    assert everything.keys() - metrics.keys() == {
        "free_energy_data", "free_energy_fantasies", "gradient_norm"
    }  # fmt: skip
