"""Trains a net's recognition weights and a softmax layer as a classifier, by backpropagation.

    python -m experiments.train_dbn --workdir=runs/digits
    python -m experiments.finetune_classifier --workdir=runs/classifier --pretrained=runs/digits

The net may or may not have label units; the data are those that it was trained on. For comparison,
--pretrained=none starts from random weights instead, with --hidden_sizes and the data flags, and
--random_start has the data and the layers of the net, maps and pooling included, but draws all
weights anew. The error on training images, and on validation images if there are any, is measured
after every epoch; the test set is looked at once, at the end. --patience stops early, and returns
the epoch with the fewest errors on the validation images; its error on these is then too
optimistic.

figures/ holds the errors, the learning curves, and the features before and after. summary.json says
how much fine-tuning changed each layer: the relative change of its weights, and the correlation of
each unit's activity before and after. The tutorial claims that fine-tuning modifies the features
only slightly.

The default is virtual adversarial training (`dbn_jax.learning.virtual_adversarial`). On full MNIST,
`flagfiles/classifier.flags` on a net of `flagfiles/digit_model_greedy.flags`, which learnt with
labels, reaches a test error of 0.90 % in twenty minutes; dropout instead reaches 1.07 % in half the
time. On a net of `flagfiles/dbn_mnist.flags`, without labels, it reaches 0.98 % in 40 epochs, and
the published protocol, `flagfiles/classifier_2006.flags`, 1.32 %. The tutorial gives 1.15 %.

References: Hinton, "To recognize shapes, first learn to generate images" (2007); Hinton and
Salakhutdinov, "Reducing the dimensionality of data with neural networks" (2006); Miyato et al.,
"Distributional smoothing with virtual adversarial training" (2016); Srivastava et al., "Dropout: a
simple way to prevent neural networks from overfitting" (2014).
"""

from dbn_jax import data, networks, training
from experiments.common import classification, pretrained, runs, yardsticks
from experiments.common.classification import ClassifierSettings
from experiments.common.data_settings import DataSettings
from experiments.common.settings import Given, group, setting
from experiments.pictures import classifier as pictures

_HIDDEN_SIZES = (500, 500, 2000)


class Settings(runs.TrainingSettings):
    """Everything that decides the result."""

    pretrained: str = setting(
        help="Workdir of the net to start from, or the folder where it is published; none for "
        "random weights, with the data flags and --hidden_sizes.",
        folder=True,
    )
    data: DataSettings = group(DataSettings)
    hidden_sizes: tuple[int, ...] | None = setting(
        None,
        "Number of units of each hidden layer; by default those of the pretrained net, and "
        f"{','.join(map(str, _HIDDEN_SIZES))} for random weights.",
        at_least=1,
    )
    random_start: bool = setting(
        False,
        "Start from random weights in the layers of the pretrained net.",
        given=Given("pretrained", lambda beside: beside.pretrained != pretrained.NONE, " of a net"),
    )
    learning: ClassifierSettings = group(ClassifierSettings)

    def __post_init__(self):
        super().__post_init__()
        if self.pretrained != pretrained.NONE and self.data != DataSettings(
            data_dir=self.data.data_dir
        ):
            raise ValueError(
                f"--pretrained={self.pretrained} brings its own data: of their flags only "
                f"--data_dir goes with it; the others go with --pretrained={pretrained.NONE}"
            )


def run(settings: Settings, workdir: str) -> dict:
    """Fine-tunes a classifier in a workdir, or resumes there."""
    start, dataset, transform = _start(settings)
    classification.check(settings.learning, dataset)
    run = runs.open(settings, workdir)
    if run.is_done:
        return run.report()
    model, epoch = classification.train(run, settings.learning, start, dataset, transform)
    run.save_model(model)
    results, drawn = pictures.draw(
        run.key, dataset, transform, start, model, run.metrics("classifier")
    )
    run.save_figures(drawn)
    _, held_out = dataset.held_out
    yardsticks.warn({"error_rate": results["error_rate"]}, dataset, held_out)
    return run.finish({"epoch": epoch} | results)


def _start(settings: Settings) -> tuple[networks.Classifier, data.Dataset, data.Transform]:
    """The classifier before its first update, and the data."""
    if settings.pretrained == pretrained.NONE:
        dataset, transform = settings.data.load()
        hidden = settings.hidden_sizes or _HIDDEN_SIZES
        model = classification.random_classifier(settings.seed, dataset, hidden)
        return model, dataset, transform
    programs = (*pretrained.NETS, pretrained.CONVOLUTIONAL)
    net, source = pretrained.load(settings.pretrained, programs, settings.data.data_dir)
    dataset, transform = source.load()
    model = networks.classifier_of(net, dataset.num_classes)
    shapes = [layer.shape for layer in model.layers()]
    pretrained.check_data(dataset, shapes[0][0])
    hidden = tuple(outputs for _, outputs in shapes[:-1])
    if settings.hidden_sizes not in (None, hidden):
        raise ValueError(
            f"--hidden_sizes={','.join(map(str, settings.hidden_sizes))}, but the net of "
            f"--pretrained={settings.pretrained} has layers of {', '.join(map(str, hidden))} "
            "units; leave the flag out, or train another net"
        )
    if settings.random_start:
        model = networks.with_random_weights(training.spare_key(settings.seed), model)
    return model, dataset, transform


if __name__ == "__main__":
    runs.main(run, Settings)
