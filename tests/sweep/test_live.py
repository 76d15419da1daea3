"""Live: a run's progress, the table on a terminal, and plain lines without one."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from brain_tumor_tl.sweep import live
from brain_tumor_tl.sweep.live import LiveView, counts, live_table, progress_of
from brain_tumor_tl.sweep.manifest import SweepJob

TABLE = """\
epoch,train/loss,test/accuracy,seconds/test,seconds/train
1,1.0,0.5,1.0,9.0
2,0.9,0.75,1.0,9.0
"""
UNKNOWN = ("0/5", "-", "-")
FILES: dict[str, tuple[str | None, tuple[str, str, str]]] = {
    "two-epochs": (TABLE, ("2/5", "75.00", "30 s")),
    "validated": (TABLE.replace("test/accuracy", "val/accuracy"), ("2/5", "75.00", "30 s")),
    "not-monitored-yet": ("epoch,seconds/train\n1,4.0\n", ("1/5", "-", "16 s")),
    "last-epoch-not-monitored": ("epoch,test/accuracy,seconds/train\n1,0.5,4\n2,,4\n", ("2/5", "50.00", "12 s")),
    "absent": (None, UNKNOWN),
    "header": ("epoch,test/accuracy\n", UNKNOWN),
    "something-else": ("a,b\n1,2\n", UNKNOWN),
}


@pytest.mark.parametrize(("text", "expected"), FILES.values(), ids=FILES)
def test_progress_of__metrics(text: str | None, expected: tuple[str, str, str], tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "metrics.csv").write_text(text)

    assert progress_of(SweepJob("job", tmp_path, [], [], max_epochs=5)) == expected


@pytest.fixture
def jobs(tmp_path: Path) -> list[SweepJob]:
    """One job of each kind; the running one has two epochs behind it."""
    running = SweepJob("running-one", tmp_path / "running", [], [], max_epochs=5, state="running", devices=["0", "2"])
    running.folder.mkdir()
    (running.folder / "metrics.csv").write_text(TABLE)
    others = [
        SweepJob("done-one", tmp_path / "done", [], [], state="done", seconds=125.0),
        SweepJob("skipped-one", tmp_path / "skipped", [], [], state="skipped"),
        SweepJob("failed-one", tmp_path / "failed", [], [], state="failed", reason="ValueError: no [weights]"),
        SweepJob("waiting-one", tmp_path / "waiting", [], []),
    ]
    return [running, *others]


def text_of(console: Console) -> str:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def plain() -> Console:
    return Console(file=io.StringIO(), width=100)


def test_live_table__counts_running_and_failed(jobs: list[SweepJob]) -> None:
    console = plain()

    console.print(live_table(jobs, counts(jobs)))

    lines = [" ".join(line.split()) for line in text_of(console).splitlines()]
    assert lines == [
        "2 of 5 done, 1 running, 1 failed, 1 waiting",
        "failed: failed-one: ValueError: no [weights]",
        "running device epoch accuracy left",
        "running-one 0,2 2/5 75.00 30 s",
    ]


def test_live_table__nothing_runs(jobs: list[SweepJob]) -> None:
    console = plain()

    console.print(live_table(jobs[-1:], "nothing yet"))

    assert "waiting for devices that another sweep holds" in text_of(console)


def test_live_view__plain_lines_without_a_terminal(jobs: list[SweepJob], monkeypatch: pytest.MonkeyPatch) -> None:
    console = plain()
    monkeypatch.setattr(live, "LINE_SECONDS", 0.0)

    jobs[1].folder.mkdir()
    (jobs[1].folder / "results.json").write_text('{"accuracy": 0.8897}')

    shown = LiveView(jobs, console)
    with shown.live:
        shown.changed(jobs[0])
        shown.changed(jobs[1], ["a line"])
        shown.changed(jobs[3], ["Traceback", "ValueError: no [weights]"])
        shown.tick()

    assert text_of(console).splitlines() == [
        "start   running-one on devices 0,2",
        "done    done-one: accuracy 88.97 %, 2 min",
        "FAILED  failed-one: ValueError: no [weights]",
        "        | Traceback",
        f"        full output: {jobs[3].folder / 'console.log'}",
        "2 of 5 done, 1 running, 1 failed, 1 waiting: running-one epoch 2/5, accuracy 75.00 %, 30 s left",
    ]


def test_live_view__table_on_a_terminal(jobs: list[SweepJob], monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    monkeypatch.setattr(live, "REFRESH_SECONDS", 0.0)

    shown = LiveView(jobs, console)
    with shown.live:
        shown.changed(jobs[0])
        shown.changed(jobs[3], ["last words"])
        shown.tick()

    text = text_of(console)
    assert "\x1b[" in text
    for part in ("running-one", "75.00", "FAILED  failed-one", "last words", "1 waiting"):
        assert part in text


def test_counts__earlier_ones_are_done(jobs: list[SweepJob]) -> None:
    assert counts(jobs[1:3]) == "2 of 2 done"


def test_changed__pruned_is_no_failure(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=100)
    job = SweepJob("slow-one", tmp_path / "slow", [], [], state="pruned", reason="ended after epoch 2")

    LiveView([job], console).changed(job, ["Epoch 2/9"])

    assert text_of(console) == "pruned  slow-one: ended after epoch 2\n"
    assert counts([job]) == "0 of 1 done, 1 pruned"


def test_tick__headline_of_a_search(jobs: list[SweepJob], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LINE_SECONDS", 0.0)
    console = Console(file=io.StringIO(), width=200)

    shown = LiveView(jobs, console)
    shown.headline = lambda: "3 of 20 trials"
    shown.tick()

    assert text_of(console).startswith("3 of 20 trials: running-one epoch 2/5")


def test_changed__a_trials_validation_figure(tmp_path: Path) -> None:
    console = plain()
    job = SweepJob("trial", tmp_path, [], [], state="done", seconds=5)
    trial = '{"metric": "val/accuracy", "value": 0.75}'
    (tmp_path / "results.json").write_text(f'{{"accuracy": 0.5, "trial": {trial}}}')

    LiveView([job], console).changed(job)

    assert text_of(console) == "done    trial: val/accuracy 0.7500, 5 s\n"
