"""The simple models as torch modules: everything that was fitted is a buffer, so a file of tensors rebuilds them."""
# Shape suffixes: B = batch, C = channels, L = steps, F = features, K = outputs, T = trees, M = nodes.

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Final

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from pare_tune.method import PareOutput, Shares


class SimpleModel(nn.Module, ABC):
    """Predicts from tensors that a fit left, by steps that do not depend on samples: it can be exported. Abstract."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)

    def forward(self, x: Tensor) -> PareOutput:
        """(B, C, …) → outputs as a `PareModel` gives them."""
        return PareOutput(target=self.outputs(x.float()).float())

    @abstractmethod
    def outputs(self, x: Tensor) -> Tensor:
        """(B, C, …) → (B, …)."""


class Constant(SimpleModel):
    """The same for every sample."""

    value: Tensor

    def outputs(self, x: Tensor) -> Tensor:
        """(B, C, …) → (B, *value)."""
        return self.value.expand(x.shape[0], *self.value.shape)


class Linear(SimpleModel):
    """A weighted sum of all features."""

    weight_KF: Tensor
    bias_K: Tensor

    def outputs(self, x: Tensor) -> Tensor:
        """(B, C, …) → (B, K)."""
        return nnf.linear(x.flatten(1).double(), self.weight_KF, self.bias_K)


class Trees(SimpleModel):
    """Boosted trees: each adds a number to one output."""

    feature_TM: Tensor
    threshold_TM: Tensor
    left_TM: Tensor
    right_TM: Tensor
    value_TM: Tensor
    """0 in inner nodes."""
    output_T: Tensor
    start_K: Tensor
    depth: Tensor

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__(tensors)
        self._steps = int(self.depth)

    def outputs(self, x: Tensor) -> Tensor:
        """(B, C, …) → (B, K)."""
        x_BF = x.flatten(1).double()
        trees = torch.arange(len(self.output_T), device=x.device)
        node_BT = torch.zeros(x.shape[0], len(trees), dtype=torch.long, device=x.device)
        for _ in range(self._steps):
            value_BT = x_BF.gather(1, self.feature_TM[trees, node_BT])
            goes_left = value_BT <= self.threshold_TM[trees, node_BT]
            node_BT = torch.where(goes_left, self.left_TM[trees, node_BT], self.right_TM[trees, node_BT])
        start_BK = self.start_K.expand(x.shape[0], -1)
        return start_BK.index_add(1, self.output_T, self.value_TM[trees, node_BT])


class Convolutions(Shares, SimpleModel):
    """A linear model of the shares of steps at which fixed convolutions are above thresholds."""

    weight_KF: Tensor
    bias_K: Tensor

    def outputs(self, x: Tensor) -> Tensor:
        """(B, C, L) → (B, K)."""
        return nnf.linear(self.shares(x).double(), self.weight_KF, self.bias_K)


SIMPLE: Final[Mapping[str, type[SimpleModel]]] = {
    "constant": Constant,
    "linear": Linear,
    "trees": Trees,
    "convolutions": Convolutions,
}
"""Kind → what its tensors mean."""


def kind_of(model: SimpleModel) -> str:
    """Of `SIMPLE`."""
    return next(kind for kind, module in SIMPLE.items() if type(model) is module)
