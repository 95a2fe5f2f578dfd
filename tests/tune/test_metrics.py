from __future__ import annotations

import json
import math
import re
import time
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from pare_tune.config import RunConfig
from pare_tune.tune.metrics import GAUGES, TAGS, measured
from pare_tune.tune.run import SessionOptions, search, snapshot
from pare_tune.tune.snapshot import Snapshot, TrialView

JOBS = Path(__file__).parents[2] / "jobs"


def make_trial(
    number: int, state: str, times: tuple[float, ...], *, score: float = 1.0, k: tuple[int, ...] = ()
) -> TrialView:
    """A trial whose epochs ended `times` seconds after the search began."""
    ks = k or tuple(10 - i for i in range(len(times)))
    curve = tuple({"epoch": i + 1, "elapsed": t, "k": ks[i], "lam": ks[i] / 20} for i, t in enumerate(times))
    return TrialView(
        number=number, state=state, params={}, curve=curve, epochs=4, best_score=score if times else None
    )  # type: ignore[arg-type]


def make_snapshot(*trials: TrialView, **changes: object) -> Snapshot:
    values: dict[str, object] = {
        "run": Path("runs/x"), "task": "wdbc", "metric": "error_rate", "unit": "%", "direction": "min",
        "provenance": "real", "preset": "embedded", "backbone": "micro-roberta", "budget": "8 trials",
        "spent": 0.25, "elapsed_s": 100.0, "remaining_s": None, "trials": trials,
    }  # fmt: skip
    return Snapshot(**{**values, **changes})  # type: ignore[arg-type]


def test_a_search_is_measured_by_state_score_and_k() -> None:
    found = measured(
        make_snapshot(
            make_trial(0, "complete", (10, 20, 30, 40), score=3.0),
            make_trial(1, "complete", (10, 20, 30, 40), score=2.0),
            make_trial(2, "pruned", (50,), score=1.0),
            make_trial(3, "failed", (), score=math.nan),
            make_trial(4, "running", (50, 60), k=(10, 8)),
            make_trial(5, "running", (60,), k=(4,)),
            make_trial(6, "running", ()),
        )
    )
    assert found["pare_tune_best_score"] == 2.0, "a stopped trial is no best one"
    assert found["pare_tune_default_score"] == 3.0
    states = ("waiting", "running", "complete", "pruned", "failed")
    assert [found[f"pare_tune_trials_{s}"] for s in states] == [0, 3, 2, 1, 1]
    assert found["pare_tune_k"] == 6.0
    assert found["pare_tune_k_share"] == pytest.approx(0.3)
    assert found["pare_tune_epochs"] == 12
    assert found["pare_tune_epochs_per_second"] == pytest.approx(12 / 100)
    assert "pare_tune_remaining_seconds" not in found, "no number is guessed"
    assert found.keys() < GAUGES.keys()


def test_before_the_first_epoch_there_is_no_score_and_no_k() -> None:
    found = measured(make_snapshot(make_trial(0, "running", ())))
    assert not found.keys() & {"pare_tune_best_score", "pare_tune_default_score", "pare_tune_k"}
    assert found["pare_tune_epochs_per_second"] == 0.0
    assert found["pare_tune_trials_running"] == 1


def test_the_rate_is_that_of_the_last_epochs_and_falls_while_nothing_ends() -> None:
    slow_then_fast = tuple(10.0 * i for i in range(1, 11)) + tuple(100 + 0.5 * i for i in range(1, 41))
    trial = replace(make_trial(0, "running", ()), curve=make_trial(0, "running", slow_then_fast).curve)
    rates = [
        measured(make_snapshot(trial, elapsed_s=now))["pare_tune_epochs_per_second"]
        for now in (120.0, 130.0, 1110.0)
    ]
    assert rates == [pytest.approx(2.0), pytest.approx(1.0), pytest.approx(0.02)]
    ended = make_snapshot(trial, elapsed_s=120.0, finished=True)
    assert measured(ended)["pare_tune_epochs_per_second"] == 0.0


def test_the_grafana_dashboard_shows_every_gauge_and_nothing_else() -> None:
    page = json.loads((JOBS / "grafana-dashboard.json").read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in page["panels"] for target in panel["targets"]]
    variables = {v["name"]: v for v in page["templating"]["list"]}
    queries += [variables[tag]["query"]["query"] for tag in TAGS]
    used = {name for query in queries for name in re.findall(r"\bray_\w+", query)}
    assert used == {f"ray_{name}" for name in GAUGES}
    labels = {label for query in queries for label in re.findall(r"(\w+)=~", query)}
    assert labels == set(TAGS), "only tags that are exported can be filtered by"
    assert len({panel["id"] for panel in page["panels"]}) == len(page["panels"])
    cells = [
        (x, y)
        for panel in page["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells), "no panel covers another"
    assert max(x for x, _ in cells) == 23


@pytest.mark.usefixtures("ray_cluster")
def test_prometheus_finds_the_numbers_of_a_search_and_other_processes_its_state(
    make_config: Callable[..., RunConfig], fakes: ModuleType
) -> None:
    seen: list[tuple[Snapshot, Snapshot]] = []
    result = search(
        make_config("3", max_concurrent=1, pruning=False, confirm=0),
        SessionOptions(runner=fakes.train, observe=lambda s: seen.append((s, snapshot(s.run)))),
    )

    assert len(seen) > 2
    for live, journal in seen:
        clock = {"elapsed_s": 0.0, "remaining_s": None}
        assert replace(journal, **clock) == replace(live, **clock), "`status` shows what the live view does"
        assert journal.elapsed_s == pytest.approx(live.elapsed_s, abs=2.0)
    assert seen[0][1].dashboard_url is not None
    assert snapshot(result.path).dashboard_url is None, "nobody searches any more"

    tags = {"run": result.path.name, "task": "wdbc"}
    found = scraped(tags, until="ray_pare_tune_epochs", equals=12.0)
    expected = {f"ray_{name}": value for name, value in measured(result.snapshot).items()}
    assert {k: v for k, v in found.items() if k in expected} == pytest.approx(expected, rel=1e-6)
    assert expected["ray_pare_tune_best_score"] == result.best_score
    assert expected["ray_pare_tune_trials_complete"] == 3


def scraped(tags: dict[str, str], *, until: str, equals: float) -> dict[str, float]:
    """Gauges of one run from the node's metrics port, once one of them has reached a value."""
    import ray

    node = ray.nodes()[0]
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + 30
    while True:
        text = opener.open(url, timeout=5).read().decode()
        found = {}
        for name, labels, value in re.findall(r"^(ray_pare_tune_\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
            if tags.items() <= dict(re.findall(r'(\w+)="([^"]*)"', labels)).items():
                assert name not in found, "one series a gauge and run"
                found[name] = float(value)
        if found.get(until) == equals:
            return found
        assert time.monotonic() < deadline, f"{url} has {found}"
        time.sleep(0.5)
