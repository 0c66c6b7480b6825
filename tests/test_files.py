"""Files in a bucket, and the sentences where there is none; who writes to disks tests that."""

import contextlib
import hashlib
import http.server
import json
import os
import socket
import sys
import urllib.parse
import urllib.request

import pytest

from dbn_jax import files
from tests import buckets


@pytest.fixture(autouse=True)
def asked_anew():
    files._reach.cache_clear()


def test_a_file_in_a_bucket_is_whole_or_not_there(bucket):
    path = bucket / "folder" / "a.txt"
    with contextlib.suppress(ZeroDivisionError), files.replacing(path) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert not path.exists()
    for text in ("one\r\n", "another π\n"):
        files.write_text(path, text)
        assert path.read_bytes() == text.encode()
    assert files.read_text(path) == "another π\n"
    assert files.sha256(str(path)) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert files.absolute(path) == path == files.path(str(path))
    with files.on_disk(path.parent) as copy:
        assert [(x.name, x.read_text()) for x in copy.iterdir()] == [("a.txt", "another π\n")]
    assert not copy.exists()


def request_to_write(path):
    """To the emulator, and not through what this process reads with."""
    name = urllib.parse.quote(str(path).removeprefix("gs://bucket/"), safe="")
    return f"/upload/storage/v1/b/bucket/o?uploadType=media&name={name}"


def test_what_others_have_written_is_read(bucket):
    path = bucket / "folder" / "a.txt"
    for text in ("short", "much longer"):
        address = os.environ["STORAGE_EMULATOR_HOST"] + request_to_write(path)
        urllib.request.urlopen(address, text.encode()).close()
        assert files.read_text(path) == text
        assert list(path.parent.glob("*")) == [path]  # a listing, with sizes


@pytest.mark.parametrize(
    "upload",
    [
        b"Content-Length: 100\r\n\r\nsome of it",
        b"Transfer-Encoding: chunked\r\n\r\n7\r\nsome of\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n7\r\nsome",
    ],
    ids=["of a length", "between pieces", "within a piece"],
)
def test_the_emulator_keeps_nothing_of_an_upload_that_breaks_off(bucket, upload):
    """As when a process is killed: what is tested of resumed runs depends on that."""
    address = urllib.parse.urlsplit(os.environ["STORAGE_EMULATOR_HOST"])
    with socket.create_connection((address.hostname, address.port)) as client:
        line = f"POST {request_to_write(bucket / 'a.txt')} HTTP/1.1\r\nHost: x\r\n"
        client.sendall(line.encode() + upload)
    assert not (bucket / "a.txt").exists()


class Refusing(http.server.BaseHTTPRequestHandler):
    """Answers by the number that the bucket's name ends in, and lets nobody write."""

    def do_GET(self):
        code = int(self.path.split("?")[0].rpartition("-")[2].removesuffix("/o"))
        self.answer(code, {"kind": "storage#objects"} if code == 200 else {})

    def do_POST(self):
        self.answer(403, {"error": {"code": 403, "message": "no right\nto create it"}})

    def answer(self, code, content):
        content = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args):
        pass


@pytest.fixture
def refusing(monkeypatch):
    with buckets.serving(Refusing) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield


NO_CREDENTIALS = (
    "this machine has no valid credentials of Google Cloud; run gcloud auth application-default "
    "login"
)


@pytest.mark.parametrize(
    ("bucket_name", "reason"),
    [
        (
            "a-404",
            "there is no such bucket; name another, or make it: gcloud storage buckets create "
            "gs://a-404",
        ),
        (
            "a-403",
            "your account may not read it; have it given the role Storage Admin on the bucket",
        ),
        ("a-401", NO_CREDENTIALS),
    ],
)
def test_buckets_that_refuse(refusing, bucket_name, reason):
    with pytest.raises(OSError, match="cannot use") as failure:
        files.path(f"gs://{bucket_name}/run")
    assert str(failure.value) == f"cannot use gs://{bucket_name}: {reason}"


def test_a_bucket_that_cannot_be_written(refusing):
    with pytest.raises(OSError, match="cannot write") as failure:
        files.write_text("gs://a-200/run/flags.txt", "text")
    sentence = str(failure.value)
    assert sentence.startswith("cannot write gs://a-200/run/flags.txt: Forbidden: http://127.0.0.1")
    assert sentence.endswith(" no right to create it")


def test_no_network(monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
    with pytest.raises(OSError, match="cannot use") as failure:
        files.path("gs://bucket/run")
    assert str(failure.value) == (
        "cannot use gs://bucket: Google Cloud Storage does not answer; connect this machine to the "
        "network"
    )


def test_no_credentials(monkeypatch, tmp_path):
    for name in ("STORAGE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(OSError, match="cannot use") as failure:
        files.path("gs://bucket/run")
    assert str(failure.value) == f"cannot use gs://bucket: {NO_CREDENTIALS}"


def test_no_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(ImportError) as failure:
        files.path("gs://bucket/run")
    assert str(failure.value) == (
        "gs://bucket is in Google Cloud Storage, and what reads and writes there is not installed: "
        "pip install 'dbn_jax[gcs]'"
    )


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        (
            "s3://bucket/run",
            "'s3://bucket/run' is an address in a network, of which only buckets are used, as "
            "gs://bucket/folder; name one, or a local folder",
        ),
        ("gs:///run", "gs:// names no bucket; write gs://bucket/folder"),
    ],
)
def test_other_addresses(place, sentence):
    with pytest.raises(ValueError, match="bucket") as failure:
        files.path(place)
    assert str(failure.value) == sentence
