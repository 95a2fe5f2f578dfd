"""Greedy soup: the mean of the weights of a search's best trials, as far as it helps on validation.

Wortsman et al., ICML 2022, https://arxiv.org/abs/2203.05482, recipe 1. Trials are taken best first; each joins if the
mean with it scores better on validation (the authors also take what scores the same), so the soup is never worse
there than the best trial, which is its first ingredient. Only what predicts is averaged: gates and source heads,
whose shapes depend on searched settings, stay those of the first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pare_tune.config import TrialConfig, load_run, load_trial, task_of
from pare_tune.errors import ConfigError, DataError, RunBusy
from pare_tune.steps import step
from pare_tune.tasks.load import open_test
from pare_tune.train.build import (
    ModelShape,
    empty_model,
    open_data,
    pick_device,
)
from pare_tune.train.checkpoint import BEST, load_weights, save_weights
from pare_tune.train.export import ModelFolder
from pare_tune.train.fingerprint import Fingerprint, check_unchanged, read_fingerprint
from pare_tune.train.loop import Context, evaluate
from pare_tune.tune.folder import RunFolder
from pare_tune.tune.run import snapshot
from pare_tune.tune.snapshot import Snapshot

State = Mapping[str, Tensor]
"""Name → weights."""

_TRAINING_ONLY = ("mixer.", "source_head.")
"""Parts that take no part in a prediction."""
_READS_ALIKE = ("task", "data", "own", "backbone", "input.canvas", "input.image_size", "input.max_tokens")
"""Settings that say what a sample looks like to the encoder; two models that differ in them cannot be averaged."""


@dataclass(frozen=True, slots=True)
class Ingredient:
    """A trial whose weights are still there."""

    number: int
    validation: float
    folder: Path
    config: TrialConfig


@dataclass(frozen=True, slots=True)
class Soup:
    """A mean of weights."""

    members: tuple[int, ...]
    """Positions of the ingredients that are in it, in the order in which they joined."""
    state: State
    validation: float
    alone: float
    """What the first ingredient has by itself."""


def greedy_soup(
    states: Sequence[State], score: Callable[[State], float], better: Callable[[float, float], bool]
) -> Soup:
    """Add states one by one while that improves the score.

    Args:
        states: the best first.
        better: whether a score beats another; NaN never does.
    """
    members, state = [0], states[0]
    best = alone = score(state)
    for index in range(1, len(states)):
        candidate = average([states[i] for i in (*members, index)])
        found = score(candidate)
        if better(found, best):
            members.append(index)
            state, best = candidate, found
    return Soup(tuple(members), state, best, alone)


def average(states: Sequence[State]) -> dict[str, Tensor]:
    """The mean of each floating-point tensor that predicts; everything else is the first state's.

    Raises:
        ConfigError: two states differ in names or shapes of what predicts.
    """
    first = states[0]
    for state in states[1:]:
        reason = difference(first, state)
        if reason is not None:
            raise ConfigError(f"weights can be averaged only where they are of the same shape: {reason}")
    return {
        name: _mean([state[name] for state in states]) if _predicts(name) else tensor
        for name, tensor in first.items()
    }


def difference(a: State, b: State) -> str | None:
    """Why the mean of two states makes no sense; None if it does."""
    mine, other = ({n: t for n, t in state.items() if _predicts(n)} for state in (a, b))
    missing = sorted(mine.keys() ^ other.keys())
    if missing:
        return f"{missing[0]} is in one of them only"
    changed = next((n for n in mine if mine[n].shape != other[n].shape), None)
    if changed is not None:
        return f"{changed} is {tuple(mine[changed].shape)} in one, {tuple(other[changed].shape)} in the other"
    return None


def soup_of_run(
    run: Path,
    out: Path,
    *,
    accept_changed_data: bool = False,
    notify: Callable[[str], None] = lambda line: None,
    cache: Path | None = None,
) -> dict[str, Any]:
    """Make the soup of a search's best trials, score the test split once, and export it to `out`.

    Where no second trial helps on validation, that is the best trial itself, and "soup" names it alone.

    Returns:
        What metrics.json holds, "soup" (the trials in it), "ingredients" (those that were tried) and "seconds" among
        it.

    Raises:
        ConfigError: `run` is no run folder, fewer than two trials of it kept weights that fit together, or its data
            changed.
        RunBusy: `out` holds a model already.
    """
    if ModelFolder(out).is_complete:
        raise RunBusy(f"{out} already holds a trained model; give another folder with --out, or delete it")
    started = time.perf_counter()
    found = snapshot(run)
    chosen, states = _compatible(ingredients(run, found), run)
    config, device = chosen[0].config, pick_device()
    fingerprint = Fingerprint.of(config, task_of(config, cache), cache)
    check_unchanged(
        read_fingerprint(RunFolder(run).fingerprint_yaml),
        fingerprint,
        where=run,
        accept=accept_changed_data,
        accepted_means="these weights were trained on the old data, and perhaps on samples that are tested now",
        notify=notify,
    )
    with step("averaging weights, trials", len(chosen)) as count:
        kitchen = _Kitchen(config, chosen[0].folder, device, cache, count)
        soup = greedy_soup(states, kitchen.validate, kitchen.data.task.metric.better)
    metrics = kitchen.serve(soup, chosen, out, cache)
    metrics["seconds"] = time.perf_counter() - started
    ModelFolder(out).write(out / BEST, config.to_yaml() + fingerprint.to_yaml(), metrics)
    (out / BEST).unlink(missing_ok=True)
    return metrics


def ingredients(run: Path, found: Snapshot) -> list[Ingredient]:
    """The complete trials whose weights are in the run folder, best validation first."""
    folder = RunFolder.existing(run)
    base = load_run(folder.run_yaml).trial
    kept = [
        Ingredient(t.number, t.best_score, folder.trial(t.number), _config_of(folder.trial(t.number), base))
        for t in found.trials
        if t.state == "complete" and t.best_score is not None and (folder.trial(t.number) / BEST).is_file()
    ]
    return sorted(kept, key=lambda i: i.validation if found.direction == "min" else -i.validation)


def _config_of(trial: Path, base: TrialConfig) -> TrialConfig:
    path = trial / "config.yaml"
    return load_trial(path) if path.is_file() else base


def _compatible(found: Sequence[Ingredient], run: Path) -> tuple[list[Ingredient], list[State]]:
    kept: list[Ingredient] = []
    states: list[State] = []
    left_out: list[str] = []
    for one in found:
        state = load_weights(one.folder / BEST)[0]
        reason = None if not kept else _unlike(kept[0].config, one.config) or difference(states[0], state)
        if reason is None:
            kept.append(one)
            states.append(state)
        else:
            left_out.append(f"trial {one.number}: {reason}")
    if len(kept) < 2:
        why = f" ({'; '.join(left_out)})" if left_out else ""
        raise ConfigError(
            f"a soup needs the weights of at least two trials of one shape, {run} kept {len(kept)}{why}; a search "
            f"keeps those of trial 0 and of its best two where it confirms them (--confirm 1 or more, and a budget "
            f"of 12 trials or more)"
        )
    return kept, states


def _unlike(a: TrialConfig, b: TrialConfig) -> str | None:
    ours, theirs = a.to_dict(), b.to_dict()
    for key in _READS_ALIKE:
        mine, other = _value(ours, key), _value(theirs, key)
        if mine != other:
            return f"{key} is {other}, not {mine}"
    return None


def _value(tree: Mapping[str, Any], key: str) -> Any:
    node: Any = tree
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


class _Kitchen:
    """The model that soups are tasted with."""

    def __init__(
        self,
        config: TrialConfig,
        folder: Path,
        device: torch.device,
        cache: Path | None,
        count: Callable[[], None],
    ) -> None:
        self._config, self._device, self._count = config, device, count
        self.data = open_data(config, cache)
        _, about = load_weights(folder / BEST)
        about.pop("epoch", None)
        self._shape = ModelShape.from_dict(about)
        self._model = empty_model(config, self._shape, cache).to(device)
        self._context = Context(report=lambda epoch: None, device=device)

    def validate(self, state: State) -> float:
        self._load(state)
        score = self._score(self.data.val)
        self._count()
        return score

    def serve(
        self, soup: Soup, chosen: Sequence[Ingredient], out: Path, cache: Path | None
    ) -> dict[str, Any]:
        """Score the test split, and leave the weights in `out` for the export."""
        config, task = self._config, self.data.task
        self._load(soup.state)
        test = open_test(task, data=config.data, canvas=config.input.canvas, cache=cache)
        score = self._score(test)
        save_weights(out / BEST, self._model, {**self._shape.to_dict(), "epoch": config.train.epochs})
        metrics: dict[str, Any] = {
            "task": task.name,
            "data": self.data.provenance,
            "metric": task.metric.name,
            "unit": task.metric.unit,
            "direction": task.metric.direction,
            "test": score,
            "test_samples": len(test),
            "validation": soup.validation,
            "validation_alone": soup.alone,
            "trained_on": "train",
            "soup": [chosen[i].number for i in soup.members],
            "ingredients": [i.number for i in chosen],
        }
        if task.raw is not None and task.raw["target"]["names"]:
            metrics["outputs"] = list(task.raw["target"]["names"])
        return metrics

    def _load(self, state: State) -> None:
        try:
            self._model.load_state_dict(state)
        except RuntimeError as error:
            raise DataError(f"the trial's weights do not fit its configuration: {error}") from error

    def _score(self, split: Any) -> float:
        return evaluate(
            self._model,
            split,
            self.data.task.metric,
            batch_size=self._config.train.batch_size,
            context=self._context,
        )


def _predicts(name: str) -> bool:
    return not name.startswith(_TRAINING_ONLY)


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    if not tensors[0].is_floating_point():
        return tensors[0]
    # In double precision, so that the mean of equal weights is these weights to the last bit.
    total = torch.zeros_like(tensors[0], dtype=torch.float64)
    for tensor in tensors:
        total += tensor
    return (total / len(tensors)).to(tensors[0].dtype)
