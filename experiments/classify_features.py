"""Trains a linear classifier, or an SVM with a Gaussian kernel, on the features of a net.

    python -m experiments.classify_features --workdir=runs/svm --pretrained=runs/convolutional

takes a net of `train_convolutional` or `train_dbn`, or a fine-tuned one, and the data that it
learnt from. The features of an image are the probabilities of the hidden units, of blocks of them
where they are pooled, of all layers or of --layers; with --raw they are the pixels. --window=3
averages those of maps over windows of 3×3 places. The classifiers are scikit-learn's. Chosen for
them is C, the weight of errors beside that of small weights, and γ of a Gaussian kernel: those that
make the fewest errors on validation images. Then the classifier learns these images too, and the
test images are looked at once. With one value of --costs and --gammas nothing is chosen.

Validation images are those of the net's run, if it held any out, or --num_validation of its
training images. With --num_labels=1000 --draws=5 only so many images have labels, drawn at random
five times; summary.json gives the mean of the five error rates and their standard deviation.

Features have their means subtracted and are divided by the root mean square of their lengths then,
so that C and γ mean the same for few and for many. The command takes a minute on 2 cores for the
default net.

Reference: Lee, Grosse, Ranganath, Ng, "Convolutional deep belief networks for scalable unsupervised
learning of hierarchical representations" (2009), section 4.4.
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.decomposition import PCA
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC, LinearSVC

from dbn_jax import convolutional, data, dbn, rbm, receptive_fields
from experiments.common import memory, pretrained, runs, yardsticks
from experiments.common.settings import Given, only, setting

# The values of C that are tried by default.
_COSTS = {
    "svm": (0.01, 0.1, 1.0, 10.0, 100.0),
    "logistic": (0.1, 1.0, 10.0, 100.0, 1000.0),
    "rbf_svm": (1.0, 3.0, 10.0, 30.0, 100.0),
    "least_squares": (10.0, 100.0, 1000.0, 10_000.0),
}
_KERNELS = ("rbf_svm", "least_squares")
_VALIDATION_SHARE = 1 / 5

Candidate = tuple[float, ...]  # C, or C and γ
_MANY_LABELS = Given("num_labels", lambda beside: beside.num_labels is not None, " of fewer images")


class Settings(runs.RunSettings, pretrained.Pretrained):
    """Everything that decides the result."""

    classifier: str = setting(
        "svm",
        "Classifier: linear support vector machines, one for each class (svm); logistic "
        "regression; support vector machines with a Gaussian kernel on principal components, one "
        "for each pair of classes (rbf_svm); or least squares with that kernel, which knows most "
        "from few labels (least_squares).",
        choices=tuple(_COSTS),
    )
    raw: bool = setting(False, "Classify the pixels, not the features of the net.")
    random_weights: bool = setting(
        False,
        "Draw the weights of each unit anew, with the mean and the variance that they have in the "
        "net: features that nothing was learnt for.",
        given=only("raw", False),
    )
    layers: tuple[int, ...] | None = setting(
        None,
        "Numbers of the hidden layers, from 1, whose units are the features; by default all.",
        at_least=1,
        given=only("raw", False),
    )
    window: int = setting(
        1,
        "Rows and columns of the windows, one at every place, over which the probabilities of maps "
        "are averaged. What is known of the place is then less, and few labels go further.",
        at_least=1,
        given=only("raw", False),
    )
    root: bool = setting(
        False,
        "Take the square roots of the probabilities, or of their averages.",
        given=only("raw", False),
    )
    components: int | None = setting(
        None,
        "Number of principal components of rbf_svm; of images that span the functions of "
        "least_squares.",
        unset="100 components; 5,000 images, or all of fewer",
        at_least=1,
        at_most=20_000,
        given=only("classifier", *_KERNELS),
    )
    costs: tuple[float, ...] | None = setting(
        None,
        "Values of C that are tried.",
        unset="four or five, as suit the classifier",
        at_least=1e-9,
    )
    gammas: tuple[float, ...] = setting(
        (0.1, 0.3, 1.0),
        "Values of γ that are tried for the Gaussian kernel: exp(−γd²) of features a distance d "
        "apart.",
        at_least=1e-9,
        given=only("classifier", *_KERNELS),
    )
    num_validation: int | None = setting(
        None,
        "Number of labelled images that choose C and γ, if several are tried.",
        unset="the validation images of the net's run, if it has any and all labels are used, else "
        "a fifth of the labelled images",
        at_least=1,
    )
    num_labels: int | None = setting(
        None,
        "Number of images whose labels are used, drawn at random; by default all but those of the "
        "test set.",
        at_least=20,
    )
    draws: int = setting(
        1, "Number of times that they are drawn.", at_least=1, at_most=1000, given=_MANY_LABELS
    )

    def candidates(self) -> list[Candidate]:
        """What is tried."""
        costs = self.costs or _COSTS[self.classifier]
        return list(itertools.product(costs, *[self.gammas] * (self.classifier in _KERNELS)))


def run(settings: Settings, workdir: str) -> dict:
    """Trains the classifiers in a workdir; an interrupted run starts anew."""
    net, source = settings.load((*pretrained.NETS, pretrained.CONVOLUTIONAL))
    dataset, transform = source.load()
    pretrained.check_data(dataset, dbn.num_pixels(net), dbn.num_labels(net))
    labelled = [part for part in (dataset.train, dataset.validation) if part is not None]
    images, labels = (
        np.concatenate([getattr(part, name) for part in labelled]) for name in ("images", "labels")
    )
    draws = _draws(settings, len(dataset.train), len(labels))
    _check(settings, net, labels, draws)
    run = runs.open(settings, workdir)
    if run.is_done:
        return run.report()
    if settings.random_weights:
        net = _with_random_weights(run.key, net)
    up = functools.partial(_features, transform, settings, net)
    known, asked = (data.in_blocks(up, run.key, x) for x in (images, dataset.test.images))
    mean = known.mean(axis=0)
    length = np.sqrt(np.mean(np.sum((known - mean) ** 2, axis=1)))
    known, asked = (known - mean) / length, (asked - mean) / length
    found = [_classify(settings, known, labels, *draw) for draw in draws]
    errors = [float(np.mean(best.predict(asked) != dataset.test.labels)) for _, _, best in found]
    results = {
        "error_rate": float(np.mean(errors)),
        "num_features": known.shape[1],
        "chosen": [chosen for chosen, _, _ in found],
    }
    if len(settings.candidates()) > 1:
        results["error_rate_validation"] = float(np.mean([error for _, error, _ in found]))
    if settings.draws > 1:
        results["error_rate_standard_deviation"] = float(np.std(errors, ddof=1))
        results["error_rates"] = errors
    if settings.num_labels is None:  # else nearest neighbours know more labels
        yardsticks.warn({"error_rate": results["error_rate"]}, dataset, dataset.test)
    return run.finish(results)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _features(transform, settings, net, key, images):
    """The features of images, (N, D)."""
    v = transform(key, images)
    return v if settings.raw else jnp.concatenate(_of_layers(settings, net, v), axis=-1)


def _of_layers(settings, net, v):
    """Those of the chosen layers, averaged over windows."""
    layers = features(net, v)
    chosen = []
    for i in settings.layers or range(1, len(layers) + 1):
        x = layers[i - 1]
        if settings.window > 1:
            x = _averaged(x, (*net.recognition, net.top)[i - 1], settings.window)
        chosen.append(jnp.sqrt(x) if settings.root else x)
    return chosen


def _averaged(x, layer, window):
    maps = convolutional.as_images(x, convolutional.pooled_shape(layer))
    size = (1, window, window, 1)
    total = jax.lax.reduce_window(maps, 0.0, jax.lax.add, size, (1, 1, 1, 1), "VALID")
    return total.reshape(len(x), -1) / window**2


@jax.jit
def _with_random_weights(key, net):
    """Weights of each unit, of each filter, are normal numbers of their mean and variance."""

    def redrawn(key, x):
        of_unit = tuple(range(x.ndim - 1))
        mean, spread = (f(x, axis=of_unit, keepdims=True) for f in (jnp.mean, jnp.std))
        return mean + spread * jax.random.normal(key, x.shape, x.dtype)

    leaves, structure = jax.tree.flatten(net)
    keys, are_weights = jax.random.split(key, len(leaves)), jax.tree.leaves(rbm.weight_mask(net))
    found = zip(keys, leaves, are_weights, strict=True)
    return structure.unflatten(redrawn(k, x) if weights else x for k, x, weights in found)


def features(net: dbn.Net, v: jax.Array) -> tuple[jax.Array, ...]:
    """What a layer above would see of each hidden layer: probabilities, pooled where they are."""
    *below, top = dbn.up_pass(net, v)
    return *below, net.top.hidden.pool(top)


def _classify(settings, x, labels, learnt, validation) -> tuple[Candidate, float, ClassifierMixin]:
    """The best C and γ, their error on the validation images, and a classifier that knows all."""
    errors, candidates = {}, settings.candidates()
    for candidate in candidates if len(candidates) > 1 else ():
        classifier = _make(settings, candidate, *x[learnt].shape)
        classifier.fit(x[learnt], labels[learnt])
        errors[candidate] = float(np.mean(classifier.predict(x[validation]) != labels[validation]))
    best = min(candidates, key=lambda candidate: errors.get(candidate, math.inf))
    both = np.concatenate([learnt, validation])
    classifier = _make(settings, best, *x[both].shape)
    return best, errors.get(best, math.nan), classifier.fit(x[both], labels[both])


def _make(settings, candidate, num_images, num_features):
    match settings.classifier, candidate:
        case "svm", (cost,):
            return LinearSVC(C=cost, dual=False)
        case "logistic", (cost,):
            return LogisticRegression(C=cost, max_iter=1000)
        case "rbf_svm", (cost, gamma):
            count = min(settings.components or 100, num_features, num_images)
            components = PCA(count, svd_solver="covariance_eigh")
            return make_pipeline(components, SVC(C=cost, gamma=gamma, cache_size=1000))
    cost, gamma = candidate
    count = min(settings.components or 5000, num_images)
    basis = Nystroem(gamma=gamma, n_components=count, random_state=settings.seed)
    return make_pipeline(basis, RidgeClassifier(alpha=1 / cost))


def _draws(settings, num_train, num_images) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each draw the rows that are learnt from, and those that choose C."""
    if settings.num_labels is None and settings.num_validation is None and num_train < num_images:
        return [(np.arange(num_train), np.arange(num_train, num_images))]
    num_labels = settings.num_labels or num_images
    if num_labels > num_images:
        raise ValueError(
            f"--num_labels={num_labels}, but the run of --pretrained={settings.pretrained} has "
            f"{num_images} labelled images beside those of the test set; choose at most as many"
        )
    num_validation = settings.num_validation or round(_VALIDATION_SHARE * num_labels)
    if num_validation >= num_labels:
        raise ValueError(
            f"--num_validation={num_validation} of {num_labels} labelled images leaves none to "
            "learn from; choose fewer"
        )
    drawn = []
    for i in range(settings.draws):
        rows = np.random.default_rng((settings.seed, i)).permutation(num_images)[:num_labels]
        drawn.append((rows[num_validation:], rows[:num_validation]))
    return drawn


def _check(settings, net, labels, draws) -> None:
    """Raises the errors that would come after the features are computed."""
    sizes = jax.eval_shape(features, net, jnp.zeros((1, dbn.num_pixels(net))))
    if settings.layers and max(settings.layers) > len(sizes):
        raise ValueError(
            f"--layers={','.join(map(str, settings.layers))}, but the net of "
            f"--pretrained={settings.pretrained} has layers 1 to {len(sizes)}; choose of these"
        )
    if settings.window > 1:
        _check_windows(settings, net, len(sizes))
    for learnt, _ in draws:
        if len(classes := np.unique(labels[learnt])) < 2:
            raise ValueError(
                f"the images to learn from are all of class {classes[0]}: a classifier needs two "
                "classes; take more --num_labels, or a net that learnt from other classes"
            )
    count = dbn.num_pixels(net)
    if not settings.raw:
        v = jnp.zeros((1, count))
        count = sum(
            x.shape[1] for x in jax.eval_shape(functools.partial(_of_layers, settings), net, v)
        )
    # Single precision here, and double in scikit-learn.
    memory.check(
        12 * count * len(labels),
        f"{count:,} features of {len(labels):,} images",
        "choose some --layers, or fewer labelled images",
    )


def _check_windows(settings, net, num_layers):
    for i in settings.layers or range(1, num_layers + 1):
        layer = (*net.recognition, net.top)[i - 1]
        if not receptive_fields.is_convolutional(layer):
            raise ValueError(
                f"--window={settings.window} averages over places, and layer {i} of the net has "
                "none: leave the flag out, or choose --layers that are convolutional"
            )
        rows, columns, _ = convolutional.pooled_shape(layer)
        if settings.window > min(rows, columns):
            raise ValueError(
                f"--window={settings.window}, but layer {i} has maps of {rows}×{columns}: choose a "
                "smaller one, or --layers of larger maps"
            )


if __name__ == "__main__":
    runs.main(run, Settings)
