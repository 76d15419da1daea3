"""Cache: built once by one process, verified on load, rebuilt when damaged, written atomically."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from brain_tumor_tl import cache
from brain_tumor_tl.cache import CacheEntry, create_once, digest_of, load_or_build, locked, new_array
from brain_tumor_tl.files import file_digest

StartPython = Callable[..., "subprocess.Popen[str]"]

KEY = digest_of("a test's array")
VALUES = np.arange(60, dtype=np.uint8).reshape(3, 20)

BUILDER = """
import os, sys
from pathlib import Path
import numpy as np
from brain_tumor_tl.cache import digest_of, load_or_build

def build(path):
    print("building", flush=True)
    path.write_bytes(b"half an array")
    sys.stdin.readline()
    np.save(path, np.arange(60, dtype=np.uint8).reshape(3, 20))
    return {"by": os.getpid()}

entry = load_or_build(Path(sys.argv[1]), "values", digest_of("a test's array"), build)
print("built" if entry.built else "found", entry.about["by"], int(entry.array.sum()), flush=True)
"""


def build(path: Path) -> dict[str, Any]:
    np.save(path, VALUES)
    return {"who": "first"}


def never(path: Path) -> dict[str, Any]:
    raise AssertionError("the entry was rebuilt")


def test_load_or_build__builds_once(tmp_path: Path) -> None:
    first = load_or_build(tmp_path / "new" / "cache", "values", KEY, build)
    second = load_or_build(tmp_path / "new" / "cache", "values", KEY, never)

    assert (first.built, second.built) == (True, False)
    assert np.array_equal(first.array, VALUES)
    assert np.array_equal(second.array, VALUES)
    assert first.about == second.about == {"who": "first"}
    assert first.path == second.path == tmp_path / "new" / "cache" / f"values-{KEY[:20]}"
    assert sorted(path.name for path in first.path.iterdir()) == ["about.json", "array.npy"]


def test_load_or_build__array_is_copy_on_write(tmp_path: Path) -> None:
    entry = load_or_build(tmp_path, "values", KEY, build)
    entry.array[:] = 255
    again = load_or_build(tmp_path, "values", KEY, never)
    again.array[:] = 255

    assert np.array_equal(load_or_build(tmp_path, "values", KEY, never).array, VALUES)


def test_load_or_build__no_rows(tmp_path: Path) -> None:
    def build_empty(path: Path) -> dict[str, Any]:
        new_array(path, np.uint8, (0, 1, 8, 8)).flush()
        return {}

    assert load_or_build(tmp_path, "values", KEY, build_empty).array.shape == (0, 1, 8, 8)
    assert load_or_build(tmp_path, "values", KEY, never).array.shape == (0, 1, 8, 8)


def test_load_or_build__other_key_or_kind_is_another_entry(tmp_path: Path) -> None:
    entries = [load_or_build(tmp_path, kind, key, build) for kind in ("values", "others") for key in (KEY, "k" * 64)]

    assert all(entry.built for entry in entries)
    assert len({entry.path for entry in entries}) == 4


def test_load_or_build__key_that_begins_alike_is_not_mistaken(tmp_path: Path) -> None:
    load_or_build(tmp_path, "values", "k" * 63 + "1", build)

    with pytest.warns(UserWarning, match="will be rebuilt"):
        assert load_or_build(tmp_path, "values", "k" * 63 + "2", build).built


def test_load_or_build__home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))

    assert load_or_build(Path("~/cache"), "values", KEY, build).path.parent == tmp_path / "cache"


def test_load_or_build__whole_entry_needs_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_or_build(tmp_path, "values", KEY, build)

    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(cache, "locked", refuse)
    assert not load_or_build(tmp_path, "values", KEY, never).built


def flip(path: Path, position: int) -> None:
    """Flip one bit of one byte."""
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def truncate(path: Path, length: int) -> None:
    path.write_bytes(path.read_bytes()[:length])


DAMAGE: dict[str, Callable[[Path], object]] = {
    "array truncated": lambda entry: truncate(entry / "array.npy", 150),
    "array empty": lambda entry: truncate(entry / "array.npy", 0),
    "array gone": lambda entry: (entry / "array.npy").unlink(),
    "flipped byte in the values": lambda entry: flip(entry / "array.npy", -1),
    "flipped byte in the header": lambda entry: flip(entry / "array.npy", 20),
    "longer array": lambda entry: (entry / "array.npy").write_bytes((entry / "array.npy").read_bytes() + b"\0"),
    "about.json gone": lambda entry: (entry / "about.json").unlink(),
    "about.json empty": lambda entry: truncate(entry / "about.json", 0),
    "about.json truncated": lambda entry: truncate(entry / "about.json", 80),
    "about.json garbage": lambda entry: (entry / "about.json").write_bytes(b"\xff\xfe\x00garbage"),
    "about.json other JSON": lambda entry: (entry / "about.json").write_text("[1, 2]"),
    "about.json null": lambda entry: (entry / "about.json").write_text("null"),
    "about.json without note": lambda entry: without_note(entry / "about.json"),
    "note changed": lambda entry: (entry / "about.json").write_text(
        (entry / "about.json").read_text().replace('"first"', '"firsu"')
    ),
    "nothing left": lambda entry: empty_folder(entry),
}


def empty_folder(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


def without_note(path: Path) -> None:
    about = json.loads(path.read_text())
    del about["note"]
    path.write_text(json.dumps(about))


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_load_or_build__damaged_entry_is_rebuilt(damage: Callable[[Path], object], tmp_path: Path) -> None:
    entry = load_or_build(tmp_path, "values", KEY, build).path
    damage(entry)

    with pytest.warns(UserWarning, match="will be rebuilt") as caught:
        again = load_or_build(tmp_path, "values", KEY, build)

    assert len(caught) == 1
    assert again.built
    assert np.array_equal(again.array, VALUES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        third = load_or_build(tmp_path, "values", KEY, never)
    assert np.array_equal(third.array, VALUES)
    assert third.about == {"who": "first"}


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt(), SystemExit(3)], ids=type)
def test_load_or_build__failing_builder_leaves_nothing(error: BaseException, tmp_path: Path) -> None:
    def fail(path: Path) -> dict[str, Any]:
        path.write_bytes(b"half an array")
        raise error

    with pytest.raises(type(error)):
        load_or_build(tmp_path, "values", KEY, fail)

    assert [path for path in tmp_path.iterdir() if path.suffix != ".lock"] == []
    assert load_or_build(tmp_path, "values", KEY, build).built


def test_load_or_build__failing_builder_frees_the_lock(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="broken") as caught:
        load_or_build(tmp_path, "values", KEY, lambda path: (_ for _ in ()).throw(ValueError("broken")))

    with FileLock(tmp_path / f"values-{KEY[:20]}.lock", timeout=0):
        assert caught.value.__traceback__ is not None  # a kept traceback keeps no lock


def test_load_or_build__remains_of_a_killed_run_are_cleared(tmp_path: Path) -> None:
    remains = tmp_path / f"values-{KEY[:20]}.tmp"
    (remains / "deeper").mkdir(parents=True)
    (remains / "array.npy").write_bytes(b"half an array")

    entry = load_or_build(tmp_path, "values", KEY, build)

    assert np.array_equal(entry.array, VALUES)
    assert not remains.exists()
    assert sorted(path.name for path in entry.path.iterdir()) == ["about.json", "array.npy"]


def test_load_or_build__folder_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")

    with pytest.raises(OSError, match=r"Can't write values to .*cache: .*data\.cache_dir=PATH"):
        load_or_build(tmp_path / "cache", "values", KEY, build)


def test_load_or_build__full_disk(tmp_path: Path) -> None:
    def fill_up(path: Path) -> dict[str, Any]:
        path.write_bytes(b"half an array")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"No space left on device\. Give a writable folder .*data\.cache_dir=PATH"):
        load_or_build(tmp_path, "values", KEY, fill_up)
    assert [path for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def builder_and_waiter(start_python: StartPython, folder: Path) -> list[subprocess.Popen[str]]:
    """Return two processes that need the same entry: the first is building it, the second waits."""
    waiting = f"Waiting for another run that holds {folder}/values-{KEY[:20]}.lock ...\n"
    processes = []
    for line in ("building\n", waiting):
        processes.append(start_python(BUILDER, folder))
        assert processes[-1].stdout is not None
        assert processes[-1].stdout.readline() == line
    return processes


def test_load_or_build__second_process_waits(tmp_path: Path, start_python: StartPython) -> None:
    first, second = builder_and_waiter(start_python, tmp_path)

    said_first, _ = first.communicate("go\n", timeout=30)
    said_second, _ = second.communicate(timeout=30)

    assert said_first == f"built {first.pid} {VALUES.sum()}\n"
    assert said_second == f"found {first.pid} {VALUES.sum()}\n"
    assert (first.returncode, second.returncode) == (0, 0)


def test_load_or_build__killed_builder_leaves_no_entry_and_no_lock(tmp_path: Path, start_python: StartPython) -> None:
    first, second = builder_and_waiter(start_python, tmp_path)
    assert not (tmp_path / f"values-{KEY[:20]}").exists()

    first.kill()
    said, _ = second.communicate("go\n", timeout=30)

    assert said == f"building\nbuilt {second.pid} {VALUES.sum()}\n"
    assert not load_or_build(tmp_path, "values", KEY, never).built


def test_create_once__of_several_at_once_one_writes(tmp_path: Path) -> None:
    written = []

    def write(folder: Path) -> None:
        time.sleep(0.05)
        folder.mkdir()
        (folder / "image").touch()
        written.append(folder)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: create_once(tmp_path / "new" / "set", "images", write), range(3)))

    assert written == [tmp_path / "new" / "set.tmp"]
    assert [path.name for path in (tmp_path / "new" / "set").iterdir()] == ["image"]


def test_create_once__failing_writer_leaves_nothing(tmp_path: Path) -> None:
    def fail(error: Exception) -> Callable[[Path], None]:
        def write(folder: Path) -> None:
            (folder / "half").mkdir(parents=True)
            raise error

        return write

    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match=r"Can't write images to .*: No space left on device\. .*data\.cache_dir=PATH"):
        create_once(tmp_path / "set", "images", fail(full))
    with pytest.raises(ConnectionError, match=r"^no network$"):
        create_once(tmp_path / "set", "images", fail(ConnectionError("no network")))

    assert [path for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def test_locked__frees_the_lock_at_its_end(tmp_path: Path) -> None:
    lock = locked(tmp_path / "x.lock")
    with lock, pytest.raises(TimeoutError):
        FileLock(tmp_path / "x.lock").acquire(timeout=0)

    with FileLock(tmp_path / "x.lock", timeout=0) as free:
        assert free.is_locked


def test_new_array__is_an_npy_file(tmp_path: Path) -> None:
    array = new_array(tmp_path / "array.npy", np.float32, (3, 5))
    array[:] = np.arange(15).reshape(3, 5)
    array.flush()

    loaded = np.load(tmp_path / "array.npy")
    assert loaded.dtype == np.float32
    assert np.array_equal(loaded, np.arange(15).reshape(3, 5))


@pytest.mark.skipif(sys.platform != "linux", reason="counts blocks as Linux file systems do")
def test_new_array__takes_its_space_at_once(tmp_path: Path) -> None:
    new_array(tmp_path / "array.npy", np.uint8, (1 << 20,))

    assert (tmp_path / "array.npy").stat().st_blocks * 512 >= 1 << 20


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system can't take space ahead")
def test_new_array__full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, f"No space left on device for {length} bytes")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(OSError, match=r"No space left on device for 1128 bytes"):
        new_array(tmp_path / "array.npy", np.uint8, (1000,))


def test_cache_entry__megabytes(tmp_path: Path) -> None:
    assert CacheEntry(np.zeros((1000, 500), dtype=np.float32), {}, tmp_path, built=True).megabytes() == 2.0


def test_digest_of__oracle() -> None:
    expected = hashlib.sha256(b'["images", 1, {"a": null, "b": [2, 3]}]').hexdigest()

    assert digest_of("images", 1, {"b": (2, 3), "a": None}) == expected


DIFFERENT: list[tuple[object, ...]] = [
    (),
    ("1",),
    (1,),
    (1, 2),
    ((1, 2),),
    ("1, 2",),
    (None,),
    ("\udce4",),
    ("\xe4",),
]


def test_digest_of__differs() -> None:
    assert len({digest_of(*parts) for parts in DIFFERENT}) == len(DIFFERENT)


def test_digest_of__not_json() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        digest_of(object())


@pytest.mark.parametrize("size", [0, 1, 1 << 20], ids=["empty", "one byte", "1 MiB"])
def test_file_digest__oracle(size: int, tmp_path: Path) -> None:
    content = bytes(range(256)) * (size // 256) or b"x" * size
    (tmp_path / "file").write_bytes(content)

    assert file_digest(tmp_path / "file") == hashlib.sha256(content).hexdigest()


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum of the GNU core utilities")
def test_file_digest__as_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"slice" * 1000)

    said = subprocess.run(["sha256sum", tmp_path / "file"], capture_output=True, text=True, check=True).stdout
    assert said.split()[0] == file_digest(tmp_path / "file")


@pytest.mark.parametrize("name", ["notes.txt", "more"])
def test_load_or_build__foreign_files_stay(name: str, tmp_path: Path) -> None:
    entry = load_or_build(tmp_path, "values", KEY, build)
    (entry.path / "about.json").write_text("{}")
    (entry.path / name).mkdir()

    with pytest.raises(OSError, match=rf"files that are not the cache's are in its place \({name}\)"), pytest.warns():
        load_or_build(tmp_path, "values", KEY, build)

    assert (entry.path / name).exists()


def test_load_or_build__a_file_in_its_place_stays(tmp_path: Path) -> None:
    place = tmp_path / f"values-{KEY[:20]}"
    place.write_text("mine")

    with pytest.raises(OSError, match="files that are not the cache's are in its place"):
        load_or_build(tmp_path, "values", KEY, build)

    assert place.read_text() == "mine"


def test_load_or_build__older_format_is_rebuilt(tmp_path: Path) -> None:
    entry = load_or_build(tmp_path, "values", KEY, build)
    about = json.loads((entry.path / "about.json").read_text())
    (entry.path / "about.json").write_text(json.dumps({"key": about["key"], "note": about["note"]}))  # no checksums

    with pytest.warns(UserWarning, match="is damaged .* and will be rebuilt"):
        again = load_or_build(tmp_path, "values", KEY, build)

    assert again.built
    assert np.array_equal(again.array, VALUES)


def test_load_or_build__folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bool:  # since a superuser may look into every folder
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(OSError, match=r"Can't write values to .*: Permission denied\. Give a writable folder"):
        load_or_build(tmp_path, "values", KEY, build)


@pytest.fixture(params=["ENOLCK", "EOPNOTSUPP", "ENOSYS"])
def without_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that refuses locks, as some network ones."""

    def refuse(*_: object) -> None:
        raise OSError(getattr(errno, request.param), os.strerror(getattr(errno, request.param)))

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.usefixtures("without_locks")
@pytest.mark.filterwarnings("ignore:flock not supported")
def test_load_or_build__without_locks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry = load_or_build(tmp_path, "values", KEY, build)
    again = load_or_build(tmp_path, "values", KEY, build)

    assert (entry.built, again.built) == (True, False)
    assert np.array_equal(entry.array, VALUES)
    assert capsys.readouterr().out.count("runs at the same time may do the same work twice") <= 1


def test_load_or_build__without_locks_the_first_to_finish_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def no_locks(path: Path) -> Iterator[bool]:
        yield False

    def build_while_another_ends(path: Path) -> dict[str, Any]:
        ended.append(cache.build_entry(tmp_path / f"values-{KEY[:20]}", KEY, build, alone=False))
        return build(path)

    ended: list[cache.CacheEntry] = []
    monkeypatch.setattr(cache, "locked", no_locks)
    entry = load_or_build(tmp_path, "values", KEY, build_while_another_ends)

    assert np.array_equal(entry.array, VALUES)
    assert ended[0].path == entry.path
    assert sorted(path.name for path in tmp_path.iterdir()) == [entry.path.name]


def test_locked__other_errors_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="Input/output error"), locked(tmp_path / "a.lock"):
        pass
