"""Draws the figures that are asked for, and says of the others why they are not there and how to get them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

from pare_tune.errors import ConfigError, UnknownName
from pare_tune.figures import clusters, landscape, selection, transport
from pare_tune.figures.sheet import Drawing, style, write
from pare_tune.figures.subject import Subject, names_of, open_subject
from pare_tune.shell import command
from pare_tune.steps import step
from pare_tune.tune.mirror import local, sent_back

Notify = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the figures can be told."""

    samples: int = 200
    """Of the validation split and of the source, for 1b, 1c and 6."""
    inner: str = "gaussian"
    """Distance between classes, for 1b: gaussian or exact."""
    grid: int = 15
    """Points a side, for 1a."""
    span: float = 1.0
    """How far 1a goes, in filter norms."""
    batches: int = 8
    """Validation batches, for 1a."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("samples", 10), ("batches", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"--{name} must be at least {least}, got {getattr(self, name)}")
        if self.inner not in ("exact", "gaussian"):
            raise ConfigError(f"--inner is gaussian or exact, got {self.inner!r}")
        landscape.grid_steps(self.grid, self.span)


@dataclass(frozen=True, slots=True)
class _Scene:
    """What the figures are drawn from."""

    run: Subject
    against: Subject | None
    out: Path
    settings: Settings
    notify: Notify


@dataclass(frozen=True, slots=True)
class Entry:
    """One figure that a run can have."""

    title: str
    make: Callable[[_Scene], Drawing] = field(repr=False)
    how: str = ""
    """The options that draw it, if it takes minutes: it is drawn only when it is asked for by name."""


def write_figures(
    run: Path | str,
    *,
    out: Path | None = None,
    only: Sequence[str] | None = None,
    against: Path | str | None = None,
    settings: Settings | None = None,
    cache: Path | None = None,
    notify: Notify = print,
) -> list[Path]:
    """Draw a run's figures; without `only` those that take seconds, as far as the run has them.

    Args:
        run: a run folder, or the best/ or final/ folder of one, or the URL of either.
        out: where they go; by default figures/ in the run.
        only: names of figures, "1a" and so on.
        against: a second run of the same task, for 1a and 6.
        notify: told what is written, what is not, and why.

    Returns:
        The files, four a figure.

    Raises:
        UnknownName: there is no such figure.
        DataError: the run has no model, or its data are gone.
        ConfigError: a figure of `only` cannot be drawn of this run, or `against` is of another task.
        StorageError: the folder cannot be written.
    """
    settings = settings or Settings()
    wanted = _wanted(only)
    second = None if against is None else local(against)
    scene = _scene_of(local(run), out, second, settings, cache, notify)
    files: list[Path] = []
    reasons: dict[str, list[str]] = {}
    with sent_back(scene.out):
        for name in wanted:
            try:
                with style(), step(f"figure {name} ({FIGURES[name].title})"):
                    written = write(scene.out, FIGURES[name].make(scene))
            except ConfigError as error:
                if only is not None:
                    raise ConfigError(f"figure {name} cannot be drawn: {error}") from error
                reasons.setdefault(str(error), []).append(name)
                continue
            files += written
            notify(_said(name, written))
    for reason, names in reasons.items():
        notify(f"{', '.join(names)}: not drawn: {reason}")
    if only is None:
        for name, entry in FIGURES.items():
            if entry.how:
                notify(
                    f"{name}, {entry.title}: takes minutes, so by name: {command('figures', run, *entry.how.split())}"
                )
    return files


def _wanted(only: Sequence[str] | None) -> list[str]:
    if only is None:
        return [name for name, entry in FIGURES.items() if not entry.how]
    for name in only:
        if name == "3":
            raise ConfigError("figure 3 compares methods over tasks; pare-tune compare draws it")
        if name not in FIGURES:
            raise UnknownName("figure", name, FIGURES)
    return list(dict.fromkeys(only))


def _scene_of(
    run: Path, out: Path | None, against: Path | None, settings: Settings, cache: Path | None, notify: Notify
) -> _Scene:
    subject = open_subject(run, cache=cache)
    second = None if against is None else open_subject(against, cache=cache)
    if second is not None and second.config.task != subject.config.task:
        raise ConfigError(
            f"two runs are compared on one task; {run} is of {subject.config.task}, {against} of {second.config.task}"
        )
    if second is not None and _data_of(second) != _data_of(subject):
        raise ConfigError(
            f"two runs are compared on the same data; {run} has data {_data_of(subject)}, {against} "
            f"{_data_of(second)}"
        )
    return _Scene(subject, second, out or subject.run / "figures", settings, notify)


def _data_of(subject: Subject) -> str:
    """Release and canvas, as a message names them."""
    config = subject.config
    release = "of its own" if config.data is None else str(config.data)
    return release if config.input.canvas is None else f"{release} on a canvas of {config.input.canvas}"


def _landscape(scene: _Scene) -> Drawing:
    s = scene.settings
    subjects = [one for one in (scene.run, scene.against) if one is not None]
    names = names_of(subjects)
    points = s.grid**2 * s.batches * len(subjects)
    scene.notify(f"figure 1a: {points} passes over a batch")
    samples = min(s.batches * scene.run.config.train.batch_size, len(scene.run.data.val))
    surfaces = [
        landscape.measure(one, name, grid=s.grid, span=s.span, samples=samples, seed=s.seed)
        for one, name in zip(subjects, names, strict=True)
    ]
    about = f"{samples} validation samples. {scene.run.provenance}"
    return landscape.draw(surfaces, scene.run.shared_subtitle, about)


def _said(name: str, files: Sequence[Path]) -> str:
    return f"{name}: {files[0].with_suffix('')} {' '.join(path.suffix for path in files)}"


FIGURES: Final = {
    "1a": Entry("loss landscape", _landscape, how="--only 1a [--against RUN2]"),
    "1b": Entry(
        "distance of intermediate data by k",
        lambda s: transport.make(
            s.run,
            samples=s.settings.samples,
            inner=cast("transport.Inner", s.settings.inner),
            seed=s.settings.seed,
        ),
    ),
    "1c": Entry(
        "t-SNE of the modalities",
        lambda s: clusters.modalities(s.run, samples=s.settings.samples, seed=s.settings.seed),
    ),
    "4": Entry("patches by their number", lambda s: selection.by_number(s.run, seed=s.settings.seed)),
    "6": Entry(
        "t-SNE of the source",
        lambda s: clusters.source_knowledge(
            s.run, s.against, samples=s.settings.samples, seed=s.settings.seed
        ),
    ),
    "8": Entry("patches over the epochs", lambda s: selection.over_epochs(s.run)),
}
"""What a run can have, by the paper's numbers; figure 3 is drawn by `compare`."""
