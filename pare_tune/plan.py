"""Options → a resolved plan: what will be searched, on what data, and what it costs; nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

from rich.markup import escape

from pare_tune.config import RunConfig, SearchConfig, TrialConfig, default_trial, load_run, own_of, task_of
from pare_tune.errors import ConfigError
from pare_tune.fitting import require_fitting
from pare_tune.inspect.check import data_lines, paper_line
from pare_tune.method import METHODS
from pare_tune.tasks import get_task
from pare_tune.tasks.base import Preset
from pare_tune.tasks.load import default_cache, provenance_of
from pare_tune.tasks.own.spec import OwnData
from pare_tune.tasks.own.survey import survey
from pare_tune.tasks.own.task import own_task
from pare_tune.tasks.own.validation import usual_validation
from pare_tune.yaml import dotted, no_setting, validate

_SEARCH, _OWN = "search.", "own."
"""What dotted settings of the search, and of a task of the user's own, begin with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a user asks for; None leaves a thing to its default or, with `config`, to that file."""

    task: str | None = None
    """A benchmark's name, or the path of a task file."""
    config: Path | None = None
    """The run.yaml of a search to repeat."""
    data: Path | None = None
    """Folder of a benchmark's release or, with `kind`, the file or folder of the user's own inputs."""
    target: str | None = None
    kind: str | None = None
    preset: str | None = None
    backbone: str | None = None
    method: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Dotted settings of trial 0 ("train.epochs"), of the search ("search.budget") and of a task of the user's own
    ("own.channels"), as in its task file. None leaves a setting as it is."""
    runs: Path | str | None = None


def plan_run(wish: Wish) -> RunConfig:
    """The search that a user asks for.

    Raises:
        ConfigError, UnknownName: an option, key or value that does not exist.
        DataError: a task of the user's own cannot be trained on its data.
    """
    given = {key: value for key, value in wish.settings.items() if value is not None}
    own_settings = _taken(given, _OWN) if wish.config is None else {}
    own = own_of(wish.task, data=wish.data, target=wish.target, kind=wish.kind, settings=own_settings)
    search_settings = _taken(given, _SEARCH)
    unknown = next((key for key in search_settings if key not in SearchConfig.model_fields), None)
    if unknown is not None:
        raise ConfigError(no_setting(f"{_SEARCH}{unknown}", setting_keys()))
    if wish.config is not None:
        base = load_run(wish.config)
        _check_repeats(base, wish, own)
    elif wish.task is not None or own is not None:
        chosen = wish.method is not None or "method" in given
        base = RunConfig(trial=_default(wish, own), search=SearchConfig(methods=not chosen))
    else:
        raise ConfigError(
            "what shall be learned? Give --task TASK (see `pare-tune tasks`), --config run.yaml, or --data, --target "
            "and --kind of your own"
        )
    trial = base.trial.with_values(given)
    if wish.config is None:
        search_settings = {**_validation(trial, search_settings), **search_settings}
    search = {**base.search.model_dump(mode="json"), **search_settings}
    plan = RunConfig(
        trial=trial,
        search=validate(SearchConfig, search, where="options"),
        runs=wish.runs or base.runs,
    )
    require_fitting(given, plan.trial, task_of(plan.trial))
    return plan


def describe_plan(plan: RunConfig) -> str:
    """What will run and what it costs, in a few lines of rich markup."""
    trial, task = plan.trial, task_of(plan.trial)
    effective = trial.train.group
    why = "default with --data" if trial.data is not None else "default without --data"
    if trial.own is not None:
        why = "default for data of your own"
    lines = [
        f"[bold]{escape(task.name)}[/bold]: {escape(task.title)}",
        escape(
            f"data: {provenance_of(task, trial.data)} · preset: {trial.preset} ({why}) · "
            f"backbone: {trial.backbone} · source: {trial.source.name}"
        ),
    ]
    lines.append(
        f"budget: {plan.search.budget} · a full trial: {plan.epochs_of_a_trial} epochs in batches of {effective}"
    )
    lines.append(f"validation: {escape(_validation_line(plan))}")
    if trial.own is not None:
        seen = survey(trial.own, default_cache()).survey
        lines += [f"  {escape(line)}" for line in data_lines(trial.own, seen)]
        lines += [f"[yellow]warning: {escape(line)}[/yellow]" for line in seen.warnings]
        lines.append(f"with --preset paper: {escape(paper_line(task, trial.own))}")
    return "\n".join(lines)


def _validation(trial: TrialConfig, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that say what trials are judged by, where the user does not."""
    if "folds" in asked:
        return {"validation": "folds"}
    if trial.own is None or asked.get("validation") == "split":
        return {}
    usual = usual_validation(trial.own, default_cache(), trial.train.epochs)
    return {"validation": usual.method, "folds": usual.folds}


def _validation_line(plan: RunConfig) -> str:
    trial, search = plan.trial, plan.search
    why = "the benchmark's protocol; --set search.validation=folds would train on folds"
    if trial.own is not None:
        usual = usual_validation(trial.own, default_cache(), trial.train.epochs)
        other = "split" if usual.method == "folds" else "folds"
        why = f"{usual.why}; --set search.validation={other} changes it"
        if search.validation != usual.method:
            why = "as you ask"
    if search.validation == "split":
        return f"the validation split ({why})"
    in_time = trial.own is not None and trial.own.split.time is not None
    held_out = "each held out after those before it" if in_time else "each held out once"
    return (
        f"{search.folds} folds of train and val, {held_out}, {search.folds} trainings of "
        f"{trial.train.epochs} epochs a trial ({why})"
    )


def setting_keys() -> list[str]:
    """Every key that `--set` takes, those of the search last; of tasks of one's own, README tells the keys."""
    trial = default_trial(get_task("psicov"), preset="embedded").to_dict()
    return [*dotted(trial), *(f"{_SEARCH}{name}" for name in SearchConfig.model_fields)]


def _taken(settings: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Take the settings that begin with `prefix` out; they come without it."""
    return {key.removeprefix(prefix): settings.pop(key) for key in list(settings) if key.startswith(prefix)}


def _check_repeats(base: RunConfig, wish: Wish, own: OwnData | None) -> None:
    """Raise ConfigError where an option says something else than the run.yaml that it stands beside."""
    release = wish.data if own is None else None
    fixed = {
        "--data": release,
        "--preset": wish.preset,
        "--backbone": wish.backbone,
        "--method": wish.method,
    }
    extra = next((name for name, value in fixed.items() if value is not None), None)
    if extra is not None:
        raise ConfigError(
            f"{extra} says what trial 0 is made of, and {wish.config} says so already; leave it out, change the "
            f"file, or begin anew with --task"
        )
    if own != base.trial.own if own is not None else wish.task not in (None, base.trial.task):
        what = f"--task {wish.task}" if wish.task is not None else "--data"
        raise ConfigError(
            f"{what} contradicts {wish.config}, which is for {base.trial.task}; give one of them"
        )


def _default(wish: Wish, own: OwnData | None) -> TrialConfig:
    release = wish.data if own is None else None
    preset = wish.preset or ("embedded" if release is None else "paper")
    method = wish.method or "pare"
    for option, value, names in (("preset", preset, get_args(Preset)), ("method", method, METHODS)):
        if value not in names:
            raise ConfigError(f"--{option} is one of {', '.join(names)}, got {value!r}")
    return default_trial(
        get_task(wish.task or "") if own is None else own_task(own),
        preset=cast("Preset", preset),
        data=release,
        backbone=wish.backbone,
        method=method,
        own=own,
    )
