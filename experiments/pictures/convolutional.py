"""The pictures of nets with convolutional layers: what their units look at, and what they keep."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from dbn_jax import convolutional, data, dbn, figures, joint, rbm, receptive_fields, units
from experiments.pictures import gabor, steps

_NUM_UNITS = 100  # of a layer that are shown, at most
_NUM_SEARCHED = 2000  # unseen images that are searched for what units prefer
_AT_ONCE = 16  # images whose maps are in memory
_NUM_PREFERRED = 9  # in three rows
_NUM_CANDIDATES = 200  # from which these are taken
_ALIKE = 0.95  # correlation of patches that show the same
_NUM_RECONSTRUCTED = 12  # images; of the first so many one has its maps drawn
_HALF_STEPS = 100  # of Gibbs sampling
_PAGE = 900  # pixels across a sheet
_NOWHERE = (0.78, 0.86, 0.94)  # the colour where there is no unit, and no patch


def draw(
    key: jax.Array, net: dbn.Net, dataset: data.Dataset, to_pixels: data.Transform
) -> tuple[dict[str, float], dict[str, Figure]]:
    """Draws the pictures of the convolutional layers of a net, which are its lowest ones.

    Returns:
      Results for the summary, and the pictures. Filters of Gaussian pixels may be edges: the
      results say how many are (`gabor.describe`). Of others there are none.
    """
    layers = convolutional_layers(net)
    _, held_out = dataset.held_out
    v = data.apply(to_pixels, key, data.spread(held_out.images, _NUM_SEARCHED))
    shown = _shown(dataset, v)
    pictures = {"reconstructions": _reconstructions(layers, dataset, v)}
    values, places = _preferred(layers, v)
    # The image of most contrast, so that there is something to be on for.
    few = shown[:_NUM_RECONSTRUCTED]
    chosen = np.argmax(few.reshape(len(few), -1).std(axis=1))
    means = _means(layers, v[chosen][None])
    results, edges = _edges(layers[0])
    for i in range(len(layers)):
        pictures[f"features_{i + 1}"] = _features(layers[: i + 1], dataset, edges)
        pictures[f"preferred_{i + 1}"] = _preferences(
            layers[: i + 1], shown, np.asarray(values[i]), np.asarray(places[i])
        )
        pictures[f"maps_{i + 1}"] = _maps(layers[: i + 1], shown[chosen], np.asarray(means[i])[0])
    return results, pictures


def halves(
    key: jax.Array, net: dbn.Net, dataset: data.Dataset, to_pixels: data.Transform
) -> Figure:
    """Right halves of unseen images, filled in by the first convolutional layer and by all.

    This needs layers that are models of their data, such as PCD makes. Those of CD-1 are not: far
    from the data, where its chains never were, most units can be on at once.
    """
    layers = convolutional_layers(net)
    _, held_out = dataset.held_out
    view_key, gibbs_key = jax.random.split(key)
    images = data.spread(held_out.images, _NUM_RECONSTRUCTED)
    v = data.apply(to_pixels, view_key, images)
    columns = np.arange(dataset.image_shape[1]) < dataset.image_shape[1] // 2
    given = np.broadcast_to(columns[:, None], (*columns.shape, layers[0].weights.image_shape[2]))
    given = jnp.asarray(np.broadcast_to(given, layers[0].weights.image_shape).reshape(-1))
    rows = {"unseen images": _shown(dataset, v)}
    hidden = np.asarray(given).reshape(dataset.image_shape)
    rows["left halves"] = np.where(hidden, rows["unseen images"], np.float32(0.5))
    for number in sorted({1, len(layers)}):
        net = dbn.stack(layers[:number])
        filled = _filled_in(jax.random.fold_in(gibbs_key, number), net, v, given)
        name = f"by {number} layers" if number > 1 else "by layer 1 alone"
        rows[name] = _shown(dataset, filled)
    return figures.image_rows(
        rows,
        image_shape=dataset.image_shape,
        title="The left halves of unseen images, and the right halves that the net expects",
        subtitle=f"{steps.in_words(_HALF_STEPS)} in all layers, each with input from below and "
        "above, while the left half stays; then the means of the pixels",
    )


def convolutional_layers(net: dbn.Net) -> tuple[rbm.RBM, ...]:
    """The lowest layers of a net, as far as they are convolutional."""
    layers = [*net.recognition, net.top]
    dense = [i for i, layer in enumerate(layers) if not receptive_fields.is_convolutional(layer)]
    return tuple(layers[: dense[0] if dense else None])


def _shown(dataset, v):
    """Pictures, (N, rows, columns[, 3]), of a model's pixels, from black to white."""
    return np.clip(dataset.pictures(v), 0, 1)


def _edges(layer):
    """How many filters of grey Gaussian pixels are Gabor functions: results and words."""
    rows, columns, channels, _ = layer.weights.filter_shape
    if not isinstance(layer.visible.each, units.Gaussian) or channels > 1 or min(rows, columns) < 4:
        return {}, ""
    _, results, words = gabor.describe(receptive_fields.unit_images((layer,))[..., 0])
    return results, f"; {words}"


def _features(layers, dataset, edges) -> Figure:
    images = np.asarray(receptive_fields.unit_images(layers))
    count, rows, columns, _ = images.shape
    number, first = len(layers), len(layers) == 1
    below = "layer below, projected through its filters"
    if number > 2:
        below = f"{number - 1} layers below, projected through their filters"
    return figures.receptive_fields(
        images.reshape(count, -1).T,
        image_shape=(rows, columns, *dataset.image_shape[2:]),
        title=f"What the units of hidden layer {number} look for",
        subtitle=f"the filter of each map{edges}"
        if first
        else f"one unit of each map, and the pixels that it sees: its weights to the {below}",
        max_units=min(count, _NUM_UNITS),
        scale="common" if first else "unit",
    )


@jax.jit
def _preferred(layers, v):
    """For each layer the largest mean of each map in each image, (N, K), and its place."""

    def one(v):
        found = []
        for layer in layers:
            h = rbm.hidden_mean(layer, v)
            maps = h.reshape(-1, layer.weights.map_shape[-1])
            found.append((jnp.max(maps, axis=0), jnp.argmax(maps, axis=0)))
            v = layer.hidden.pool(h)
        return tuple(zip(*found, strict=True))

    return jax.lax.map(one, v, batch_size=_AT_ONCE)


def _preferences(layers, shown, values, places) -> Figure:
    """The nine patches of different images that each unit likes best, as one tile a unit."""
    shape = layers[-1].weights.map_shape
    best = np.argsort(-values, axis=0, kind="stable")[:_NUM_CANDIDATES]
    place = np.stack(np.unravel_index(np.take_along_axis(places, best, axis=0), shape[:2]), axis=-1)
    first, size = receptive_fields.receptive_field(layers, place)
    across = math.isqrt(_NUM_PREFERRED)
    # As many units as a square page holds, but for fields of many pixels not fewer than 12.
    per_row = max(1, _PAGE // (across * (size[1] + 1) + 3))
    count = min(shape[-1], _NUM_UNITS, max(12, per_row**2))
    images = _in_colour(shown)
    # Lines between the patches of a unit, and boxes not full where there are too few images.
    tiles = np.tile(np.float32(_NOWHERE), (count, across, size[0] + 1, across, size[1] + 1, 1))
    for unit in range(count):
        patches = np.asarray(_crops(jnp.asarray(images[best[:, unit]]), first[:, unit], size))
        for rank, patch in enumerate(patches[_different(patches)[:_NUM_PREFERRED]]):
            tiles[unit, rank // across, : size[0], rank % across, : size[1]] = patch
    tiles = tiles.reshape(count, across * (size[0] + 1), across * (size[1] + 1), 3)[:, :-1, :-1]
    number = len(layers)
    return figures.image_sheet(
        tiles,
        image_shape=tiles.shape[1:],
        title=f"What the units of hidden layer {number} prefer",
        subtitle=f"in each box one unit: of {len(shown):,} unseen images the nine in which it is "
        f"most likely to be on, and of each the {size[0]}×{size[1]} pixels that it then sees; what "
        f"is nearly the same is shown once; {_counted(count, shape[-1])}",
    )


def _different(patches):
    """Numbers of patches without those that correlate with an earlier one: crops overlap."""
    flat = patches.reshape(len(patches), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    flat = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    alike, kept = flat @ flat.T > _ALIKE, []
    for number in range(len(patches)):
        if not alike[number, kept].any():
            kept.append(number)
    return kept


_crops = jax.jit(jax.vmap(receptive_fields.crop, in_axes=(0, 0, None)), static_argnums=2)


def _means(layers, v):
    """What the layer above sees of each layer: pooled means (N, P)."""
    means = []
    for layer in layers:
        v = layer.hidden.pool(rbm.hidden_mean(layer, v))
        means.append(v)
    return means


def _maps(layers, image, means) -> Figure:
    """An image, and the pooled maps of a layer, each drawn where its units look."""
    shape = convolutional.pooled_shape(layers[-1])
    block = getattr(layers[-1].hidden, "block", 1)
    strides = math.prod(getattr(layer.hidden, "block", 1) for layer in layers)
    # The middle of what the units of the first block see is the middle of its square.
    first, size = receptive_fields.receptive_field(layers, np.array([0, 0]), (block, block))
    corner = first + (np.array(size) - strides) // 2
    maps = np.moveaxis(means.reshape(shape), -1, 0)[:_NUM_UNITS]
    drawn = np.tile(np.float32(_NOWHERE), (len(maps), *image.shape[:2], 1))
    places = [(np.arange(n) - c) // strides for n, c in zip(image.shape, corner, strict=False)]
    on_map = [(at >= 0) & (at < most) for at, most in zip(places, shape, strict=False)]
    rows, columns = (at[inside] for at, inside in zip(places, on_map, strict=True))
    drawn[:, np.outer(*on_map)] = maps[:, rows][:, :, columns].reshape(len(maps), -1, 1)
    number = len(layers)
    return figures.image_sheet(
        np.concatenate([_in_colour(image[None]), drawn]),
        image_shape=drawn.shape[1:],
        title=f"An unseen image, and where the units of hidden layer {number} are on",
        subtitle=f"the image first, then one box for each map: a square of {strides}×{strides} "
        "pixels in the middle of what its units see, white if one of them is on for sure, black if "
        f"none is, blue beyond the map; {_counted(len(maps), shape[-1], 'maps')}",
    )


def _reconstructions(layers, dataset, v) -> Figure:
    v = data.spread(v, _NUM_RECONSTRUCTED)
    rows, notes = {"unseen images": v}, {}
    for number in range(1, len(layers) + 1):
        name = f"from layer {number}"
        rows[name] = dbn.reconstruct(dbn.stack(layers[:number]), v)
        error = np.mean(np.sum((np.asarray(rows[name]) - np.asarray(v)) ** 2, axis=-1))
        notes[name] = f"error {float(f'{error:.3g}'):,g}"
    return figures.image_rows(
        {name: _shown(dataset, x) for name, x in rows.items()},
        image_shape=dataset.image_shape,
        title="Unseen images, and what each layer keeps of them",
        subtitle="up to the layer and down again by probabilities; the error of an image is the "
        "squared one, summed over its pixels",
        notes=notes,
    )


@jax.jit
def _filled_in(key, net, v, given):
    start = jnp.where(given, v, jnp.nan)
    states = joint.gibbs(key, net, start, given, _HALF_STEPS)
    return jnp.where(given, v, joint.mean(net, states, 0))


def _in_colour(images):
    """(N, rows, columns[, 3]) -> (N, rows, columns, 3)."""
    return np.broadcast_to(images.reshape(*images.shape[:3], -1), (*images.shape[:3], 3))


def _counted(count, total, things="units"):
    return f"all {total} {things}" if count == total else f"the first {count} of {total} {things}"
