"""Serve: what is wrong with its line is said before anything is loaded; tests/serve/ has the page."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from brain_tumor_tl.cli import serve
from brain_tumor_tl.cli.serve import main


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ([], "the following arguments are required: RUN"),
        (["run", "--port=web"], "argument --port: invalid int value: 'web'"),
        (["run", "--port=65536"], "expected --port between 0 and 65535, got 65536"),
        (["run", "--device=tpu"], "argument --device: invalid choice: 'tpu'"),
        (["run", "--host=0.0.0.0"], "unrecognized arguments: --host=0.0.0.0"),
        (["run", "other"], "unrecognized arguments: other"),
    ],
    ids=["no-run", "no-number", "port", "device", "host", "two-runs"],
)
def test_main__what_is_wrong_with_the_line(line: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(line)

    assert stopped.value.code == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: {message}")
    assert error.endswith("`brain-tumor-tl serve --help` explains it.")


def test_main__no_run_in_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "absent"), "--port=0"]) == 1
    assert "Expected the folder of a finished run" in capsys.readouterr().err


def test_main__port_in_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main([str(tmp_path), f"--port={port}"]) == 1

    expected = f"Expected a free port, 127.0.0.1:{port} can't be used: Address already in use. Give --port=N."
    assert capsys.readouterr().err == f"error: {expected}\n"


def test_main__without_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serve, "find_spec", lambda name: None if name == "python_multipart" else name)

    assert main([str(tmp_path)]) == 1
    expected = "error: `serve` needs python-multipart: pip install 'brain_tumor_tl[serve]'.\n"
    assert capsys.readouterr().err == expected
