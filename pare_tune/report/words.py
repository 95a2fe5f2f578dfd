"""How numbers are said: one way for the live view, the end of a run, `status` and the HTML report."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pare_tune.tasks.base import Direction, loss_sign
from pare_tune.tune.paired import Interval
from pare_tune.tune.snapshot import Snapshot, TrialState, TrialView

NONE = "–"
"""Stands where there is no number."""

_MOST_TIMES = 100
"""Beyond so many times as many samples, nobody would get them."""
_UNITLESS = frozenset({"", "1", "unit of y"})

PROVENANCE = {
    "real": "the released data, or your own",
    "sample": "simulated data of the same format and kind; the scores say nothing about the real benchmark",
    "solved": "the equations solved here, smaller than the released data; not comparable with published scores",
}
"""What `data: …` means, for people."""

STATES: dict[TrialState, str] = {
    "waiting": "waiting",
    "running": "running",
    "complete": "finished",
    "pruned": "stopped early",
    "failed": "failed",
}
"""Trial states, for people."""

CAUSES = {
    "diverged": "diverged",
    "collapsed": "learned nothing",
    "out_of_memory": "out of memory",
    "crashed": "crashed",
}


def number(value: float | None) -> str:
    """Four significant digits, or a dash for None and NaN."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:#.4g}".rstrip(".") if value else "0"


def score(value: float | None, unit: str) -> str:
    """A score with its unit: `2.871 Å`, `14.30 %`, `0.1234`."""
    text = number(value)
    return text if text == NONE or unit in _UNITLESS else f"{text} {unit}"


def setting(value: Any) -> str:
    """A setting's value, as short as it can be read."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "none" if value is None else str(value)


def calibration(metrics: Mapping[str, Any]) -> list[str]:
    """What metrics.json of a final model says of its probabilities, sets and intervals; empty where it says nothing."""
    fitted = metrics.get("calibration")
    if fitted is None:
        return []
    lines, on = [], f"{fitted['fitted_on']} ({plural(fitted['samples'], 'sample')})"
    if "temperature" in fitted:
        lines.append(
            f"calibrated on {on}: expected calibration error on test {fitted['ece_before']:.3f} → "
            f"{fitted['ece_after']:.3f}"
        )
    if "covered" in fitted:
        share, held = fitted["coverage"], fitted["covered"]
        lines.append(
            f"--coverage {share:g}, fitted on {on}, holds the truth in {held:.1%} of the test samples"
        )
    return lines


def duration(seconds: float) -> str:
    """`42 s`, `12 min`, `1 h 05 min`, `2 d 3 h`; a dash for NaN."""
    if not math.isfinite(seconds):
        return NONE
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} d {hours % 24} h"


def size(count: int) -> str:
    """`812 bytes`, `3.4 MB`, `206 GB`."""
    if count < 1000:
        return plural(count, "byte")
    power = min(int(math.log(count / 0.9995, 1000)), 4)
    return f"{count / 1000**power:.3g} {('', 'kB', 'MB', 'GB', 'TB')[power]}"


def plural(count: int, noun: str) -> str:
    """`1 trial`, `2 trials`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def metric_line(snapshot: Snapshot) -> str:
    """`mae_8 in Å, lower is better`."""
    return said_metric(snapshot.metric, snapshot.unit, snapshot.direction)


def said_metric(name: str, unit: str, direction: Direction) -> str:
    """`mae_8 in Å, lower is better`."""
    return f"{name}{'' if unit in ('', '1') else f' in {unit}'}, {better(direction)} is better"


def better(direction: Direction) -> str:
    """`lower` or `higher`."""
    return "lower" if direction == "min" else "higher"


def counts(s: Snapshot) -> str:
    """`38 finished, 11 stopped early, 1 failed (6 of them confirmation)`."""
    parts = [f"{s.count(state)} {name}" for state, name in STATES.items() if s.count(state)]
    again = sum(t.repeats is not None for t in s.trials)
    return (", ".join(parts) or "no trials") + (f" ({again} of them confirmation)" if again else "")


def cause(trial: TrialView) -> str:
    """Why a trial failed, in words."""
    return CAUSES.get(trial.cause or "", trial.cause or "unknown cause")


def scores(trial: TrialView) -> list[float]:
    """The validation score of every epoch of a training, over as many folds as came to it; NaN where there was none."""
    return [math.nan if r.get("score") is None else float(r["score"]) for r in trial.training]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The best trial against the default, both finished."""

    difference: float
    """Positive: the best is better."""
    relative: float | None
    """`difference` over the default's score; None where it says nothing: of percentages, and of a score of 0."""
    wobble: float | None
    """Spread over fresh seeds where both were confirmed; else the median change of the score from one epoch to the
    next, late in training, None when the curves are too short."""
    absolute: str
    """`0.531 Å`."""
    percent: str
    """`15.6 %`; empty without a `relative`."""
    wobble_text: str
    """`0.012 Å`; empty without a `wobble`."""
    seeds: int
    """Fresh seeds that both were trained with again; 0 where single scores of the search are compared."""
    interval: Interval | None = None
    """Of the difference, by samples and fresh seeds; None where it is not known."""

    @property
    def text(self) -> str:
        """`0.531 Å (15.6 %)`."""
        return f"{self.absolute} ({self.percent})" if self.percent else self.absolute

    @property
    def may_be_noise(self) -> bool:
        """Whether the difference may be 0, or is no larger than the scores change by themselves."""
        if self.interval is not None:
            return not self.interval.is_sure
        return self.wobble is not None and self.difference <= self.wobble


def compare(snapshot: Snapshot) -> Comparison | None:
    """How much the best finished trial beats trial 0; None when either is missing or they are one and the same."""
    best, default = snapshot.best, snapshot.default
    if best is None or default is None or best.number == default.number or default.state != "complete":
        return None
    if best.best_score is None or default.best_score is None:
        return None
    return _comparison(snapshot, best, default)


def _comparison(s: Snapshot, trial: TrialView, default: TrialView) -> Comparison:
    a, b = s.confirmed(trial.number), s.confirmed(default.number)
    wobble = s.choice.spread
    if a is not None and b is not None:
        reached, like = a.mean, b.mean
    else:
        assert trial.best_score is not None
        assert default.best_score is not None
        reached, like = trial.best_score, default.best_score
    if a is None or b is None or wobble is None:
        late = (late_wobble(trial), late_wobble(default))
        wobble = max((w for w in late if w is not None), default=None)
    difference = loss_sign(s.direction) * (like - reached)
    relative = difference / abs(like) if like and reached and s.unit != "%" else None
    gain = s.gain(trial.number)
    return Comparison(
        difference=difference,
        relative=relative,
        wobble=wobble,
        absolute=_difference(difference, like, s.unit),
        percent="" if relative is None else f"{100 * relative:.3g} %",
        wobble_text="" if wobble is None else _difference(wobble, like, s.unit),
        seeds=s.choice.seeds if a is not None and b is not None else 0,
        interval=None if gain is None else gain.interval,
    )


def margin(snapshot: Snapshot, value: float) -> str:
    """A difference of scores, with the decimals of the best one: `0.012 Å`."""
    best = snapshot.best
    like = value if best is None or best.best_score is None else best.best_score
    return _difference(value, like, snapshot.unit)


def judged(snapshot: Snapshot, trial: TrialView) -> str:
    """Its score, `4.784 Å`; once confirmed the mean and spread over fresh seeds, `4.81 ± 0.03 Å`."""
    again = snapshot.confirmed(trial.number)
    if again is None:
        return score(trial.best_score, snapshot.unit)
    shown = score(again.mean, snapshot.unit)
    if again.spread is None:
        return shown
    value, _, unit = shown.partition(" ")
    spread = _difference(again.spread, again.mean, "1")
    return f"{value} ± {spread}{' ' + unit if unit else ''}"


def seeds_of_a_mean(seeds: int) -> str:
    """What a confirmed score is: `mean ± spread over 2 fresh seeds`."""
    return "1 fresh seed" if seeds == 1 else f"mean ± spread over {plural(seeds, 'fresh seed')}"


def verdict(snapshot: Snapshot) -> str:
    """One or two sentences: what the search gained over the default, and how sure that is."""
    best, default = snapshot.best, snapshot.default
    finished = snapshot.count("complete")
    if best is None:
        return "No trial has finished, so there is no best configuration."
    if best.number == 0:
        if finished == 1:
            return "The default is the only trial that finished."
        runner_up = next((c for c in snapshot.choice.confirmed if c.number != 0), None)
        if runner_up is not None:
            # The default is exported, whatever the samples say of a gain within the seeds' spread.
            return _no_better(snapshot, snapshot.trials[runner_up.number], best) + cut_off(snapshot)
        return f"The default is the best: none of {plural(finished - 1, 'other finished trial')} beat it."
    comparison = compare(snapshot)
    if comparison is None:
        why = "has no score" if default is None else _without_score(default)
        return f"The default (trial 0) {why}, so there is nothing to compare with."
    if comparison.interval is not None:
        return _by_interval(snapshot, comparison, comparison.interval, best) + cut_off(snapshot)
    if not comparison.seeds and best.influences:
        return (
            f"Trial {best.number} scored better than the default by {comparison.text}, with one seed each and "
            f"as the best of {plural(_looks(snapshot), 'trial')}: that may be luck, and no fresh seed has confirmed it."
        )
    text = f"Better than the default by {comparison.text}"
    if comparison.seeds > 1:
        means = (
            f"means over {plural(comparison.seeds, 'fresh seed')}, whose spread is {comparison.wobble_text}"
        )
        return f"{text}: {means}.{cut_off(snapshot)}"
    if comparison.seeds:
        text += " with 1 fresh seed, which says nothing of the seeds' spread"
    text += f".{cut_off(snapshot)}"
    if comparison.may_be_noise:
        moves = comparison.wobble_text
        text += f" Late in training the score moves as much from epoch to epoch ({moves}): it may be noise."
    return text


def _by_interval(s: Snapshot, comparison: Comparison, interval: Interval, best: TrialView) -> str:
    low, high = (_difference(value, best.best_score or value, "1") for value in _ends(interval))
    on = "" if not s.samples else f"{plural(s.samples, 'sample')}, "
    how = f"{on}{plural(comparison.seeds, 'fresh seed')}, the best of {plural(_looks(s), 'trial')}"
    if interval.is_sure:
        return f"Better than the default by {comparison.text}, 95 % interval {low} to {high}: {how}."
    gained = f"better by {comparison.absolute}" if comparison.difference > 0 else "no better"
    return (
        f"No better than the default as far as can be told: trial {best.number}, which is exported, is "
        f"{gained}, 95 % interval {low} to {high}: {how}.{_how_many(s, interval)}"
    )


def _ends(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


def _how_many(s: Snapshot, interval: Interval) -> str:
    """A sentence on how many samples would tell; empty where they are not what is lacking."""
    if not 1 < interval.times < math.inf:
        return ""
    if interval.times > _MOST_TIMES:
        return (
            f" More than {_MOST_TIMES} times as many samples would be needed to tell so small a difference."
        )
    many = (
        f"{interval.times:.2g} times as many"
        if not s.samples
        else f"About {_rounded(interval.times * s.samples):,}"
    )
    return f" {many} samples would tell such a difference."


def _rounded(count: float) -> int:
    """To two figures, upwards."""
    step: int = 10 ** max(0, math.floor(math.log10(count)) - 1)
    return math.ceil(count / step) * step


def _looks(s: Snapshot) -> int:
    return sum(t.epoch > 0 for t in s.searched)


def cut_off(snapshot: Snapshot) -> str:
    """A sentence for each trial that the end of the budget left without some of its fresh seeds; empty without one."""
    text = ""
    for trial in (c for c in snapshot.choice.confirmed if c.missing):
        has = [plural(len(trial.fresh), "fresh seed")] if trial.fresh else []
        has = [*(["its score of the search"] if trial.own is not None else []), *has]
        name = "the default" if trial.number == 0 else f"trial {trial.number}"
        text += (
            f" The budget ended before {name} was trained with all {plural(snapshot.choice.seeds, 'fresh seed')}; "
            f"it counts with {' and '.join(has)}."
        )
    return text


def _no_better(s: Snapshot, trial: TrialView, default: TrialView) -> str:
    seeds = s.choice.seeds
    comparison = _comparison(s, trial, default)
    how = f"better by {comparison.absolute}" if comparison.difference > 0 else "no better"
    spread = f", and the seeds' spread is {comparison.wobble_text}" if seeds > 1 else ""
    if comparison.interval is not None:
        low, high = (_difference(v, default.best_score or v, "1") for v in _ends(comparison.interval))
        spread = f", 95 % interval {low} to {high}"
    return (
        f"No better than the default, which is exported: trained again with {plural(seeds, 'fresh seed')}, "
        f"trial {trial.number} is {how}{spread}."
    )


def _without_score(default: TrialView) -> str:
    match default.state:
        case "failed":
            return f"failed ({cause(default)})"
        case "pruned":
            return f"was stopped early, after epoch {default.epoch} of {default.epochs}"
        case _:
            return "has not finished"


def _difference(value: float, like: float, unit: str) -> str:
    """With as many decimals as the score that it is a difference of."""
    shown = number(like)
    decimals = len(shown.partition(".")[2]) if "e" not in shown else 0
    text = f"{value:.{decimals}f}" if decimals else f"{value:.3g}"
    if float(text) == 0.0 and value:
        text = f"{value:.1g}"
    if unit == "%":
        return f"{text} points"
    return text if unit in _UNITLESS else f"{text} {unit}"


def late_wobble(trial: TrialView) -> float | None:
    """Median |change| between neighbouring epochs in the second half of the curve, from three changes up."""
    curve = scores(trial)
    changes = [abs(b - a) for a, b in pairwise(curve[len(curve) // 2 :]) if math.isfinite(b - a)]
    return statistics.median(changes) if len(changes) >= 3 else None
