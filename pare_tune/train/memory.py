"""What a trial's training needs of memory, told before it begins: a step of its model, on tensors without values.

The step runs as always, operation by operation, and every tensor is counted from where it is made to where it is let
go; only nothing is computed or allocated. No data, no weights and no accelerator are needed.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pare_tune.config import TrialConfig
from pare_tune.errors import BackboneUnavailable
from pare_tune.method import METHODS, PareModel
from pare_tune.sources import SOURCES
from pare_tune.sources.base import SourceKind
from pare_tune.tasks.base import Dense, Task
from pare_tune.train.build import ModelShape, build_model, count_tokens, open_backbone, without_idle_mixing
from pare_tune.train.lighter import lighter
from pare_tune.train.optim import make_optimizer

_CLASSES = 10
"""Of a source whose files decide how many; they are few bytes beside the rest."""
_NO_PRETRAINED = {"input.embedder": "random", "input.start": "plain", "train.compile": False}
"""Where the embedder begins says nothing of its size, and would need values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryNeed:
    """Bytes on the device of one worker that holds a whole model, in float32."""

    samples: int
    """Of a forward pass, mixed ones included."""
    weights: int
    gradients: int
    optimizer: int
    activations: int
    """What a forward pass keeps for the backward pass."""
    peak: int
    """The most at a time, with what is held for a moment only; gradients take the place of activations."""

    def __str__(self) -> str:
        parts = ("weights", "gradients", "optimizer", "activations")
        told = ", ".join(f"{name} {_mb(getattr(self, name))}" for name in parts)
        return f"about {_mb(self.peak)} MB in float32, {self.samples} samples a forward pass ({told})"


def memory_line(config: TrialConfig, task: Task, workers: int = 1) -> str:
    """For people. Raises ConfigError as `memory_need`."""
    try:
        return f"memory of a trial: {memory_need(config, task, workers)}"
    except BackboneUnavailable as error:
        return f"memory of a trial: not known before the encoder is here ({error})"


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f}"


def memory_need(config: TrialConfig, task: Task, workers: int = 1) -> MemoryNeed:
    """What one of `workers` that train `config` together needs.

    Raises:
        BackboneUnavailable: not even the encoder's shapes are known here.
        ConfigError: the encoder is of the wrong kind for the task, or the workers cannot share an optimiser step.
    """
    size, passes = config.train.per_worker(workers)
    with torch.device("meta"):
        rehearsal = Rehearsal.of(config, task)
    # Constants that modules keep for all models are real.
    with FakeTensorMode(allow_non_fake_inputs=True), _Alive() as alive:
        model = rehearsal.model
        model._apply(lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype))
        optimizer = make_optimizer(model, config.optimizer)
        with lighter(rehearsal.encoder, rehearsal.config.train):
            activations = 0
            for _ in range(2):  # the optimiser makes its state in the first step
                # Workers that hold copies keep their gradients' buckets, and so do further passes of a step.
                if passes == 1 and workers == 1:
                    optimizer.zero_grad(set_to_none=True)
                before = alive.now
                loss = rehearsal.loss(size)
                activations = alive.now - before
                loss.backward()
                del loss
                optimizer.step()
        weights = _bytes([*model.parameters(), *model.buffers()])
        trained = [p for p in model.parameters() if p.requires_grad]
        state = _bytes(tree_leaves(optimizer.state_dict()["state"]))
    return MemoryNeed(
        samples=size * (1 if model.mixer is None else 2),
        weights=weights,
        gradients=_bytes(trained),
        optimizer=state,
        activations=activations,
        peak=alive.peak,
    )


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A model of random weights for a trial whose data are not looked at."""

    config: TrialConfig
    shape: ModelShape
    encoder: Any
    num_tokens: int
    model: PareModel

    @classmethod
    def of(cls, config: TrialConfig, task: Task) -> Rehearsal:
        """With the shapes that `config` and `task` say. Raises as `memory_need`."""
        config = config.with_values(_NO_PRETRAINED)
        encoder = open_backbone(config, pretrained=False)
        shape = _shape(config, task)
        num_tokens = count_tokens(config, task.modality, shape.input_shape, encoder)
        config = without_idle_mixing(config, num_tokens)
        model = build_model(config, shape, encoder, num_tokens).train()
        return cls(config, shape, encoder, num_tokens, model)

    def loss(self, size: int) -> Tensor:
        """A forward pass of `size` target samples and, where the method mixes, with all tokens replaced."""
        kind = self.shape.source_kind
        out = self.model(
            torch.randn(size, *self.shape.input_shape),
            self._source(size),
            source_kind=kind,
            k=self.num_tokens,
        )
        total: Tensor = sum(
            part.sum() for part in (out.target, out.mixed_target, out.mixed_source) if part is not None
        )
        return total

    def _source(self, size: int) -> Tensor | None:
        spec = self.encoder.spec
        match self.shape.source_kind:
            case None:
                return None
            case SourceKind.TEXT:
                return torch.zeros(size, self.num_tokens, dtype=torch.int64)
            case SourceKind.WAVES:
                return torch.randn(size, 1, self.num_tokens * spec.patch_size)
        return torch.randn(size, 3, spec.image_size, spec.image_size)


def _shape(config: TrialConfig, task: Task) -> ModelShape:
    input_shape, output = task.input_shape, task.output
    canvas = config.input.canvas or task.canvas["embedded" if config.data is None else "paper"]
    if canvas is not None:
        input_shape = (input_shape[0], canvas, canvas)
        output = Dense((canvas, canvas)) if isinstance(output, Dense) else output
    reads = METHODS[config.method].reads_source
    source = SOURCES[config.source.name]
    return ModelShape(
        modality=task.modality.value,
        input_shape=input_shape,
        output=output,
        target_scale=None,
        source_kind=source.kind.value if reads else None,
        source_classes=(source.classes or _CLASSES) if reads else 0,
    )


class _Alive(TorchDispatchMode):
    """Counts the bytes of all tensors that were made inside and are still held, and the most there were."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._counted: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._counted:  # a view
            return
        self._counted.add(key)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._let_go, key, storage.nbytes())

    def _let_go(self, key: int, size: int) -> None:
        self._counted.remove(key)
        self.now -= size


def _bytes(tensors: Iterable[Any]) -> int:
    return sum(tensor.nbytes for tensor in tensors if isinstance(tensor, Tensor))
