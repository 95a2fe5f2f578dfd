"""Figures 1c and 6: t-SNE of target, intermediate and source samples, and of the source alone before and after.

1c shows that intermediate data lie between the modalities; 6, whether the encoder still tells the source's classes
apart after fine-tuning. t-SNE: van der Maaten and Hinton, JMLR 2008; the picture's distances mean little, so figure 6
also gives a number that is computed in the features themselves.
"""
# Shape suffixes: S = samples, P = a point's numbers.

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pare_tune.backbones import Backbone
from pare_tune.errors import BackboneUnavailable, ConfigError
from pare_tune.figures.clouds import make_clouds, numbers_of_patches, pair, require_mixed, ways
from pare_tune.figures.sheet import (
    BLACK,
    BLUE,
    GREEN,
    MARKERS,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    Drawing,
    bare,
    new_figure,
)
from pare_tune.figures.subject import Subject, names_of
from pare_tune.sources.base import SourceData, SourceKind
from pare_tune.train.batches import stack
from pare_tune.train.build import open_backbone

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STEM_MODALITIES, STEM_SOURCE = "1c-modalities", "6-source-knowledge"

SHARES: Final = (0.25, 0.5, 0.75)
NEIGHBOURS: Final = 5
_INKS: Final = (BLUE, VERMILION, GREEN, BLACK, SKY, ORANGE, PURPLE)
_MOST_CLASSES = 7
_BATCH = 16

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def tsne(points_SP: Floats, seed: int) -> Floats:
    """(S, P) → (S, 2); the same seed gives the same picture."""
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(points_SP) - 1) / 3)
    picture_S2: Floats = TSNE(perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(
        points_SP
    )
    return picture_S2


def neighbour_accuracy(points_SP: Floats, class_S: Ints) -> float:
    """How often the five nearest neighbours of a point vote for its class."""
    from sklearn.neighbors import NearestNeighbors

    count = min(NEIGHBOURS, len(points_SP) - 1)
    # Without points to look up, none is its own neighbour.
    nearest = NearestNeighbors(n_neighbors=count).fit(points_SP).kneighbors(return_distance=False)
    votes = np.array([np.bincount(row).argmax() for row in class_S[nearest]])
    return float((votes == class_S).mean())


def modalities(subject: Subject, *, samples: int, seed: int) -> Drawing:
    """Figure 1c: target, intermediate data of three values of k, source; as embeddings and as features.

    Raises:
        ConfigError: the run mixes no source in.
    """
    source = require_mixed(subject)
    pairs = pair(subject, source, samples, seed)
    ks = numbers_of_patches(SHARES, subject.num_tokens)
    clouds = make_clouds(subject, source, pairs, ks, features=True, seed=seed)
    way = next(iter(ways(subject)))
    sets = {"target": clouds.target}
    sets |= {f"k = {k}": clouds.mixed[way, k] for k in ks}
    sets["source"] = clouds.source
    spaces = {
        "embeddings": tsne(_joined([c.embedding_SP for c in sets.values()]), seed),
        "encoder's features": tsne(_joined([c.feature_SP for c in sets.values()]), seed),
    }
    return _draw_modalities(subject, spaces, tuple(sets), way)


def source_knowledge(subject: Subject, against: Subject | None, *, samples: int, seed: int) -> Drawing:
    """Figure 6: the source's samples as features of the pretrained encoder, of the run's, and of a second run's.

    Raises:
        ConfigError: the run has no source.
    """
    source = subject.source
    if source is None:
        raise ConfigError(
            f"it shows samples of the source, and method {subject.config.method} of {subject.run} has none; give a run "
            f"of method pare, and this one as --against"
        )
    subjects = [one for one in (subject, against) if one is not None]
    if len({(str(one.backbone.spec), one.num_tokens) for one in subjects}) > 1:
        raise ConfigError(
            f"both encoders must read the same source samples, and {subject.run} ({subject.config.backbone}) and "
            f"{subjects[1].run} ({subjects[1].config.backbone}) differ in backbone, image size or number of tokens"
        )
    chosen = _labelled(source, samples, seed)
    encoders = {f"after {name}": one.backbone for name, one in zip(names_of(subjects), subjects, strict=True)}
    pretrained = _pretrained(subject)
    if pretrained is not None:
        encoders = {"pretrained": pretrained, **encoders}
    panels = [_panel(name, one, source, chosen, subject.device, seed) for name, one in encoders.items()]
    return _draw_source(subject, source, panels, chosen)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Source samples of a few classes; of images with masks, one place in each, which is foreground or not."""

    index: tuple[int, ...]
    place: tuple[tuple[float, float], ...] | None
    """Down and across, as shares of the image; None for samples that have a class as a whole."""
    class_S: Ints
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Panel:
    name: str
    picture_S2: Floats
    score: float


def _joined(parts: Sequence[Tensor]) -> Floats:
    return torch.cat(list(parts)).double().numpy()


def _labelled(source: SourceData, samples: int, seed: int) -> _Chosen:
    draw = np.random.default_rng((seed, 23))
    order = draw.permutation(len(source.dataset))
    if source.kind is SourceKind.MASKED_IMAGES:
        index = tuple(order[:samples].tolist())
        places = [_place(source.dataset[i]["y"], draw) for i in index]
        classes = np.array([c for _, c in places])
        return _Chosen(index, tuple(place for place, _ in places), classes, ("background", "foreground"))
    pool = order[: 4 * samples].tolist()
    class_of = {i: int(source.dataset[i]["y"]) for i in pool}
    counts = np.bincount(list(class_of.values()), minlength=source.num_classes)
    shown = sorted(np.argsort(-counts, kind="stable")[: min(_MOST_CLASSES, int((counts > 0).sum()))].tolist())
    kept = [i for i in pool if class_of[i] in shown][:samples]
    names = tuple(source.class_names[c] if source.class_names else f"class {c}" for c in shown)
    return _Chosen(tuple(kept), None, np.array([shown.index(class_of[i]) for i in kept]), names)


def _place(mask: Tensor, draw: np.random.Generator) -> tuple[tuple[float, float], int]:
    """A pixel, foreground as often as background where the image has both, and which it is."""
    wanted = mask.numpy() > 0.5
    if not draw.integers(2):
        wanted = ~wanted
    spots = np.argwhere(wanted if wanted.any() else ~wanted)
    row, column = spots[draw.integers(len(spots))].tolist()
    return ((row + 0.5) / mask.shape[0], (column + 0.5) / mask.shape[1]), int(mask[row, column] > 0.5)


def _pretrained(subject: Subject) -> Backbone | None:
    try:
        return open_backbone(subject.config, subject.cache).to(subject.device).eval()
    except BackboneUnavailable:  # a model needs no pretrained weights any more; the picture goes without
        return None


@torch.no_grad()
def _features(backbone: Backbone, source: SourceData, chosen: _Chosen, device: torch.device) -> Floats:
    parts = []
    for start in range(0, len(chosen.index), _BATCH):
        x = stack([source.dataset[i] for i in chosen.index[start : start + _BATCH]])["x"].to(device)
        features_BMF = backbone.encode(backbone.embed_source(x, source.kind.value)).float().cpu()
        if chosen.place is None:
            parts.append(features_BMF.mean(1))
        else:
            spots = [_token(place, backbone) for place in chosen.place[start : start + _BATCH]]
            parts.append(features_BMF[torch.arange(len(spots)), spots])
    return _joined(parts)


def _token(place: tuple[float, float], backbone: Backbone) -> int:
    """Which of the M features a place of the image lies in."""
    assert backbone.spec.feature_grid is not None
    rows, columns = backbone.spec.feature_grid
    return int(place[0] * rows) * columns + int(place[1] * columns)


def _panel(
    name: str, backbone: Backbone, source: SourceData, chosen: _Chosen, device: torch.device, seed: int
) -> _Panel:
    features = _features(backbone, source, chosen, device)
    return _Panel(name, tsne(features, seed), neighbour_accuracy(features, chosen.class_S))


def _draw_modalities(
    subject: Subject, spaces: dict[str, Floats], names: tuple[str, ...], way: str
) -> Drawing:
    figure = new_figure(2.35, "Source, target and what is mixed of them", subject.subtitle)
    inks = (BLACK, *(GREEN, SKY, BLUE)[: len(names) - 2], VERMILION)
    for axes, (space, picture) in zip(figure.subplots(1, 2), spaces.items(), strict=True):
        parts = dict(zip(names, np.split(picture, len(names)), strict=True))
        _scatter(axes, space, parts, inks)
    _legend(figure, axes, columns=len(names))
    size = len(next(iter(spaces.values()))) // len(names)
    assert subject.source is not None
    return Drawing(
        stem=STEM_MODALITIES,
        figure=figure,
        columns=("space", "set", "sample", "x", "y"),
        rows=[
            (space, names[i // size], i % size, float(x), float(y))
            for space, picture in spaces.items()
            for i, (x, y) in enumerate(picture)
        ],
        caption=(
            f"t-SNE of {size} validation samples of {subject.config.task} (target), as many samples of "
            f"{subject.source.name} (source), and the target with k of N = {subject.num_tokens} patches replaced by "
            f"source patches (chosen by {way}). Left: embeddings, the mean over a sample's tokens before the encoder; "
            f"right: features, the mean over what the encoder makes of them. To see: whether intermediate data lie "
            f"between target and source, nearer to the source the larger k is, and so bridge the gap. t-SNE has no "
            f"unit, and distances between clusters mean little. {subject.provenance}"
        ),
    )


def _draw_source(subject: Subject, source: SourceData, panels: Sequence[_Panel], chosen: _Chosen) -> Drawing:
    figure = new_figure(2.3, "What the encoder still knows of the source", subject.shared_subtitle)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        parts = {name: panel.picture_S2[chosen.class_S == c] for c, name in enumerate(chosen.names)}
        accuracy = f"5-NN {'' if len(panels) > 2 else 'accuracy '}{100 * panel.score:.0f} %"
        _scatter(axes, f"{panel.name}\n{accuracy}", parts, _INKS)
    _legend(figure, axes, columns=4)
    scores = ", ".join(f"{p.name} {p.score:.1%}" for p in panels)
    guess = np.bincount(chosen.class_S).max() / len(chosen.class_S)
    what = (
        f"{len(chosen.index)} samples of the source {source.name} as features of the encoder, the mean over a sample's "
        f"tokens, coloured by class (the {len(chosen.names)} most frequent)"
        if chosen.place is None
        else f"one place each in {len(chosen.index)} images of the source {source.name}, as the encoder's feature there"
    )
    return Drawing(
        stem=STEM_SOURCE,
        figure=figure,
        columns=("encoder", "sample", "class", "x", "y"),
        rows=list(_source_rows(panels, chosen)),
        caption=(
            f"t-SNE of {what}, before and after fine-tuning on {subject.config.task}. To see: colours that stay in "
            f"groups are knowledge of the source that fine-tuning preserved. Above each picture, and free of t-SNE: "
            f"how often a point's {NEIGHBOURS} nearest neighbours among the features themselves vote for its class "
            f"({scores}; always saying the most frequent class is right for {guess:.1%}). {subject.provenance}"
        ),
    )


def _source_rows(panels: Sequence[_Panel], chosen: _Chosen) -> Iterator[tuple[object, ...]]:
    for panel in panels:
        for i, c, (x, y) in zip(chosen.index, chosen.class_S.tolist(), panel.picture_S2, strict=True):
            yield panel.name, i, chosen.names[c], float(x), float(y)


def _scatter(axes: Axes, title: str, parts: Mapping[str, Floats], inks: Sequence[str]) -> None:
    """Every part in an ink and with a marker of its own."""
    for (name, points_S2), ink, marker in zip(parts.items(), inks, MARKERS, strict=False):
        x_S, y_S = points_S2[:, 0], points_S2[:, 1]
        axes.scatter(x_S, y_S, s=5, c=ink, marker=marker, label=_short(name), linewidths=0, alpha=0.8)
    bare(axes)
    axes.set_title(title)
    axes.set_xlabel("t-SNE 1 (no unit)")
    axes.set_ylabel("t-SNE 2")


def _legend(figure: Figure, axes: Axes, *, columns: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, markerscale=1.6, columnspacing=0.8,
                  handletextpad=0.1)  # fmt: skip


def _short(name: str) -> str:
    return name if len(name) <= 14 else name[:13] + "…"
