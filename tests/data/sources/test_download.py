from __future__ import annotations

import errno
import hashlib
import io
import re
import stat
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from brain_tumor_tl.data.sources import download
from brain_tumor_tl.data.sources.download import MAX_BYTES, check_files, differences, fetch, manifest_of

MANIFEST_SHA256 = "c5c92df9510003a53455d2c487070e7c76764c2772a4811ff5da4e42c145636b"  # of the study's 3264 files
TOP = "Brain-Tumor-Classification-DataSet-3ea9f4e/"
PINNED = {
    "Testing/no_tumor/image(1).jpg": b"one",
    "Testing/no_tumor/image(10).jpg": b"ten",
    "Testing/no_tumor/image.jpg": b"none",
    "Training/glioma_tumor/gg (1).jpg": b"a glioma" * 9000,
    "Training/glioma_tumor/gg (2).jpg": b"another",
}
Answer = Callable[[BaseHTTPRequestHandler], None]


class Server(ThreadingHTTPServer):
    """A web server on this machine that gives every request the same answer and counts requests."""

    def __init__(self, answer: Answer) -> None:
        server = self
        self.requests = 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requests += 1
                answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/archive.zip"


Serve = Callable[[Answer], Server]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    servers: list[Server] = []

    def start(answer: Answer) -> Server:
        servers.append(Server(answer))
        threading.Thread(target=servers[-1].serve_forever, args=(0.02,), daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def pins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pin the small data set of this file, with digests computed independently of the module."""
    folders = {}
    for folder in ("Testing/no_tumor", "Training/glioma_tumor"):
        held = {path: content for path, content in PINNED.items() if path.startswith(folder + "/")}
        folders[folder] = (len(held), sha256sum(held))
    monkeypatch.setattr(download, "FOLDERS", folders)


def sha256sum(files: dict[str, bytes]) -> str:
    lines = [f"{hashlib.sha256(files[path]).hexdigest()}  {path}\n" for path in sorted(files)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def member(name: str, kind: int = 0, method: int = zipfile.ZIP_STORED) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    made.external_attr = (kind | 0o644) << 16
    made.compress_type = method
    return made


def zipped(files: dict[str, bytes], *more: zipfile.ZipInfo, top: str = TOP) -> bytes:
    """Return a zip archive of `files` below `top`, then the members `more`, which are written as they are."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(member(top + path, method=zipfile.ZIP_DEFLATED), content)
        for info in more:
            archive.writestr(info, b"/etc/passwd")
    return memory.getvalue()


def sends(body: bytes, announced: int | None = None, status: int = 200) -> Answer:
    """Return an answer with `body`, and its Content-Length, or `announced` in its place; none for -1."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        if announced != -1:
            handler.send_header("Content-Length", str(len(body) if announced is None else announced))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def write(root: Path, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)


def contents(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def left_behind(folder: Path) -> list[str]:
    """Return everything in a folder but locks, which can't be removed while others may wait for them."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


@pytest.mark.usefixtures("pins")
@pytest.mark.parametrize("top", [TOP, ""], ids=["below GitHub's top folder", "no top folder"])
def test_fetch__puts_the_verified_files_at_root(tmp_path: Path, serve: Serve, top: str) -> None:
    others = {"README.md": b"read", "Notebook/Training.ipynb": b"{}", ".github/x.yml": b"x"}
    server = serve(sends(zipped({**others, **PINNED}, top=top)))
    fetch(tmp_path / "cache" / "mri", server.url)
    assert contents(tmp_path / "cache" / "mri") == PINNED
    assert left_behind(tmp_path / "cache") == ["mri"]


@pytest.mark.usefixtures("pins")
@pytest.mark.parametrize(
    ("announced", "bar"), [(None, r"━ (\S+)/\1 \S*B"), (-1, r"━ \S+/\? \S*B")], ids=["length", "no length"]
)
def test_fetch__shows_progress(
    tmp_path: Path,
    serve: Serve,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    announced: int | None,
    bar: str,
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    fetch(tmp_path / "mri", serve(sends(zipped(PINNED), announced)).url)
    assert re.search("Downloading the data set .*" + bar, capsys.readouterr().out)


def test_fetch__leaves_what_is_there(tmp_path: Path, serve: Serve) -> None:
    server = serve(sends(b"never asked for"))
    write(tmp_path / "mri", {"mine.txt": b"kept"})
    fetch(tmp_path / "mri", server.url)
    assert contents(tmp_path / "mri") == {"mine.txt": b"kept"}
    assert server.requests == 0


@pytest.mark.usefixtures("pins")
def test_fetch__downloads_once_for_two_at_once(tmp_path: Path, serve: Serve) -> None:
    def slow(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(0.3)
        sends(zipped(PINNED))(handler)

    server = serve(slow)
    threads = [threading.Thread(target=fetch, args=(tmp_path / "mri", server.url)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert contents(tmp_path / "mri") == PINNED
    assert server.requests == 1


@pytest.mark.usefixtures("pins")
def test_fetch__works_after_a_failure_and_after_a_killed_run(tmp_path: Path, serve: Serve) -> None:
    write(tmp_path / "mri.tmp", {"images/Training/glioma_tumor/half.jpg": b"ha"})
    with pytest.raises(ValueError, match="zip archive"):
        fetch(tmp_path / "mri", serve(sends(b"<html>")).url)
    write(tmp_path / "mri.tmp", {"images/Training/glioma_tumor/half.jpg": b"ha"})
    fetch(tmp_path / "mri", serve(sends(zipped(PINNED))).url)
    assert contents(tmp_path / "mri") == PINNED


def no_answer(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(0.6)


def broken_chunks(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100\r\nonly this")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (sends(b"gone", status=404), "HTTP Error 404: Not Found"),
        (sends(b"later", status=503), "HTTP Error 503"),
        (sends(zipped(PINNED)[:-100], len(zipped(PINNED))), r"broke off after \d+ of \d+ bytes"),
        (sends(b"", 10), "broke off after 0 of 10 bytes"),
        (broken_chunks, "IncompleteRead"),
        (no_answer, "timed out"),
        (lambda handler: None, "closed connection without response"),
    ],
    ids=["404", "503", "truncated", "nothing", "truncated chunk", "timeout", "hung up"],
)
def test_fetch__refuses_what_the_server_does_wrong(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch, answer: Answer, reason: str
) -> None:
    monkeypatch.setattr(download, "TIMEOUT_S", 0.2)
    with pytest.raises(ConnectionError, match=f"Can't download the data set from http.*{reason}"):
        fetch(tmp_path / "mri", serve(answer).url)
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize(
    "words",
    ["kaggle.com/datasets/sartajbhuvaji", "github.com/SartajBhuvaji", "data.root=PATH", "data=phantom"],
)
def test_fetch__names_the_ways_out_when_nothing_listens(tmp_path: Path, serve: Serve, words: str) -> None:
    server = serve(sends(b""))
    server.shutdown()
    server.server_close()
    with pytest.raises(ConnectionError, match=f"refused.*{words}"):
        fetch(tmp_path / "mri", server.url)
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("url", ["archive.zip", "", "gopher//x"])
def test_fetch__refuses_what_is_no_address(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValueError, match=f"Expected the address of a zip archive in data.url, got '{url}'"):
        fetch(tmp_path / "mri", url)
    assert left_behind(tmp_path) == []


def encrypted(archive: bytes) -> bytes:
    """Set the bit for encryption in every header of an archive."""
    heads = rb"(?s)(PK\x03\x04..|PK\x01\x02....)\x00"
    return re.sub(heads, lambda found: found[1] + b"\x01", archive)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Sign in to go on</html>",
        zipped(PINNED)[:-100],
        zipped(PINNED)[:30] + b"\0" * 99 + zipped(PINNED)[129:],
        encrypted(zipped(PINNED)),
    ],
    ids=["empty", "page", "no directory", "damaged member", "encrypted"],
)
def test_fetch__refuses_what_is_no_zip_archive(tmp_path: Path, serve: Serve, body: bytes) -> None:
    message = f"Expected a zip archive at http.*, got {len(body)} bytes that are none or a damaged one"
    with pytest.raises(ValueError, match=message):
        fetch(tmp_path / "mri", serve(sends(body, -1)).url)
    assert left_behind(tmp_path) == []


@pytest.mark.usefixtures("pins")
@pytest.mark.parametrize("name", ["/tmp/escaped.jpg", "\\escaped.jpg", "C:/escaped.jpg", "../escaped.jpg"])
def test_fetch__ignores_members_outside_the_data_set(tmp_path: Path, serve: Serve, name: str) -> None:
    fetch(tmp_path / "deep" / "mri", serve(sends(zipped(PINNED, member(name)))).url)
    assert contents(tmp_path / "deep" / "mri") == PINNED
    assert left_behind(tmp_path / "deep") == ["mri"]
    assert left_behind(tmp_path) == ["deep"]


@pytest.mark.usefixtures("pins")
@pytest.mark.parametrize(
    "unsafe",
    [
        member(TOP + "Training/C:escaped.jpg"),
        member(TOP + "Training/../../../../escaped.jpg"),
        member(TOP + "Training\\..\\..\\escaped.jpg"),
        member(TOP + "Training/..\\..\\escaped.jpg"),
        member(TOP + "Training/.. /escaped.jpg"),
        member(TOP + "Training/glioma_tumor/link.jpg", stat.S_IFLNK),
        member(TOP + "Training/pipe.jpg", stat.S_IFIFO),
    ],
    ids=lambda unsafe: f"{unsafe.filename} {unsafe.external_attr >> 28}",
)
def test_unpack__writes_plain_files_inside_the_folder(tmp_path: Path, unsafe: zipfile.ZipInfo) -> None:
    folder = tmp_path / "a" / "b" / "folder"
    archive = io.BytesIO(zipped(PINNED, unsafe))
    download.unpack(archive, folder, "http://here")
    written = [path for path in tmp_path.rglob("*") if not path.is_dir() or path.is_symlink()]
    assert len(written) in (len(PINNED), len(PINNED) + 1)
    assert all(path.is_file() and not path.is_symlink() and path.is_relative_to(folder) for path in written)


@pytest.mark.usefixtures("pins")
def test_fetch__refuses_further_members(tmp_path: Path, serve: Serve) -> None:
    archive = zipped(PINNED, member(TOP + "Training/../../escaped.jpg"))
    with pytest.raises(
        ValueError, match=r"got another:\n  Training: expected 0 files, found 1 \(Training/escaped.jpg\)"
    ):
        fetch(tmp_path / "mri", serve(sends(archive)).url)
    assert left_behind(tmp_path) == []


def test_fetch__refuses_absurd_expansion(tmp_path: Path, serve: Serve) -> None:
    size = len(PINNED["Training/glioma_tumor/gg (1).jpg"])
    bomb = zipped(PINNED).replace(size.to_bytes(4, "little"), MAX_BYTES.to_bytes(4, "little"))
    with pytest.raises(ValueError, match=rf"Expected at most {MAX_BYTES} bytes in http.*, got 214748\d+\."):
        fetch(tmp_path / "mri", serve(sends(bomb)).url)
    assert left_behind(tmp_path) == []


def test_fetch__stops_an_endless_download(tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MAX_BYTES", 1000)
    with pytest.raises(ValueError, match="Expected at most 1000 bytes"):
        fetch(tmp_path / "mri", serve(sends(b"x" * 1001, -1)).url)
    assert left_behind(tmp_path) == []


@pytest.mark.usefixtures("pins")
def test_fetch__refuses_another_data_set(tmp_path: Path, serve: Serve) -> None:
    server = serve(sends(zipped({**PINNED, "Training/glioma_tumor/gg (2).jpg": b"moved"})))
    message = rf"in the archive at {server.url}[^/]*Training/glioma_tumor: .*other names or contents"
    with pytest.raises(ValueError, match=message):
        fetch(tmp_path / "mri", server.url)
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("step", ["download", "unpack", "check_files"])
def test_fetch__leaves_nothing_when_interrupted(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def interrupt(*_: object) -> None:
        assert left_behind(tmp_path) == (["mri.tmp"] if step == "check_files" else [])
        raise KeyboardInterrupt

    monkeypatch.setattr(download, step, interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(tmp_path / "mri", serve(sends(zipped(PINNED))).url)
    assert left_behind(tmp_path) == []


def test_download__full_disk_is_no_connection_error(serve: Serve) -> None:
    class FullDisk(io.BytesIO):
        def write(self, content: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left on device") as raised:
        download.download(serve(sends(b"archive")).url, FullDisk())
    assert not isinstance(raised.value, ConnectionError)


def test_fetch__names_the_folder_that_it_cannot_write_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"Can't write the data set to .*file.*data.cache_dir=PATH") as raised:
        fetch(tmp_path / "file" / "mri", "http://127.0.0.1/never-asked")
    assert not isinstance(raised.value, ConnectionError)


@pytest.mark.usefixtures("pins")
def test_check_files__passes_over_clutter(tmp_path: Path) -> None:
    clutter = {"Training/.DS_Store": b"d", "Training/glioma_tumor/Thumbs.db": b"t", "__MACOSX/Training/a.jpg": b"m"}
    write(tmp_path, {**PINNED, **clutter})
    check_files(tmp_path, "http://here")


@pytest.mark.usefixtures("pins")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"Testing/no_tumor/image.jpg": b"x"},
            [r"Testing/no_tumor: expected 3 files, found 3 \(other names or contents\)"],
        ),
        ({"Testing/no_tumor/image.jpg": None}, ["Testing/no_tumor: expected 3 files, found 2"]),
        ({"Testing/no_tumor/more.jpg": b"x"}, ["Testing/no_tumor: expected 3 files, found 4"]),
        (
            dict.fromkeys(PINNED),
            ["no_tumor: expected 3 files, found 0", "glioma_tumor: expected 2 files, found 0"],
        ),
        ({"yes/a.jpg": b"x"}, [r"yes: expected 0 files, found 1 \(yes/a.jpg\)"]),
        ({"README.md": b"x"}, [r"\.: expected 0 files, found 1 \(README.md\)"]),
        (
            {"Training/glioma_tumor/sub/a.jpg": b"x", "Testing/no_tumor/more.jpg": b"x"},
            ["no_tumor: expected 3 files, found 4", "glioma_tumor/sub: expected 0 files, found 1"],
        ),
    ],
    ids=["content", "one less", "one more", "all absent", "extra folder", "extra file", "two folders"],
)
def test_check_files__names_each_folder_that_differs(
    tmp_path: Path, change: dict[str, bytes | None], said: list[str]
) -> None:
    merged = {**PINNED, **change}
    write(tmp_path, {path: content for path, content in merged.items() if content is not None})
    with pytest.raises(
        ValueError, match="Expected the study's data set in the archive at http://here, got another"
    ) as raised:
        check_files(tmp_path, "http://here")
    differing = [line for line in str(raised.value).splitlines() if line.startswith("  ")]
    assert len(differing) == len(said)
    for line, expected in zip(differing, said, strict=True):
        assert re.search(expected, line)


def test_folders__have_the_counts_of_the_study() -> None:
    assert sum(count for count, _ in download.FOLDERS.values()) == 3264
    assert sum(count for folder, (count, _) in download.FOLDERS.items() if "Training" in folder) == 2870


@pytest.mark.real_data
def test_manifest_of__the_real_data_is_the_pinned_one(real_data: Path) -> None:
    files = manifest_of(real_data)
    manifest = "".join(f"{digest}  {path}\n" for path, digest in files.items() if path != "MANIFEST.sha256")
    assert hashlib.sha256(manifest.encode()).hexdigest() == MANIFEST_SHA256
    assert len(manifest.splitlines()) == 3264
    assert [line for line in differences(files) if "MANIFEST.sha256" not in line] == []
