from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

JOBS = Path(__file__).parents[1] / "jobs"


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["--task", "psicov", "--budget", "50"], "pare-tune psicov"),
        (["--budget", "50", "--task=openml:31"], "pare-tune openml:31"),
        (["--task", '/data/my "task".yaml'], "pare-tune my task.yaml"),
        (
            ["resume", "/shared/runs/psicov-20261122-113000", "--budget", "80"],
            "pare-tune psicov-20261122-113000",
        ),
    ],
)
def test_a_submitted_search_is_named_by_its_task(tmp_path: Path, arguments: list[str], name: str) -> None:
    ray = tmp_path / "ray"
    ray.write_text('#!/bin/sh\nfor argument in "$@"; do printf "%s\\n" "$argument"; done\n')
    ray.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        [JOBS / "search.sh", *arguments], capture_output=True, text=True, check=True, env=environment
    )
    told = done.stdout.splitlines()
    assert json.loads(told[told.index("--metadata-json") + 1]) == {"job_name": name}
    assert told[told.index("--") :] == ["--", "pare-tune", *arguments]
