"""Image data sets prepared by TensorFlow Datasets (TFDS), read without TensorFlow.

A prepared data set is a folder ``data_dir/name[/config]/version``. TFDS reads its array_record and
parquet files by itself, but tfrecord files, its default, with TensorFlow only: those are read here.
Preparing a data set needs TensorFlow and the network, and is left to TFDS.
"""

import logging
import math
import os
import re
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np

from dbn_jax import files
from dbn_jax.data import idx

_LOGGER = logging.getLogger(__name__)


def read(
    name: str, data_dir: str | os.PathLike | None = None, resident_bytes: int = sys.maxsize
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], list[str]]:
    """Reads (images, labels) of the published splits, and the names of the classes.

    A name is "mnist", "emnist/letters" or "cifar10:3.0.2", say. Images are (examples, rows,
    columns[, channels]), mostly of bytes; if they are more bytes than may be in memory, a
    `np.memmap` of the file train_unpacked.npy, say, which is written once beside the prepared ones,
    so that no epoch decodes PNG files again.
    """
    default = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    folder = files.path(os.path.expanduser(default if data_dir is None else data_dir))
    prepared = find(name, folder)
    if prepared is None:
        _refuse(name, folder)
    with files.on_disk(prepared) as folder:
        return _read(name, prepared, folder, resident_bytes)


def _read(name, prepared, folder, resident_bytes):
    """Reads what is prepared from the folder, which is it or a copy of it."""
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(folder)
    except ImportError:  # TFDS names the package and how to install it
        raise
    except Exception as error:  # each damage has its own
        raise ValueError(
            f"{prepared / 'dataset_info.json'} or a file beside it is damaged ({error}): copy or "
            "prepare the data set again"
        ) from error
    names = _class_names(name, builder.info.features)
    splits = [split for split in ("train", "validation", "test") if split in builder.info.splits]
    arrays = {split: _read_split(builder, split, prepared, resident_bytes) for split in splits}
    return arrays, names


def find(name: str, folder: files.Path) -> files.Path | None:
    """The folder of the newest prepared version, or of the one that the name asks for."""
    path, _, version = name.partition(":")
    found = [file.parent for file in (folder / path).glob(f"{version or '*'}/dataset_info.json")]
    found = [d for d in found if re.fullmatch(r"\d+\.\d+\.\d+", d.name)]
    return max(found, key=lambda d: [int(n) for n in d.name.split(".")], default=None)


def _refuse(name: str, folder: files.Path) -> NoReturn:
    """Says that no data set has the name, or how one can be had that is not prepared."""
    import tensorflow_datasets as tfds

    try:
        tfds.builder(name, data_dir=folder)
    except (ValueError, AssertionError) as error:  # an unknown name, or an unknown version
        raise ValueError(
            f"no data set is called {name!r} ({str(error).splitlines()[0]}): give mnist5k, digits, "
            "a name that TFDS knows, such as mnist, fashion_mnist, emnist/letters or cifar10, or "
            f"one of those prepared in {_described(folder)}"
        ) from error
    # Not `tfds build`, which TFDS 4.9.10 cannot start without apache_beam.
    prepare = f"tfds.builder('{name}', data_dir='{folder}').download_and_prepare()"
    raise FileNotFoundError(
        f"the data set {name!r} is neither prepared by TFDS in {_described(folder)} nor there as "
        "IDX files. Remedies, any one of them:\n"
        "  - with network, here or on another machine from where the folder can be copied:\n"
        "    pip install 'dbn_jax[prepare]' && "
        f'python -c "import tensorflow_datasets as tfds; {prepare}"\n'
        f"  - IDX files: put {idx.FILE_NAMES} into a folder and give it as data_dir;\n"
        "  - without network: the data set mnist5k, 5,000 MNIST digits that a package ships."
    )


def _described(folder: files.Path) -> str:
    depths = ("*/*/dataset_info.json", "*/*/*/dataset_info.json")
    prepared = [file.parent for depth in depths for file in folder.glob(depth)]
    found = ", ".join(sorted(str(each.relative_to(folder)) for each in prepared))
    nothing = "there is none" if folder.is_dir() else "it is not a local folder"
    return f"{folder} ({found or nothing})"


def _class_names(name: str, features: Any) -> list[str]:
    """The classes of labelled images; ValueError if the features are others."""
    import tensorflow_datasets as tfds

    match dict(features):
        case {
            "image": tfds.features.Image(shape=[*shape]),
            "label": tfds.features.ClassLabel(names=names),
        } if None not in shape:
            return list(names)
    raise ValueError(
        f"the data set {name!r} has the features {dict(features)}, but only labelled images can be "
        "read: an 'image', all of one size, and a 'label' (ClassLabel)"
    )


def _read_split(
    builder: Any, split: str, prepared: files.Path, resident_bytes: int
) -> tuple[np.ndarray, np.ndarray]:
    feature, count = builder.info.features["image"], builder.info.splits[split].num_examples
    shape, dtype = (count, *feature.shape), np.dtype(feature.np_dtype)
    examples = _examples(builder, split, prepared)
    if (size := math.prod(shape) * dtype.itemsize) > resident_bytes:
        if files.in_bucket(prepared):
            raise ValueError(
                f"{prepared} is in a bucket, and {split!r} of {size:,} bytes, more than may be in "
                "memory (--resident_gigabytes), is read from a local disk only: copy the folder"
            )
        images, labels = _unpacked(examples, shape, dtype, prepared / f"{split}_unpacked.npy")
    else:
        images, labels = np.empty(shape, dtype), np.empty(count, np.int32)
        for position, (image, label) in enumerate(examples):
            images[position], labels[position] = image, label
    if not np.isin(labels, np.arange(builder.info.features["label"].num_classes)).all():
        raise ValueError(
            f"the split {split!r} in {prepared} has examples without a label (label "
            f"{labels.min()}): only labelled data sets can be read"
        )
    return images[..., 0] if images.shape[-1] == 1 else images, labels


def _unpacked(examples, shape, dtype, path):
    """(images, labels), the images in a file, which is written first if it is not there."""
    labels_path = path.with_stem(f"{path.stem}_labels")
    if not path.exists():
        _LOGGER.warning("unpacking %s, once", path)
        labels = np.empty(shape[0], np.int32)
        with files.replacing(path) as file:
            header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for position, (image, label) in enumerate(examples):
                labels[position] = label
                file.write(np.ascontiguousarray(image, dtype).data)
            with files.replacing(labels_path) as label_file:
                np.save(label_file, labels)
    return np.load(path, mmap_mode="r"), np.load(labels_path)


def _examples(builder: Any, split: str, prepared: files.Path) -> Iterator[tuple[np.ndarray, int]]:
    """Yields the images and labels of a split."""
    features, count = builder.info.features, builder.info.splits[split].num_examples
    position = 0
    try:
        for record in _records(builder, split):
            example = features.deserialize_example_np(record)
            if position == count or example["image"].shape != features["image"].shape:
                raise ValueError(f"{count} images {features['image'].shape} are expected")
            yield example["image"], example["label"]
            position += 1
        if position < count:
            raise EOFError(f"dataset_info.json states {count} examples")
    except ImportError:  # TFDS names the package and how to install it
        raise
    except Exception as error:  # each format and decoder has its own
        raise ValueError(
            f"example {position} of the split {split!r} in {prepared} cannot be read "
            f"({error}): copy or prepare the data set again"
        ) from error


def _records(builder: Any, split: str) -> Iterator[bytes]:
    """Yields the serialised examples of a split."""
    import tensorflow_datasets as tfds

    if builder.info.file_format is tfds.core.FileFormat.TFRECORD:
        for path in builder.info.splits[split].filepaths:
            yield from _tfrecords(files.path(path))
        return
    source = builder.as_data_source(
        split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
    )
    for start in range(0, len(source), 1024):  # one by one is ten times as slow
        yield from source.__getitems__(range(start, min(start + 1024, len(source))))


def _tfrecords(path: files.Path) -> Iterator[bytes]:
    """Yields the records of a TFRecord file: length, its checksum, content, its checksum.

    The checksums (CRC-32C, slow in Python) are left alone: PNG and JPEG carry their own.
    """
    content = path.read_bytes()
    start = 0
    while start < len(content):
        end = start + 12 + int.from_bytes(content[start : start + 8], "little")
        if end + 4 > len(content):
            raise ValueError(f"{path} is truncated or damaged")
        yield content[start + 12 : end]
        start = end + 4
