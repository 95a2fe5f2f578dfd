"""Figure 1b: how far intermediate data are from target and source, by how many patches are replaced.

The distance is the optimal transport dataset distance (Alvarez-Melis and Fusi, 2020, https://arxiv.org/abs/2002.02923)
between points that are means over a sample's embedded tokens. Intermediate data bear the labels of their target
samples; targets that are no classes are clustered into some (`distance.otdd.classes_of`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from torch import Tensor

from pare_tune.figures.clouds import Clouds, make_clouds, numbers_of_patches, pair, require_mixed
from pare_tune.figures.sheet import BLUE, VERMILION, Drawing, new_figure
from pare_tune.figures.subject import Subject

STEM = "1b-distance-by-k"

Inner = Literal["exact", "gaussian"]
Distance = Callable[[Tensor, Tensor, Tensor, Tensor], float]
"""(points, classes, points, classes) → distance."""

SHARES: Final = tuple(i / 8 for i in range(9))


@dataclass(frozen=True, slots=True)
class Point:
    """Two distances of one intermediate data set."""

    way: str
    k: int
    to_target: float
    to_source: float


def distances(clouds: Clouds, distance: Distance, target_y: Tensor, source_y: Tensor) -> list[Point]:
    """Of every intermediate data set to the target and to the source, given the classes (S,) of both."""
    target, source = clouds.target.embedding_SP, clouds.source.embedding_SP
    return [
        Point(
            way,
            k,
            distance(cloud.embedding_SP, target_y, target, target_y),
            distance(cloud.embedding_SP, target_y, source, source_y),
        )
        for (way, k), cloud in clouds.mixed.items()
    ]


def make(subject: Subject, *, samples: int, inner: Inner, seed: int) -> Drawing:
    """Mix at nine values of k, measure, draw.

    Raises:
        ConfigError: the run mixes no source in.
    """
    from pare_tune.distance.otdd import classes_of, otdd

    source = require_mixed(subject)
    pairs = pair(subject, source, samples, seed)
    ks = numbers_of_patches(SHARES, subject.num_tokens)
    clouds = make_clouds(subject, source, pairs, ks, features=False, seed=seed)

    def distance(x_a: Tensor, y_a: Tensor, x_b: Tensor, y_b: Tensor) -> float:
        return otdd(x_a, y_a, x_b, y_b, inner=inner, max_samples=samples, seed=seed)

    target_y, source_y = (classes_of(y, seed=seed) for y in (clouds.target_y_S, clouds.source_y_S))
    points = distances(clouds, distance, target_y, source_y)
    return draw(points, subject, inner=inner, samples=len(pairs.target))


def draw(points: Sequence[Point], subject: Subject, *, inner: Inner, samples: int) -> Drawing:
    """Both distances over k: solid as the run chooses patches, dashed at random."""
    figure = new_figure(2.4, "Distance of intermediate data by k", subject.subtitle)
    axes = figure.subplots()
    for way, line, fill in zip(
        dict.fromkeys(p.way for p in points), ("-", "--"), ("full", "none"), strict=False
    ):
        mine = [p for p in points if p.way == way]
        ks, near, far = [p.k for p in mine], [p.to_source for p in mine], [p.to_target for p in mine]
        axes.plot(ks, near, line, color=VERMILION, marker="o", fillstyle=fill, label=f"to source, {way}")
        axes.plot(ks, far, line, color=BLUE, marker="s", fillstyle=fill, label=f"to target, {way}")
    axes.set_xlabel(f"k, patches replaced (of N = {subject.num_tokens})")
    axes.set_ylabel("OTDD (embedding units)")
    axes.set_ylim(bottom=0)
    axes.grid(lw=0.3)
    figure.legend(loc="outside lower center", ncols=2, handlelength=3)
    assert subject.source is not None
    return Drawing(
        stem=STEM,
        figure=figure,
        columns=("selection", "k", "share", "to_target", "to_source"),
        rows=[(p.way, p.k, p.k / subject.num_tokens, p.to_target, p.to_source) for p in points],
        caption=(
            f"OTDD ({inner} distance between classes) of intermediate data to the target ({subject.config.task}) and "
            f"to the source ({subject.source.name}), over the number of target patches that source patches replace. "
            f"{samples} validation samples and as many source samples; a sample is the mean over its embedded tokens. "
            f"To see: whether intermediate data come nearer to the source, on which the model was pretrained, as k "
            f"grows, so that a training whose k falls goes from easy to hard. {subject.provenance}"
        ),
    )
