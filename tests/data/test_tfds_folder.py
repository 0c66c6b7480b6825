"""TFDS for real: data sets that TFDS itself prepares from local arrays, read without TensorFlow.

The examples are handed to TFDS as PNG files, because it encodes arrays with TensorFlow only. It
writes tfrecord files with TensorFlow only too, so those are made here from the same records.
"""

import io
import json
import re
import shutil
import struct
import sys
import time

import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds

from dbn_jax import data, training
from dbn_jax.data import tfds_folder
from tests import buckets

tfds.disable_progress_bar()
RANDOM = np.random.default_rng(0)


def noise(*shape):
    return RANDOM.integers(0, 256, shape, dtype=np.uint8)


GREY = {"train": noise(30, 6, 5), "test": noise(9, 6, 5)}
COLOUR = {"train": noise(4, 6, 5, 3), "validation": noise(3, 6, 5, 3), "test": noise(2, 6, 5, 3)}


def png(array):
    file = io.BytesIO()
    PIL.Image.fromarray(array).save(file, "PNG")
    file.seek(0)
    return file


class LocalBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version("1.2.0")
    SHAPE = (6, 5, 1)
    ARRAYS = GREY
    LABEL = "label"
    UNLABELLED = None

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=self.SHAPE),
            self.LABEL: tfds.features.ClassLabel(num_classes=3),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in self.ARRAYS}

    def _generate_examples(self, split):
        for number, array in enumerate(self.ARRAYS[split]):
            # TFDS shuffles: the first pixel tells the label, so that it can be checked.
            label = -1 if split == self.UNLABELLED else int(array.flat[0]) % 3
            yield number, {"image": png(array), self.LABEL: label}


def named_info(self):
    features = {
        "image": tfds.features.Image(shape=self.SHAPE),
        "label": tfds.features.ClassLabel(names=["dress", "coat", "bag"]),
    }
    return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))


def variant(name, **attributes):
    return type(name, (LocalBuilder,), attributes, skip_registration=True)


GreyStrokes = variant("GreyStrokes")
OTHERS = (
    variant("ColourStrokes", SHAPE=(6, 5, 3), ARRAYS=COLOUR),
    variant("TrainOnly", ARRAYS={"train": GREY["train"]}),
    variant("AnySize", SHAPE=(None, None, 1)),
    variant("NoLabels", LABEL="identity"),
    variant("Named", _info=named_info),
    variant("SomeUnlabelled", UNLABELLED="test"),
)


def prepare(builder_class, folder, file_format="array_record"):
    builder_class(data_dir=folder, file_format=file_format).download_and_prepare()
    return folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    for builder_class in (GreyStrokes, *OTHERS):
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


@pytest.fixture
def tfrecord(prepared, tmp_path):
    """The grey data set in the format tfrecord: its file of training examples."""
    folder = tmp_path / "grey_strokes" / "1.2.0"
    as_tfrecord(prepared / "grey_strokes" / "1.2.0", folder)
    return folder / "grey_strokes-train.tfrecord-00000-of-00001"


def check(dataset, arrays):
    assert dataset.num_classes == 3
    assert dataset.splits().keys() == arrays.keys()
    for part, split in dataset.splits().items():
        assert dataset.image_shape == arrays[part].shape[1:]
        assert split.images.dtype == np.uint8
        flat = arrays[part].reshape(len(arrays[part]), -1)
        assert sorted(split.images.tolist()) == sorted(flat.tolist())
        np.testing.assert_array_equal(split.labels, split.images[:, 0] % 3)


def test_every_file_format_is_read_without_tensorflow(prepared, tfrecord, tmp_path, monkeypatch):
    parquet = prepare(GreyStrokes, tmp_path / "parquet", "parquet")
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))  # the default folder
    for folder in (None, tfrecord.parents[2], parquet):
        check(data.load("grey_strokes:1.2.0", data_dir=folder), GREY)
    assert "tensorflow" not in sys.modules


def test_classes_have_the_names_that_the_data_set_gives_them(prepared):
    dataset = data.load("named", data_dir=prepared)
    assert dataset.class_names == ("dress", "coat", "bag")
    assert dataset.class_name(dataset.train.labels[0]) in dataset.class_names
    check(dataset, GREY)
    numbered = data.load("grey_strokes", data_dir=prepared)
    assert numbered.class_names is None
    assert numbered.class_name(2) == "2"


def test_colour_images_and_published_validation(prepared):
    check(data.load("colour_strokes", data_dir=prepared), COLOUR)
    with pytest.raises(ValueError, match="is published with a validation set of 3"):
        data.load("colour_strokes", data_dir=prepared, num_validation=2)


def test_data_set_without_test_set_is_refused(prepared):
    with pytest.raises(ValueError, match=r"published with train only, .* test set are needed"):
        data.load("train_only", data_dir=prepared)


def test_newest_version_is_read_unless_named(prepared, tfrecord):
    root = tfrecord.parents[2]
    as_tfrecord(prepared / "grey_strokes" / "1.2.0", root / "grey_strokes" / "1.10.0")
    (root / "grey_strokes" / "1.11.0.incompleteXYZ").mkdir()
    (root / "grey_strokes" / "1.11.0.incompleteXYZ" / "dataset_info.json").write_text("{}")
    tfrecord.unlink()
    check(data.load("grey_strokes", data_dir=root), GREY)
    lost = rf"No such file.*{re.escape(str(tfrecord))}.*copy or prepare the data set again"
    with pytest.raises(ValueError, match=lost):
        data.load("grey_strokes:1.2.0", data_dir=root)


def test_variant_must_be_named(prepared, tmp_path):
    as_tfrecord(prepared / "grey_strokes" / "1.2.0", tmp_path / "strokes" / "thin" / "1.2.0")
    with pytest.raises(ValueError, match=r"is called 'strokes' .*\(strokes/thin/1\.2\.0\)"):
        data.load("strokes", data_dir=tmp_path)
    check(data.load("strokes/thin", data_dir=tmp_path), GREY)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_labels", r"'no_labels' has the features .*identity.* only labelled images"),
        ("any_size", r"'any_size' has the features .*None.* all of one size"),
        ("some_unlabelled", r"split 'test' in .* without a label \(label -1\)"),
        ("strokes/../grey", "no data set is called 'strokes/../grey'"),
        ("mnits", "called 'mnits' .* give mnist5k, digits, .*such as mnist, .*grey_strokes/1.2.0"),
        ("mnist:1.0.0", "called 'mnist:1.0.0' .*only: 3"),
    ],
)
def test_unfit_names_are_refused(prepared, name, message):
    with pytest.raises(ValueError, match=message):
        data.load(name, data_dir=prepared)


def spoil_second_image(content):
    second = content.index(b"\x89PNG", content.index(b"\x89PNG") + 1)
    return content[:second] + b"XPNG" + content[second + 4 :]


def drop_first_record(content):
    return content[16 + struct.unpack("<Q", content[:8])[0] :]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-1], r"example 29 .*-train\.tfrecord-00000-.* is truncated"),
        (lambda content: content[:9], "example 0 .* is truncated"),
        (spoil_second_image, "example 1 of the split 'train' .* cannot be read"),
        (drop_first_record, "example 29 of .* cannot be read .* states 30 examples"),
        (lambda content: content + content, "example 30 of .* cannot be read"),
    ],
)
def test_damaged_tfrecord_is_named(tfrecord, damage, message):
    tfrecord.write_bytes(damage(tfrecord.read_bytes()))
    with pytest.raises(ValueError, match=message) as error:
        data.load("grey_strokes", data_dir=tfrecord.parents[2])
    assert f"{tfrecord.parent}" in str(error.value)


@pytest.mark.parametrize("content", [b"", b"no records"])
def test_damaged_array_record_is_named(tmp_path, content):
    folder = prepare(GreyStrokes, tmp_path) / "grey_strokes" / "1.2.0"
    (folder / "grey_strokes-train.array_record-00000-of-00001").write_bytes(content)
    message = f"example 0 of the split 'train' in {re.escape(str(folder))} cannot be read"
    with pytest.raises(ValueError, match=message):
        data.load("grey_strokes", data_dir=tmp_path)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe"])
def test_damaged_description_is_named(tmp_path, content):
    file = tmp_path / "strokes" / "1.2.0" / "dataset_info.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    message = f"{re.escape(str(file))} or a file beside it is damaged .*: copy or prepare the data"
    with pytest.raises(ValueError, match=message):
        data.load("strokes", data_dir=tmp_path)


def test_images_of_floats_are_grey_levels(tmp_path):
    """TFDS keeps their bytes as colours: by TensorFlow, but it reads them without."""
    images = {part: (grey / np.float32(255))[..., None] for part, grey in GREY.items()}
    colours = {part: grey.view(np.uint8) for part, grey in images.items()}
    folder = prepare(variant("Floats", SHAPE=(6, 5, 4), ARRAYS=colours), tmp_path)
    file = folder / "floats" / "1.2.0" / "features.json"
    described = file.read_text().replace('"uint8"', '"float32"').replace('"4"', '"1"')
    file.write_text(described)
    dataset = data.load("floats", data_dir=folder)
    assert (dataset.scale, dataset.image_shape) == (1, (6, 5))
    expected = images["train"].reshape(30, 30)
    order, found = (np.lexsort(rows.T) for rows in (expected, dataset.train.images))
    np.testing.assert_array_equal(dataset.train.images[found], expected[order], strict=True)


def test_unprepared_data_set_fails_fast_and_names_the_remedies(tmp_path, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there: no network
    monkeypatch.setenv("no_proxy", "")
    folder = tmp_path / "new"
    start = time.monotonic()
    with pytest.raises(FileNotFoundError) as error:
        data.load("mnist", data_dir=folder)
    assert time.monotonic() - start < 10
    assert not folder.exists()
    for remedy in (
        f"'mnist' is neither prepared by TFDS in {folder} (it is not a local folder) nor",
        "pip install 'dbn_jax[prepare]'",
        f"tfds.builder('mnist', data_dir='{folder}').download_and_prepare()",
        "t10k-labels-idx1-ubyte",
        "mnist5k",
    ):
        assert remedy in str(error.value)


def test_missing_decoders_are_named_by_tfds(prepared, monkeypatch):
    def decode(features, record):
        raise ImportError("pip install pillow")

    monkeypatch.setattr(tfds.features.FeaturesDict, "deserialize_example_np", decode)
    with pytest.raises(ImportError, match="pip install pillow"):
        data.load("grey_strokes", data_dir=prepared)


@pytest.mark.parametrize("name", ["grey_strokes", "colour_strokes"])
def test_images_that_may_not_be_in_memory_are_unpacked_once(prepared, tmp_path, name, monkeypatch):
    folder = tmp_path / "copy"
    shutil.copytree(prepared / name, folder / name)
    in_memory = data.load(name, data_dir=folder)
    for _ in range(2):
        dataset = data.load(name, data_dir=folder, resident_bytes=100)
        for part, split in dataset.splits().items():
            assert isinstance(split.images, np.memmap)
            np.testing.assert_array_equal(split.images, in_memory.splits()[part].images)
            np.testing.assert_array_equal(split.labels, in_memory.splits()[part].labels)
        monkeypatch.setattr(tfds_folder, "_records", None)  # no record is read again


def test_what_cannot_be_unpacked_leaves_nothing(tfrecord):
    tfrecord.write_bytes(tfrecord.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"example 29 of the split 'train' .* cannot be read"):
        data.load("grey_strokes", data_dir=tfrecord.parents[2], resident_bytes=100)
    assert not list(tfrecord.parent.glob("*unpacked*"))
    assert not list(tfrecord.parent.glob(".*"))


def test_records_are_read_as_training_needs_them(prepared):
    """A data source of TFDS is data of `training.train`: the same bits as its images in memory."""

    def step(key, state, batch):
        return 0.9 * state + batch["image"][..., 0].mean(axis=0, dtype=np.float32), {}

    source = tfds.builder_from_directory(prepared / "grey_strokes" / "1.2.0").as_data_source(
        "train"
    )
    columns = {"image": [], "label": []}
    for row in source:
        for name, values in columns.items():
            values.append(row[name])
    settings = training.Settings(seed=0, num_epochs=3, batch_size=7, show_progress=False)
    states = [
        training.train(step, np.zeros((6, 5), np.float32), rows, settings=settings)
        for rows in (source, {name: np.stack(values) for name, values in columns.items()})
    ]
    np.testing.assert_array_equal(*states)


def test_data_sets_in_a_bucket_are_read(prepared, tfrecord, bucket):
    buckets.upload(prepared / "grey_strokes", bucket / "prepared/grey_strokes")
    buckets.upload(tfrecord.parent, bucket / "tfrecord/grey_strokes/1.2.0")
    for folder in ("prepared", "tfrecord"):
        check(data.load("grey_strokes:1.2.0", data_dir=str(bucket / folder)), GREY)
    message = re.escape(f"prepared in {bucket}/prepared (grey_strokes/1.2.0)")
    with pytest.raises(ValueError, match=message):
        data.load("unknown", data_dir=bucket / "prepared")
    large = re.escape(
        f"{bucket}/prepared/grey_strokes/1.2.0 is in a bucket, and 'train' of 900 bytes"
    )
    with pytest.raises(ValueError, match=f"^{large}"):
        data.load("grey_strokes", data_dir=bucket / "prepared", resident_bytes=100)
