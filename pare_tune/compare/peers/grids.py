"""Networks that predict a value at every position of the input's own grid.

Fourier neural operator: Li et al., ICLR 2021, https://arxiv.org/abs/2010.08895 (library neuraloperator). U-Net:
Ronneberger et al., MICCAI 2015, https://arxiv.org/abs/1505.04597 (MONAI, in one and two dimensions).
"""
# Shape suffixes: B = batch, C = channels.

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from pare_tune.compare.peers.base import Fitted, Peer, Problem, Settings, field_channels, fields
from pare_tune.compare.peers.network import suggest_optimizer, train_network
from pare_tune.tasks.base import Dense

if TYPE_CHECKING:
    import optuna

_FNO_MODES, _FNO_WIDTH, _FNO_LAYERS = 16, 64, 4
"""Of the library's own examples; the number of layers is its default."""
_UNET_WIDTH = 32
"""The library's own."""
_HALVINGS, _LEAST = 4, 2
"""Of U-Net's grid, and what must be left of a side."""


class _OnGrid(nn.Module):
    """A network on grids of the sides that it can take, its outputs in the task's shape."""

    def __init__(self, network: nn.Module, problem: Problem, sides: Sequence[int]) -> None:
        super().__init__()
        assert isinstance(problem.data.output, Dense)
        self.network, self.spatial, self.shape = network, problem.spatial, problem.data.output.shape
        missing = [new - old for old, new in zip(problem.spatial, sides, strict=True)]
        self.pad = [n for side in reversed(missing) for n in (0, side)]

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *spatial) → (B, *shape)."""
        padded = nn.functional.pad(x, self.pad, mode="replicate") if any(self.pad) else x
        inside = (slice(None), slice(None), *(slice(side) for side in self.spatial))
        field: Tensor = self.network(padded)[inside]
        return field.reshape(len(x), *self.shape)


def _suggest_fno(trial: optuna.trial.BaseTrial, problem: Problem) -> dict[str, Any]:
    return {
        **suggest_optimizer(trial),
        "modes": trial.suggest_int("modes", 4, 32, log=True),
        "width": trial.suggest_categorical("width", [16, 32, 64, 96]),
        "layers": trial.suggest_int("layers", 2, 6),
    }


def _fit_fno(problem: Problem, settings: Settings, seed: int) -> Fitted:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports
        from neuralop import models

    channels = field_channels(problem)

    def build() -> nn.Module:
        network = models.FNO(
            n_modes=tuple(min(settings.get("modes", _FNO_MODES), side) for side in problem.spatial),
            in_channels=problem.data.input_shape[0],
            out_channels=channels,
            hidden_channels=settings.get("width", _FNO_WIDTH),
            n_layers=settings.get("layers", _FNO_LAYERS),
        )
        return _OnGrid(network, problem, problem.spatial)

    return train_network(build, problem, settings, seed)


def _suggest_unet(trial: optuna.trial.BaseTrial, problem: Problem) -> dict[str, Any]:
    return {
        **suggest_optimizer(trial),
        "width": trial.suggest_categorical("width", [8, 16, 32, 48]),
        "dropout": trial.suggest_float("dropout", 0.0, 0.3),
    }


def _fit_unet(problem: Problem, settings: Settings, seed: int) -> Fitted:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports
        from monai.networks.nets import BasicUNet

    channels, width, step = field_channels(problem), settings.get("width", _UNET_WIDTH), 2**_HALVINGS

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
        return _OnGrid(network, problem, [max(-(-side // step), _LEAST) * step for side in problem.spatial])

    return train_network(build, problem, settings, seed)


FNO = Peer(name="fno", module="neuralop", suits=fields, suggest=_suggest_fno, fit=_fit_fno)
UNET = Peer(name="unet", module="monai", suits=fields, suggest=_suggest_unet, fit=_fit_unet)
