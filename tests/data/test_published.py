"""EMNIST and CIFAR, as they are published."""

import numpy as np
import pytest

from dbn_jax import data
from tests.data.test_idx import idx_bytes

RNG = np.random.default_rng(0)


def emnist(folder, variant, labels):
    """IDX files with the images of a variant on their side; the images as they should be."""
    upright = RNG.integers(1, 256, (len(labels), 5, 4), np.uint8)
    for part in ("train", "test"):
        prefix = folder / f"emnist-{variant}-{part}"
        lying = np.ascontiguousarray(upright.swapaxes(1, 2))
        prefix.with_name(f"{prefix.name}-images-idx3-ubyte").write_bytes(idx_bytes(lying))
        content = idx_bytes(np.array(labels, np.uint8))
        prefix.with_name(f"{prefix.name}-labels-idx1-ubyte").write_bytes(content)
    return upright


@pytest.mark.parametrize(
    ("variant", "labels", "names"),
    [
        ("letters", [1, 26], ["A", "Z"]),
        ("balanced", [0, 10, 36, 46], ["0", "A", "a", "t"]),
        ("byclass", [9, 36, 61], ["9", "a", "z"]),
    ],
)
def test_emnist_stands_upright_and_its_classes_have_names(tmp_path, variant, labels, names):
    upright = emnist(tmp_path, variant, labels)
    emnist(tmp_path, "digits", [0])  # in the same folder
    dataset = data.load(f"emnist/{variant}", data_dir=tmp_path)
    assert dataset.image_shape == (5, 4)
    np.testing.assert_array_equal(dataset.train.images, upright.reshape(len(labels), 20))
    assert [dataset.class_name(label) for label in dataset.train.labels] == names


def cifar(folder, num_labels, files):
    """Files of two records each, and their images."""
    every = []
    for file in files:
        images = RNG.integers(0, 256, (2, 32, 32, 3), np.uint8)
        labels = np.array([[7] * (num_labels - 1) + [1], [7] * (num_labels - 1) + [2]], np.uint8)
        planes = np.moveaxis(images, -1, 1).reshape(2, -1)
        (folder / file).write_bytes(np.concatenate([labels, planes], axis=1).tobytes())
        every.append(images)
    return np.concatenate(every).reshape(2 * len(files), -1)


CIFAR = {
    "cifar10": (1, [f"data_batch_{i}.bin" for i in range(1, 6)], "test_batch.bin"),
    "cifar100": (2, ["train.bin"], "test.bin"),
}
NAMES = {"cifar10": "batches.meta.txt", "cifar100": "fine_label_names.txt"}


@pytest.mark.parametrize("name", CIFAR)
def test_cifar(tmp_path, name):
    num_labels, batches, test = CIFAR[name]
    (tmp_path / test.removesuffix(".bin")).write_text("a pickle")
    words = f"lacks {', '.join([*batches, test, NAMES[name]])}: fetch the binary version of {name} "
    with pytest.raises(FileNotFoundError, match=words):
        data.load(name, data_dir=tmp_path)
    train = cifar(tmp_path, num_labels, batches)
    with pytest.raises(FileNotFoundError, match=f"lacks {test}, {NAMES[name]}: fetch the binary"):
        data.load(name, data_dir=tmp_path)
    cifar(tmp_path, num_labels, [test])
    (tmp_path / NAMES[name]).write_text("airplane\nautomobile\nbird\n\n")
    dataset = data.load(name, data_dir=tmp_path)
    assert dataset.image_shape == (32, 32, 3)
    np.testing.assert_array_equal(dataset.train.images, train)
    assert [dataset.class_name(label) for label in dataset.test.labels] == ["automobile", "bird"]
    (tmp_path / test).write_bytes(b"1234")
    with pytest.raises(
        ValueError, match=r"test\w*\.bin is damaged, fetch it again: it holds 4 byt"
    ):
        data.load(name, data_dir=tmp_path)
