"""The one training loop. It knows no Ray: it reports through a callable and keeps its checkpoints in a folder.

Everything that is drawn follows from the seed, the epoch and the rank, never from how many numbers were drawn before:
a training that was interrupted goes on as if it had not been, on every worker.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from pare_tune.backbones import Backbone
from pare_tune.errors import ConfigError, TrialFailed
from pare_tune.method import METHODS, LossParts, PareModel, PareOutput, pare_loss, source_loss
from pare_tune.tasks.base import best_of
from pare_tune.train.align import align_embedder
from pare_tune.train.batches import Step, StepBatch, StepBatches, TargetDataset, plan_epoch
from pare_tune.train.checkpoint import BEST, LAST, StateWriter, load_state, save_weights, seed_noise
from pare_tune.train.collapse import constant_score, judged_after
from pare_tune.train.evaluation import (
    Context,
    peak_memory_mb,
    predict_split,
)
from pare_tune.train.held_out import HELD_OUT
from pare_tune.train.judge import Judge
from pare_tune.train.lighter import lighter
from pare_tune.train.opened import OpenedTrial
from pare_tune.train.optim import learning_rate, set_rate
from pare_tune.train.parallel import Team
from pare_tune.train.patches import picture_epochs, record_patches
from pare_tune.train.report import EpochReport, EpochSums, gate_statistics

CHECK_EVERY = 16
"""Forward passes between looks at the loss; each look waits for the device."""


@dataclass(frozen=True, slots=True)
class FitResult:
    """The outcome of one training; the model carries the weights of its last epoch."""

    curve: tuple[EpochReport, ...]
    best_epoch: int
    best_score: float


def fit(
    opened: OpenedTrial,
    model: PareModel,
    context: Context,
    *,
    train: TargetDataset | None = None,
    validate: bool = True,
    judge: Judge | None = None,
    until: int | None = None,
) -> FitResult:
    """Train `model` for `config.train.epochs`, going on from the folder's checkpoint if there is one.

    The epochs that a checkpoint already holds are reported again, in order: whoever records them may have lost the
    last ones.

    Args:
        model: what `opened.build()` gave.
        train: trained on instead of `opened.data.train` (train + val for the final model).
        validate: score the validation split after every epoch and keep the best weights.
        judge: says which weights are the best; None goes by the score on the validation split.
        until: epoch to end with, before the schedule's end; None ends there.

    Raises:
        TrialFailed: the loss is not finite any more, memory ran out, or two thirds of the epochs brought nothing
            better than a constant.
        ConfigError: `train.compile` where nothing is at hand that compiles.
        DataError: the metric is not defined on the validation split.
        StorageError: the checkpoint could not be written.
    """
    try:
        judge = judge or Judge(opened.data, context)
        return _Fit(opened, model, context, train or opened.data.train, judge, validate).run(until)
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise TrialFailed(f"out of memory: {error}", cause="out_of_memory") from error
    except RuntimeError as error:
        if "can't allocate memory" in str(error) or "out of memory" in str(error).lower():
            raise TrialFailed(f"out of memory: {error}", cause="out_of_memory") from error
        if opened.config.train.compile and isinstance(error, torch._dynamo.exc.TorchDynamoException):
            why = " ".join(str(error).partition("\n\n")[0].split())
            raise ConfigError(
                f"train.compile: torch cannot compile the encoder here ({why}); install a C++ compiler (and "
                f"Triton for GPUs) on every node, or leave it at false"
            ) from error
        raise


@dataclass(slots=True)
class _Epoch:
    """The epoch under way."""

    index: int
    """Counted from 0."""
    k: int
    sums: EpochSums
    lr: float = 0.0
    """Of the last optimiser step."""


class _Fit:
    """One training; a class only because the epoch and the step share so much state."""

    def __init__(
        self,
        opened: OpenedTrial,
        model: PareModel,
        context: Context,
        train: TargetDataset,
        judge: Judge,
        validate: bool,
    ) -> None:
        self.opened, self.config, self.data, self.context = opened, opened.config, opened.data, context
        self.train, self.judge, self.validate = train, judge, validate
        self.shape = opened.shape
        self.model = model.to(context.device)
        settings = self.config.train
        self.size, _ = settings.per_worker(context.world_size)
        self.steps_per_epoch = math.ceil(len(train) / settings.group)
        self.batches = StepBatches(
            train,
            None if opened.source is None else opened.source.dataset,
            seed=self.config.seed,
            loader_workers=settings.loader_workers,
            pin_memory=context.device.type == "cuda",
        )
        self.step = 0
        self.writer = StateWriter()
        self.alignment_s = 0.0
        self.curve: list[EpochReport] = []

    def run(self, until: int | None) -> FitResult:
        self._begin()
        for report in self.curve:
            self.context.report(report)
        last = min(until or self.config.train.epochs, self.config.train.epochs)
        with lighter(cast("Backbone", self.model.encoder), self.config.train), closing(self.writer):
            for index in range(len(self.curve), last):
                self._save(self._run_epoch(index), ends=index + 1 == last)
                self.context.report(self.curve[-1])
                if self.validate and len(self.curve) == judged_after(self.config.train.epochs):
                    self._require_learning()
        self.team.part()
        return FitResult(tuple(self.curve), self.judge.best_epoch, self.judge.best_score)

    def _begin(self) -> None:
        """Go on from the folder's checkpoint, or align and leave one, so that a resumed run does not align again."""
        context = self.context
        state = load_state(context.folder / LAST) if context.folder is not None else None
        if state is not None and not self.judge.continues(state):
            state = None
        if state is not None:
            self.model.load_state_dict(state["model"])
        else:
            self._align()
        # With k = 0 the gate and the source head take no part.
        idle = self.model.mixer is not None and 0 in map(self._k, range(self.config.train.epochs))
        self.team = Team(self.model, self.config, context, idle=idle)
        self.model = self.team.model
        if state is not None:
            self.team.load_optimizer(state["optimizer"])
            self.step = state["step"]
            self.curve = [EpochReport(**report) for report in state["curve"]]
            self.judge.restore(state)
            self.alignment_s = state.get("alignment_s", 0.0)
        elif self.alignment_s:
            self._save(keep=False, ends=True)

    def _align(self) -> None:
        """ORCA's first stage, by rank 0 alone, whose model the others take over."""
        config, context, source = self.config, self.context, self.opened.source
        if not METHODS[config.method].aligns or config.align.epochs == 0 or source is None:
            return
        started = time.perf_counter()
        if context.is_main:
            align_embedder(config, self.model, self.train, source, context.device)
        self.alignment_s = time.perf_counter() - started

    def _run_epoch(self, index: int) -> bool:
        """Add an epoch to the curve; whether its weights are those to keep so far."""
        started = time.perf_counter()
        seed_noise(self.config.seed, index, self.context.rank)
        epoch = _Epoch(index, self._k(index), EpochSums(self.context.device))
        self.team.module.train()
        group: list[StepBatch] = []
        for batch in self.batches.epoch(self._plan(epoch), index):
            group.append(batch)
            if batch.ends:
                self._optimizer_step(group, epoch)
                group = []
        losses = epoch.sums.means(self.context.world_size)
        self._require_finite("loss", losses["total"], epoch)
        self._record_patches(epoch)
        trained_s = time.perf_counter() - started
        score, keep = self._score(epoch) if self.validate else (float("nan"), False)
        report = EpochReport(
            epoch=index + 1,
            epochs=self.config.train.epochs,
            score=score,
            best_score=self.judge.best_score,
            train_loss=losses["total"],
            loss_target=losses["target"],
            loss_mixed_target=losses["mixed_target"],
            loss_mixed_source=losses["mixed_source"],
            k=epoch.k,
            lam=epoch.k / self.opened.num_tokens,
            lr=epoch.lr,
            grad_norm=losses["grad_norm"],
            **gate_statistics(epoch.sums.mixed),
            seconds=time.perf_counter() - started + (self.alignment_s if index == 0 else 0.0),
            samples_per_s=len(self.train) / trained_s,
            memory_mb=peak_memory_mb(self.context.device),
            best_epoch=self.judge.best_epoch,
        )
        self.curve.append(report)
        return keep

    def _plan(self, epoch: _Epoch) -> list[Step]:
        config, source = self.config, self.opened.source
        return plan_epoch(
            len(self.train),
            # At k = 0 nothing of the source would be looked at.
            0 if source is None or epoch.k == 0 else len(source.dataset),
            self.size,
            config.train.group,
            seed=config.seed,
            epoch=epoch.index,
            rank=self.context.rank,
            world_size=self.context.world_size,
        )

    def _optimizer_step(self, group: Sequence[StepBatch], epoch: _Epoch) -> None:
        total_steps = self.config.train.epochs * self.steps_per_epoch
        epoch.lr = learning_rate(self.step, total_steps, self.config.optimizer)
        optimizer = self.team.optimizer
        set_rate(optimizer, epoch.lr)
        optimizer.zero_grad(set_to_none=True)
        for batch in group:
            # Gradients travel between workers once an optimiser step.
            with nullcontext() if batch is group[-1] else self.team.alone():
                loss = self._forward(batch, epoch)
                (loss * (batch.count * self.context.world_size / batch.group)).backward()
            if epoch.sums.batches % CHECK_EVERY == 0:
                self._require_finite("loss", loss.item(), epoch)
        epoch.sums.add_step(self.team.clip(self.config.optimizer.clip))
        optimizer.step()
        self.step += 1

    def _forward(self, batch: StepBatch, epoch: _Epoch) -> Tensor:
        device = self.context.device
        target = {name: t.to(device, non_blocking=True) for name, t in batch.target.items()}
        x = target.pop("x")
        source_x = source_y = None
        if batch.source is not None:
            source_x = batch.source["x"].to(device, non_blocking=True)
            source_y = batch.source["y"].to(device, non_blocking=True)
        output = cast(
            "PareOutput", self.team.module(x, source_x, source_kind=self.shape.source_kind, k=epoch.k)
        )
        loss, parts = self._loss(output, target, source_y)
        epoch.sums.add_batch(parts, batch.count, output.mixed)
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

    def _k(self, index: int) -> int:
        if self.model.mixer is None:
            return 0
        return self.config.k.k_at(
            index, self.config.train.epochs, self.opened.num_tokens, seed=self.config.seed
        )

    def _score(self, epoch: _Epoch) -> tuple[float, bool]:
        predicted = predict_split(
            self.model, self.data.val, batch_size=self.config.train.batch_size, context=self.context
        )
        score, keep = self.judge.hear(predicted)
        if math.isnan(score):
            self._require_finite("validation score", score, epoch)
        return score, keep

    def _record_patches(self, epoch: _Epoch) -> None:
        folder, source = self.context.folder, self.opened.source
        due = epoch.index + 1 in picture_epochs(self.config.train.epochs)
        if folder is None or source is None or not due:
            return
        self.team.gather_small()
        if self.context.is_main:
            record_patches(
                folder,
                self.model,
                self.train,
                source.dataset,
                source_kind=self.shape.source_kind,
                k=epoch.k,
                epoch=epoch.index + 1,
                grid=self.opened.backbone.spec.token_grid,
            )

    def _save(self, keep: bool, *, ends: bool) -> None:
        """Write the best weights if these are, and what to go on from: at an end, and as often as is cheap.

        What was not written is trained again after an interruption, to the same numbers.
        """
        folder = self.context.folder
        if folder is None:
            return
        trained = self.team.state()  # all workers at once, so whether or not it is due
        if not self.context.is_main:
            return
        if keep:
            about = {**self.shape.to_dict(), "epoch": self.judge.best_epoch}
            save_weights(folder / BEST, self.team.whole(trained), about)
            self.judge.write_held_out(folder / HELD_OUT)
        if self.validate and len(self.curve) == self.config.train.epochs:
            self.curve[-1] = replace(self.curve[-1], influences=self.judge.influences(folder))
        if not (ends or self.writer.is_due):
            return
        state: dict[str, Any] = {
            **trained,
            "step": self.step,
            "curve": [report.to_dict() for report in self.curve],
            "alignment_s": self.alignment_s,
            **self.judge.state(),
        }
        self.writer.write(folder / LAST, state)

    def _require_learning(self) -> None:
        if self.judge.fold > 0:
            return  # scores of later folds are of earlier ones, too, whose training was judged
        constant, metric = constant_score(self.data), self.data.task.metric
        best = best_of((report.score for report in self.curve), metric.direction)
        # NaN is the constant's where the metric has no score of constants: no verdict then.
        if math.isnan(constant) or metric.better(best, constant):
            return
        raise TrialFailed(
            f"collapsed: after {len(self.curve)} of {self.config.train.epochs} epochs the best validation "
            f"{metric.name} is {best:.4g}, no better than the {constant:.4g} of a constant guess; a smaller "
            f"optimizer.lr or a longer optimizer.warmup usually helps",
            cause="collapsed",
        )

    def _require_finite(self, name: str, value: float, epoch: _Epoch) -> None:
        if not math.isfinite(value):
            raise TrialFailed(
                f"diverged: {name} became {value} in epoch {epoch.index + 1} (lr={epoch.lr:.3g}, k={epoch.k}); "
                f"a smaller optimizer.lr or optimizer.clip usually helps",
                cause="diverged",
            )
