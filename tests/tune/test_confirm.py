"""The best trials and the default, trained again with fresh seeds before one of them is chosen."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from pare_tune.config import Budget, RunConfig, TrialConfig
from pare_tune.report import words
from pare_tune.train.loop import Context, FitResult
from pare_tune.tune import run as run_module
from pare_tune.tune.run import SessionOptions, resume, search, snapshot
from pare_tune.tune.snapshot import Snapshot, TrialView, choose
from pare_tune.tune.trial import Job

MakeConfig = Callable[..., RunConfig]
WithoutRay = Callable[[], AbstractContextManager[None]]


def trial(
    number: int, score: float | None, *, repeats: int | None = None, state: str = "complete"
) -> TrialView:
    return TrialView(
        number=number,
        state=state,  # type: ignore[arg-type]
        params={},
        epochs=4,
        best_score=score,
        best_epoch=4,
        repeats=repeats,
    )


def chosen(*trials: TrialView) -> int | None:
    return choose(trials, "min").number


SEARCH = (trial(0, 5.0), trial(1, 4.0), trial(2, 4.1))


def test_without_fresh_seeds_the_single_scores_decide() -> None:
    assert chosen(*SEARCH) == 1
    assert chosen() is None
    assert chosen(trial(0, 5.0, state="running")) is None
    assert choose(SEARCH, "max").number == 0, "where more is better"


def test_the_best_mean_over_fresh_seeds_wins_and_the_lucky_score_does_not_count() -> None:
    again = [(0, 5.0), (0, 5.1), (1, 4.6), (1, 4.7), (2, 4.2), (2, 4.3)]
    repeats = [trial(3 + i, score, repeats=n) for i, (n, score) in enumerate(again)]
    choice = choose([*SEARCH, *repeats], "min")
    assert (choice.number, choice.leader) == (2, 1)
    assert [c.number for c in choice.confirmed] == [2, 1, 0]
    assert choice.confirmed[0].mean == pytest.approx(4.25)
    assert choice.spread == pytest.approx(0.1 / 2**0.5)
    assert chosen(*SEARCH, *repeats[:-1], trial(8, None, repeats=2, state="running")) == 1, (
        "not before all are in"
    )


def test_a_gain_within_the_seeds_spread_goes_to_the_default() -> None:
    again = [(0, 5.0), (0, 5.2), (1, 4.8), (1, 5.2)]
    repeats = [trial(3 + i, score, repeats=n) for i, (n, score) in enumerate(again)]
    assert chosen(*SEARCH, *repeats) == 0


def test_a_new_leader_is_chosen_until_others_are_confirmed_beside_it() -> None:
    repeats = [trial(3 + i, 4.5, repeats=n) for i, n in enumerate((0, 0, 1, 1))]
    assert chosen(*SEARCH, *repeats, trial(7, 3.0)) == 7


def test_a_trial_that_fails_with_a_fresh_seed_is_out() -> None:
    repeats = [trial(3 + i, 4.5 - n, repeats=n) for i, n in enumerate((0, 0, 2, 2))]
    assert chosen(*SEARCH, *repeats, trial(7, None, repeats=1, state="failed")) == 2


def test_a_trial_that_fails_with_one_of_its_fresh_seeds_is_out() -> None:
    repeats = [trial(3, 4.0, repeats=1), trial(4, None, repeats=1, state="failed"), trial(5, 4.3, repeats=2)]
    assert chosen(*SEARCH, *repeats) == 2


@pytest.mark.parametrize(
    ("fresh", "number", "means"),
    [
        ([(1, 1.5), (1, 1.6), (0, 1.0)], 0, {0: 1.1, 1: 1.55}),  # the default lost its second seed
        ([(1, 1.5), (1, 1.6)], 0, {0: 1.2, 1: 1.55}),  # and both
        ([(1, 0.9), (1, 0.94)], 1, {0: 1.2, 1: 0.92}),
        ([(1, 1.15), (1, 1.25)], 0, {0: 1.2, 1: 1.2}),
        ([(1, 1.5)], 0, {0: 1.2, 1: 1.5}),  # the leader was cut off itself
        ([(1, 0.9), (1, 0.94), (0, 1.2), (0, 1.22), (2, 0.85)], 2, {0: 1.21, 1: 0.92, 2: 0.85}),
    ],
)
def test_a_trial_that_the_budget_cut_off_counts_with_what_it_has(
    fresh: list[tuple[int, float]], number: int, means: dict[int, float]
) -> None:
    search = (trial(0, 1.2), trial(1, 0.8), trial(2, 0.85))
    repeats = [trial(3 + i, score, repeats=n) for i, (n, score) in enumerate(fresh)]
    stopped = trial(3 + len(fresh), 2.0, repeats=0, state="pruned")
    s = snapshot_of(*search, *repeats, stopped)
    assert s.choice.number == number
    assert {c.number: pytest.approx(c.mean) for c in s.choice.confirmed} == means
    told = words.verdict(s)
    assert told.startswith("Better" if number else "No better"), told
    assert "The budget ended before " in told


def test_the_verdict_tells_who_was_cut_off_and_what_counts() -> None:
    again = [(1, 1.5), (1, 1.6), (0, 1.0)]
    search = (trial(0, 1.2), trial(1, 0.8))
    s = snapshot_of(*search, *(trial(2 + i, v, repeats=n) for i, (n, v) in enumerate(again)))
    assert words.verdict(s).endswith(
        "trial 1 is no better, and the seeds' spread is 0.112 Å. The budget ended before the default was trained with "
        "all 2 fresh seeds; it counts with its score of the search and 1 fresh seed."
    )


def snapshot_of(*trials: TrialView, unit: str = "Å") -> Snapshot:
    return Snapshot(
        run=Path("run"), task="psicov", metric="mae_8", unit=unit, direction="min", provenance="sample",
        preset="embedded", backbone="micro-swin", budget="9 trials", spent=1.0, elapsed_s=1.0, remaining_s=0.0,
        trials=trials,
    )  # fmt: skip


def test_the_verdict_tells_means_and_spread() -> None:
    again = [(0, 5.0), (0, 5.1), (1, 4.6), (1, 4.7)]
    s = snapshot_of(*SEARCH, *(trial(3 + i, v, repeats=n) for i, (n, v) in enumerate(again)))
    assert words.judged(s, s.trials[1]) == "4.650 ± 0.071 Å"
    assert words.judged(s, s.trials[2]) == "4.100 Å"
    assert words.verdict(s) == (
        "Better than the default by 0.400 Å (7.92 %): means over 2 fresh seeds, whose spread is 0.071 Å."
    )


def test_the_verdict_says_plainly_that_nothing_beat_the_default() -> None:
    again = [(0, 5.0), (0, 5.2), (1, 4.8), (1, 5.2)]
    s = snapshot_of(*SEARCH, *(trial(3 + i, v, repeats=n) for i, (n, v) in enumerate(again)))
    assert words.verdict(s) == (
        "No better than the default, which is exported: trained again with 2 fresh seeds, trial 1 is better by "
        "0.100 Å, and the seeds' spread is 0.224 Å."
    )


def test_a_single_fresh_seed_has_no_spread() -> None:
    s = snapshot_of(*SEARCH, trial(3, 5.0, repeats=0), trial(4, 4.6, repeats=1))
    assert s.choice.spread is None
    assert words.judged(s, s.trials[1]) == "4.600 Å"
    assert words.verdict(s).startswith(
        "Better than the default by 0.400 Å (8 %) with 1 fresh seed, which says nothing of the seeds' spread."
    )
    worse = snapshot_of(*SEARCH, trial(3, 5.0, repeats=0), trial(4, 5.1, repeats=1))
    assert words.verdict(worse) == (
        "No better than the default, which is exported: trained again with 1 fresh seed, trial 1 is no better."
    )


def told_by_blocks(number: int, score: float, repeats: int | None = None, *, wave: float = 0.0) -> TrialView:
    """A trial whose blocks of samples say `score`, half of them `wave` more and half of them less."""
    blocks = [score + wave * (-1) ** block for block in range(10)]
    curve = ({"epoch": 4, "epochs": 4, "score": score, "best_score": score, "influences": blocks},)
    return dataclasses.replace(trial(number, score, repeats=repeats), curve=curve)


ON = ": 50 samples, 2 fresh seeds, the best of 3 trials."
SMALL = "More than 100 times as many samples would be needed to tell so small a difference."
LIKELY = "No better than the default as far as can be told: trial 1, which is exported, is better by"


@pytest.mark.parametrize(
    ("default", "best", "wave", "said"),
    [
        (8.0, 2.0, 0.3, f"Better than the default by 6.000 points, 95 % interval 5.731 to 6.269{ON}"),
        (7.1, 0.0, 0.3, f"Better than the default by 7.100 points, 95 % interval 6.831 to 7.369{ON}"),
        (
            8.0, 6.0, 4.0,
            f"{LIKELY} 2.000 points, 95 % interval -1.580 to 5.580{ON} About 170 samples would tell such a difference.",
        ),
        (
            8.0, 7.9, 4.0,
            f"{LIKELY} 0.100 points, 95 % interval -3.480 to 3.680{ON} {SMALL}",
        ),
    ],
)  # fmt: skip
def test_a_gain_is_told_with_its_interval_and_called_one_only_where_that_excludes_0(
    default: float, best: float, wave: float, said: str
) -> None:
    trials = [told_by_blocks(0, default), told_by_blocks(1, best), told_by_blocks(2, 9.0)]
    for number, score in ((1, best), (1, best), (0, default), (0, default), (2, 9.0), (2, 9.0)):
        moved = wave if number == 1 else 0.0
        trials.append(told_by_blocks(len(trials), score, number, wave=moved))
    s = dataclasses.replace(snapshot_of(*trials, unit="%"), samples=50)
    assert words.verdict(s) == said
    assert "100 %" not in words.verdict(s)
    comparison = words.compare(s)
    assert comparison is not None
    assert comparison.may_be_noise is said.startswith("No better")


def test_a_score_that_no_fresh_seed_confirmed_is_no_gain() -> None:
    s = snapshot_of(told_by_blocks(0, 7.1), told_by_blocks(1, 0.0), told_by_blocks(2, 9.0), unit="%")
    assert words.verdict(s) == (
        "Trial 1 scored better than the default by 7.100 points, with one seed each and as the best of 3 "
        "trials: that may be luck, and no fresh seed has confirmed it."
    )


def noisy(fakes: ModuleType, size: float) -> Callable[[TrialConfig, Context], FitResult]:
    """Scores that the seed moves by up to `size`."""
    error_of, train = fakes.error_of, fakes.train

    def run(config: TrialConfig, context: Context) -> FitResult:
        shifted = config.model_copy(
            update={
                "k": type(config.k)(
                    start=min(1.0, config.k.start + size * (config.seed % 3)), end=config.k.end
                )
            }
        )
        return train(shifted, context)

    assert error_of is not None
    return run


def lucky(train: Any, config: TrialConfig, context: Context) -> FitResult:
    """Trials differ by luck alone, except for the default, which is worse than all others."""
    digest = hashlib.sha256(f"{config.k.start:.6f} {config.optimizer.lr:.6g} {config.seed}".encode()).digest()
    start = 1.0 if config.k.start == 0.957 else 0.5 + 0.1 * digest[0] / 255
    values = {"k.start": start, "k.end": 0.0, "optimizer.lr": 1e-3}
    return train(config.with_values(values), context)  # type: ignore[no-any-return]


@pytest.mark.parametrize("seed", [1, 4])
def test_whoever_is_confirmed_still_has_its_weights(
    seed: int, make_config: MakeConfig, fakes: ModuleType, without_ray: WithoutRay
) -> None:
    runner = partial(lucky, fakes.train)
    config = make_config("24", epochs=2, confirm=2, startup_trials=4, seed=seed)
    with without_ray():
        result = search(config, SessionOptions(runner=runner))
        for budget in (40, 60):
            result = resume(result.path, Budget(amount=budget), options=SessionOptions(runner=runner))
            repeated = {t.repeats for t in result.snapshot.trials if t.repeats is not None}
            kept = {int(p.parent.name) for p in result.path.glob("trials/*/best.safetensors")}
            assert repeated <= kept
            assert (result.path / "best" / "model.safetensors").is_file()


@pytest.mark.parametrize("seed", range(3))
def test_two_trials_at_a_time_leave_the_means_beside_the_best(
    seed: int,
    make_config: MakeConfig,
    fakes: ModuleType,
    without_ray: WithoutRay,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with without_ray():
        monkeypatch.setattr(run_module, "Session", two_at_a_time(run_module.Session))
        config = make_config("24", epochs=2, confirm=2, startup_trials=4, seed=seed)
        result = search(config, SessionOptions(runner=partial(lucky, fakes.train)))
        monkeypatch.undo()
    confirmed = result.snapshot.confirmed(result.best.number)
    assert confirmed is not None
    published = result.path / "best" / "metrics.json"
    metrics = json.loads(published.read_text())
    assert metrics["trial"] == confirmed.number
    assert (metrics["mean"], metrics["spread"], metrics["seeds"]) == (confirmed.mean, confirmed.spread, 2)

    # As if killed after the last repeat had ended and before its mean was published.
    published.write_text(
        json.dumps({k: v for k, v in metrics.items() if k not in ("mean", "spread", "seeds")})
    )
    with without_ray():
        resume(result.path, options=SessionOptions(runner=partial(lucky, fakes.train)))
    assert json.loads(published.read_text()) == metrics


def two_at_a_time(base: type[Any]) -> type[Any]:
    """Trials are asked for in pairs and end one after the other."""

    class Two(base):  # type: ignore[misc]
        def _fit(self, job: Job) -> None:
            active: list[tuple[str, list[Any]]] = []
            for index in range(10_000):
                if len(active) < 2 and isinstance(got := self._desk.next(f"t{index}"), dict):
                    active.append((f"t{index}", reports_of(job, got)))
                    continue
                if not active:
                    return
                name, reports = active.pop(0)
                for epoch in reports:
                    if self._desk.result(name, epoch.to_dict()):
                        break
                self._desk.finish(name)

    return Two


def reports_of(job: Job, assignment: dict[str, Any]) -> list[Any]:
    reports: list[Any] = []
    folder = job.home.folder / "trials" / f"{assignment['number']:04d}"
    folds = job.folds_of(assignment)
    context = Context(report=reports.append, folder=folder, device=torch.device("cpu"), folds=folds)
    assert job.runner is not None
    job.runner(TrialConfig.model_validate_json(assignment["config"]), context)
    return reports


@pytest.mark.usefixtures("ray_cluster")
def test_a_search_ends_with_fresh_seeds_inside_its_budget(make_config: MakeConfig, fakes: ModuleType) -> None:
    config = make_config("24", epochs=2, confirm=2, startup_trials=4, max_concurrent=1)
    result = search(config, SessionOptions(runner=noisy(fakes, 0.01)))
    trials = result.snapshot.trials
    assert len(trials) == 24
    again = [t for t in trials if t.repeats is not None]
    assert [t.number for t in again] == list(range(18, 24)), "two leaders and the default, twice each"
    assert {t.state for t in again} == {"complete"}
    ranked = sorted((t for t in trials[1:18] if t.state == "complete"), key=lambda t: t.best_score or 0.0)
    assert {t.repeats for t in again} == {0, ranked[0].number, ranked[1].number}
    for t in again:
        assert t.repeats is not None
        assert t.params == trials[t.repeats].params
        assert t.epoch == 2, "never stopped early"
    seeds = {json.loads(_config(result.path, t.number))["seed"] for t in again}
    assert len(seeds) == 2
    assert min(seeds) > config.trial.seed + 1000, "searches with seeds 0, 1, 2 share no training"
    means = {c.number: c.mean for c in result.snapshot.choice.confirmed}
    assert result.best.number == min(means, key=lambda n: means[n])
    metrics = json.loads((result.path / "best" / "metrics.json").read_text())
    assert metrics["trial"] == result.best.number
    assert metrics["mean"] == pytest.approx(means[result.best.number])
    assert (result.path / "best" / "model.safetensors").is_file()
    assert result.best_config.seed == config.trial.seed, "exported as it was searched"
    assert snapshot(result.path).choice == result.snapshot.choice

    more = resume(result.path, Budget(amount=32), options=SessionOptions(runner=noisy(fakes, 0.01)))
    later = [t for t in more.snapshot.trials if t.repeats is not None]
    assert len(more.snapshot.trials) == 32
    assert sum(t.repeats == 0 for t in later) == 2, "the default is confirmed once"


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(
    ("budget", "wanted", "seeds"), [("24", 0, 0), ("11", 2, 0), ("12", 2, 1), ("48ep", 2, 2), ("23ep", 2, 0)]
)
def test_fresh_seeds_take_a_quarter_of_the_budget_at_most(
    budget: str, wanted: int, seeds: int, make_config: MakeConfig, fakes: ModuleType
) -> None:
    result = search(
        make_config(budget, epochs=2, confirm=wanted, max_concurrent=2), SessionOptions(runner=fakes.train)
    )
    again = [t for t in result.snapshot.trials if t.repeats is not None]
    assert sum(t.repeats == 0 for t in again) == seeds
    assert result.snapshot.finished


def _config(run: Path, number: int) -> Any:
    from ruamel.yaml import YAML

    return json.dumps(YAML(typ="safe").load(run / "trials" / f"{number:04d}" / "config.yaml"))
