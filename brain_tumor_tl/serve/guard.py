"""Guard: which requests get an answer, and what a browser may do with it.

A page of the web can send requests to any address of the machine whose browser shows it. It can't read the answers,
unless its own name leads to 127.0.0.1 (DNS rebinding), and both are refused here.
"""

from __future__ import annotations

from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL = ("127.0.0.1", "localhost")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",  # a picture of a patient stays out of the browser's files
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # with no-referrer a browser would hide the Origin of the page's own form
    "X-Content-Type-Options": "nosniff",
}


class Guard:
    """An app behind the checks of `refusal`, whose answers carry `HEADERS`.

    Args:
        app: The app that gets the other requests.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        reason = refusal(scope["method"], Headers(scope=scope))
        app: Any = self.app if reason is None else PlainTextResponse(reason, status_code=403)
        await app(scope, receive, send_with_headers)


def refusal(method: str, headers: Headers) -> str | None:
    """Return why a request is refused, None if it is not.

    The port is free, since `ssh -L 9000:127.0.0.1:8000` changes it. A request without Origin is of no browser: browsers
    send it with every POST.

    >>> refusal("GET", Headers({"host": "localhost:8000"}))
    >>> refusal("POST", Headers({"host": "localhost:8000", "origin": "http://localhost:8000"}))
    >>> refusal("POST", Headers({"host": "localhost:8000", "origin": "http://example.org"}))
    'Expected a picture from this page, the form was sent by http://example.org.'
    """
    host = headers.get("host", "")
    if host.split(":")[0].lower() not in LOCAL:
        return f"Expected a request to {' or '.join(LOCAL)}, got one to {host or 'no host'}."
    origin = headers.get("origin", f"http://{host}")
    if method not in ("GET", "HEAD") and origin.lower() != f"http://{host}".lower():
        return f"Expected a picture from this page, the form was sent by {origin}."
    return None
