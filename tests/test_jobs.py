from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

import pare_tune
from pare_tune.cli import app

runner = CliRunner()
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


def load(name: str) -> Any:
    return YAML(typ="safe").load((JOBS / name).read_text(encoding="utf-8"))


KUBERAY = {
    "kuberay-job.yaml": ("RayJob", lambda tree: tree["spec"]["rayClusterSpec"]),
    "kuberay-cluster.yaml": ("RayCluster", lambda tree: tree["spec"]),
}


@pytest.mark.parametrize("name", KUBERAY)
def test_a_cluster_on_kubernetes_is_what_its_operator_takes(name: str) -> None:
    """The fields that KubeRay's published CRDs require, with the values that make these clusters work."""
    kind, spec_of = KUBERAY[name]
    tree = load(name)
    spec = spec_of(tree)
    assert (tree["apiVersion"], tree["kind"]) == ("ray.io/v1", kind)
    assert spec["rayVersion"] in {str(r) for r in ray_versions()}
    head = spec["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0", "the head trains nothing"
    groups = spec["workerGroupSpecs"]
    assert len({g["groupName"] for g in groups}) == len(groups)
    for group in groups:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for group in [head, *groups]:
        (container,) = group["template"]["spec"]["containers"]
        assert container["image"] == f"pare-tune:{pare_tune.__version__}", (
            "as the Dockerfile's command names it"
        )
        assert container["envFrom"] == [{"secretRef": {"name": "pare-tune-store"}}], (
            "secrets by reference only"
        )
        assert "env" not in container
        asked, most = (container["resources"][key] for key in ("requests", "limits"))
        assert asked["memory"] == most["memory"]
        assert asked.get("nvidia.com/gpu") == most.get("nvidia.com/gpu")


def ray_versions() -> list[str]:
    needs = metadata.requires("pare-tune") or ()
    (needed,) = (d for d in needs if d.startswith("ray[") and "extra ==" not in d)
    return re.findall(r">=([\d.]+)", needed.replace("2.60", "2.60.0"))


def test_a_cluster_of_rented_machines_is_what_ray_takes() -> None:
    import ray.autoscaler

    schema = Path(ray.autoscaler.__file__).parent / "ray-schema.json"
    tree = load("ray-up.yaml")
    jsonschema.validate(tree, json.loads(schema.read_text(encoding="utf-8")))
    assert tree["head_node_type"] in tree["available_node_types"]
    assert tree["docker"]["image"] == f"pare-tune:{pare_tune.__version__}"


@pytest.mark.parametrize("name", ["kuberay-job.yaml", "kuberay-cluster.yaml", "ray-up.yaml", "search.slurm"])
def test_searches_in_jobs_are_commands_of_ours(name: str) -> None:
    text = (JOBS / name).read_text(encoding="utf-8")
    commands = re.findall(r"(?:pare-tune|jobs/search\.(?:sh|slurm)) (--task [^'\n]*)", text)
    assert commands
    for words in commands:
        plan = runner.invoke(
            app, [*shlex.split(words.replace("$SCRATCH", "/scratch")), "--dry-run", "--json"]
        )
        assert plan.exit_code == 0, plan.output
        assert json.loads(plan.stdout)["runs"] in {"s3://my-bucket/runs", "/scratch/runs"}


def test_a_search_under_slurm_starts_ray_on_every_node_and_passes_the_signal_on(tmp_path: Path) -> None:
    stand_ins = {
        "scontrol": 'printf "node1\\nnode2\\n"',
        "srun": 'echo "$@" >> "$CALLS"; case "$*" in *pare-tune*) shift 5; exec "$@";; esac; exec sleep 60',
        "pare-tune": 'trap "echo saved >> $CALLS; exit 130" TERM; kill -TERM "$SCRIPT"; sleep 60 & wait',
    }
    for name, body in stand_ins.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    calls = tmp_path / "calls"
    slurm = {"SLURM_JOB_ID": "77", "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_NUM_NODES": "2"}
    done = subprocess.run(
        ["bash", "-c", 'SCRIPT=$$ exec bash "$@"', "bash", str(JOBS / "search.slurm"), "--task", "psicov"],
        env={
            **os.environ, **slurm, "PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(calls), "USER": "me",
            "RAY_HEAD_WAIT_S": "0.2",
        },
        timeout=50,
    )  # fmt: skip
    assert done.returncode == 130
    told = calls.read_text().splitlines()
    assert told[-1] == "saved", "the signal came through, and was waited for"
    head, worker, search = told[:3]
    assert "ray start --head --port=20077" in head
    assert "-w node1" in head
    assert "--exclude=node1 ray start --address=node1:20077" in worker
    assert search.endswith("env RAY_ADDRESS=node1:20077 pare-tune --task psicov")
