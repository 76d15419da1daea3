"""Fuzz: arbitrary changes of good input never end in anything but the errors that a verb reports in one line."""

from __future__ import annotations

import gzip
import io
import json
import resource
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import Dataset, dataset, uid

from brain_tumor_tl.cli.command import checked_line
from brain_tumor_tl.cli.keys import declared
from brain_tumor_tl.cli.report import make_report
from brain_tumor_tl.data.contents import examine, names_in
from brain_tumor_tl.data.decode import decode_image
from brain_tumor_tl.data.formats import reason_of
from brain_tumor_tl.data.index import read_index
from brain_tumor_tl.data.reader import refusing_bombs
from brain_tumor_tl.data.table import apply_tables
from brain_tumor_tl.files import read_json
from brain_tumor_tl.reporting.discover import discover_runs
from brain_tumor_tl.reporting.document import as_html, as_markdown
from brain_tumor_tl.reporting.predictions import read_predictions, read_split
from brain_tumor_tl.reporting.report_csv import csv_rows
from brain_tumor_tl.reporting.results_file import read_results
from brain_tumor_tl.run.folder import read_settings

# The same examples in every run, and no limit of time for one, which a busy machine would exceed.
SHORT = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
GIB = 2**30
PIXELS = np.random.default_rng(0).integers(0, 255, (24, 32), np.uint8)
KINDS = ("png", "jpg", "bmp", "tif", "webp", "dcm", "rle.dcm", "nii", "nii.gz")
CHANGES = st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.binary(min_size=1, max_size=4)), max_size=8)


@cache
def good(kind: str) -> bytes:
    """Return a good file of a kind."""
    file = io.BytesIO()
    if kind.endswith("dcm"):
        data = Dataset()
        data.file_meta = dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID, data.SOPInstanceUID = uid.ExplicitVRLittleEndian, "1.2.3"
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = uid.MRImageStorage
        elements = {
            "Rows": 24, "Columns": 32, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0,
            "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "NumberOfFrames": 1,
            "PixelData": PIXELS.tobytes(),
        }  # fmt: skip
        for name, value in elements.items():
            setattr(data, name, value)
        if kind == "rle.dcm":
            data.compress(uid.RLELossless, generate_instance_uid=False)
        data.save_as(file, enforce_file_format=True)
    elif kind.startswith("nii"):
        content = nibabel.Nifti1Image(np.arange(120, dtype=np.int16).reshape(4, 5, 6), np.eye(4)).to_bytes()
        return content if kind == "nii" else gzip.compress(content)
    else:
        Image.fromarray(PIXELS).save(file, {"jpg": "JPEG", "tif": "TIFF"}.get(kind, kind.upper()))
    return file.getvalue()


def changed(content: bytes, changes: list[tuple[float, bool, bytes]]) -> bytes:
    """Return content with some bytes replaced, most of them in its first half, or inserted."""
    result = bytearray(content)
    for place, inserts, new in changes:
        start = int(place**2 * len(result))
        result[start : start if inserts else start + len(new)] = new
    return bytes(result)


@contextmanager
def at_most(gigabytes: float) -> Iterator[None]:
    """Let the process have only some more memory while the context lasts."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + int(gigabytes * GIB), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def check_file(path: Path) -> None:
    """Read a file as an index and a decoder do; every error has a reason, none of memory, and none takes long."""
    started, reasons = time.monotonic(), list[str]()
    with at_most(2), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = examine(path)
        names, _ = ([], "") if found.fault else names_in(path.name, found, "all")
        assert len(names) <= max(path.stat().st_size, 1)
        for name in {*names[:1], *names[-1:]}:
            try:
                with refusing_bombs():
                    assert decode_image(path.with_name(name), 16).dtype == np.uint8
            except MemoryError:
                raise
            except Exception as error:
                reasons.append(reason_of(error))
    assert all(reasons)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("kind", KINDS)
@SHORT
@given(changes=CHANGES)
def test_image__bytes(kind: str, changes: list[tuple[float, bool, bytes]], tmp_path: Path) -> None:
    path = tmp_path / f"scan.{kind}"
    path.write_bytes(changed(good(kind), changes))

    check_file(path)


@pytest.mark.parametrize("name", ["a.png", "a.dcm", "a.nii", "a.nii.gz", "a"])
@SHORT
@given(content=st.binary(max_size=600))
def test_image__any_bytes(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)

    check_file(tmp_path / name)


KEYS = st.one_of(st.sampled_from(sorted(declared())), st.text("abcdefdata.model_~+@", max_size=12))
VALUES = st.one_of(
    st.text(max_size=12), st.integers().map(str), st.floats().map(str), st.text("[]{},:'\"$\\=!<> -ab01", max_size=12)
)


@SHORT
@given(words=st.lists(st.tuples(KEYS, VALUES).map("=".join), min_size=1, max_size=3))
def test_command_line__overrides(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    status = 0
    try:
        checked_line(words)
    except SystemExit as end:
        status = int(str(end.code))
    assert (status == 2) == bool(capsys.readouterr().err.strip())


CELLS = st.sampled_from(["path", "label", "patient", "no/a.png", "yes/a.png", "no", '"', "\0", ""])
TABLES = st.lists(st.lists(CELLS, max_size=4).map(",".join), max_size=6).map("\n".join)


@SHORT
@given(text=st.text(max_size=200) | TABLES)
def test_table__text(text: str, tmp_path: Path) -> None:
    for name in ("no", "yes"):
        (tmp_path / "set" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name / "a.png").write_bytes(good("png"))
    classes = [["no"], ["yes"]]
    index, table = read_index(tmp_path / "set", classes), tmp_path / "table.csv"
    table.write_text(text, encoding="utf-8", errors="surrogatepass")

    for labels, patients in ((table, None), (None, table)):
        with suppress(ValueError, OSError):  # as `exit_status` reports them
            found, _ = apply_tables(replace(index), classes, labels, patients)
            assert set(found.paths) <= set(index.paths)  # which no table adds to


FILES = ("results.json", "config.yaml", "split.csv", "predictions.csv", "sweep.json", "error.txt", "metrics.csv")


@SHORT
@given(content=st.binary(max_size=200))
def test_run__bytes_of_its_files(content: bytes, tmp_path: Path) -> None:
    for name in (
        "results.json",
        "config.yaml",
        "split.csv",
        "predictions.csv",
        "sweep.json",
        "error.txt",
        "metrics.csv",
    ):
        (tmp_path / name).write_bytes(content)

    for read in (read_json, read_results):
        with pytest.raises(ValueError, match=r"results\.json"):
            read(tmp_path / "results.json")
    for read_table in (read_split, read_predictions):
        with suppress(ValueError):
            read_table(tmp_path)
    read_settings(tmp_path / "config.yaml")
    assert discover_runs([tmp_path]).unfinished


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(SHORT, max_examples=25)
@given(data=st.data())
def test_run__values_of_its_results(data: st.DataObject, finished_runs: Mapping[str, Path], tmp_path: Path) -> None:
    content: Any = json.loads((finished_runs["frozen"] / "results.json").read_text())
    table, key = content, ""
    while isinstance(table.get(key, table), dict) and (inside := table.get(key, table)):
        table = inside
        key = data.draw(st.sampled_from(sorted(table)))
        if data.draw(st.booleans()):
            break
    table[key] = data.draw(JSON)
    (tmp_path / "results.json").write_text(json.dumps(content))
    (tmp_path / "config.yaml").touch()

    report = make_report([tmp_path], tmp_path)
    assert as_html(report)
    assert as_markdown(report)
    assert csv_rows(report)
