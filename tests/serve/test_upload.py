"""Upload: one picture, in memory, of a limited size."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from brain_tumor_tl.serve.upload import LIMIT
from tests.serve.conftest import BOUNDARY, Client, Examiner, form, png

FORM = f"multipart/form-data; boundary={BOUNDARY}"


def test_read_upload__keeps_name_and_bytes(client: Client, examiner: Examiner) -> None:
    content = png(64) + bytes(range(256)) * 9 + b"\r\n--\r\n"

    assert client.send(content, "Schädel <1>.png").status == 200
    assert examiner.seen == [("Schädel <1>.png", content)]


def test_read_upload__writes_nothing_to_the_disk(
    client: Client, examiner: Examiner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = tmp_path / "absent"
    monkeypatch.setattr(tempfile, "tempdir", str(absent))
    with pytest.raises(FileNotFoundError):
        tempfile.mkstemp()
    content = png() + os.urandom(5 * 2**20)  # Starlette's own parser makes a file above 1 MB

    assert client.send(content).status == 200
    assert examiner.seen[0].content == content
    assert not absent.exists()


def test_read_upload__too_large_is_answered_with_the_limit(
    client: Client, examiner: Examiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brain_tumor_tl.serve.upload.LIMIT", 2**20)

    least = client.send(png() + bytes(2**20 - 2000))
    reply = client.send(png() + bytes(3 * 2**20))

    assert (least.status, reply.status) == (200, 413)
    assert "Expected a file of at most 1 MB, got 3 MB." in reply.text
    assert len(examiner.seen) == 1


def test_limit__is_what_the_page_says(client: Client) -> None:
    text = client.request("GET").text

    assert f'data-limit="{LIMIT}"' in text
    assert "At most 64 MB" in text
    assert LIMIT == 64 * 2**20


@pytest.mark.parametrize(
    ("kind", "body", "words"),
    [
        ("application/json", b"{}", "Expected a form with a file in its field `picture`, got something else."),
        (FORM, form(png(), field="file"), "Expected a picture, none was chosen."),
        (FORM, form(b"", name=""), "Expected a picture, none was chosen."),
        (FORM, b"nonsense", "Expected one picture in its field `picture`: Invalid multipart data."),
        ("multipart/form-data", form(png()), "Missing boundary in multipart."),
        (FORM, form(png())[: -len(BOUNDARY) - 6] + form(png(), field="other"), "Maximum number of files is 1."),
        (FORM, form(png()).replace(b'; filename="slice.png"', b""), "Maximum number of fields is 0."),
    ],
    ids=["no-form", "other-field", "nothing-chosen", "no-multipart", "no-boundary", "two-files", "no-file"],
)
def test_read_upload__what_is_no_picture_is_answered_with_a_reason(
    client: Client, examiner: Examiner, kind: str, body: bytes, words: str
) -> None:
    reply = client.request("POST", body=body, Content_Type=kind)

    assert reply.status == 400
    assert words in reply.text
    assert examiner.seen == []
