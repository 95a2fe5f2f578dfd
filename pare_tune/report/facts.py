"""What a run folder tells beside its trials: how it was configured, with which versions, and what it cost."""

from __future__ import annotations

import importlib.metadata
import platform
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pare_tune.report import words
from pare_tune.tune.snapshot import Snapshot, TrialView
from pare_tune.yaml import dotted

_PACKAGES = ("pare-tune", "torch", "torchvision", "timm", "transformers", "ray", "optuna", "numpy", "pyarrow")


@dataclass(frozen=True, slots=True)
class Facts:
    """Of one run."""

    settings: Mapping[str, Any]
    """Dotted key of run.yaml → value; empty where the file is missing or damaged."""
    best: Mapping[str, Any]
    """Of best.yaml."""
    environment: tuple[str, str]
    """(whose versions, the versions)."""
    final: tuple[str, ...] = ()
    """Of the final model, where it was trained: its test score and what is known of its probabilities."""

    @classmethod
    def read(cls, run: Path) -> Facts:
        """From the files of a run folder, whatever of them is there."""
        return cls(
            _flat_yaml(run / "run.yaml"), _flat_yaml(run / "best.yaml"), _environment(run), _final(run)
        )

    @property
    def gpu(self) -> str | None:
        """Name of the GPU that trials ran on; None where they ran on the CPU."""
        if self.settings.get("search.gpus_per_worker") == 0:
            return None
        lines = self.environment[1].splitlines() if self.environment[0] == _RECORDED else []
        return next((line.removeprefix("gpu ") for line in lines if line.startswith("gpu ")), None)


def device_time(s: Snapshot, facts: Facts) -> str:
    """`0.42 CPU-hours` or `12.3 GPU-hours`: training and validation of all trials, times the devices of a trial."""
    each = "gpus_per_worker" if facts.gpu else "cpus_per_worker"
    share = facts.settings.get(f"search.{each}")
    workers = facts.settings.get("search.workers_per_trial", 1)
    devices = float(workers) * (1.0 if share is None else float(share))
    hours = devices * sum(t.seconds for t in s.trials) / 3600
    return f"{hours:.3g} {'GPU' if facts.gpu else 'CPU'}-hours"


@dataclass(frozen=True, slots=True)
class Use:
    """What one kind of trials took."""

    kind: str
    trials: int
    epochs: int
    seconds: float
    share: float
    """Of all training time."""


def uses(s: Snapshot) -> list[Use]:
    """Training time by what became of the trials."""
    total = sum(t.seconds for t in s.trials) or 1.0
    groups: list[tuple[str, list[TrialView]]] = [
        (name, [t for t in s.searched if t.state == state]) for state, name in words.STATES.items()
    ]
    groups.append(("confirmation", [t for t in s.trials if t.repeats is not None]))
    return [
        Use(kind, len(ts), sum(t.epoch for t in ts), seconds, seconds / total)
        for kind, ts in groups
        if ts
        for seconds in (sum(t.seconds for t in ts),)
    ]


@dataclass(frozen=True, slots=True)
class Measured:
    """One quantity over the trials."""

    name: str
    least: str
    median: str
    most: str
    at: int
    """The trial of the most."""


def measured(s: Snapshot) -> list[Measured]:
    """Seconds an epoch, throughput and memory, as far as they were recorded."""
    fields = (
        ("Seconds an epoch", "seconds", words.number),
        ("Samples a second", "samples_per_s", words.number),
        ("Memory of its process", "memory_mb", lambda mb: words.size(round(mb * 1e6))),
    )
    rows = []
    for name, field, say in fields:
        values = {
            t.number: v for t in s.trials if (v := _median(t, field, most=field == "memory_mb")) is not None
        }
        if values:
            at = max(values, key=lambda n: values[n])
            middle = statistics.median(values.values())
            rows.append(Measured(name, say(min(values.values())), say(middle), say(values[at]), at))
    return rows


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of several trials or runs, as it is shown."""

    name: str
    values: tuple[str, ...]
    """A dash where it does not apply or is not recorded."""

    @property
    def differs(self) -> bool:
        """Whether they are not all alike."""
        return len(set(self.values)) > 1


def settings_of(*columns: Mapping[str, Any]) -> list[Setting]:
    """A row a setting that any column has, in their order."""
    names = dict.fromkeys(name for column in columns for name in column)
    return [
        Setting(name, tuple(words.setting(c[name]) if name in c else words.NONE for c in columns))
        for name in names
    ]


def run_name(run: Path) -> str:
    """The folder's name."""
    return run.name or str(run)


def _median(trial: TrialView, field: str, *, most: bool) -> float | None:
    values = [float(r[field]) for r in trial.curve if isinstance(r.get(field), int | float) and r[field] > 0]
    if not values:
        return None
    return max(values) if most else statistics.median(values)


_RECORDED = "as recorded by the run"


def _environment(run: Path) -> tuple[str, str]:
    """The run's own record, else what is installed now."""
    for path in (run / "best" / "environment.txt", run / "environment.txt"):
        if path.is_file():
            return _RECORDED, path.read_text(encoding="utf-8", errors="replace").strip()
    lines = [f"python=={platform.python_version()}"]
    for name in _PACKAGES:
        try:
            lines.append(f"{name}=={importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return "as installed when this page was made", "\n".join(lines)


def _final(run: Path) -> tuple[str, ...]:
    """Of final/, where `pare-tune train` puts the model unless told otherwise."""
    from pare_tune.train.export import ModelFolder  # torch, which no other page needs

    folder = ModelFolder(run / "final")
    if not folder.is_complete:
        return ()
    try:
        metrics = folder.metrics()
        score = "undefined" if metrics["test"] is None else f"{metrics['test']:.4g}"
        unit = "" if metrics["unit"] == "1" else f" {metrics['unit']}"
        first = f"test {metrics['metric']} {score}{unit} on {words.plural(metrics['test_samples'], 'sample')}"
        return (f"{first}, trained on {metrics['trained_on']}", *words.calibration(metrics))
    except (OSError, ValueError, LookupError):
        return ()


def _flat_yaml(path: Path) -> dict[str, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        tree = YAML(typ="safe").load(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, YAMLError):
        return {}
    return dotted(tree) if isinstance(tree, Mapping) else {}
