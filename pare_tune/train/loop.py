"""The one training loop. It knows no Ray: it reports through a callable and keeps its checkpoints in a folder."""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pare_tune.backbones import Backbone
from pare_tune.config import ALIGNING_METHODS, TrialConfig
from pare_tune.data.files import plain_json, write_text
from pare_tune.errors import DataError, TrialFailed
from pare_tune.method import LossParts, Mixed, PareModel, PareOutput, pare_loss, source_loss
from pare_tune.sources.base import SourceData
from pare_tune.tasks.base import Metric
from pare_tune.tasks.load import TaskData
from pare_tune.train.align import ALIGNMENT, align_embedder
from pare_tune.train.batches import StepBatch, StepBatches, TargetDataset, plan_epoch, stack
from pare_tune.train.build import ModelShape
from pare_tune.train.checkpoint import (
    BEST,
    LAST,
    load_state,
    load_weights,
    rng_state,
    save_state,
    save_weights,
    seed_everything,
    set_rng_state,
)
from pare_tune.train.optim import learning_rate, make_optimizer
from pare_tune.train.patches import picture_epochs, record_patches

CHECK_EVERY = 16
"""Forward passes between looks at the loss; each look waits for the device."""


@dataclass(frozen=True, slots=True)
class EpochReport:
    """What one epoch was like; plain numbers only."""

    epoch: int
    """Finished epochs: 1 after the first."""
    epochs: int
    score: float
    """The task's metric on validation; NaN when training has no validation split."""
    best_score: float
    train_loss: float
    loss_target: float
    loss_mixed_target: float
    loss_mixed_source: float
    k: int
    lam: float
    """λ = k/N."""
    lr: float
    """Of the epoch's last optimiser step."""
    grad_norm: float
    """Mean over the epoch's optimiser steps, before clipping."""
    gate_target: float
    """Mean gate score σ(z) over target patches in the epoch's last mixed batch; NaN without a gate."""
    gate_source: float
    gate_entropy: float
    """Mean binary entropy of the gate's scores, in nats: log 2 knows nothing, 0 is sure."""
    seconds: float
    """Training and validation; the first epoch's with the alignment before it."""
    samples_per_s: float
    """Target samples trained on, over training time."""
    memory_mb: float
    """Most memory of this process so far: of the accelerator where there is one, else resident. MB of 1e6 bytes."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON, Ray and the study."""
        return asdict(self)


Report = Callable[[EpochReport], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Where a training runs and whom it tells."""

    report: Report
    folder: Path | None = None
    """Keeps `last.pt` and `best.safetensors`; None keeps nothing."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and computes metrics."""
        return self.rank == 0


@dataclass(frozen=True, slots=True)
class FitResult:
    """The outcome of one training; the model carries the weights of its last epoch."""

    curve: tuple[EpochReport, ...]
    best_epoch: int
    best_score: float


def fit(
    config: TrialConfig,
    model: PareModel,
    data: TaskData,
    source: SourceData | None,
    context: Context,
    *,
    num_tokens: int,
    train: TargetDataset | None = None,
    validate: bool = True,
) -> FitResult:
    """Train `model` for `config.train.epochs`, going on from the folder's checkpoint if there is one.

    The epochs that a checkpoint already holds are reported again, in order: whoever records them may have lost the
    last ones.

    Args:
        num_tokens: N, which the schedule's shares are of.
        train: trained on instead of `data.train` (train + val for the final model).
        validate: score the validation split after every epoch and keep the best weights.

    Raises:
        TrialFailed: the loss is not finite any more, or memory ran out.
        DataError: the metric is not defined on the validation split.
        StorageError: the checkpoint could not be written.
    """
    try:
        return _Fit(config, model, data, source, context, num_tokens, train or data.train, validate).run()
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise TrialFailed(f"out of memory: {error}", cause="out_of_memory") from error
    except RuntimeError as error:
        if "can't allocate memory" in str(error) or "out of memory" in str(error).lower():
            raise TrialFailed(f"out of memory: {error}", cause="out_of_memory") from error
        raise


@torch.no_grad()
def predict_split(
    model: PareModel | nn.Module, dataset: TargetDataset, *, batch_size: int, context: Context
) -> tuple[Tensor, dict[str, Tensor]] | None:
    """Predictions (n, ...) and targets of a whole split, in order, on the CPU of rank 0; None on other ranks."""
    model.eval()
    indices = range(context.rank, len(dataset), context.world_size)
    predictions: list[Tensor] = []
    targets: list[dict[str, Tensor]] = []
    for start in range(0, len(indices), batch_size):
        batch = stack([dataset.item(i) for i in indices[start : start + batch_size]])
        x = batch.pop("x").to(context.device, non_blocking=True)
        with autocast(context.device):
            output = cast("PareOutput", model(x))
        predictions.append(output.target.float().cpu())
        targets.append(batch)
    if context.world_size == 1:
        return torch.cat(predictions), _join(targets)
    gathered: list[Any] | None = [None] * context.world_size if context.is_main else None
    mine = (torch.cat(predictions), _join(targets)) if predictions else None
    dist.gather_object(mine, gathered)
    if gathered is None:
        return None
    parts = [(rank, part) for rank, part in enumerate(gathered) if part is not None]
    order = torch.cat([torch.arange(rank, len(dataset), context.world_size) for rank, _ in parts]).argsort()
    merged = _join([part[1] for _, part in parts])
    return torch.cat([part[0] for _, part in parts])[order], {k: v[order] for k, v in merged.items()}


def evaluate(
    model: PareModel | nn.Module,
    dataset: TargetDataset,
    metric: Metric,
    *,
    batch_size: int,
    context: Context,
    split: str | None = None,
) -> float:
    """The metric over the whole split; every rank gets the same number, NaN where there is none.

    Args:
        split: what to call the split in a DataError; None wants NaN instead of that error.

    Raises:
        DataError: no predictions have a score on this split.
    """
    found = predict_split(model, dataset, batch_size=batch_size, context=context)
    told = [float("nan"), False]
    if found is not None:
        predictions, targets = found
        if torch.isfinite(predictions).all():
            score = float(metric.score(predictions, targets))
            undefined = (
                split is not None and math.isnan(score) and _is_undefined(metric, predictions, targets)
            )
            told = [score, undefined]
    if context.world_size > 1:
        dist.broadcast_object_list(told, src=0)
    if told[1]:
        raise DataError(
            f"metric {metric.name} is not defined on the {split} split, {len(dataset)} samples (of one class only?); "
            f"choose another metric, or data whose {split} split has samples of every class"
        )
    return told[0]


def _is_undefined(metric: Metric, predictions: Tensor, targets: dict[str, Tensor]) -> bool:
    """Whether the split is why there is no score, not these predictions, constant ones in a correlation for example.

    Noise in (0, 1) has a score wherever anything has: it is not constant, and positive for logarithms.
    """
    noise = torch.rand(predictions.shape, generator=torch.Generator().manual_seed(0))
    return math.isnan(float(metric.score(noise, targets)))


def peak_memory_mb(device: torch.device) -> float:
    """Most memory that this process has had: of `device` if it is an accelerator, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    # Kilobytes on Linux, bytes on macOS.
    return (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
    )


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 on CUDA; elsewhere full precision."""
    if device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()


class _Fit:
    """One training; a class only because the epoch and the step share so much state."""

    def __init__(
        self,
        config: TrialConfig,
        model: PareModel,
        data: TaskData,
        source: SourceData | None,
        context: Context,
        num_tokens: int,
        train: TargetDataset,
        validate: bool,
    ) -> None:
        self.config, self.data, self.source, self.context = config, data, source, context
        self.num_tokens, self.train, self.validate = num_tokens, train, validate
        self.model = model.to(context.device)
        self.parallel: nn.Module = self.model
        if context.world_size > 1:
            devices = [context.device] if context.device.type == "cuda" else None
            # With k = 0 the gate and the source head take no part.
            self.parallel = DistributedDataParallel(
                self.model, device_ids=devices, find_unused_parameters=True
            )
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = make_optimizer(self.parameters, config.optimizer)
        self.shape = ModelShape.of(data, source)
        micro_batches = math.ceil(len(train) / config.train.batch_size)
        self.steps_per_epoch = math.ceil(micro_batches / config.train.accumulation)
        self.step = 0
        self.alignment_s = 0.0
        self.curve: list[EpochReport] = []
        self.best_epoch, self.best_score = 0, float("nan")

    def run(self) -> FitResult:
        seed_everything(self.config.seed, rank=self.context.rank)
        if not self._restore():
            self._align()
        for report in self.curve:
            self.context.report(report)
        for epoch in range(len(self.curve), self.config.train.epochs):
            report = self._epoch(epoch)
            improved = self._note(report)
            self._save(improved)
            self.context.report(self.curve[-1])
        return FitResult(tuple(self.curve), self.best_epoch, self.best_score)

    def _align(self) -> None:
        """ORCA's first stage, by rank 0 alone; a checkpoint behind it, so that a resumed run does not repeat it."""
        config, context = self.config, self.context
        if config.method not in ALIGNING_METHODS or config.align.epochs == 0 or self.source is None:
            return
        started = time.perf_counter()
        if context.is_main:
            done = align_embedder(config, self.model, self.train, self.source, context.device)
            if context.folder is not None:
                context.folder.mkdir(parents=True, exist_ok=True)
                write_text(context.folder / ALIGNMENT, json.dumps(plain_json(done.to_dict())) + "\n")
        if context.world_size > 1:
            for parameter in self.model.target_embedder.parameters():
                dist.broadcast(parameter.data, src=0)
        # What comes after must not depend on how many random numbers the alignment took.
        seed_everything(config.seed, rank=context.rank)
        self.alignment_s = time.perf_counter() - started
        self._save(improved=False)

    def _epoch(self, epoch: int) -> EpochReport:
        config, context = self.config, self.context
        started = time.perf_counter()
        k = self._k(epoch)
        source = self.source.dataset if self.source is not None and k > 0 else None
        plan = plan_epoch(
            len(self.train),
            len(source) if source is not None else 0,
            config.train.batch_size,
            seed=config.seed,
            epoch=epoch,
            rank=context.rank,
            world_size=context.world_size,
        )
        batches = StepBatches(
            plan,
            self.train,
            source,
            seed=config.seed,
            epoch=epoch,
            loader_workers=config.train.loader_workers,
            pin_memory=context.device.type == "cuda",
        )
        self.parallel.train()
        sums = _Sums(context.device)
        lr = 0.0
        for group in _groups(batches, config.train.accumulation):
            lr = self._optimizer_step(group, k, epoch, sums)
        totals = sums.means(context)
        self._require_finite(totals["total"], epoch, lr, k)
        self._record_patches(epoch, k)
        trained = time.perf_counter() - started
        score = float("nan")
        if self.validate:
            score = evaluate(
                self.model,
                self.data.val,
                self.data.task.metric,
                batch_size=config.train.batch_size,
                context=context,
                split="validation",
            )
            if math.isnan(score):
                self._require_finite(score, epoch, lr, k, name="validation score")
        return EpochReport(
            epoch=epoch + 1,
            epochs=config.train.epochs,
            score=score,
            best_score=float("nan"),
            train_loss=totals["total"],
            loss_target=totals["target"],
            loss_mixed_target=totals["mixed_target"],
            loss_mixed_source=totals["mixed_source"],
            k=k,
            lam=k / self.num_tokens,
            lr=lr,
            grad_norm=totals["grad_norm"],
            **gate_statistics(sums.mixed),
            seconds=time.perf_counter() - started + (self.alignment_s if epoch == 0 else 0.0),
            samples_per_s=len(self.train) / trained,
            memory_mb=peak_memory_mb(context.device),
        )

    def _optimizer_step(self, group: Sequence[StepBatch], k: int, epoch: int, sums: _Sums) -> float:
        config = self.config
        first, epochs = config.train.curriculum(epoch)
        step = self.step - first * self.steps_per_epoch
        lr = learning_rate(step, epochs * self.steps_per_epoch, config.optimizer)
        for settings in self.optimizer.param_groups:
            settings["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        samples = sum(b.size for b in group)
        for index, batch in enumerate(group):
            is_last = index == len(group) - 1
            # Gradients travel between workers once an optimiser step.
            quiet = nullcontext() if is_last else self._no_sync()
            with quiet:
                loss = self._forward(batch, k, sums)
                (loss * (batch.share * batch.size / samples)).backward()
            if sums.count % CHECK_EVERY == 0:
                self._require_finite(loss.item(), epoch, lr, k)
        clip = config.optimizer.clip
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, clip if clip is not None else math.inf)
        sums.add_norm(norm)
        self.optimizer.step()
        self.step += 1
        return lr

    def _no_sync(self) -> AbstractContextManager[None]:
        if isinstance(self.parallel, DistributedDataParallel):
            return cast("AbstractContextManager[None]", self.parallel.no_sync())
        return nullcontext()

    def _forward(self, batch: StepBatch, k: int, sums: _Sums) -> Tensor:
        device = self.context.device
        target = {name: t.to(device, non_blocking=True) for name, t in batch.target.items()}
        x = target.pop("x")
        source_x = source_y = None
        if batch.source is not None:
            source_x = batch.source["x"].to(device, non_blocking=True)
            source_y = batch.source["y"].to(device, non_blocking=True)
        with autocast(device):
            output = cast("PareOutput", self.parallel(x, source_x, source_kind=self.shape.source_kind, k=k))
        loss, parts = self._loss(output, target, source_y)
        sums.add(parts, batch.share * batch.size, output.mixed)
        return loss

    def _loss(
        self, output: PareOutput, target: dict[str, Tensor], source_y: Tensor | None
    ) -> tuple[Tensor, LossParts]:
        loss_t = self.data.loss(output.target, target)
        loss_mt = loss_ms = None
        lam, weight = 0.0, 1.0
        if output.mixed is not None and output.mixed_target is not None:
            lam, weight = output.mixed.lam, output.mixed.target_weight
            loss_mt = self.data.loss(output.mixed_target, target)
            if output.mixed.partner_B is not None:
                partner = {name: t[output.mixed.partner_B] for name, t in target.items()}
                loss_ms = self.data.loss(output.mixed_target, partner)
            elif output.mixed_source is not None and source_y is not None:
                loss_ms = source_loss(output.mixed_source, source_y)
        elif self.model.mixer is not None:
            # K fell to 0: the mixed sample is the target sample, and its loss needs no second pass.
            loss_mt = loss_t
        weights = self.config.loss
        return pare_loss(loss_t, loss_mt, loss_ms, lam, weights.beta1, weights.beta2, target_weight=weight)

    def _k(self, epoch: int) -> int:
        if self.model.mixer is None:
            return 0
        first, epochs = self.config.train.curriculum(epoch)
        # A random k is drawn by the epoch, and must not be drawn twice.
        return self.config.k.k_at(epoch - first, epochs, self.num_tokens, seed=self.config.seed + first)

    def _record_patches(self, epoch: int, k: int) -> None:
        folder = self.context.folder
        if folder is None or not self.context.is_main or self.source is None or self.model.mixer is None:
            return
        if epoch + 1 in picture_epochs(self.config.train.epochs):
            record_patches(
                folder,
                self.model,
                self.train,
                self.source.dataset,
                source_kind=self.shape.source_kind,
                k=k,
                epoch=epoch + 1,
                grid=cast("Backbone", self.model.encoder).spec.token_grid,
            )

    def _note(self, report: EpochReport) -> bool:
        improved = not math.isnan(report.score) and (
            self.best_epoch == 0 or self.data.task.metric.better(report.score, self.best_score)
        )
        if improved:
            self.best_epoch, self.best_score = report.epoch, report.score
        self.curve.append(EpochReport(**{**report.to_dict(), "best_score": self.best_score}))
        return improved

    def _save(self, improved: bool) -> None:
        folder = self.context.folder
        if folder is None or not self.context.is_main:
            return
        if improved:
            save_weights(folder / BEST, self.model, {**self.shape.to_dict(), "epoch": self.best_epoch})
        save_state(
            folder / LAST,
            {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "step": self.step,
                "rng": rng_state(self.context.device),
                "curve": [r.to_dict() for r in self.curve],
                "best_epoch": self.best_epoch,
                "best_score": self.best_score,
                "alignment_s": self.alignment_s,
            },
        )

    def _restore(self) -> bool:
        """Whether there was a checkpoint to go on from."""
        folder = self.context.folder
        state = load_state(folder / LAST, self.context.device) if folder is not None else None
        if state is None:
            return False
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        self.curve = [EpochReport(**r) for r in state["curve"]]
        self.best_epoch, self.best_score = state["best_epoch"], state["best_score"]
        self.alignment_s = state.get("alignment_s", 0.0)
        if self.context.is_main:
            set_rng_state(state["rng"], self.context.device)
        return True

    def _require_finite(self, value: float, epoch: int, lr: float, k: int, *, name: str = "loss") -> None:
        if not math.isfinite(value):
            raise TrialFailed(
                f"diverged: {name} became {value} in epoch {epoch + 1} (lr={lr:.3g}, k={k}); "
                f"a smaller optimizer.lr or optimizer.clip usually helps",
                cause="diverged",
            )


_PARTS = ("total", "target", "mixed_target", "mixed_source")


class _Sums:
    """Running sums of an epoch; they stay on the device until its end."""

    def __init__(self, device: torch.device) -> None:
        self.count = 0
        self.mixed: Mixed | None = None
        self._device = device
        self._parts = {name: torch.zeros((), device=device) for name in _PARTS}
        self._weight = 0.0
        self._norm = torch.zeros((), device=device)
        self._steps = 0

    def add(self, parts: LossParts, weight: float, mixed: Mixed | None) -> None:
        self.count += 1
        self._weight += weight
        for name in _PARTS:
            value = getattr(parts, name)
            if value is not None:
                self._parts[name] = self._parts[name] + value * weight
        if mixed is not None:
            self.mixed = mixed

    def add_norm(self, norm: Tensor) -> None:
        self._norm = self._norm + norm.detach()
        self._steps += 1

    def means(self, context: Context) -> dict[str, float]:
        """Over all workers."""
        weight = torch.tensor(self._weight, device=self._device)
        packed = torch.stack([*self._parts.values(), weight])
        if context.world_size > 1:
            dist.all_reduce(packed)
        values = (packed[:-1] / packed[-1]).tolist()
        return {
            **dict(zip(_PARTS, values, strict=True)),
            "grad_norm": (self._norm / max(self._steps, 1)).item(),
        }


def gate_statistics(mixed: Mixed | None) -> dict[str, float]:
    """Mean scores and entropy of the gate; NaN where no gate took part."""
    if mixed is None or mixed.target_logits is None or mixed.source_logits is None:
        return {"gate_target": math.nan, "gate_source": math.nan, "gate_entropy": math.nan}
    target, source = mixed.target_logits.detach().float(), mixed.source_logits.detach().float()
    z = torch.cat([target, source])
    p = z.sigmoid()
    entropy = -(p * nn.functional.logsigmoid(z) + (1 - p) * nn.functional.logsigmoid(-z)).mean()
    return {
        "gate_target": target.sigmoid().mean().item(),
        "gate_source": source.sigmoid().mean().item(),
        "gate_entropy": entropy.item(),
    }


def load_best(folder: Path, model: PareModel) -> int:
    """Put the best epoch's weights into `model`; returns that epoch."""
    tensors, about = load_weights(folder / BEST)
    model.load_state_dict(tensors)
    return int(about["epoch"])


def _groups(batches: StepBatches, accumulation: int) -> Iterator[list[StepBatch]]:
    """Micro-batches of one optimiser step; the epoch's last group may be smaller and is not dropped."""
    group: list[StepBatch] = []
    for batch in batches:
        group.append(batch)
        if len(group) == accumulation:
            yield group
            group = []
    if group:
        yield group


def _join(batches: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([b[name] for b in batches]) for name in batches[0]}
