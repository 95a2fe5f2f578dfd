"""Fourier neural operator: Li et al., ICLR 2021, https://arxiv.org/abs/2010.08895 (library neuraloperator)."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from pare_tune.compare.peers.base import Fitted, Peer, Problem, Settings, field_channels, fields
from pare_tune.compare.peers.network import suggest_optimizer, train_network
from pare_tune.tasks.base import Dense

if TYPE_CHECKING:
    import optuna

_MODES, _WIDTH, _LAYERS = 16, 64, 4
"""Of the library's own examples; the number of layers is its default."""


class _Field(nn.Module):
    def __init__(self, network: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.network, self.shape = network, shape

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.network(x)
        return found.reshape(len(x), *self.shape)


def _suggest(trial: optuna.trial.BaseTrial, problem: Problem) -> dict[str, Any]:
    return {
        **suggest_optimizer(trial),
        "modes": trial.suggest_int("modes", 4, 32, log=True),
        "width": trial.suggest_categorical("width", [16, 32, 64, 96]),
        "layers": trial.suggest_int("layers", 2, 6),
    }


def _fit(problem: Problem, settings: Settings, seed: int) -> Fitted:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports
        from neuralop.models import FNO

    channels, output = field_channels(problem), problem.data.output
    assert isinstance(output, Dense)
    modes = tuple(min(settings.get("modes", _MODES), side) for side in problem.spatial)

    def build() -> nn.Module:
        network = FNO(
            n_modes=modes,
            in_channels=problem.data.input_shape[0],
            out_channels=channels,
            hidden_channels=settings.get("width", _WIDTH),
            n_layers=settings.get("layers", _LAYERS),
        )
        return _Field(network, output.shape)

    return train_network(build, problem, settings, seed)


FNO = Peer(
    name="fno",
    module="neuralop",
    suits=fields,
    suggest=_suggest,
    fit=_fit,
)
