"""Figure 5: gate against random choice of patches by the initial k, from a search's trials or trainings of its own.

A training of its own is one cell of a grid: the run's best configuration with one method, one k.start and one seed, k
falling to 0, scored on validation. A finished cell is kept as JSON and never trained again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pare_tune.config import TrialConfig
from pare_tune.data.files import write_json
from pare_tune.errors import ConfigError
from pare_tune.figures.sheet import BLUE, VERMILION, Drawing, new_figure
from pare_tune.figures.subject import Subject
from pare_tune.method import METHODS, RandomMixer
from pare_tune.report.words import duration, plural
from pare_tune.steps import step
from pare_tune.tasks.base import Direction, Metric, loss_sign
from pare_tune.train.build import pick_device
from pare_tune.train.export import METRICS
from pare_tune.train.loop import Context
from pare_tune.train.trial import run_trial
from pare_tune.tune.snapshot import Snapshot, TrialView

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STEM = "5-gate-against-random"
STARTS: Final = (1.0, 0.5, 0.25, 0.125)
"""Of N, as in the paper: N → 0, …, N/8 → 0."""
CELLS: Final = "5-cells"
"""Folder of the finished cells."""

Notify = Callable[[str], None]
Train = Callable[[TrialConfig, Path], float]
"""(configuration, folder to go on from) → best validation score."""

_WAYS: Final = {"gate": VERMILION, "random": BLUE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One trained result."""

    way: str
    """gate or random."""
    start: float
    """Share of N replaced in the first epoch."""
    seed: int
    score: float
    """Best on validation."""


def cells_of_trials(trials: Sequence[TrialView], base: TrialConfig) -> list[Cell]:
    """The complete trials of a search that replace patches, chosen by a gate or at random.

    Args:
        base: trial 0; holds what the search did not vary.
    """
    cells = []
    for trial in trials:
        way = _way(str(trial.params.get("method", base.method)))
        start = float(trial.params.get("k.start", base.k.start))
        if trial.state == "complete" and trial.best_score is not None and way is not None:
            cells.append(Cell(way=way, start=start, seed=trial.number, score=trial.best_score))
    return cells


def require_both(cells: Sequence[Cell], runs: str) -> None:
    """Raise ConfigError unless gate and random were tried, at more than one initial k."""
    for way in _WAYS:
        if len({c.start for c in cells if c.way == way}) < 2:
            raise ConfigError(
                f"it compares gate and random choice over several initial k, and the complete trials of {runs} do not "
                f"choose by {way} with different k.start; train a grid of them with --train, or give a search of "
                f"method random as --against"
            )


def plan(config: TrialConfig, seeds: int) -> list[TrialConfig]:
    """The grid around a configuration, gate and random next to each other."""
    kind = config.k.kind if config.k.kind not in ("constant", "random") else "linear"
    gated = config.method if METHODS[config.method].is_gated else "pare"
    return [
        config.with_values(
            {
                "method": method,
                "k.start": start,
                "k.end": 0.0,
                "k.kind": kind,
                "seed": (config.seed + i) % 2**31,
            }
        )
        for i in range(seeds)
        for start in STARTS
        for method in (gated, "random")
    ]


def train_grid(
    configs: Sequence[TrialConfig],
    folder: Path,
    *,
    seconds: float | None,
    notify: Notify,
    train: Train | None = None,
) -> list[Cell]:
    """Train what is not trained yet; says beforehand how much that is.

    Args:
        folder: of the finished cells; a cell that was interrupted goes on from its last epoch.
        seconds: one training takes; None if nobody knows.

    Raises:
        StorageError, TrialFailed: what went wrong; the finished cells stay.
    """
    files = [folder / f"{_key(config)}.json" for config in configs]
    trained = [_read(path, config) for path, config in zip(files, configs, strict=True)]
    missing = trained.count(None)
    if missing:
        long = "" if seconds is None else f", about {duration(missing * seconds)}"
        done = len(configs) - missing
        notify(
            f"figure 5: {plural(missing, 'training')}{long}; {done} are done already. Interrupt it at any time, it "
            f"goes on from there."
        )
    cells = []
    with step("training the grid of figure 5", missing) as count:
        for path, config, cell in zip(files, configs, trained, strict=True):
            cells.append(cell or _train_cell(path, config, train or _train))
            if cell is None:
                count()
    return cells


def draw(cells: Sequence[Cell], subject: Subject, *, trained: bool) -> Drawing:
    """Scores over the initial k: lines where both ways were trained at the same ones, points for trials of a search."""
    metric = subject.data.task.metric
    figure = new_figure(
        3.1 if trained else 2.3, "Gate against random choice, by initial k", subject.shared_subtitle
    )
    panels = figure.subplots(
        2 if trained else 1, 1, sharex=True, squeeze=False, height_ratios=(1.6, 1.0)[: 1 + trained]
    )
    axes = panels[0][0]
    for way, ink in _WAYS.items():
        mine = [c for c in cells if c.way == way]
        marker = "o" if way == "gate" else "s"
        axes.plot(
            [c.start for c in mine], [c.score for c in mine], marker, color=ink, alpha=0.6, ms=3, label=None
        )
        if trained:
            starts, means = zip(*_means(mine), strict=True)
            axes.plot(starts, means, "-" if way == "gate" else "--", color=ink, marker=marker, label=way)
        else:
            axes.lines[-1].set_label(way)
    unit = "" if metric.unit == "1" else f" ({metric.unit})"
    axes.set_ylabel(
        f"validation {metric.name}{unit}\n{'lower' if metric.direction == 'min' else 'higher'} is better"
    )
    axes.legend()
    axes.grid(lw=0.3)
    if trained:
        _draw_gain(panels[1][0], cells, metric)
    _label_starts(panels[-1][0], cells, trained)
    return Drawing(
        stem=STEM,
        figure=figure,
        columns=("selection", "k_start", "seed", "score"),
        rows=[(c.way, c.start, c.seed, c.score) for c in cells],
        caption=_caption(cells, subject, metric, trained),
    )


def gains(cells: Sequence[Cell], direction: Direction) -> list[tuple[float, float]]:
    """(k.start, by how many percent of random's mean score the gate's is better), rising."""
    gate, random = (dict(_means([c for c in cells if c.way == way])) for way in _WAYS)
    sign = loss_sign(direction)
    return [
        (start, sign * 100.0 * (random[start] - gate[start]) / abs(random[start]))
        for start in sorted(gate.keys() & random.keys())
        if random[start]
    ]


def seconds_of_a_training(snapshot: Snapshot | None, model: Path) -> float | None:
    """The median over the search's complete trials; without any, what the `model`'s own training took; else None."""
    seconds = [] if snapshot is None else [t.seconds for t in snapshot.trials if t.state == "complete"]
    if seconds:
        return statistics.median(seconds)
    try:
        return float(json.loads((model / METRICS).read_text(encoding="utf-8"))["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _way(method: str) -> str | None:
    if METHODS[method].is_gated:
        return "gate"
    return "random" if METHODS[method].mixer is RandomMixer else None


def _key(config: TrialConfig) -> str:
    digest = hashlib.sha256(config.to_yaml().encode()).hexdigest()[:12]
    return f"{config.method}-{config.k.start:g}-{config.seed}-{digest}"


def _read(path: Path, config: TrialConfig) -> Cell | None:
    try:
        cell = Cell(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return (
        cell
        if (cell.way, cell.start, cell.seed) == (_way(config.method), config.k.start, config.seed)
        else None
    )


def _train_cell(path: Path, config: TrialConfig, train: Train) -> Cell:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix("")
    score = train(config, unfinished)
    way = _way(config.method)
    assert way is not None
    cell = Cell(way=way, start=config.k.start, seed=config.seed, score=score)
    write_json(path, asdict(cell))
    shutil.rmtree(unfinished, ignore_errors=True)
    return cell


def _train(config: TrialConfig, folder: Path) -> float:
    folder.mkdir(parents=True, exist_ok=True)
    return run_trial(
        config, Context(report=lambda report: None, folder=folder, device=pick_device())
    ).best_score


def _means(cells: Sequence[Cell]) -> Iterator[tuple[float, float]]:
    for start in sorted({c.start for c in cells}):
        yield start, statistics.fmean(c.score for c in cells if c.start == start)


def _draw_gain(axes: Axes, cells: Sequence[Cell], metric: Metric) -> None:
    by_start = gains(cells, metric.direction)
    axes.bar(
        [start for start, _ in by_start],
        [percent for _, percent in by_start],
        width=[start * 0.25 for start, _ in by_start],
        color=[VERMILION if percent >= 0 else BLUE for _, percent in by_start],
    )
    axes.axhline(0, color="black", lw=0.6)
    axes.set_ylabel("gate better by (%)")
    axes.grid(lw=0.3, axis="y")


def _label_starts(axes: Axes, cells: Sequence[Cell], trained: bool) -> None:
    axes.set_xlabel("initial k, as a share of the N patches")
    if not trained:
        return
    starts = sorted({c.start for c in cells})
    axes.set_xscale("log", base=2)
    axes.set_xticks(starts, ["N → 0" if s == 1 else f"N/{1 / s:g} → 0" for s in starts], minor=False)
    axes.minorticks_off()


def _caption(cells: Sequence[Cell], subject: Subject, metric: Metric, trained: bool) -> str:
    if trained:
        seeds = len({c.seed for c in cells})
        few = (
            "one seed, so that differences may be chance" if seeds == 1 else f"{seeds} seeds; lines are means"
        )
        said = ", ".join(f"{p:+.1f} % at {s:g}·N" for s, p in gains(cells, metric.direction))
        said = said or "random's score is 0, of which there is no share"
        how = (
            f"Each point is one training of the run's configuration with k falling from that share of N to 0 "
            f"({few}). Below: by how much of random's score the gate is "
            f"better ({said})."
        )
    else:
        how = (
            f"Each point is a complete trial of the search ({len(cells)} in all), whose other settings differ too: "
            f"read it as a cloud, and train a grid (--train) for a comparison of k alone."
        )
    return (
        f"Best validation {metric.name} of {subject.config.task} over the initial number of replaced patches, with "
        f"patches chosen by the gate and at random. {how} To see: whether choosing by the gate pays, and whether it "
        f"pays more where few patches are replaced, as in the paper. {subject.provenance}"
    )
