"""Figure 1a: the loss around a solution, along random directions that are as long as the weights, filter by filter.

Filter normalisation: Li et al., NeurIPS 2018, https://arxiv.org/abs/1712.09913, section 4. A direction is drawn from a
normal distribution, and each of its filters gets the norm of the weights' filter, so that networks whose scales differ
can be compared; biases and the parameters of norms stay where they are, as in the authors' code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pare_tune.errors import ConfigError
from pare_tune.figures.sheet import BLUE, VERMILION, Drawing, new_figure
from pare_tune.figures.subject import Subject
from pare_tune.steps import Count, step
from pare_tune.train.batches import stack

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STEM = "1a-loss-landscape"

Floats = npt.NDArray[np.float64]

_NOT_ON_THE_WAY = ("mixer.", "source_head.")
"""Parts that no prediction for a target sample passes through."""


@dataclass(frozen=True, slots=True)
class Surface:
    """The loss on a square around one solution."""

    name: str
    steps: tuple[float, ...]
    """Along either direction, in lengths of the weights; 0 is the solution."""
    loss: Floats
    """[i, j]: at steps[i] of the first direction and steps[j] of the second."""

    @property
    def centre(self) -> float:
        """The loss of the solution itself."""
        middle = len(self.steps) // 2
        return float(self.loss[middle, middle])


def grid_steps(count: int, span: float) -> tuple[float, ...]:
    """`count` steps from −span to span, the middle one exactly 0.

    Raises:
        ConfigError: count is even or below 3, or span not positive.
    """
    if count < 3 or count % 2 == 0:
        raise ConfigError(
            f"a landscape's grid is odd and at least 3, so that its middle is the solution, got {count}"
        )
    if not 0 < span < math.inf:
        raise ConfigError(f"a landscape reaches a positive distance from the solution, got {span}")
    half = count // 2
    return tuple(span * i / half for i in range(-half, half + 1))


def moved_parameters(model: torch.nn.Module) -> dict[str, Tensor]:
    """The trained parameters that a prediction for a target sample depends on."""
    return {
        name: parameter.data
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and not name.startswith(_NOT_ON_THE_WAY)
    }


def random_direction(parameters: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """A filter-normalised direction; the first axis of a parameter counts its filters."""
    return {name: _normalised(weight, generator) for name, weight in parameters.items()}


def loss_surface(
    loss: Callable[[], float],
    parameters: Mapping[str, Tensor],
    first: Mapping[str, Tensor],
    second: Mapping[str, Tensor],
    steps: Sequence[float],
    count: Count = lambda: None,
) -> Floats:
    """`loss()` at parameters + a·first + b·second for all steps a and b; the parameters are as before afterwards."""
    start = {name: weight.clone() for name, weight in parameters.items()}
    values = np.empty((len(steps), len(steps)))
    try:
        for i, a in enumerate(steps):
            for j, b in enumerate(steps):
                for name, weight in parameters.items():
                    weight.copy_(start[name]).add_(first[name], alpha=a).add_(second[name], alpha=b)
                values[i, j] = loss()
                count()
    finally:
        for name, weight in parameters.items():
            weight.copy_(start[name])
    return values


def validation_loss(subject: Subject, samples: int, seed: int) -> Callable[[], float]:
    """The training loss of unmixed samples, L_tar, over `samples` fixed ones of the validation split."""
    size = subject.config.train.batch_size
    order = np.random.default_rng((seed, 19)).permutation(len(subject.data.val))[:samples].tolist()
    ready = [
        stack([subject.data.val.item(i) for i in order[start : start + size]])
        for start in range(0, len(order), size)
    ]
    held = [{name: t.to(subject.device) for name, t in batch.items()} for batch in ready]

    @torch.no_grad()
    def loss() -> float:
        total = 0.0
        for batch in held:
            target = {name: t for name, t in batch.items() if name != "x"}
            prediction = subject.model(batch["x"]).target
            total += float(subject.data.loss(prediction, target)) * len(batch["x"])
        return total / len(order)

    return loss


def measure(subject: Subject, name: str, *, grid: int, span: float, samples: int, seed: int) -> Surface:
    """The surface around a subject's model; two subjects of one architecture are moved along the same directions
    up to the lengths of their own filters."""
    steps = grid_steps(grid, span)
    parameters = moved_parameters(subject.model)
    generator = torch.Generator().manual_seed(seed)
    first, second = (random_direction(parameters, generator) for _ in range(2))
    loss = validation_loss(subject, samples, seed)
    with step(f"loss landscape of {name}", grid**2) as count:
        return Surface(name, steps, loss_surface(loss, parameters, first, second, steps, count))


def draw(surfaces: Sequence[Surface], subtitle: str, about: str) -> Drawing:
    """A contour a surface, and beside them the profiles through their centres."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(4.1, "Loss landscape around the solution", subtitle)
    cells = figure.add_gridspec(2, len(surfaces), height_ratios=(1.4, 1.0))
    panels = [figure.add_subplot(cells[0, i]) for i in range(len(surfaces))]
    levels, is_log = _levels(surfaces)
    for axes, surface in zip(panels, surfaces, strict=True):
        shown = _contour(axes, surface, levels, is_log)
        axes.set_title(f"{surface.name}\n{surface.centre:.4g} at +")
        axes.set_xlabel("direction 1 (filter norms)", fontsize=6)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.yaxis.set_major_locator(MaxNLocator(3))
    panels[0].set_ylabel("direction 2 (filter norms)", fontsize=6)
    ticks = levels[:: len(levels) // 4]
    bar = figure.colorbar(
        shown, ax=panels, location="bottom", label="validation loss", ticks=ticks, aspect=40
    )
    bar.ax.set_xticks(ticks, [f"{v:.2g}" if is_log else f"{v:.4g}" for v in ticks])
    bar.ax.minorticks_off()
    _profiles(figure.add_subplot(cells[1, :]), surfaces, is_log)
    figure.legend(loc="outside lower center", ncols=len(surfaces), handlelength=3)
    rows = [
        (s.name, a, b, float(s.loss[i, j]))
        for s in surfaces
        for i, a in enumerate(s.steps)
        for j, b in enumerate(s.steps)
    ]
    return Drawing(
        stem=STEM,
        figure=figure,
        columns=("run", "direction_1", "direction_2", "loss"),
        rows=rows,
        caption=_caption(surfaces, about),
    )


def _normalised(weight: Tensor, generator: torch.Generator) -> Tensor:
    if weight.ndim < 2:
        return torch.zeros_like(weight)
    drawn = torch.randn(weight.shape, generator=generator).to(weight)
    axes = tuple(range(1, weight.ndim))
    lengths = torch.linalg.vector_norm(drawn, dim=axes, keepdim=True)
    wanted = torch.linalg.vector_norm(weight, dim=axes, keepdim=True)
    direction: Tensor = drawn * (wanted / lengths.clamp_min(torch.finfo(drawn.dtype).tiny))
    return direction


def _levels(surfaces: Sequence[Surface]) -> tuple[Floats, bool]:
    """Of the contours, for all surfaces the same; on a log scale where the loss spans more than a factor of 5."""
    values = np.concatenate([s.loss[np.isfinite(s.loss)] for s in surfaces])
    low, high = float(values.min()), float(values.max())
    if low > 0 and high > 5 * low:
        return np.geomspace(low, high, 13), True
    return np.linspace(low, high if high > low else low + 1.0, 13), False


def _contour(axes: Axes, surface: Surface, levels: Floats, is_log: bool) -> Any:
    from matplotlib.colors import LogNorm, Normalize

    norm = (LogNorm if is_log else Normalize)(levels[0], levels[-1])
    # Rows of the picture are the second direction; what is not finite is as high as the highest level.
    loss = np.nan_to_num(surface.loss.T, nan=levels[-1], posinf=levels[-1]).clip(levels[0], levels[-1])
    shown = axes.contourf(surface.steps, surface.steps, loss, levels, cmap="cividis", norm=norm)
    axes.contour(surface.steps, surface.steps, loss, levels[1:-1], colors="white", linewidths=0.3)
    axes.plot(0, 0, marker="+", color="white", markersize=6, markeredgewidth=1.2)
    axes.set_aspect("equal")
    return shown


def _profiles(axes: Axes, surfaces: Sequence[Surface], is_log: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    for surface, ink in zip(surfaces, (BLUE, VERMILION), strict=False):
        middle = len(surface.steps) // 2
        axes.plot(surface.steps, surface.loss[:, middle], color=ink, label=f"{surface.name}, direction 1")
        axes.plot(
            surface.steps, surface.loss[middle], color=ink, ls="--", label=f"{surface.name}, direction 2"
        )
    axes.set_xlabel("distance from the solution (filter norms)")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_ylabel("validation loss")
    if is_log:
        axes.set_yscale("log")
    axes.grid(lw=0.3)


def _caption(surfaces: Sequence[Surface], about: str) -> str:
    first = surfaces[0]
    means = "; ".join(
        f"{s.name} {s.centre:.4g} at the solution and {np.nanmean(s.loss):.4g} on average over the square"
        for s in surfaces
    )
    return (
        f"Loss on validation samples around the trained weights, along two random directions that have the weights' "
        f"norm filter by filter (Li et al., 2018); {len(first.steps)} × {len(first.steps)} points up to "
        f"{first.steps[-1]:g} filter norms away. {about} Above: contours, on one scale for all panels. Below: profiles "
        f"through the solution. To see: a wide smooth basin whose loss rises slowly is a solution that small changes "
        f"do not spoil; narrow valleys and bumps are where training gets stuck. Loss: {means}."
    )
