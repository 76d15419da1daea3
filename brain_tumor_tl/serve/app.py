"""App: the page's addresses and what they answer."""

from __future__ import annotations

from pathlib import Path
from threading import Lock

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from brain_tumor_tl.serve.answer import Answer, Examine
from brain_tumor_tl.serve.guard import Guard
from brain_tumor_tl.serve.page import Results, page
from brain_tumor_tl.serve.upload import Upload, UploadError, read_upload

SCRIPT = (Path(__file__).parent / "drop.js").read_text(encoding="utf-8")


def make_app(results: Results, examine: Examine) -> Starlette:
    """Return the app that shows a run.

    Args:
        results: Content of the run's results.json.
        examine: Returns what the run says about a picture, and raises a ValueError if it can't be read. It is called
            from one thread at a time.
    """
    lock = Lock()  # one network: two pictures at a time would take longer, and twice the memory

    def examine_alone(upload: Upload) -> Answer:
        with lock:
            return examine(upload)

    async def empty(_: Request) -> Response:
        return HTMLResponse(page(results))

    async def answered(request: Request) -> Response:
        try:
            upload = await read_upload(request)
        except UploadError as error:
            return HTMLResponse(page(results, problem=str(error)), error.status)
        try:
            answer = await run_in_threadpool(examine_alone, upload)
        except ValueError as error:
            return HTMLResponse(page(results, name=upload.name, problem=str(error)), 422)
        return HTMLResponse(page(results, name=upload.name, answer=answer))

    async def script(_: Request) -> Response:
        return Response(SCRIPT, media_type="text/javascript")

    routes = [Route("/", empty), Route("/", answered, methods=["POST"]), Route("/drop.js", script)]
    return Starlette(routes=routes, middleware=[Middleware(Guard)])
