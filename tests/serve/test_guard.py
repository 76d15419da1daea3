"""Guard: pages of other names and other pages' forms get nothing, and every answer tells the browser what it may do."""

from __future__ import annotations

import pytest

from tests.serve.conftest import Client, Examiner, png


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:9000", "127.0.0.1:8000"])
def test_guard__answers_its_own_names_at_any_port(client: Client, host: str) -> None:
    assert client.request("GET", Host=host).status == 200
    assert client.send(png(), Host=host, Origin=f"http://{host}").status == 200


@pytest.mark.parametrize(
    "host", ["example.org", "127.0.0.1.example.org:8000", "localhost.", "[::1]:8000", "0.0.0.0", ""]
)
@pytest.mark.parametrize("path", ["/", "/drop.js", "/absent"])
def test_guard__other_hosts_are_refused(client: Client, host: str, path: str) -> None:
    reply = client.request("GET", path, Host=host)

    assert reply.status == 403
    assert reply.text == f"Expected a request to 127.0.0.1 or localhost, got one to {host or 'no host'}."


@pytest.mark.parametrize(
    "origin", ["http://example.org", "https://{host}", "http://127.0.0.1:1", "null", "http://localhost"]
)
def test_guard__forms_of_other_pages_are_refused(client: Client, examiner: Examiner, origin: str) -> None:
    sent = origin.format(host=f"127.0.0.1:{client.port}")
    reply = client.send(png(), Origin=sent)

    assert reply.status == 403
    assert reply.text == f"Expected a picture from this page, the form was sent by {sent}."
    assert examiner.seen == []


def test_guard__a_request_of_no_browser_is_answered(client: Client, examiner: Examiner) -> None:
    assert client.send(png()).status == 200
    assert len(examiner.seen) == 1


@pytest.mark.parametrize("path", ["/", "/drop.js", "/absent"])
def test_guard__every_answer_restricts_the_browser(client: Client, path: str) -> None:
    for headers in (client.request("GET", path).headers, client.request("GET", path, Host="example.org").headers):
        folded = {name.lower(): value for name, value in headers.items()}
        assert folded["content-security-policy"].startswith("default-src 'none';")
        assert "http" not in folded["content-security-policy"], "nothing from elsewhere"
        assert folded["cache-control"] == "no-store"
        assert folded["referrer-policy"] == "same-origin"
        assert folded["x-content-type-options"] == "nosniff"
        assert not folded.keys() & {"access-control-allow-origin", "server"}
