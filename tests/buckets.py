"""A bucket of Google Cloud Storage, emulated in this process: no network, no account."""

import contextlib
import functools
import http.server
import os
import threading
import urllib.parse
from http import HTTPStatus

from gcp_storage_emulator import storage
from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import buckets
from gcp_storage_emulator.server import RequestHandler

NAME = "bucket"
# What leads programs to a server of this process. TensorStore asks for a token, gcsfs for kinds of
# buckets that the emulator has not, and both for the identity of a machine of Google's.
VARIABLES = {
    "STORAGE_EMULATOR_HOST": None,
    "TENSORSTORE_GCS_HTTP_URL": None,
    "GOOGLE_AUTH_TOKEN_FOR_TESTING": "token",
    "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
    "NO_GCE_CHECK": "true",
}


class _Server(http.server.HTTPServer):
    request_queue_size = 128  # TensorStore asks for many things at once

    def handle_error(self, request, client_address):
        """Clients hang up on what they need no longer."""


class _Whole:
    """What clients send; where it breaks off, as that of a killed one, it is no request.

    The emulator would keep what has come, as a whole object.
    """

    def __init__(self, stream):
        self._stream = stream

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def read(self, size):
        content = self._stream.read(size)
        if len(content) < size:
            raise ConnectionError
        return content

    def readline(self, *size):
        line = self._stream.readline(*size)
        if not line:
            raise ConnectionError
        return line


class _Generations(RequestHandler):
    """What TensorStore needs and the emulator lacks: generations, which each writing changes.

    Objects tell theirs, and requests may be for one of them only.
    """

    generation = "0"

    def setup(self):
        super().setup()
        self.rfile = _Whole(self.rfile)

    def do_GET(self):
        self._answer(super().do_GET, HTTPStatus.NOT_MODIFIED)

    def do_POST(self):
        self._answer(super().do_POST, HTTPStatus.PRECONDITION_FAILED)

    def _answer(self, method, otherwise):
        address = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(address.query))
        place = urllib.parse.unquote(address.path).partition("/b/")[2]
        bucket, _, name = place.partition("/o")
        self.generation = self._generation(bucket, query.get("name") or name.strip("/"))
        wanted, unwanted = (query.get(f"ifGeneration{end}") for end in ("Match", "NotMatch"))
        if wanted in (None, self.generation) and unwanted != self.generation:
            method()
            return
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(otherwise if unwanted else HTTPStatus.PRECONDITION_FAILED)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _generation(self, bucket, name):
        try:
            return self.storage.get_file_obj(bucket, name)["generation"]
        except NotFound:
            return "0"

    def end_headers(self):
        if self.generation != "0":
            self.send_header("x-goog-generation", self.generation)
        super().end_headers()


def variables():
    """Those of this process that lead to an emulator."""
    return {name: os.environ[name] for name in VARIABLES if name in os.environ}


@contextlib.contextmanager
def emulated():
    """The variables by which programs use the emulator, with the bucket gs://bucket."""
    objects = storage.Storage(use_memory_fs=True)
    buckets.create_bucket(NAME, objects)
    with serving(functools.partial(_Generations, objects)) as variables:
        yield variables


@contextlib.contextmanager
def serving(handler):
    """The variables by which programs ask a handler of requests instead of Google."""
    with _Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        yield {name: value or address for name, value in VARIABLES.items()}
        server.shutdown()


def upload(folder, place):
    """Copies the files of a folder to a path in a bucket."""
    for file in folder.rglob("*"):
        if file.is_file():
            (place / file.relative_to(folder).as_posix()).write_bytes(file.read_bytes())
