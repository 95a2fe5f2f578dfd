"""Figures 4 and 8: which patches are chosen, by the run's gate and at random, and how the gate came to it."""
# Shape suffixes: S = samples, N = tokens, C = channels, L = length, H, W = rows and columns.

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import torch

from pare_tune.errors import ConfigError
from pare_tune.figures.clouds import choose, gate_scores, numbers_of_patches, pair, require_mixed, ways
from pare_tune.figures.sheet import Drawing, bare, new_figure
from pare_tune.figures.subject import Subject, drawn_from, record_folder
from pare_tune.report.patches import REMOVED, TAKEN, draw_sample
from pare_tune.train.batches import stack
from pare_tune.train.patches import PatchRecord, read_patches

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STEM_COUNTS, STEM_EPOCHS = "4-patches-by-k", "8-patches-over-epochs"

SHARES: Final = (0.125, 0.25, 0.5)
_CHANNELS = 3
"""Of a series, as many are drawn."""
_PATCH = ("side", "sample", "patch", "chosen", "score")

_HOW_DRAWN: Final = (
    "Images are grey (the mean of their channels), so that all colour is choice; series are drawn as the model gets "
    "them, each channel on a scale of its own; of text only the places are shown."
)

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What one way chose of S samples at one k."""

    way: str
    k: int
    target_SN: Array
    """1 where the target's token is removed."""
    source_SN: Array
    """1 where the source's token is put in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """S pairs of samples, and what was chosen of them."""

    target_x: Array
    source_x: Array
    grid: tuple[int, int]
    choices: tuple[Choice, ...]
    target_score_SN: Array | None
    """The gate's σ(z); None without a gate."""
    source_score_SN: Array | None


def make_choices(subject: Subject, *, samples: int, shares: Sequence[float], seed: int) -> Chosen:
    """Let the run and chance choose patches of a few validation and source samples.

    Raises:
        ConfigError: the run chooses no patches.
    """
    source = require_mixed(subject)
    pairs = pair(subject, source, samples, seed)
    target_x = stack([subject.data.val.item(i) for i in pairs.target])["x"]
    source_x = stack([source.dataset[i] for i in pairs.source])["x"]
    choices = []
    with drawn_from(seed, subject.device):
        for way, mixer in ways(subject).items():
            for k in numbers_of_patches(shares, subject.num_tokens):
                mixed = choose(subject, mixer, target_x, source_x, k)
                if mixed.target_mask is None or mixed.source_mask is None:
                    raise ConfigError(
                        f"it shows which patches are chosen, and method {subject.config.method} of {subject.run} "
                        f"chooses none; give a run of method pare"
                    )
                removed, taken = 1 - mixed.target_mask, mixed.source_mask
                choices.append(Choice(way=way, k=k, target_SN=_bits(removed), source_SN=_bits(taken)))
    scores = gate_scores(subject, target_x, source_x)
    return Chosen(
        target_x=target_x.numpy(),
        source_x=source_x.numpy(),
        grid=subject.backbone.spec.token_grid or (1, subject.num_tokens),
        choices=tuple(choices),
        target_score_SN=None if scores is None else scores[0].numpy(),
        source_score_SN=None if scores is None else scores[1].numpy(),
    )


def by_number(subject: Subject, *, seed: int) -> Drawing:
    """Figure 4: one target and one source sample, three numbers of patches, by the gate and at random.

    Raises:
        ConfigError: the run chooses no patches.
    """
    chosen = make_choices(subject, samples=1, shares=SHARES, seed=seed)
    names = list(dict.fromkeys(c.way for c in chosen.choices))
    lines = [(side, way) for side in ("target", "source") for way in names]
    columns = len(chosen.choices) // len(names)
    figure, panels = _sheet(chosen, lines, columns, "Patches chosen, by their number", subject)
    for (side, way), row in zip(lines, panels, strict=True):
        mine = [c for c in chosen.choices if c.way == way]
        for choice, axes in zip(mine, row, strict=True):
            x, marked = (
                (chosen.target_x, choice.target_SN)
                if side == "target"
                else (chosen.source_x, choice.source_SN)
            )
            _sample(axes, x[0], marked[0], chosen.grid, side)
        row[0].set_ylabel(f"{side},\n{way}")
    for axes, choice in zip(panels[0], chosen.choices, strict=False):
        axes.set_title(f"k = {choice.k}")
    assert subject.source is not None
    return Drawing(
        stem=STEM_COUNTS,
        figure=figure,
        columns=("selection", "k", *_PATCH),
        rows=[
            (choice.way, choice.k, *row)
            for choice in chosen.choices
            for row in _patch_rows(
                target=(choice.target_SN, chosen.target_score_SN),
                source=(choice.source_SN, chosen.source_score_SN),
            )
        ],
        caption=(
            f"Patches chosen by {' and '.join(names)} ({chosen.choices[0].k} to {chosen.choices[-1].k} of N = "
            f"{subject.num_tokens}) of a validation sample of {subject.config.task} and of a sample of the source "
            f"{subject.source.name}: removed from the target (vermilion), put in from the source (blue). {_HOW_DRAWN} "
            f"To see: whether the gate takes patches of the source that show something and belong "
            f"together, and removes those of the target that say little, where chance scatters. {subject.provenance}"
        ),
    )


def over_epochs(subject: Subject) -> Drawing:
    """Figure 8: what the gate chose in the epochs that the run recorded, of the same samples.

    Raises:
        ConfigError: the run recorded none.
    """
    folder = record_folder(subject)
    records = [] if folder is None else read_patches(folder)
    if not records:
        where = f"{subject.run} holds no search" if folder is None else f"{folder} has none"
        raise ConfigError(
            f"it shows the patches that a search records while its best trial trains, and {where}; final trainings and "
            f"methods that choose no patches leave none"
        )
    shown = min(2, len(records[0].target_x))
    lines = [(side, i) for i in range(shown) for side in ("target", "source")]
    figure, panels = _sheet(records[0], lines, len(records), "Patches chosen, over the epochs", subject)
    for (side, i), row in zip(lines, panels, strict=True):
        for record, axes in zip(records, row, strict=True):
            marked = 1 - record.target_mask[i] if side == "target" else record.source_mask[i]
            x = record.target_x[i] if side == "target" else record.source_x[i]
            _sample(axes, x, marked, record.grid, side)
        row[0].set_ylabel(f"{side} {i + 1}")
    for axes, record in zip(panels[0], records, strict=True):
        axes.set_title(f"epoch {record.epoch}\nk = {record.k}")
    return Drawing(
        stem=STEM_EPOCHS,
        figure=figure,
        columns=("epoch", "k", *_PATCH),
        rows=[
            (record.epoch, record.k, *row)
            for record in records
            for row in _patch_rows(
                target=(1 - record.target_mask, record.target_score),
                source=(record.source_mask, record.source_score),
            )
        ],
        caption=(
            f"The patches that {subject.config.method} chooses of the same samples while it trains: of the target "
            f"({subject.config.task}) those that are removed (vermilion), of the source ({subject.config.source.name}) "
            f"those that are put in (blue), at the run's own k. {_HOW_DRAWN} "
            f"To see: whether a choice that is arbitrary at first settles, on patches of "
            f"the source that belong together and on those of the target that say little. {subject.provenance}"
        ),
    )


def _bits(mask: torch.Tensor) -> Array:
    return (mask > 0.5).cpu().numpy().astype(np.uint8)


def _sheet(
    what: Chosen | PatchRecord, rows: Sequence[object], columns: int, title: str, subject: Subject
) -> tuple[Figure, Array]:
    """Panels of which pictures are square and series wide."""
    pictures = what.target_x.ndim == 4
    height = (0.62 if columns > 3 else 0.85) if pictures else 0.62
    figure = new_figure(0.75 + height * len(rows), title, subject.subtitle)
    panels: Array = figure.subplots(len(rows), columns, squeeze=False)
    if not pictures:
        for axes in panels[-1]:
            axes.set_xlabel(f"patch 1 to {subject.num_tokens}")
    return figure, panels


def _sample(axes: Axes, x: Array, marked: Array, grid: tuple[int, int], side: str) -> None:
    """As the report draws it, but images grey, so that colour is choice."""
    bare(axes)
    ink = REMOVED if side == "target" else TAKEN
    if x.ndim == 3:
        axes.imshow(draw_sample(x.astype(np.float32).mean(axis=0, keepdims=True), marked, grid, ink))
    else:
        axes.imshow(draw_sample(x[:_CHANNELS] if x.ndim == 2 else x, marked, grid, ink), aspect="auto")


def _patch_rows(**sides: tuple[Array, Array | None]) -> Iterator[tuple[object, ...]]:
    """A row a patch of (which are chosen, their scores or none) of the target and of the source."""
    for side, (marks, scores) in sides.items():
        for (sample, patch), mark in np.ndenumerate(marks):
            score = "" if scores is None or not scores.size else float(scores[sample, patch])
            yield side, sample, patch, int(mark), score
