"""TFDS for real: data sets that TFDS itself prepares from local arrays, read without TensorFlow.

The examples are handed to TFDS as PNG files, because it encodes arrays with TensorFlow only. It
writes tfrecord files with TensorFlow only too, so those are made here from the same records.
"""

import io
import json
import re
import struct
import sys
import time

import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds

from dbn_jax import data
from dbn_jax.data import tfds_folder

tfds.disable_progress_bar()
RANDOM = np.random.default_rng(0)
GREY = {
    "train": RANDOM.integers(0, 256, (30, 6, 5), dtype=np.uint8),
    "test": RANDOM.integers(0, 256, (9, 6, 5), dtype=np.uint8),
}
COLOUR = {
    "train": RANDOM.integers(0, 256, (4, 6, 5, 3), dtype=np.uint8),
    "validation": RANDOM.integers(0, 256, (3, 6, 5, 3), dtype=np.uint8),
    "test": RANDOM.integers(0, 256, (2, 6, 5, 3), dtype=np.uint8),
}

TRAIN_ALONE = {"train": GREY["train"]}


def png(array):
    file = io.BytesIO()
    PIL.Image.fromarray(array).save(file, "PNG")
    file.seek(0)
    return file


class LocalBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version("1.2.0")
    IMAGE = tfds.features.Image(shape=(6, 5, 1))
    ARRAYS = GREY

    def _features(self):
        return {"image": self.IMAGE, "label": tfds.features.ClassLabel(num_classes=3)}

    def _info(self):
        features = tfds.features.FeaturesDict(self._features())
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in self.ARRAYS}

    def _generate_examples(self, split):
        for number, array in enumerate(self.ARRAYS[split]):
            # TFDS shuffles: the first pixel tells the label, so that pairs can be checked.
            yield number, {"image": png(array), "label": int(array.flat[0]) % 3}


class GreyStrokes(LocalBuilder):
    pass


class ColourStrokes(LocalBuilder):
    IMAGE = tfds.features.Image(shape=(6, 5, 3))
    ARRAYS = COLOUR


class TrainOnly(LocalBuilder):
    ARRAYS = TRAIN_ALONE


class AnySize(LocalBuilder):
    IMAGE = tfds.features.Image(shape=(None, None, 1))


class SomeUnlabelled(LocalBuilder):
    def _generate_examples(self, split):
        for number, example in super()._generate_examples(split):
            yield number, example | {"label": -1 if split == "test" else 0}


class NoLabels(LocalBuilder):
    def _features(self):
        return {"image": self.IMAGE, "identity": tfds.features.Scalar(np.int64)}

    def _generate_examples(self, split):
        for number, array in enumerate(self.ARRAYS[split]):
            yield number, {"image": png(array), "identity": number}


def prepare(builder_class, folder, file_format="array_record"):
    builder = builder_class(data_dir=folder, file_format=file_format)
    builder.download_and_prepare()
    return folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    for builder_class in (GreyStrokes, ColourStrokes, TrainOnly, AnySize, NoLabels, SomeUnlabelled):
        prepare(builder_class, folder)
    return folder


def as_tfrecord(source, folder):
    """Writes the records of a prepared data set anew in the format tfrecord."""
    builder = tfds.builder_from_directory(source)
    folder.mkdir(parents=True)
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    for split in builder.info.splits:
        with (folder / f"{builder.name}-{split}.tfrecord-00000-of-00001").open("wb") as file:
            for record in builder.as_data_source(split, deserialize_method=raw):
                file.write(struct.pack("<QI", len(record), 0) + record + struct.pack("<I", 0))
    info = json.loads((source / "dataset_info.json").read_text())
    (folder / "dataset_info.json").write_text(json.dumps(info | {"fileFormat": "tfrecord"}))
    (folder / "features.json").write_text((source / "features.json").read_text())


def pairs(images, labels):
    flat = images.reshape(len(images), -1)
    return sorted((image.tobytes(), int(label)) for image, label in zip(flat, labels, strict=True))


def check_grey(dataset):
    assert dataset.image_shape == (6, 5)
    assert dataset.num_classes == 3
    assert dataset.validation is None
    for part, split in dataset.splits().items():
        assert split.images.dtype == np.uint8
        assert pairs(split.images, split.labels) == pairs(GREY[part], GREY[part][:, 0, 0] % 3)


def test_grey_images_in_array_record(prepared):
    check_grey(data.load("grey_strokes", data_dir=prepared))
    assert "tensorflow" not in sys.modules


def test_grey_images_in_parquet(tmp_path):
    check_grey(data.load("grey_strokes", data_dir=prepare(GreyStrokes, tmp_path, "parquet")))


def test_grey_images_in_tfrecord(prepared, tmp_path):
    as_tfrecord(prepared / "grey_strokes" / "1.2.0", tmp_path / "grey_strokes" / "1.2.0")
    check_grey(data.load("grey_strokes", data_dir=tmp_path))
    assert "tensorflow" not in sys.modules


def test_default_folder_is_that_of_tfds(prepared, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    check_grey(data.load("grey_strokes:1.2.0"))


def test_colour_images_and_published_validation(prepared):
    dataset = data.load("colour_strokes", data_dir=prepared)
    assert dataset.image_shape == (6, 5, 3)
    for part, array in COLOUR.items():
        split = dataset.splits()[part]
        assert pairs(split.images, split.labels) == pairs(array, array[:, 0, 0, 0] % 3)
    with pytest.raises(ValueError, match="is published with a validation set of 3"):
        data.load("colour_strokes", data_dir=prepared, num_validation=2)


def test_data_set_without_test_set_says_how(prepared):
    with pytest.raises(ValueError, match=r"published with train only: .* num_test"):
        data.load("train_only", data_dir=prepared)
    dataset = data.load("train_only", data_dir=prepared, num_test=6)
    assert (len(dataset.train), len(dataset.test)) == (24, 6)


def test_newest_version_is_read_unless_named(prepared, tmp_path):
    source = prepared / "grey_strokes" / "1.2.0"
    as_tfrecord(source, tmp_path / "grey_strokes" / "1.2.0")
    as_tfrecord(source, tmp_path / "grey_strokes" / "1.10.0")
    for file in (tmp_path / "grey_strokes" / "1.2.0").glob("*.tfrecord*"):
        file.unlink()
    check_grey(data.load("grey_strokes", data_dir=tmp_path))
    with pytest.raises(FileNotFoundError, match=r"lost .*1\.2\.0.*-train\.tfrecord-00000"):
        data.load("grey_strokes:1.2.0", data_dir=tmp_path)


def test_variants_must_be_named(prepared, tmp_path):
    as_tfrecord(prepared / "grey_strokes" / "1.2.0", tmp_path / "strokes" / "thin" / "1.2.0")
    with pytest.raises(ValueError, match=r"'strokes' has several variants; .* strokes/thin"):
        data.load("strokes", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_labels", r"'no_labels' is not one of labelled images: .*has \['identity', 'image'\]"),
        ("any_size", r"images of 'any_size' differ in size .*\(None, None, 1\)"),
        ("some_unlabelled", r"without a label \(label -1\) in its split 'test'"),
        ("../grey_strokes", "is no name of a data set"),
        ("mnits", "unknown data set 'mnits', did you mean mnist"),
        ("mnist5000", "unknown data set 'mnist5000', did you mean mnist5k"),
        ("qqqqq", "unknown data set 'qqqqq'. It is not .* IDX files train-images-idx3-ubyte"),
    ],
)
def test_unfit_names_are_refused(prepared, name, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        data.load(name, data_dir=prepared)


@pytest.mark.parametrize("cut", [1, 20, 500])
def test_truncated_tfrecord_is_named(prepared, tmp_path, cut):
    folder = tmp_path / "grey_strokes" / "1.2.0"
    as_tfrecord(prepared / "grey_strokes" / "1.2.0", folder)
    path = folder / "grey_strokes-train.tfrecord-00000-of-00001"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(ValueError, match=f"{re.escape(str(path))} is truncated"):
        data.load("grey_strokes", data_dir=tmp_path)


@pytest.mark.parametrize("content", [b"", b"no records"])
def test_damaged_array_record_is_named(tmp_path, content):
    folder = prepare(GreyStrokes, tmp_path) / "grey_strokes" / "1.2.0"
    (folder / "grey_strokes-train.array_record-00000-of-00001").write_bytes(content)
    message = f"example 0 of the split 'train' in {re.escape(str(folder))} cannot be read"
    with pytest.raises(ValueError, match=message):
        data.load("grey_strokes", data_dir=tmp_path)


def test_damaged_image_is_named(prepared, tmp_path):
    folder = tmp_path / "grey_strokes" / "1.2.0"
    as_tfrecord(prepared / "grey_strokes" / "1.2.0", folder)
    path = folder / "grey_strokes-train.tfrecord-00000-of-00001"
    content = path.read_bytes()
    second = content.index(b"\x89PNG", content.index(b"\x89PNG") + 1)
    path.write_bytes(content[:second] + b"XPNG" + content[second + 4 :])
    with pytest.raises(ValueError, match="example 1 of the split 'train'"):
        data.load("grey_strokes", data_dir=tmp_path)


def test_lost_records_are_counted(prepared, tmp_path):
    folder = tmp_path / "grey_strokes" / "1.2.0"
    as_tfrecord(prepared / "grey_strokes" / "1.2.0", folder)
    path = folder / "grey_strokes-train.tfrecord-00000-of-00001"
    content = path.read_bytes()
    path.write_bytes(content[16 + struct.unpack("<Q", content[:8])[0] :])  # drops the first record
    with pytest.raises(ValueError, match=r"holds 29 examples of the split 'train' .* states 30"):
        data.load("grey_strokes", data_dir=tmp_path)


def test_unprepared_data_set_fails_fast_and_names_the_remedies(tmp_path):
    start = time.monotonic()
    with pytest.raises(FileNotFoundError) as error:
        data.load("mnist", data_dir=tmp_path)
    assert time.monotonic() - start < 5
    for remedy in (
        "'mnist' is neither prepared by TFDS in " + str(tmp_path),
        "pip install 'dbn_jax[prepare]'",
        f"data.load('mnist', data_dir='{tmp_path}', download=True)",
        "t10k-labels-idx1-ubyte",
        "mnist5k",
    ):
        assert remedy in str(error.value)


def test_download_without_network_fails_within_seconds(tmp_path, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("no_proxy", "")
    start = time.monotonic()
    message = (
        "cannot download .*'mnist': https://storage.googleapis.com is out of reach (?s:.*)mnist5k"
    )
    with pytest.raises(ConnectionError, match=message):
        data.load("mnist", data_dir=tmp_path / "new", download=True)
    assert time.monotonic() - start < 10
    assert not (tmp_path / "new").exists()


def test_download_without_tensorflow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds_folder, "_check_network", lambda *_: None)
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ImportError, match=r"needs TensorFlow .* pip install 'dbn_jax\[prepare\]'"):
        data.load("mnist", data_dir=tmp_path, download=True)


@pytest.mark.parametrize(
    ("package", "message"),
    [
        ("PIL", r"pip install 'dbn_jax\[experiments\]'"),
        ("array_record", "pip install array_record"),
    ],
)
def test_missing_decoders_are_named(prepared, monkeypatch, package, message):
    find_spec = tfds_folder.importlib.util.find_spec
    absent = {package, "cv2"}
    monkeypatch.setattr(
        tfds_folder.importlib.util,
        "find_spec",
        lambda name, *rest: None if name in absent else find_spec(name, *rest),
    )
    with pytest.raises(ImportError, match=message):
        data.load("grey_strokes", data_dir=prepared)
