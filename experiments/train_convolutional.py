"""Trains a stack of convolutional RBMs on whole images, layer by layer.

Each layer has maps of hidden units whose filters all places share; blocks of them are pooled, and
the layer above sees one unit for each block (`dbn_jax.convolutional`).

    python -m experiments.train_convolutional --workdir=runs/convolutional

trains two layers of 40 maps on 4,000 real digits that ship with a package, in under a minute: the
first becomes strokes, the second larger parts of digits. A linear SVM on both layers
(`classify_features`) gets 3.7 % of unseen digits wrong. On full MNIST,

    python -m experiments.train_convolutional --workdir=runs/convolutional --data_dir=<IDX folder> \
        --flagfile=experiments/flagfiles/convolutional_mnist.flags

trains 100 and 64 maps. `finetune_classifier` goes on by backpropagation through all of them.

Gradients are sums over the places that share a filter or a bias. --learning_rate is per place: what
the optimizer sees is divided by the number of places of the layer's maps (rows × columns), for the
biases of the pixels by that of the pixels. So are the sparsity cost and weight decay what they are
elsewhere: decay takes the share rate × decay of each weight.

Edges are learnt from whitened photographs that packages ship, in some minutes; on top of them
corners and contours (photographs_2.flags), or the parts of cars, small (cars_2) and large (cars_3):

    python -m experiments.train_convolutional --workdir=runs/photographs_1 \
        --flagfile=experiments/flagfiles/photographs_1.flags
    python -m experiments.train_convolutional --workdir=runs/cars_2 --data_dir=<folder of images> \
        --flagfile=experiments/flagfiles/cars_2.flags

--below=runs/photographs_1 takes the layers of another run as the lowest, without training them:
their filters are moved to the images of this one, whatever size these have. It is also how layers
get settings of their own: those of the flags are for all layers that a run trains.

The workdir then holds flags.txt, metrics, checkpoints, the model, figures/ and summary.json. This
tells of every layer, on held-out images, `reconstruction_error_layer_<i>`, the squared error of
images that went up to the layer and down again, summed over pixels, and
`hidden_activity_layer_<i>`, the mean probability of its units before pooling. Of filters of
Gaussian pixels it tells how many are edges: `gabor_share` and the like (`pictures.gabor.describe`).
With another --learner than cd, such as pcd, whose layers are models of images, the net also fills
in the right halves of unseen images.

Reference: Lee, Grosse, Ranganath, Ng, "Convolutional deep belief networks for scalable unsupervised
learning of hierarchical representations" (2009).
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp

from dbn_jax import convolutional, data, dbn, rbm, training, units
from dbn_jax.learning import greedy
from experiments.common import data_settings, layer_measures, memory, pretrained, pretraining, runs
from experiments.common.data_settings import UNITS, DataSettings
from experiments.common.rbm_settings import ConvolutionalSettings
from experiments.common.settings import Given, Growth, about, group, only, setting
from experiments.pictures import convolutional as pictures

_BELOW = Given("below", lambda beside: beside.below is not None, " of another run")
_ALONE = Given("below", lambda beside: beside.below is None, " left out")
_OF_LAYERS = ("maps", "filter_sizes", "blocks")


class Settings(runs.TrainingSettings):
    """Everything that decides the result."""

    data: DataSettings = group(DataSettings)
    learning: ConvolutionalSettings = group(
        ConvolutionalSettings,
        grows=Growth(lambda beside: len(beside.maps) == 1, pretraining.BELOW.otherwise),
        sparsity_target=0.03,
        sparsity_cost=5.0,
        sparsity_through="biases",
        start_share=0.03,
        learning_rate=0.3,
        learning_rate_decay="linear",
        momentum_epochs=1,
        weight_decay=1e-3,
        batch_size=20,
    )
    maps: tuple[int, ...] = setting(
        (40, 40), "Number of maps of each layer that is trained.", at_least=1
    )
    filter_sizes: tuple[int, ...] = setting(
        (11, 6), "Rows and columns of the filters of each layer that is trained.", at_least=1
    )
    blocks: tuple[int, ...] = setting(
        (2, 2),
        "Rows and columns of the blocks of units that are pooled, of each layer that is trained; 1 "
        "pools none.",
        at_least=1,
    )
    border: str = setting(
        "valid",
        "Where filters lie: within the image (valid), with zeros around it so that maps are as "
        "large as the image (same), or wherever they touch it (full).",
        choices=("valid", "same", "full"),
    )
    unshared: bool = setting(
        False, "Let every place have filters of its own (local connections), in all layers."
    )
    visible: str = setting(
        "bernoulli",
        "Type of the units that see a pixel's channels.",
        choices=("bernoulli", "gaussian", "gaussian_learnt"),
        given=_ALONE,
    )
    sigma: float = setting(
        1.0,
        "Standard deviation of Gaussian pixels given the hidden units; that of standardised or "
        "whitened pixels by themselves is 1.",
        at_least=1e-3,
        at_most=1e3,
        given=only("visible", "gaussian"),
    )
    below: str | None = setting(
        None,
        "Workdir of another run of this command, or the folder where it is published, whose layers "
        "are the lowest ones, and are not trained.",
        folder=True,
    )
    keep_layers: int | None = setting(
        None, "Number of its layers that are kept; by default all.", at_least=1, given=_BELOW
    )

    def __post_init__(self):
        super().__post_init__()
        if len({len(getattr(self, name)) for name in _OF_LAYERS}) > 1:
            raise ValueError(
                f"{self.layer_flags()}: each has a number for every layer; give as many of each"
            )
        if self.data.made_real and self.visible == "bernoulli" and self.below is None:
            raise ValueError(
                f"{self.data.made_real} makes real numbers of pixels, and --visible=bernoulli "
                "takes grey levels in [0, 1]; choose --visible=gaussian or gaussian_learnt"
            )

    def layer_flags(self) -> str:
        """The flags that decide the layers, for messages about them."""
        words = self.as_flags()
        return " ".join(f"--{name}={words[name]}" for name in _OF_LAYERS)


def run(settings: Settings, workdir: str) -> dict:
    """Trains the net in a workdir, or resumes there, and draws its pictures."""
    dataset, to_pixels = settings.data.load()
    learning = settings.learning.suited(len(dataset.train.images), grey=False)
    settings = dataclasses.replace(settings, learning=learning)
    kept, inits = _layers(settings, dataset)
    run = runs.open(settings, workdir)
    if run.is_done:
        return run.report()
    _, held_out = dataset.held_out
    stack = greedy.Stack(to_pixels, redrawn=settings.data.redrawn(dataset), layers=kept)
    for init in inits:
        number = len(stack.layers)
        state = pretraining.train_layer(
            run,
            f"layer_{number + 1}",
            learning,
            stack.rows(dataset.train.images),
            stack.rows(held_out.images),
            init,
            view=stack.view(),
            seed=training.seed_of_phase(settings.seed, number),
            visible=_template(init).visible,
        )
        stack = stack.add(state.params)
    net = dbn.stack(stack.layers)
    run.save_model(net)
    measure_key, picture_key, half_key = jax.random.split(run.key, 3)
    curves = pretraining.layer_curves(run, len(net.layers), first=len(kept) + 1)
    found, drawn = pictures.draw(picture_key, net, dataset, to_pixels)
    if learning.learner != "cd":
        drawn["halves"] = pictures.halves(half_key, net, dataset, to_pixels)
    run.save_figures(drawn | curves)
    return run.finish(layer_measures.measure(measure_key, net, held_out, to_pixels) | found)


def _layers(
    settings: Settings, dataset: data.Dataset
) -> tuple[tuple[rbm.RBM, ...], list[greedy.Init]]:
    """The layers that are kept, on these images, and what makes those that are trained.

    Raises the errors that training of any layer would raise, before a folder holds the mistake.
    """
    num_images = len(dataset.train.images)
    data_settings.check_updates(settings.learning, num_images)
    image_shape = (*dataset.image_shape, 1)[:3]
    kept, visible = (), UNITS[settings.visible]
    if settings.visible == "gaussian":
        visible = dataclasses.replace(visible, sigma=settings.sigma)
    if settings.below is not None:
        kept = _kept(settings, image_shape)
        image_shape, visible = convolutional.pooled_shape(kept[-1]), units.Bernoulli()
    inits, flags = [], f"--border={settings.border} {settings.layer_flags()}"
    sizes = zip(settings.maps, settings.filter_sizes, settings.blocks, strict=True)
    for number, (num_maps, filter_size, block) in enumerate(sizes, len(kept) + 1):
        init = functools.partial(
            _init,
            start_share=settings.learning.start_share,
            image_shape=image_shape,
            num_maps=num_maps,
            filter_size=filter_size,
            block=block,
            shared=not settings.unshared,
            border=settings.border,
            visible=visible,
        )
        of_layer, num_visible = f"{flags}: layer {number}", math.prod(image_shape)
        with about(of_layer):
            image_shape, visible = convolutional.pooled_shape(_template(init)), units.Bernoulli()
        pretraining.check(settings.learning, num_visible, init, flags=of_layer)
        if number > 1 and not settings.data.redrawn(dataset):
            memory.check(
                4 * num_images * num_visible,
                f"{of_layer}: what it sees of {num_images:,} images",
                "choose fewer maps below it, or larger blocks",
            )
        inits.append(init)
    return kept, inits


def _kept(settings, image_shape):
    """The layers of the run below, on images of this shape."""
    net, _ = pretrained.load(settings.below, (pretrained.CONVOLUTIONAL,), flag="below")
    count = settings.keep_layers or len(net.layers)
    if count > len(net.layers):
        raise ValueError(
            f"--keep_layers={count}, but the net of --below={settings.below} has "
            f"{len(net.layers)} layers; choose at most as many"
        )
    with about(f"--below={settings.below}"):
        return convolutional.on_images(net.layers[:count], image_shape)


def _init(key, num_visible, *, start_share, **options):
    """A layer before it learns."""
    del num_visible  # the shape of its image says it
    params = convolutional.init_params(key, **options)
    bias = jnp.full_like(params.hidden.bias, math.log(start_share))
    return dataclasses.replace(params, hidden=params.hidden.add_to_bias(bias))


def _template(init):
    """The shapes of a layer."""
    return jax.eval_shape(lambda: init(jax.random.key(0), None))


if __name__ == "__main__":
    runs.main(run, Settings)
