"""Server: an address that only this machine reaches."""

from __future__ import annotations

import socket

import pytest

from brain_tumor_tl.serve.server import listen
from tests.serve.conftest import Client


def test_listen__on_this_machine_alone() -> None:
    with listen(0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
        assert listener.getsockname()[1] > 0


def test_listen__port_in_use() -> None:
    with listen(0) as listener, pytest.raises(OSError, match=r"127\.0\.0\.1:\d+ can't be used: Address already in use"):
        listen(listener.getsockname()[1])


def test_server__several_hosts_are_refused(client: Client) -> None:
    with socket.create_connection(("127.0.0.1", client.port), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: example.org\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


def test_server__no_host_is_refused(client: Client) -> None:
    with socket.create_connection(("127.0.0.1", client.port), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 403 ")
