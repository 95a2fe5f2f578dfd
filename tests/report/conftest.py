"""Searches as they look on disk and on screen, made up but plausible; the same arguments give the same search."""

from __future__ import annotations

import dataclasses
import heapq
import importlib.util
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pare_tune.tune.snapshot import Snapshot, TrialState, TrialView

NUM_TOKENS = 64

MakeTrial = Callable[..., TrialView]
MakeSearch = Callable[..., Snapshot]


def trial(
    number: int,
    state: TrialState = "complete",
    *,
    epoch: int | None = None,
    epochs: int = 9,
    floor: float = 3.0,
    params: dict[str, Any] | None = None,
    cause: str | None = None,
    message: str | None = None,
    retries: int = 0,
) -> TrialView:
    """A trial whose score falls towards `floor`."""
    rng = random.Random(number)
    done = epochs if epoch is None else epoch
    start = 0.957 if params is None else params.get("k.start", 0.957)
    curve: list[dict[str, Any]] = []
    for e in range(1, done + 1):
        score = floor + 6.0 * math.exp(-0.7 * e) + rng.gauss(0.0, 0.02)
        best = min([score, *(r["score"] for r in curve)])
        k = round(start * NUM_TOKENS * (1 - (e - 1) / epochs))
        curve.append(
            {
                "epoch": e, "epochs": epochs, "score": score, "best_score": best,
                "train_loss": 2.0 * score, "loss_target": score, "loss_mixed_target": 1.1 * score,
                "loss_mixed_source": 0.8 * score, "k": k, "lam": k / NUM_TOKENS,
                "lr": 1e-3 * (1 - e / (epochs + 1)), "grad_norm": 1.5 + rng.random(),
                "gate_target": 0.5 + 0.02 * e, "gate_source": 0.5 - 0.01 * e if k else math.nan,
                "gate_entropy": math.log(2) - 0.02 * e, "seconds": 4.0, "samples_per_s": 120.0 + rng.random(),
                "memory_mb": 300.0,
            }
        )  # fmt: skip
    best_epoch = min(curve, key=lambda r: r["score"])["epoch"] if curve else 0
    return TrialView(
        number=number,
        state=state,
        params=settings(number) if params is None else params,
        curve=tuple(curve),
        epochs=epochs,
        best_score=curve[-1]["best_score"] if curve else None,
        best_epoch=best_epoch,
        seconds=4.0 * done,
        cause=cause,
        message=message,
        retries=retries,
    )


def settings(number: int) -> dict[str, Any]:
    """Trial 0 has the paper's; the others are drawn. `gate.hidden` exists only for an MLP."""
    if number == 0:
        return {
            "k.start": 0.957,
            "k.kind": "linear",
            "optimizer.lr": 1e-3,
            "loss.beta2": 1.0,
            "gate.kind": "fc",
        }
    rng = random.Random(1000 + number)
    values: dict[str, Any] = {
        "k.start": round(rng.uniform(0.05, 1.0), 4),
        "k.kind": rng.choice(["linear", "cosine", "exponential"]),
        "optimizer.lr": 10 ** rng.uniform(-4.5, -2.0),
        "loss.beta2": rng.uniform(0.1, 2.0),
        "gate.kind": rng.choice(["fc", "mlp"]),
    }
    if values["gate.kind"] == "mlp":
        values["gate.hidden"] = rng.randint(16, 256)
    return values


def floor(params: dict[str, Any]) -> float:
    """Where a trial's score ends: k.start and the learning rate matter, the rest hardly."""
    return float(
        2.6 + 1.5 * (params["k.start"] - 0.55) ** 2 + 0.5 * abs(math.log10(params["optimizer.lr"]) + 3.2)
    )


def search(
    num_trials: int = 28,
    *,
    running: int = 2,
    budget: int = 50,
    run: Path = Path("runs/psicov-20261122-113000"),
    epochs: int = 9,
    trials: tuple[TrialView, ...] | None = None,
    **changes: Any,
) -> Snapshot:
    """A search some way along; give `trials` to decide them yourself."""
    if trials is None:
        done = [_finished(n, epochs) for n in range(num_trials - running)]
        live = [
            trial(n, "running", epoch=2 + 3 * (n % 2), epochs=epochs, floor=floor(settings(n)))
            for n in range(num_trials - running, num_trials)
        ]
        trials = (*done, *live)
    finished = sum(t.state in ("complete", "pruned", "failed") for t in trials)
    values: dict[str, Any] = {
        "run": run, "task": "psicov", "metric": "mae_8", "unit": "Å", "direction": "min",
        "provenance": "sample", "preset": "embedded", "backbone": "micro-swin",
        "budget": f"{budget} trials", "spent": min(finished / budget, 1.0),
        "elapsed_s": sum(t.seconds for t in trials) / 2, "remaining_s": 36.0 * (budget - finished) / 2,
        "trials": trials, "finished": False, "dashboard_url": "http://127.0.0.1:8265",
    }  # fmt: skip
    return Snapshot(**{**values, **changes})


def timed(s: Snapshot, *, slots: int = 2) -> Snapshot:
    """The same search with the moment of each epoch, as the journal has it; so many trials at a time."""
    free = [5.0] * slots
    trials = []
    for t in s.trials:
        now = heapq.heappop(free) + 1.0
        curve = []
        for report in t.curve:
            now += report["seconds"]
            curve.append({**report, "elapsed": round(now, 3)})
        heapq.heappush(free, now)
        trials.append(dataclasses.replace(t, curve=tuple(curve)))
    return dataclasses.replace(s, trials=tuple(trials), elapsed_s=max(free))


def confirmed(num_trials: int = 50, *, seeds: int = 2, epochs: int = 9, **changes: Any) -> Snapshot:
    """A finished search whose last trials repeat the best two and trial 0, with the moment of each epoch."""
    alone = search(num_trials - 3 * seeds, running=0, budget=num_trials, epochs=epochs)
    ranked = sorted((t for t in alone.trials[1:] if t.state == "complete"), key=lambda t: t.best_score or 0.0)
    again = [
        dataclasses.replace(
            trial(len(alone.trials) + i, params=dict(t.params), floor=floor(t.params) + 0.02),
            repeats=t.number,
        )
        for i, t in enumerate(t for t in (ranked[0], alone.trials[0], ranked[1]) for _ in range(seeds))
    ]
    whole = dataclasses.replace(
        alone, trials=(*alone.trials, *again), repeats=3 * seeds, finished=True, spent=1.0, remaining_s=0.0
    )
    return dataclasses.replace(timed(whole), **changes)


def _finished(number: int, epochs: int) -> TrialView:
    params = settings(number)
    if params["optimizer.lr"] > 6e-3:
        return trial(
            number, "failed", epoch=2, epochs=epochs, params=params, cause="diverged",
            message=f"diverged: loss became nan in epoch 3 (lr={params['optimizer.lr']:.3g}, k=46); "
            "a smaller optimizer.lr or optimizer.clip usually helps",
        )  # fmt: skip
    end = floor(params)
    if number % 3 == 2 and end > 2.75:
        return trial(number, "pruned", epoch=max(epochs // 3, 1), epochs=epochs, params=params, floor=end)
    return trial(number, "complete", epochs=epochs, params=params, floor=end)


@pytest.fixture
def make_trial() -> MakeTrial:
    return trial


@pytest.fixture
def make_search() -> MakeSearch:
    return search


@pytest.fixture
def make_timed() -> MakeSearch:
    return timed


@pytest.fixture
def make_confirmed() -> MakeSearch:
    return confirmed


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A real browser; tests that want one are skipped where none is installed."""
    spec = importlib.util.spec_from_file_location("browser", Path(__file__).with_name("browser.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    program = module.find()
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(module.NAMES)} is installed")
    with module.Browser(program, tmp_path_factory.mktemp("browser")) as page:
        yield page
