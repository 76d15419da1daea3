"""An app behind the real server, requests to it with any header, and a predictor that computes nothing."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from brain_tumor_tl.serve.answer import Answer
from brain_tumor_tl.serve.app import make_app
from brain_tumor_tl.serve.server import HOST, listen, make_server
from brain_tumor_tl.serve.upload import Upload

MakeResults = Callable[..., dict[str, Any]]
BOUNDARY = "a-line-between-parts"


class Reply(NamedTuple):
    """What a server answered."""

    status: int
    text: str
    headers: dict[str, str]


class Client:
    """Requests to a port of this machine, with any header."""

    def __init__(self, port: int) -> None:
        self.port = port

    def request(self, method: str, path: str = "/", body: bytes | None = None, **headers: str) -> Reply:
        """Send one request; header names are written with underscores."""
        connection = HTTPConnection(HOST, self.port, timeout=30)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            return Reply(answer.status, answer.read().decode(), dict(answer.getheaders()))
        finally:
            connection.close()

    def send(self, content: bytes, name: str = "slice.png", field: str = "picture", **headers: str) -> Reply:
        """Send a file as the page's form does."""
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        return self.request("POST", body=form(content, name, field), **{"Content_Type": kind, **headers})


def form(content: bytes, name: str = "slice.png", field: str = "picture") -> bytes:
    """Return the body of a form with one file."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
    return head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def png(size: int = 16, seed: int = 0) -> bytes:
    """Return the content of a PNG file of random greys."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


class Examiner:
    """A predictor that answers the same for every picture, refuses what isn't PNG, and keeps what it was sent."""

    def __init__(self, classes: list[str]) -> None:
        self.seen: list[Upload] = []
        maps = {name: png(seed=label) for label, name in enumerate(classes)}
        probabilities = dict(zip(classes, (0.0003, 0.9, 0.07, 0.0297), strict=True))
        self.answer = Answer(probabilities, png(), maps, distance=0.2, threshold=0.4)

    def __call__(self, upload: Upload) -> Answer:
        """Return the answer."""
        self.seen.append(upload)
        if not upload.content.startswith(b"\x89PNG"):
            raise ValueError("not an image by its content")
        return self.answer


@pytest.fixture
def results(make_results: MakeResults) -> dict[str, Any]:
    """The results of a finished run."""
    return make_results("resnet18-frozen-s0")


@pytest.fixture
def examiner(results: dict[str, Any]) -> Examiner:
    """The predictor of `client`."""
    return Examiner(results["classes"])


@pytest.fixture
def client(results: dict[str, Any], examiner: Examiner) -> Iterator[Client]:
    """A client of a server that shows `results` and asks `examiner`."""
    listener = listen(0)
    server = make_server(make_app(results, examiner))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield Client(listener.getsockname()[1])
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()
