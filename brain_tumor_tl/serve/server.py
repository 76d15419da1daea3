"""Server: an app at an address that only this machine reaches."""

from __future__ import annotations

import socket

import uvicorn
from starlette.types import ASGIApp

HOST = "127.0.0.1"
CONNECTIONS = 16  # each may hold an upload in memory


def listen(port: int) -> socket.socket:
    """Return a socket that listens on a port of this machine, any free one for 0.

    Raises:
        OSError: The port is in use, or needs rights.
    """
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was in use a moment ago
        listener.bind((HOST, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise OSError(f"Expected a free port, {HOST}:{port} can't be used: {error.strerror}. Give --port=N.") from error
    return listener


def make_server(app: ASGIApp) -> uvicorn.Server:
    """Return a server of an app; `run(sockets=[listen(port)])` answers until an interrupt."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http="h11",  # in Python, and refuses several Host headers
            ws="none",
            lifespan="off",
            log_level="error",
            server_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=2,
        )
    )
