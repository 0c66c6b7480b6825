"""Image data sets prepared by TensorFlow Datasets (TFDS), read without TensorFlow.

TFDS keeps a prepared data set in ``data_dir/name[/config]/version``. Files of the formats
array_record and parquet are read through `tfds` data sources, and tfrecord, its default, record by
record here, because TFDS itself reads those with TensorFlow only. TFDS decodes the examples, for
which it needs Pillow or OpenCV. Preparing a data set is another matter: it needs TensorFlow and,
nearly always, the network, and happens only when asked for.
"""

import difflib
import importlib.util
import os
import re
import struct
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dbn_jax.data import idx

# A data set's name in TFDS: name, name/config, name:version or name/config:version.
_NAME = re.compile(r"(?P<path>\w+(/[\w.+-]+)?)(:(?P<version>\d+\.\d+\.\d+))?")
_CONNECTION_SECONDS = 5.0
_RECORDS_AT_ONCE = 1024


def read(
    name: str, data_dir: str | os.PathLike | None = None, *, download: bool = False
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], int]:
    """Reads the published train, validation and test splits of a prepared data set.

    Args:
      name: TFDS name, such as "mnist", "emnist/letters" or "cifar10:3.0.2".
      data_dir: the TFDS folder; TFDS's own default ($TFDS_DATA_DIR, else ~/tensorflow_datasets) if
        None.
      download: prepare the data set there first if it is not yet; needs the network.

    Returns:
      (images, labels) of each split, images of bytes (examples, rows, columns[, channels]); and the
      number of classes.

    Raises:
      ValueError: if the name is unknown or ambiguous, or the data set is not one of labelled
        8-bit images of one size.
      FileNotFoundError: if the data set is not prepared in the folder.
      ConnectionError: if `download` is asked for and the network is out of reach.
      ImportError: if a package that is needed is not installed.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(
            f"name {name!r} is no name of a data set: write mnist5k, digits, or a TFDS name such "
            "as mnist, emnist/letters or cifar10:3.0.2"
        )
    import tensorflow_datasets as tfds

    default = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    folder = Path(default if data_dir is None else data_dir).expanduser()
    prepared = _find_prepared(folder, match["path"], match["version"])
    if prepared is None:
        _check_known(name, match["path"].split("/")[0], folder)
        if not download:
            raise FileNotFoundError(_not_prepared(name, folder))
        _prepare(name, folder)
        prepared = _find_prepared(folder, match["path"], match["version"])
        if prepared is None:
            raise FileNotFoundError(f"TFDS prepared {name!r}, but not in a version under {folder}")
    builder = tfds.builder_from_directory(prepared)
    num_classes = _check_features(name, builder.info.features)
    wanted = [split for split in ("train", "validation", "test") if split in builder.info.splits]
    return {split: _read_split(builder, split) for split in wanted}, num_classes


def holds(name: str, folder: Path) -> bool:
    """Whether the folder holds a prepared data set of that name."""
    match = _NAME.fullmatch(name)
    return match is not None and _find_prepared(folder, match["path"], match["version"]) is not None


def _find_prepared(folder: Path, path: str, version: str | None) -> Path | None:
    """Returns the folder of the newest prepared version (or of the one asked for), or None."""
    base = folder / path
    if not base.is_dir():
        return None
    found = {d.name: d for d in base.iterdir() if (d / "dataset_info.json").is_file()}
    if version is not None:
        return found.get(version)
    versions = [v for v in found if re.fullmatch(r"\d+\.\d+\.\d+", v)]
    if versions:
        return found[max(versions, key=lambda v: tuple(map(int, v.split("."))))]
    configs = sorted({d.parent.parent.name for d in base.glob("*/*/dataset_info.json")})
    if configs:
        raise ValueError(
            f"name {path!r} has several variants; prepared in {folder} are: "
            + ", ".join(f"{path}/{config}" for config in configs)
        )
    return None


def _check_known(name: str, dataset: str, folder: Path) -> None:
    import tensorflow_datasets as tfds

    known = ["mnist5k", "digits", *tfds.list_builders(with_community_datasets=False)]
    if dataset not in known:
        close = difflib.get_close_matches(dataset, known)
        hint = f", did you mean {' or '.join(close)}?" if close else "."
        raise ValueError(
            f"unknown data set {name!r}{hint} It is not mnist5k or digits, TFDS does not know it, "
            f"and {folder} holds neither a prepared data set of that name nor the IDX files "
            f"{idx.FILE_NAMES}"
        )


def _not_prepared(name: str, folder: Path) -> str:
    return (
        f"the data set {name!r} is neither prepared by TFDS in {folder} nor there as IDX files, "
        "and nothing is downloaded unless asked for. Remedies, any one of them:\n"
        f"  - with network: {_command(name, folder)}\n"
        "    (here, or on another machine, from where the folder can be copied);\n"
        f"  - IDX files: put {idx.FILE_NAMES} into a folder and give it as data_dir;\n"
        "  - without network: the data set mnist5k, 5,000 MNIST digits that a package ships."
    )


def _command(name: str, folder: Path) -> str:
    # Not `tfds build`, which TFDS 4.9.10 cannot start without apache_beam.
    load = f"data.load('{name}', data_dir='{folder}', download=True)"
    return f"pip install 'dbn_jax[prepare]' && python -c \"from dbn_jax import data; {load}\""


def _prepare(name: str, folder: Path) -> None:
    """Lets TFDS download and prepare, once it is clear that it can."""
    import tensorflow_datasets as tfds

    builder = tfds.builder(name, data_dir=folder)
    url = next(iter(builder.url_infos or ()), "https://storage.googleapis.com")
    _check_network(url, name, folder)
    if importlib.util.find_spec("tensorflow") is None:
        raise ModuleNotFoundError(
            f"preparing the data set {name!r} needs TensorFlow (reading a prepared one does not): "
            "pip install 'dbn_jax[prepare]'"
        )
    builder.download_and_prepare()


def _check_network(url: str, name: str, folder: Path) -> None:
    """Raises within seconds where TFDS would retry for minutes."""
    host = "/".join(url.split("/")[:3])
    failure: list[str] = [f"no answer within {_CONNECTION_SECONDS:g} s"]

    def connect():
        try:
            request = urllib.request.Request(host, method="HEAD")
            urllib.request.urlopen(request, timeout=_CONNECTION_SECONDS).close()
        except urllib.error.HTTPError:
            pass  # an answer, whatever it says
        except OSError as error:
            failure[0] = str(error)
            return
        failure.clear()

    # Looking a name up knows no time limit, hence a thread that can be left behind.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(_CONNECTION_SECONDS)
    if failure:
        raise ConnectionError(
            f"cannot download the data set {name!r}: {host} is out of reach ({failure[0]}). "
            f"Run\n    {_command(name, folder)}\non a machine with network and copy that "
            "folder here, give a folder of IDX files as data_dir, or take the data set mnist5k, "
            "which needs no network"
        )


def _check_features(name: str, features: Any) -> int:
    """Raises unless the examples are 8-bit images of one size with class labels."""
    import tensorflow_datasets as tfds

    present = dict(features) if isinstance(features, tfds.features.FeaturesDict) else {}
    image, label = present.get("image"), present.get("label")
    if not (isinstance(image, tfds.features.Image) and isinstance(label, tfds.features.ClassLabel)):
        raise ValueError(
            f"the data set {name!r} is not one of labelled images: it needs the features 'image' "
            f"(an Image) and 'label' (a ClassLabel), and has {sorted(present) or features}"
        )
    if image.np_dtype != np.uint8:
        raise ValueError(f"the images of {name!r} are {np.dtype(image.np_dtype)}, not 8-bit")
    if None in image.shape:
        raise ValueError(
            f"the images of {name!r} differ in size (their shape is {image.shape}): only data sets "
            "whose images have one size can be read"
        )
    return label.num_classes


def _read_split(builder: Any, split: str) -> tuple[np.ndarray, np.ndarray]:
    features = builder.info.features
    if importlib.util.find_spec("PIL") is None and importlib.util.find_spec("cv2") is None:
        raise ModuleNotFoundError(
            "decoding the images of a TFDS data set needs Pillow: "
            "pip install 'dbn_jax[experiments]'"
        )
    count = builder.info.splits[split].num_examples
    images = np.empty((count, *features["image"].shape), np.uint8)
    labels = np.empty(count, np.int32)
    position = 0
    try:
        for record in _records(builder, split):
            example = features.deserialize_example_np(record)
            images[position], labels[position] = example["image"], example["label"]
            position += 1
    except (FileNotFoundError, ImportError):
        raise
    except Exception as error:  # each format and decoder has its own
        raise ValueError(
            f"example {position} of the split {split!r} in {builder.data_dir} cannot be read "
            f"({error}): copy or prepare the data set again"
        ) from error
    if position != count:
        raise ValueError(
            f"{builder.data_dir} holds {position} examples of the split {split!r} where its "
            f"dataset_info.json states {count}: copy or prepare it again"
        )
    if not np.isin(labels, np.arange(features["label"].num_classes)).all():
        raise ValueError(
            f"{builder.data_dir} has examples without a label (label {labels.min()}) in its split "
            f"{split!r}: only labelled data sets can be read"
        )
    return images[..., 0] if images.shape[-1] == 1 else images, labels


def _records(builder: Any, split: str) -> Iterator[bytes]:
    """Yields the serialised examples of a split."""
    import tensorflow_datasets as tfds

    paths = [Path(path) for path in builder.info.splits[split].filepaths]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"lost {', '.join(missing)}: copy or prepare the data set again")
    file_format = builder.info.file_format.value
    if file_format == "tfrecord":
        for path in paths:
            yield from _tfrecords(path)
        return
    if file_format == "riegeli":
        raise ValueError(
            f"{builder.data_dir} is in the format riegeli: prepare it again as array_record, "
            "parquet or tfrecord"
        )
    if file_format == "array_record" and importlib.util.find_spec("array_record") is None:
        raise ModuleNotFoundError(
            f"{builder.data_dir} is in the format array_record, whose package is not installed: "
            "pip install array_record, or prepare the data set as tfrecord"
        )
    source = builder.as_data_source(
        split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
    )
    for start in range(0, len(source), _RECORDS_AT_ONCE):  # one by one is ten times as slow
        yield from source.__getitems__(range(start, min(start + _RECORDS_AT_ONCE, len(source))))


def _tfrecords(path: Path) -> Iterator[bytes]:
    """Yields the records of a TFRecord file: length, its checksum, content, its checksum.

    The checksums (CRC-32C, slow in Python) are left alone: PNG and JPEG carry their own.
    """
    left = path.stat().st_size
    with path.open("rb") as file:
        while left > 0:
            header = file.read(12)
            length = struct.unpack("<Q", header[:8])[0] if len(header) == 12 else left
            left -= 12 + length + 4
            if left < 0:
                raise ValueError(f"{path} is truncated or damaged")
            yield file.read(length + 4)[:-4]
