"""What the commands refuse before a workdir is held."""

import dataclasses
import functools
import re

import jax
import numpy as np
import pytest

from dbn_jax import networks, rbm, units
from experiments import (
    baselines,
    embed_codes,
    estimator_variance,
    evaluate,
    finetune_bound,
    finetune_classifier,
    finetune_memory,
    finetune_updown,
    generate,
    train_autoencoder,
    train_dbn,
    train_patches,
    train_rbm,
    why_it_works,
)
from experiments.common.classification import ClassifierSettings
from experiments.common.data_settings import DataSettings
from experiments.train_autoencoder import BackpropagationSettings
from tests import finished_runs
from tests.small_jobs import DIGITS, QUICK, QUICK_TOP, UNLABELLED, small_dbn, small_rbm

pytestmark = pytest.mark.usefixtures("implicit_promotion")


EXACT = dataclasses.replace(QUICK, learner="exact")
STOPPING = ClassifierSettings(patience=3)
LONG = dataclasses.replace(QUICK, epochs=1_000_000, batch_size=1)
SPARSE = dataclasses.replace(QUICK, sparsity_target=1.5)


def test_images_without_labels_where_labels_are_needed(tmp_path):
    path = str(tmp_path / "mine.npz")
    np.savez(path, images=np.full((500, 8, 8), 255, np.uint8))
    own = DataSettings(dataset=path)
    words = f"--dataset={path} has one class, as images without labels have, and a choice needs two"
    calls = [
        (train_dbn, small_dbn(data=own), "give it labels, or train the net without (--nolabels)"),
        (finetune_classifier, finetune_classifier.Settings(pretrained="none", data=own), "give it"),
        (baselines, baselines.Settings(dataset=path), "give it labels"),
    ]
    for module, settings, remedy in calls:
        with pytest.raises(ValueError, match=f"^{re.escape(f'{words}: {remedy}')}"):
            module.run(settings, str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_batch_that_the_images_cannot_fill(tmp_path):
    net = finished_runs.random_net(tmp_path / "net", (10, 12))
    start, many = {"pretrained": net}, {"batch_size": 9000}
    large, large_top = (dataclasses.replace(settings, **many) for settings in (QUICK, QUICK_TOP))
    tuning, classifying = BackpropagationSettings(**many), ClassifierSettings(**many)
    calls = [
        (train_rbm, small_rbm(learning=large), ""),
        (train_dbn, small_dbn(learning=large), ""),
        (train_dbn, small_dbn(top=large_top), "top_"),
        (train_autoencoder, train_autoencoder.Settings(data=DIGITS, learning=large), ""),
        (train_autoencoder, train_autoencoder.Settings(data=DIGITS, finetune=tuning), "finetune_"),
        (finetune_classifier, finetune_classifier.Settings(**start, learning=classifying), ""),
        (finetune_bound, finetune_bound.Settings(**start, learning=large), ""),
        (finetune_memory, finetune_memory.Settings(**start, **many), ""),
        (estimator_variance, estimator_variance.Settings(**start, **many), ""),
        (finetune_updown, finetune_updown.Settings(**start, **many), ""),
    ]
    for module, settings, prefix in calls:
        words = rf"--{prefix}batch_size=9000, but there are \d+ training images"
        with pytest.raises(ValueError, match=words):
            module.run(settings, str(tmp_path / "run"))
        assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Workdirs that --pretrained may name."""
    folder, key = tmp_path_factory.mktemp("runs"), jax.random.key(0)
    twos = dataclasses.replace(DIGITS, classes=(2,))
    codes = train_autoencoder.Settings(data=DIGITS, hidden_sizes=(20, 6))
    saved = {
        "rbm": (rbm.init_params(key, 64, 4), small_rbm()),
        "gaussian": (rbm.init_params(key, 64, 4, visible=units.Gaussian()), small_rbm()),
        "large": (rbm.init_params(key, 81, 4), small_rbm()),
        "standardised": (rbm.init_params(key, 64, 4), small_rbm(data=STANDARDISED)),
        "codes": (networks.init_autoencoder(key, (64, 20, 6)), codes),
    }
    return {
        "net": finished_runs.random_net(folder / "net", (10, 12)),
        "alone": finished_runs.random_net(folder / "alone", (8,), **UNLABELLED),
        "twos": finished_runs.random_net(folder / "twos", (10, 12), data=twos),
        **{name: finished_runs.save(folder / name, *run) for name, run in saved.items()},
    }


MAKERS = {
    train_rbm: small_rbm,
    train_dbn: small_dbn,
    train_autoencoder: functools.partial(train_autoencoder.Settings, data=DIGITS),
}
STANDARDISED = dataclasses.replace(DIGITS, standardise=True)
UPSIDE_DOWN = {"top_start": "upside_down"}


def top(**changes):
    return {"top": dataclasses.replace(QUICK_TOP, **changes)}


def on(name, **changes):
    return {"pretrained": name, **changes}


@pytest.mark.parametrize(
    ("module", "changes", "words"),
    [
        (train_rbm, {"visible": "poisson", "hidden": "gaussian"}, "no normalisable joint"),
        (train_rbm, {"hidden": "softmax"}, "16 softmax units cannot be split into groups"),
        (train_rbm, {"num_hidden": 26, "learning": EXACT}, r"2\^26; .* learn by CD or PCD"),
        (
            train_rbm,
            {"learning": SPARSE},
            "^--visible=bernoulli --hidden=bernoulli --num_hidden=16 --learner=cd .*"
            "--sparsity_target=1.5: target is 1.5; .* of Bernoulli hidden units",
        ),
        (train_rbm, {"num_hidden": 2**31 - 1}, r"at least [\d,]+ GB, and this machine has \d+ GB;"),
        (
            train_rbm,
            {"learning": LONG, "data": DataSettings()},
            "^--epochs=1000000 with --batch_size=1 is 4,000,000,000 updates, which are counted in",
        ),
        (train_dbn, {"hidden_sizes": (40, 20), "learning": EXACT}, r"has 2\^40"),
        (train_dbn, UNLABELLED | top(learner="exact") | {"hidden_sizes": (40, 30)}, r"has 2\^30"),
        (train_dbn, UNLABELLED | top(learner="labelled_pcd"), "--nolabels leaves none; choose an"),
        (train_dbn, top(centring="enhanced"), "--top_centring=centred, or --top_label_cost=0"),
        (train_dbn, {"data": STANDARDISED}, "--standardise: the pixels of the net are binary unit"),
        (train_dbn, UPSIDE_DOWN | {"hidden_sizes": (20,)}, "64 pixels has no layer below"),
        (train_dbn, UPSIDE_DOWN | {"hidden_sizes": (16, 12, 15)}, "64 pixels has 15 and 16$"),
        (
            train_dbn,
            top(num_chains=9),
            "^--hidden_sizes=16,12,20 --top_learner=labelled_pcd .*--top_num_chains=9 .*: "
            "num_chains is 9, but there are 10 labels",
        ),
        (train_autoencoder, {"learning": EXACT}, r"has 2\^64"),
        (train_autoencoder, {"hidden_sizes": (30,)}, "=30: .* at least one hidden layer below its"),
        (train_autoencoder, {"hidden_sizes": (70, 65)}, "--hidden_sizes=70,65: .* at most 64"),
        (train_autoencoder, {"data": STANDARDISED}, r"--standardise: .* \[0, 1\]"),
        (train_patches, {"num_train": 50}, "--num_train=50 is fewer than --batch_size=100 or --"),
        (train_patches, {"num_train": 200, "max_mixture": 201}, "is fewer .* --max_mixture=201"),
        (train_patches, {"size": 6, "num_components": 36}, "^--num_components=36: num_comp"),
        (why_it_works, {"num_updates": 120}, "--num_updates=120: it must be a multiple of 50"),
        (finetune_classifier, on("net", data=DIGITS), "net brings its own data: of their flags"),
        (finetune_classifier, on("net", hidden_sizes=(9, 9)), "=9,9, but .* of 10, 12 units"),
        (
            finetune_classifier,
            on("none", learning=STOPPING),
            "^--patience=3 looks at validation data",
        ),
        (finetune_memory, on("net", num_chains=4), "^--num_chains=4: .* but there are 10 labels"),
        (finetune_memory, on("alone"), "^--pretrained=.*alone: the RBM has no label units"),
        (finetune_updown, on("alone", label_cost=1.0), r"^--label_cost=1\.0 .*: .* no label units"),
        (finetune_bound, on("alone", num_paths=3), "^--num_paths=3 does nothing with a net of one"),
        (generate, on("alone", columns=5), "^--columns=5 does nothing with a net without label un"),
        (evaluate, on("rbm", passes=5), "^--passes=5 does nothing with a model of one layer"),
        (
            finetune_updown,
            on("net", adversarial_radius=2.0),
            r"=2\.0 .* --label_cost, which is 0",
        ),
        (estimator_variance, on("alone"), "single layer, which recognises exactly"),
        (evaluate, on("rbm", ais_steps=2), "--ais_steps=2: .* at least 3, or 0 to"),
        (evaluate, on("rbm", ais_steps=0), "nothing to evaluate: .*rbm has no label units"),
        (evaluate, on("rbm", split="validation"), "no validation set beside --pr.*--split=test"),
        (evaluate, on("gaussian"), "pixels of .*gaussian are Gaussian units; .* Bernoulli"),
        (evaluate, on("standardised"), "are made real numbers by --standardise; evaluate is for"),
        (evaluate, on("large"), "10 classes, but the model has 81 pixels; are these"),
        (evaluate, on("codes"), "made by train_autoencoder; expected a run of train_rbm, train"),
        (generate, on("rbm"), "made by train_rbm; expected a run of train_dbn, finetune_updown"),
        (generate, on("twos"), r"learnt the class 2 only; .*at least two classes"),
        (embed_codes, on("net"), "made by train_dbn; expected a run of train_autoencoder"),
        (embed_codes, on("codes", num_steps=70), "--num_steps=70: it must be a multiple of 50"),
        (embed_codes, on("codes", num_images=9999), r"=9999, but there are \d+ test images"),
        (embed_codes, on("codes", num_images=20), "^--perplexity=30.0: .* of 20 points has"),
    ],
)
def test_settings_that_do_not_fit(runs, tmp_path, module, changes, words):
    if "pretrained" in changes:
        name = changes["pretrained"]
        changes = changes | {"pretrained": runs.get(name, name)}
    with pytest.raises(ValueError, match=words):
        module.run(MAKERS.get(module, module.Settings)(**changes), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ({"num_pixels": 49}, "have 64 pixels and 10 .* the model has 49 pixels and 10 label"),
        ({"num_labels": 12}, "and 10 classes, but the model has 64 pixels and 12 label units; are"),
    ],
)
def test_other_data(tmp_path, shape, words):
    net = finished_runs.random_net(tmp_path / "net", (10, 12), **shape)
    for module in (estimator_variance, finetune_bound, finetune_memory, finetune_updown, generate):
        with pytest.raises(ValueError, match=words):
            module.run(module.Settings(pretrained=net), str(tmp_path / "run"))
        assert not (tmp_path / "run").exists()
