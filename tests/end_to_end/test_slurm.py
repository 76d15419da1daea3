"""A real SLURM cluster on one machine: names, failures, second starts, several processes per job."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

CLUSTER = Path(__file__).with_name("slurm_cluster.sh")
PROGRAMS = ("slurmctld", "slurmd", "slurmdbd", "sbatch", "munged", "mariadbd")
PATH = os.environ["PATH"] + os.pathsep + "/usr/sbin"
MISSING = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(MISSING), reason=f"not installed: {', '.join(MISSING)}; Debian: apt-get install slurmctld slurmd "
        "slurm-client slurm-wlm-basic-plugins slurmdbd munge mariadb-server",
    ),
    pytest.mark.skipif(hasattr(os, "getuid") and os.getuid() != 0, reason="the daemons need root"),
    pytest.mark.skipif(find_spec("submitit") is None, reason="the extra `slurm` is not installed"),
]  # fmt: skip


@pytest.fixture
def cluster() -> Iterator[dict[str, str]]:
    """The environment of a cluster with four simulated GPUs; one at a time on a machine, since its ports are fixed."""
    folder = Path(tempfile.mkdtemp(prefix="brain_tumor_tl-slurm-"))  # readable for the database's user, unlike tmp_path
    with FileLock("/tmp/brain_tumor_tl-test-slurm.lock"):
        environment = os.environ | {"PATH": PATH}
        try:
            subprocess.run([CLUSTER, "start", folder], env=environment, check=True, timeout=180)
            yield environment | {"SLURM_CONF": str(folder / "slurm.conf"), "OMP_NUM_THREADS": "1", "COLUMNS": "160"}
        finally:
            subprocess.run([CLUSTER, "stop", folder], env=environment, check=False, timeout=120)
            shutil.rmtree(folder, ignore_errors=True)


def sweep(folder: Path, environment: dict[str, str], *line: str, status: int = 0) -> str:
    """Run a sweep on the cluster and return what it printed."""
    command = [sys.executable, "-m", "brain_tumor_tl", "train", "-m", *line, "hydra.launcher.partition=main"]
    result = subprocess.run(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600
    )
    assert result.returncode == status, result.stdout
    return result.stdout


def states(folder: Path) -> dict[str, str]:
    """Return the states of a sweep's jobs by their names."""
    content = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    return {entry["name"]: entry["state"] for entry in content["jobs"]}


def results(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return content


def test_slurm__failed_job_runs_again_alone(tmp_path: Path, small_job: list[str], cluster: dict[str, str]) -> None:
    line = (*small_job, "method=frozen", "model.weights=null,weights.pth", "hydra/launcher=slurm")
    good, bad = (f"shufflenet_v2_x0_5-frozen-s0-weights_{name}" for name in ("null", "weights.pth"))

    first = sweep(tmp_path, cluster, *line, status=1)

    assert "2 of 2 jobs to the scheduler" in first
    assert "got weights.pth, which is no file" in first
    (folder,) = (tmp_path / "outputs" / "sweeps").iterdir()
    assert states(folder) == {good: "done", bad: "failed"}
    assert results(folder / good)["epochs"] == 3
    assert "1 of 2 jobs to the scheduler" in sweep(tmp_path, cluster, *line, status=1)
    assert states(folder) == {good: "skipped", bad: "failed"}


def test_slurm__two_processes_a_job_agree_with_one(
    tmp_path: Path, small_job: list[str], cluster: dict[str, str]
) -> None:
    line = (*small_job, "method=frozen", "data.batch_size=16")
    several = ("trainer.devices=2", "trainer.strategy=ddp", "hydra/launcher=slurm_ddp")
    sweep(tmp_path, cluster, *line, *several, "sweep=two")
    sweep(tmp_path, cluster, *line, "hydra/launcher=slurm", "sweep=one")

    sweeps, name = tmp_path / "outputs" / "sweeps", "shufflenet_v2_x0_5-frozen-s0"
    one, two = (results(sweeps / sweep / name) for sweep in ("one", "two"))
    assert one["confusion_matrix"] == two["confusion_matrix"]
    assert two["loss"] == pytest.approx(one["loss"], abs=1e-5)
    assert two["config"]["trainer"]["devices"] == 2
