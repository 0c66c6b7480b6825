"""What convolutional RBMs and stacks of them refuse, in one sentence each; and what they are."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import convolutional, dbn, rbm, units

KEY = jax.random.key(0)


def init(image_shape=(4, 6, 1), num_maps=2, filter_size=3, **options):
    return convolutional.init_params(KEY, image_shape, num_maps, filter_size, **options)


BAD = {
    "two axes": (
        {"image_shape": (4, 6)},
        r"image_shape is (4, 6); expected rows, columns, channels",
    ),
    "no channel": (
        {"image_shape": (4, 6, 0)},
        "image_shape is (4, 6, 0); expected rows, columns, channels",
    ),
    "no map": (
        {"num_maps": 0},
        "num_maps is 0, filter_size 3 and block 1; each is at least 1",
    ),
    "no filter": (
        {"filter_size": 0},
        "num_maps is 2, filter_size 0 and block 1; each is at least 1",
    ),
    "no block": ({"block": 0}, "num_maps is 2, filter_size 3 and block 0; each is at least 1"),
    "border": ({"border": "zeros"}, "border is 'zeros'; it is one of valid, same, full"),
    "large filter": (
        {"filter_size": 5},
        "filters of 5×5 do not fit into images of 4×6: choose smaller ones, or another border",
    ),
    "block": (
        {"block": 3},
        "maps of 2×4 units cannot be pooled in blocks of 3×3: choose a block, or filters and "
        "borders, such that it divides both",
    ),
    "pooled spins": (
        {"block": 2, "hidden": units.Spin()},
        "hidden is Spin(bias=None), but pooled units are binary: leave block at 1",
    ),
    "counts of reals": (
        {"visible": units.Poisson(), "hidden": units.Gaussian()},
        "Poisson visible units and Gaussian hidden units have no normalisable joint density; beside"
        " Poisson units use a type with finitely many values, such as Bernoulli or Binomial",
    ),
    "channels of groups": (
        {"visible": units.Softmax(num_classes=3)},
        "1 softmax units cannot be split into groups of 3; use a multiple of num_classes",
    ),
}


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("case", BAD)
def test_what_makes_no_model_is_refused(case, shared):
    options, message = BAD[case]
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        init(shared=shared, **options)


@pytest.mark.usefixtures("unchecked_annotations")
def test_types_of_several_kinds_are_refused():
    both = units.Concat((units.Bernoulli(), units.Spin()), (1, 1))
    with pytest.raises(TypeError, match="the units of maps are of one type; put `Maps` of each"):
        init(image_shape=(4, 6, 2), visible=both)
    with pytest.raises(TypeError, match="'binary' is not a unit type; pass an instance"):
        init(hidden="binary")


@pytest.mark.parametrize("kind", ["shared", "local"])
def test_filters_that_do_not_fit_their_image_are_refused(kind):
    image, size = (4, 6, 2), (3, 3)
    if kind == "shared":
        convolutional.Convolution(jnp.zeros((3, 3, 2, 5)), image)
        wrong, message = jnp.zeros((3, 3, 1, 5)), r"\(3, 3, 1, 5\) .* shape \(3, 3, 2, 5\)$"
        make = lambda filters: convolutional.Convolution(filters, image)  # noqa: E731
    else:
        make = lambda filters: convolutional.LocalConnections(filters, image, size)  # noqa: E731
        make(jnp.zeros((8, 18, 5)))
        wrong, message = jnp.zeros((7, 18, 5)), r"\(7, 18, 5\) .* shape \(8, 18, 5\)$"
    with pytest.raises(ValueError, match=r"^filters of shape " + message):
        make(wrong)


@pytest.mark.usefixtures("unchecked_annotations")
def test_images_of_another_size_are_refused():
    params = init(image_shape=(4, 6, 2))
    with pytest.raises(
        ValueError, match=r"shape \(5, 24\); its last axis must hold the 48 visible"
    ):
        rbm.cd_gradient(KEY, params, jnp.zeros((5, 24)))  # grey images
    with pytest.raises(ValueError, match=r"shape \(5, 4, 6, 2\); its last axis must hold the 48"):
        rbm.cd_gradient(KEY, params, jnp.zeros((5, 4, 6, 2)))  # not in one line
    with pytest.raises(ValueError, match="must hold the 16 hidden units"):
        rbm.visible_mean(params, jnp.zeros((5, 8)))


@pytest.mark.parametrize(
    ("options", "map_shape", "pooled"),
    [
        ({}, (2, 4, 2), (2, 4, 2)),
        ({"block": 2}, (2, 4, 2), (1, 2, 2)),
        ({"border": "same"}, (4, 6, 2), (4, 6, 2)),
        ({"border": "same", "filter_size": 4, "block": 2}, (4, 6, 2), (2, 3, 2)),
        ({"border": "full", "block": 2}, (6, 8, 2), (3, 4, 2)),
    ],
)
def test_shapes_of_maps(options, map_shape, pooled):
    params = init(**options)
    assert params.weights.map_shape == map_shape
    assert convolutional.pooled_shape(params) == pooled
    assert params.weights.shape == (24, np.prod(map_shape))
    assert params.hidden.num_pooled == np.prod(pooled)


# Stacks.


def test_layers_that_do_not_fit_are_refused():
    below = init(block=2, border="full")  # 3×4 blocks of 2 maps
    dbn.stack((below, init((3, 4, 2), filter_size=2)))
    dbn.stack((below, rbm.init_params(KEY, 24, 5)))  # a dense layer takes all in one line
    wrong = "layer 0 has {} hidden units, but layer 1 has {} visible ones; they are the same units"
    for above, lower, upper in (
        (init((4, 3, 2), filter_size=2), "3×4×2 Bernoulli", "4×3×2 Bernoulli"),
        (init((3, 4, 1), filter_size=2), "3×4×2 Bernoulli", "3×4×1 Bernoulli"),
        (
            init((3, 4, 2), filter_size=2, visible=units.Spin()),
            "3×4×2 Bernoulli",
            "3×4×2 Spin",
        ),
        (rbm.init_params(KEY, 96, 5), "24 Bernoulli", "96 Bernoulli"),  # what is not pooled
    ):
        with pytest.raises(ValueError, match=f"^{wrong.format(lower, upper)}$"):
            dbn.stack((below, above))


def test_only_a_matrix_can_be_turned_upside_down():
    below, above = init(), init((2, 4, 2), 1, 3, border="full")
    message = "weights of type Convolution cannot be turned upside down; only a matrix can"
    for pair in ((above, below), (rbm.init_params(KEY, 16, 24), below)):
        with pytest.raises(ValueError, match=f"^{message}$"):
            dbn.upside_down(*pair)
