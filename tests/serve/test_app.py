"""App: what its addresses answer."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from brain_tumor_tl.serve.answer import Answer
from brain_tumor_tl.serve.upload import Upload
from tests.serve.conftest import Client, Examiner, png


def test_app__shows_form_and_run(client: Client) -> None:
    reply = client.request("GET")

    assert reply.status == 200
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert 'method="post" enctype="multipart/form-data"' in reply.text
    assert "Not for diagnosis:" in reply.text
    assert "resnet18-frozen-s0" in reply.text
    assert 'id="answer"' not in reply.text


def test_app__answers_a_picture(client: Client) -> None:
    reply = client.send(png(), "<b>.png")

    assert reply.status == 200
    assert 'id="answer"' in reply.text
    assert "&lt;b&gt;.png" in reply.text
    assert "<b>" not in reply.text


def test_app__says_why_a_picture_cannot_be_read(client: Client) -> None:
    reply = client.send(b"no picture", "notes.txt")

    assert reply.status == 422
    assert "notes.txt: not an image by its content" in reply.text


def test_app__its_script_is_its_own(client: Client) -> None:
    reply = client.request("GET", "/drop.js")

    assert (reply.status, reply.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    assert "form.submit()" in reply.text
    assert "://" not in client.request("GET").text + reply.text, "no address of elsewhere"


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/../serve.py", 404), ("PUT", "/", 405)])
def test_app__nothing_else(client: Client, method: str, path: str, status: int) -> None:
    assert client.request(method, path).status == status


def test_app__examines_one_picture_at_a_time(
    client: Client, examiner: Examiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, both, most = threading.Lock(), threading.Event(), []

    def examine(self: Examiner, upload: Upload) -> Answer:
        free = busy.acquire(blocking=False)
        most.append(free)
        both.wait(0.2)
        if free:
            busy.release()
        return self.answer

    monkeypatch.setattr(Examiner, "__call__", examine)
    threads = [threading.Thread(target=client.send, args=(png(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == [True] * 3


def test_app__an_unexpected_error_is_no_page(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def examine(*_: Any) -> Answer:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Examiner, "__call__", examine)

    assert client.send(png()).status == 500
    assert client.request("GET").status == 200, "and the server goes on"
