"""One model on all workers of a trial: a copy each (DDP), or a share each (FSDP2) where no device can train it whole.

Whatever the workers hold, the caller's model and the files are whole: shares are gathered tensor by tensor.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_map_only

from pare_tune.backbones import Backbone
from pare_tune.config import TrialConfig
from pare_tune.method import PareModel
from pare_tune.train.evaluation import Context
from pare_tune.train.optim import make_optimizer


class Team:
    """The workers' model and optimiser; every worker calls the same methods in the same order.

    Attributes:
        model: what this worker trains: the caller's, or its share of a copy.
        module: what a training step calls.
        optimizer: over `model`.
    """

    def __init__(self, model: PareModel, config: TrialConfig, context: Context, *, idle: bool) -> None:
        """From the first worker's `model`, on the worker's device.

        Args:
            idle: whether there may be steps in which some part takes no part.
        """
        self._whole = self.model = model
        self._device, self._is_main = context.device, context.is_main
        self._shares = config.train.parallel == "fsdp"
        self.module: nn.Module = model
        if self._shares:
            self.module = self.model = _share_of(model, context.device)
        elif context.world_size > 1:
            self.module = DistributedDataParallel(
                model,
                device_ids=[context.device] if context.device.type == "cuda" else None,
                # To look for idle parts costs a walk through the graph every step. (`static_graph` would save no more
                # than that, and forbids `no_sync`.)
                find_unused_parameters=idle,
                gradient_as_bucket_view=True,
            )
        self._parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = make_optimizer(self.model, config.optimizer)

    def alone(self) -> AbstractContextManager[None]:
        """Gradients stay with each worker, where it has room for them: copies meet once an optimiser step, shares in
        every pass."""
        if isinstance(self.module, DistributedDataParallel):
            return cast("AbstractContextManager[None]", self.module.no_sync())
        return nullcontext()

    def clip(self, most: float | None) -> Tensor:
        """The gradients' norm; longer ones than `most` are shortened to it."""
        norm: Any = torch.nn.utils.clip_grad_norm_(self._parameters, math.inf if most is None else most)
        return cast("Tensor", norm.full_tensor() if self._shares else norm)

    def gather_small(self) -> None:
        """Make all but the encoder's blocks whole until they are next stepped."""
        if self._shares:
            cast("Any", self.model).unshard()

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, whole on the first worker."""
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        return _gathered(state, keep=self._is_main) if self._shares else state

    def load_optimizer(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint's, which is whole."""
        self.optimizer.load_state_dict(_shared(state, self.optimizer) if self._shares else dict(state))

    def whole(self, state: Mapping[str, Any]) -> PareModel:
        """The caller's model with the weights of `state()`; on the first worker."""
        if self._shares:
            self._whole.load_state_dict(state["model"])
        return self._whole

    def part(self) -> None:
        """Give every worker's caller the trained model."""
        if self._shares:
            self._whole.load_state_dict(_gathered(self.model.state_dict(), keep=True))
            self._whole.to(self._device)


def _share_of(model: PareModel, device: torch.device) -> PareModel:
    """A copy of which this worker keeps a share; a block is gathered while it computes. `model` goes to the CPU."""
    # Few trainings need these, which take half a second to import.
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    for tensor in model.state_dict().values():
        dist.broadcast(tensor, src=0)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    shared = copy.deepcopy(model.cpu())
    for block in cast("Backbone", shared.encoder).blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(shared, mesh=mesh)
    return shared


def _gathered(tree: Any, *, keep: bool) -> Any:
    """`tree` with whole tensors, on the CPU, in place of shares; nothing in place of them on workers that do not
    `keep` them."""
    from torch.distributed.tensor import DTensor

    def gather(share: DTensor) -> Tensor | None:
        whole = share.full_tensor()
        return whole.cpu() if keep else None

    return tree_map_only(DTensor, gather, tree)


def _shared(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The whole `state` of an optimiser, each tensor shared as its parameter is."""
    from torch.distributed.tensor import distribute_tensor

    parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def share(index: int, value: Any) -> Any:
        parameter = parameters[index]
        if not isinstance(value, Tensor) or value.shape != parameter.shape:
            return value
        mesh = parameter.device_mesh
        return distribute_tensor(value.to(mesh.device_type), mesh, parameter.placements, src_data_rank=None)

    cut = {
        index: {name: share(index, value) for name, value in values.items()}
        for index, values in state["state"].items()
    }
    return {**state, "state": cut}
