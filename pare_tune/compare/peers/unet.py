"""U-Net: Ronneberger et al., MICCAI 2015, https://arxiv.org/abs/1505.04597 (MONAI, in one and two dimensions)."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from pare_tune.compare.peers.base import Fitted, Peer, Problem, Settings, field_channels, fields
from pare_tune.compare.peers.network import suggest_optimizer, train_network
from pare_tune.tasks.base import Dense

if TYPE_CHECKING:
    import optuna

_WIDTH = 32
"""The library's own."""
_HALVINGS, _LEAST = 4, 2
"""Of the grid, and what must be left of a side."""


class _Padded(nn.Module):
    """A network whose grid is halved four times, on grids of any size."""

    def __init__(self, network: nn.Module, spatial: tuple[int, ...], shape: tuple[int, ...]) -> None:
        super().__init__()
        self.network, self.spatial, self.shape = network, spatial, shape
        step = 2**_HALVINGS
        sides = [max(-(-side // step), _LEAST) * step for side in spatial]
        self.pad = [
            n for old, new in reversed(list(zip(spatial, sides, strict=True))) for n in (0, new - old)
        ]

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *spatial) → (B, *shape)."""
        found: Tensor = self.network(nn.functional.pad(x, self.pad, mode="replicate"))
        inside = (slice(None), slice(None), *(slice(side) for side in self.spatial))
        return found[inside].reshape(len(x), *self.shape)


def _suggest(trial: optuna.trial.BaseTrial, problem: Problem) -> dict[str, Any]:
    return {
        **suggest_optimizer(trial),
        "width": trial.suggest_categorical("width", [8, 16, 32, 48]),
        "dropout": trial.suggest_float("dropout", 0.0, 0.3),
    }


def _fit(problem: Problem, settings: Settings, seed: int) -> Fitted:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports
        from monai.networks.nets import BasicUNet

    channels, output = field_channels(problem), problem.data.output
    assert isinstance(output, Dense)
    width = settings.get("width", _WIDTH)

    def build() -> nn.Module:
        network = BasicUNet(
            spatial_dims=len(problem.spatial),
            in_channels=problem.data.input_shape[0],
            out_channels=channels,
            features=(width, width, 2 * width, 4 * width, 8 * width, width),
            # The library's instance norm takes the amplitude away, which is half of a physical field.
            norm=("batch", {}),
            dropout=settings.get("dropout", 0.0),
        )
        return _Padded(network, problem.spatial, output.shape)

    return train_network(build, problem, settings, seed)


UNET = Peer(
    name="unet",
    module="monai",
    suits=fields,
    suggest=_suggest,
    fit=_fit,
)
