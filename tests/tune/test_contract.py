"""What a search relies on in whatever trains its trials: synthetic runners and the real loop keep the same promises."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

from pare_tune.config import RunConfig, TrialConfig, default_trial
from pare_tune.data.files import PARTIAL
from pare_tune.errors import TrialFailed
from pare_tune.tasks import get_task
from pare_tune.tasks.folds import Folds
from pare_tune.train import checkpoint, loop
from pare_tune.train.loop import Context, EpochReport, FitResult
from pare_tune.train.trial import run_trial

EPOCHS = 4


@dataclass(frozen=True)
class Runner:
    """One that trains, and how it is brought to fail."""

    train: Callable[[TrialConfig, Context], FitResult]
    config: TrialConfig
    failing: Callable[[str], tuple[Callable[[TrialConfig, Context], FitResult], TrialConfig]]

    def run(
        self, folder: Path, *, stop_after: int | None = None
    ) -> tuple[list[EpochReport], FitResult | None]:
        """Reports and outcome; the driver dies right after it heard of epoch `stop_after`."""
        return heard(self.train, self.config, folder, stop_after)

    def run_over_folds(
        self, folder: Path, *, stop_after: int | None = None
    ) -> tuple[list[EpochReport], FitResult | None]:
        """`run` with three folds of two epochs each."""
        short = self.config.with_values({"train.epochs": 2})
        return heard(self.train, short, folder, stop_after, Folds(3))


class Killed(BaseException):
    """Nothing in a runner may catch it, as nothing can catch a kill."""


def heard(
    train: Callable[[TrialConfig, Context], FitResult],
    config: TrialConfig,
    folder: Path,
    stop_after: int | None = None,
    folds: Folds | None = None,
) -> tuple[list[EpochReport], FitResult | None]:
    reports: list[EpochReport] = []

    def report(epoch: EpochReport) -> None:
        reports.append(epoch)
        assert (folder / "last.pt").is_file(), "what was told is kept"
        if epoch.epoch == stop_after:
            raise Killed

    folder.mkdir(parents=True, exist_ok=True)
    try:
        context = Context(report=report, folder=folder, device=torch.device("cpu"), folds=folds)
        result = train(config, context)
    except Killed:
        return reports, None
    return reports, result


def essence(reports: list[EpochReport]) -> list[EpochReport]:
    """All but times and memory; NaN equals itself."""
    quiet = [replace(r, seconds=0.0, samples_per_s=0.0, memory_mb=0.0) for r in reports]
    return [replace(r, **{k: None for k, v in r.to_dict().items() if v != v}) for r in quiet]


@pytest.fixture(params=["synthetic", "real"])
def runner(
    request: pytest.FixtureRequest,
    make_config: Callable[..., RunConfig],
    fakes: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> Runner:
    if request.param == "synthetic":
        config = make_config(epochs=EPOCHS).trial
        return Runner(fakes.train, config, lambda cause: (fakes.misbehave, config))
    torch.set_num_threads(1)
    small = {"train.epochs": EPOCHS, "train.share": 0.1, "source.samples": 32}
    config = default_trial(get_task("wdbc"), preset="embedded").with_values(small)

    def no_memory(*arguments: object, **keywords: object) -> None:
        raise torch.OutOfMemoryError("3 GiB short")

    def no_luck(*arguments: object, **keywords: object) -> None:
        raise ZeroDivisionError("division by zero")

    def failing(cause: str) -> tuple[Callable[[TrialConfig, Context], FitResult], TrialConfig]:
        if cause == "diverged":
            hot = {
                "optimizer.name": "sgd",
                "optimizer.lr": 10.0,
                "optimizer.clip": None,
                "train.epochs": 30,
            }
            return run_trial, config.with_values(hot)
        monkeypatch.setattr(loop, "pare_loss", no_memory if cause == "out_of_memory" else no_luck)
        return run_trial, config

    return Runner(run_trial, config, failing)


def test_every_epoch_is_reported_once_and_in_order(runner: Runner, tmp_path: Path) -> None:
    reports, result = runner.run(tmp_path / "0000")
    assert [r.epoch for r in reports] == list(range(1, EPOCHS + 1))
    assert {r.epochs for r in reports} == {EPOCHS}
    best = math.inf
    for report in reports:
        best = min(best, report.score)
        assert report.best_score == best, "error falls: the lower the better"
    assert result is not None
    assert essence(list(result.curve)) == essence(reports)
    assert result.best_score == best
    assert reports[result.best_epoch - 1].score == best


def test_folds_are_trained_one_after_the_other_and_each_goes_on_after_a_kill(
    runner: Runner, tmp_path: Path
) -> None:
    whole, result = runner.run_over_folds(tmp_path / "0000")
    assert [(r.epoch, r.fold) for r in whole] == [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2), (6, 2)]
    assert {(r.epochs, r.folds) for r in whole} == {(6, 3)}
    assert [len(r.influences) > 0 for r in whole] == [False, True] * 3, "after each fold"
    assert result is not None
    assert result.best_score == whole[-1].best_score
    before: list[EpochReport] = []
    for stop_after in (3, 4, 6):
        again, result = runner.run_over_folds(tmp_path / "0008", stop_after=stop_after)
        assert result is None
        assert [r.seconds for r in again[: len(before)]] == [r.seconds for r in before], "not trained again"
        before = again
    after, result = runner.run_over_folds(tmp_path / "0008")
    assert essence(after) == essence(whole)


@pytest.mark.parametrize("stop_after", [1, 2, EPOCHS])
def test_a_killed_trial_repeats_its_curve_and_goes_on_as_if_nothing_had_happened(
    runner: Runner, tmp_path: Path, stop_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "_SHARE", math.inf)  # a checkpoint every epoch
    whole, _ = runner.run(tmp_path / "0000")
    before, result = runner.run(tmp_path / "0008", stop_after=stop_after)
    assert result is None
    after, result = runner.run(tmp_path / "0008")
    assert after[:stop_after] == before or essence(after[:stop_after]) == essence(before)
    assert [r.seconds for r in after[:stop_after]] == [r.seconds for r in before], (
        "repeated, not trained again"
    )
    assert essence(after) == essence(whole)
    assert result is not None
    assert len(result.curve) == EPOCHS


def test_a_trial_leaves_its_weights_and_its_checkpoint_and_nothing_half_written(
    runner: Runner, tmp_path: Path
) -> None:
    folder = tmp_path / "0000"
    runner.run(folder, stop_after=2)
    assert (folder / "best.safetensors").is_file(), "a trial that is stopped early may be exported"
    runner.run(folder)
    assert {"best.safetensors", "last.pt"} <= {p.name for p in folder.iterdir()}
    assert not list(folder.glob(PARTIAL))


@pytest.mark.parametrize(
    ("number", "cause", "told"),
    [(1, "diverged", "diverged: .* became .* in epoch "), (2, "out_of_memory", "out of memory: ")],
)
def test_a_trial_that_cannot_go_on_says_why(
    runner: Runner, tmp_path: Path, number: int, cause: str, told: str
) -> None:
    train, config = runner.failing(cause)
    with pytest.raises(TrialFailed, match=told) as failed:
        heard(train, config, tmp_path / f"{number:04d}")
    assert failed.value.cause == cause


def test_a_mistake_of_the_code_is_not_told_as_a_bad_setting(runner: Runner, tmp_path: Path) -> None:
    train, config = runner.failing("crashed")
    with pytest.raises(ZeroDivisionError):
        heard(train, config, tmp_path / "0003")
