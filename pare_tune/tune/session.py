"""One sitting of a search: from opening its study to leaving its folder in order."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune

from pare_tune.config import RunConfig
from pare_tune.errors import StorageError
from pare_tune.shell import command
from pare_tune.signals import interrupt, on_ending_signals
from pare_tune.train.fingerprint import Fingerprint
from pare_tune.train.keeper import blind_nodes, told_of_blind
from pare_tune.tune.bridge import (
    METRIC,
    Desk,
    StudyCallback,
    StudyScheduler,
    StudySearcher,
    StudyStopper,
    Throttle,
)
from pare_tune.tune.cluster import DRIVER, Cluster
from pare_tune.tune.disk import DiskCap
from pare_tune.tune.folder import RunFolder
from pare_tune.tune.metrics import SearchMetrics
from pare_tune.tune.result import Result
from pare_tune.tune.snapshot import Snapshot, TaskFacts
from pare_tune.tune.space import BoundSpace
from pare_tune.tune.study import Study
from pare_tune.tune.summary import make_snapshot, write_tables
from pare_tune.tune.trial import Job, TrialRunner, run_on_worker
from pare_tune.tune.warm import Start, ranking

Observe = Callable[[Snapshot], None]
Notify = Callable[[str], None]


def _unheard(line: str) -> None:
    """Notes that nobody asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """What a search and going on with it take alike: who watches it, and where and with what it runs."""

    observe: Observe | None = None
    """Called with the state of the search up to four times a second, and at its end."""
    notify: Notify = _unheard
    """Called with one-line notes: what is not searched and why."""
    runner: TrialRunner | None = None
    """Trains one configuration; None trains for real. Must be picklable."""
    cache: Path | None = None
    """Folder of prepared data; None for the usual one."""
    dashboard: bool = True
    """Start Ray's dashboard with a local cluster."""


class SearchInterrupted(KeyboardInterrupt):
    """The search was asked to stop; everything is saved in `run` and `resume(run)` goes on."""

    def __init__(self, run: Path, why: str = "interrupted") -> None:
        super().__init__(f"{why}; go on with: {command('resume', run)}")
        self.run, self.why = run, why


def _first(space: BoundSpace, start: Start | None) -> list[dict[str, Any]]:
    """What the trials after trial 0 are: plain fine-tuning, so that nobody loses to it unseen, and earlier points."""
    plain, tested = space.plain(), [] if start is None else start.tested(space)
    return tested if plain is None else [plain, *(params for params in tested if params != plain)]


class Session:
    """A session in a folder that the caller owns."""

    def __init__(
        self,
        folder: RunFolder,
        config: RunConfig,
        space: BoundSpace,
        cluster: Cluster,
        facts: TaskFacts,
        fingerprint: Fingerprint,
        options: SessionOptions,
    ) -> None:
        self._folder, self._config, self._cluster = folder, config, cluster
        self._facts, self._fingerprint = facts, fingerprint
        self._observe, self._notify = options.observe, options.notify
        self._last_best: int | None = None
        self._kept: set[int] = set()
        search, start = config.search, Start.load(folder.warm_start_yaml)
        self._cap = None if search.max_disk is None else DiskCap(folder, search.max_disk)
        self._told_full = False
        self._chores: list[tuple[Throttle, Callable[[], None]]] = [
            (Throttle(5.0, share=0.02), lambda: self._metrics.update(self._snapshot())),
            (Throttle(30.0, share=0.02), self._write_tables),
        ]
        if self._observe is not None:
            self._chores.append((Throttle(0.25, share=0.05), lambda: self._show(self._snapshot())))
        if self._cap is not None:
            self._chores.append((Throttle(5.0, share=0.02), self._hold_disk))
        for line in (*space.warnings, *space.notes, *([] if start is None else [str(start)])):
            self._notify(line)
        self._concurrency = cluster.capacity(search)
        self._study = Study(
            folder.journal,
            space,
            search,
            epochs=config.epochs_of_a_trial,
            facts=facts,
            first=_first(space, start),
            earlier=[] if start is None else start.ranked(space, search.seed),
        )
        self._study.optuna.set_user_attr("dashboard", cluster.dashboard_url)
        self._metrics = SearchMetrics(folder.path.name, facts.task)
        self._desk = Desk(
            self._study,
            folder,
            search.budget,
            ended=self._ended,
            tick=self._tick,
            room=None if self._cap is None else self._make_room,
            confirm=search.confirm,
            concurrency=self._concurrency,
            workers=search.workers_per_trial,
        )

    def run(self, job: Job) -> Result:
        """Search until the budget is spent. Raises as `search`."""
        if not self._cluster.local and (blind := blind_nodes(job.home)):
            self._notify(told_of_blind(blind))
        self._tidy()
        self._show(self._snapshot())
        try:
            with _stop_on_signal(self._desk) as came:
                self._fit(job)
        finally:
            self._leave()
        if self._desk.error is not None:
            raise self._desk.error
        if self._desk.interrupted:
            raise SearchInterrupted(self._folder.path, *map(str, came))
        result = Result(self._folder.path, self._snapshot())
        self._metrics.update(result.snapshot)
        self._show(result.snapshot)
        return result

    def _fit(self, job: Job) -> None:
        several = job.num_workers > 1
        resources = DRIVER if several else {"CPU": job.cpus_per_worker, "GPU": job.gpus_per_worker}
        trainable = tune.with_resources(_trainable(job), resources)
        shutil.rmtree(self._folder.ray, ignore_errors=True)
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                metric=METRIC,
                mode=self._facts.direction,
                search_alg=StudySearcher(self._desk, self._facts.direction),
                scheduler=StudyScheduler(self._desk),
                num_samples=-1,
                max_concurrent_trials=self._concurrency,
                reuse_actors=not several,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(self._folder.ray),
                verbose=0,
                # Ray's own choice in a notebook clears the cell, and what was displayed in it.
                progress_reporter=tune.CLIReporter(),
                stop=StudyStopper(self._desk),
                callbacks=[StudyCallback(self._desk, starts=not several)],
            ),
        )
        try:
            tuner.fit()
        except Exception:
            if self._desk.error is None:
                raise

    def _tick(self) -> None:
        if self._folder.mirror is not None and self._folder.mirror.lost is not None:
            self._desk.error = self._folder.mirror.lost
        for throttle, chore in self._chores:
            throttle(chore)

    def _hold_disk(self) -> None:
        assert self._cap is not None
        lacking = self._cap.hold(self._least_wanted(), self._last_best, self._kept, set(self._study.live))
        if lacking and not self._told_full:
            self._notify(self._cap.problem(lacking))
            self._told_full = True

    def _make_room(self) -> None:
        """Before a trial starts; raises StorageError where --max-disk leaves no room for it."""
        assert self._cap is not None
        self._cap.require(self._least_wanted(), self._last_best, self._kept, set(self._study.live))

    def _least_wanted(self) -> list[int]:
        """Trials that ended, the worst first."""
        ended = ranking(self._study.views(), self._facts.direction, repeats=True)
        return [t.number for t in reversed(ended)]

    def _ended(self, number: int) -> None:
        try:
            self._folder.bring(number)
        except StorageError as error:  # they stay where they are
            self._notify(f"trial {number}'s log and pictures could not be fetched: {error}")
        if self._cap is not None:
            self._cap.note(number)
        best = self._study.best
        keep = self._to_keep(best)
        # A repeat that ends can complete the confirmation of any other trial.
        is_repeat = self._study.views()[number].repeats is not None
        if best is not None and (best == number or is_repeat or best != self._last_best):
            self._publish(best)
        # Those that were candidates until now keep nothing either.
        self._folder.keep_weights({number} | (self._kept - keep), keep, self._complete())
        self._last_best, self._kept = best, keep
        if self._folder.mirror is not None:
            self._folder.mirror.soon()

    def _to_keep(self, best: int | None) -> set[int]:
        """Trials whose weights may still be wanted."""
        keep = self._study.candidates if self._config.search.confirm else {0}
        return keep if best is None else keep | {best}

    def _complete(self) -> set[int]:
        return {t.number for t in self._study.views() if t.state == "complete"}

    def _publish(self, best: int) -> None:
        text = self._desk.config_of(best).to_yaml() + self._fingerprint.to_yaml()
        self._folder.publish_best(best, text, self._told_of(best))

    def _told_of(self, best: int) -> dict[str, object]:
        """What is published of the best trial beside its number."""
        state = self._snapshot()
        trial, default, confirmed = state.trials[best], state.trials[0], state.confirmed(best)
        metrics: dict[str, object] = {
            "metric": self._facts.metric,
            "unit": self._facts.unit,
            "direction": self._facts.direction,
            "score": trial.best_score,
            "epoch": trial.best_epoch,
            "default_score": default.best_score if default.state == "complete" else None,
            "data": self._facts.provenance,
        }
        if trial.folds > 1:
            metrics["folds"] = trial.folds
        if confirmed is not None:
            metrics |= {"mean": confirmed.mean, "spread": confirmed.spread, "seeds": len(confirmed.fresh)}
        return metrics

    def _tidy(self) -> None:
        """Finish what a killed session left half-done between its study and its folder."""
        best = self._study.best
        # The same trial may have been published before the last of its repeats ended.
        if best is not None and self._folder.best_metrics() != {"trial": best, **self._told_of(best)}:
            self._publish(best)
        self._last_best = best
        self._kept = self._to_keep(best)
        self._drop_weights()

    def _drop_weights(self) -> None:
        finished = (n for n in self._study.numbers() if self._study.is_finished(n))
        self._folder.keep_weights(finished, self._kept, self._complete())

    def _leave(self) -> None:
        shutil.rmtree(self._folder.ray, ignore_errors=True)
        if not self._cluster.local or self._folder.mirror is not None:
            self._drop_weights()  # what was on its way from another node when its trial was stopped
        try:
            self._study.close()
            self._write_tables()
        except (OSError, StorageError):
            # On a full disk the first error is the one to tell.
            if self._desk.error is None:
                raise

    def _write_tables(self) -> None:
        write_tables(self._study.views(), self._folder.trials_parquet, self._folder.curves_parquet)

    def _show(self, state: Snapshot) -> None:
        if self._observe is not None:
            self._observe(state)

    def _snapshot(self) -> Snapshot:
        return make_snapshot(
            self._folder.path,
            self._facts,
            self._config.search,
            self._study.views(),
            elapsed=self._study.elapsed,
            dashboard_url=self._cluster.dashboard_url,
        )


def _trainable(job: Job) -> Callable[[dict[str, Any]], None]:
    """A function of one argument named config, as Ray Tune wants it."""

    def trial(config: dict[str, Any]) -> None:
        run_on_worker(job, config)

    return trial


@contextmanager
def _stop_on_signal(desk: Desk) -> Iterator[list[KeyboardInterrupt]]:
    """The first signal ends the session in order, the second one at once; yields what came."""
    came: list[KeyboardInterrupt] = []

    def handle(number: int, frame: Any) -> None:
        try:
            interrupt(number, frame)
        except KeyboardInterrupt as interrupted:
            if desk.interrupted:
                raise
            came.append(interrupted)
            desk.interrupted = True

    with on_ending_signals(handle):
        yield came
