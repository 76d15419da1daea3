"""Upload: the picture of a form, read into memory and no further than a limit."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import NamedTuple

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

FIELD = "picture"
LIMIT = 64 * 2**20  # bytes of a request


class UploadError(ValueError):
    """A form without a usable picture.

    Args:
        reason: What was expected and what came.
        status: Status of the answer.
    """

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


class Upload(NamedTuple):
    """A file that was sent: its name, for its ending and to be shown, and its content."""

    name: str
    content: bytes


class MemoryParser(MultiPartParser):
    """A parser that keeps files in memory: Starlette's writes what is larger than 1 MB to the disk."""

    spool_max_size = LIMIT  # undocumented; of Starlette 0.46 to 1.10 at least


async def read_upload(request: Request) -> Upload:
    """Return the file in a form's field `FIELD`.

    Raises:
        UploadError: The request is no form, has no such file, has several, or is larger than `LIMIT`.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise UploadError(f"Expected a form with a file in its field `{FIELD}`, got something else.")
    stream = limited(request.stream())
    try:
        form = await MemoryParser(request.headers, stream, max_files=1, max_fields=0).parse()
    except MultiPartException as error:
        raise UploadError(f"Expected one picture in its field `{FIELD}`: {error.message}") from error
    finally:
        await stream.aclose()
    file = form.get(FIELD)
    if not isinstance(file, UploadFile) or not file.filename:
        raise UploadError("Expected a picture, none was chosen.")
    return Upload(file.filename, await file.read())


async def limited(stream: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield a stream up to `LIMIT` bytes; drop the rest, since browsers read an answer only when all is sent.

    Raises:
        UploadError: There was a rest.
    """
    size = 0
    async for chunk in stream:
        size += len(chunk)
        if size <= LIMIT:
            yield chunk
    if size > LIMIT:
        raise UploadError(f"Expected a file of at most {LIMIT >> 20} MB, got {size >> 20} MB.", status=413)
