"""Applying an exported model to files, in this process or on a Ray cluster."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pare_tune.errors import DataError, PareTuneError, StudyFailed
from pare_tune.steps import step
from pare_tune.tasks.own.predict import NewSamples
from pare_tune.train.export import ModelFolder
from pare_tune.train.outputs import Predictions, require_writable, writing
from pare_tune.train.predict import Predictor


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is predicted, and how."""

    model: Path
    inputs: Path
    probabilities: bool = False
    coverage: float | None = None
    batch_size: int = 64

    def open(self) -> Predictor:
        """The model."""
        return Predictor(
            self.model,
            probabilities=self.probabilities,
            coverage=self.coverage,
            batch_size=self.batch_size,
        )


def _tell_of_fold(model: Path, notify: Callable[[str], None]) -> None:
    """A search keeps no more than one model of a trial, which one fold was left out of."""
    with suppress(OSError, ValueError):
        if folds := ModelFolder(model).metrics().get("folds"):
            notify(
                f"{model} holds the model of the last of {folds} folds, which was not trained on what that one holds "
                f"out; pare-tune train, given the run, trains on all of train and validation"
            )


def predict_to(
    asked: Asked, out: Path, *, num_workers: int, notify: Callable[[str], None]
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Predict a file or folder into .npy, .csv or .parquet; the outputs' shape, and the names of their columns.

    Pieces are read, predicted and written one after the other, so that memory does not grow with their number; `out`
    is replaced at the end.

    Args:
        num_workers: more than one predict pieces on the Ray cluster, where all must reach the inputs.

    Raises:
        ConfigError: `out` has another suffix, or cannot hold what the model predicts.
        DataError: no model there, or inputs that do not fit it.
    """
    require_writable(out)
    predictor = asked.open()
    _tell_of_fold(asked.model, notify)
    has_sets = asked.coverage is not None and predictor.are_classes
    require_writable(out, axes=predictor.axes, has_sets=has_sets)
    samples = predictor.open(asked.inputs)
    pieces = predictor.pieces(samples)
    shape: tuple[int, ...] = ()
    unseen: Counter[str] = Counter()
    if num_workers > 1:
        predicted = _on_cluster(asked, pieces, num_workers)
    else:
        predicted = (predictor.predict(samples.piece(rows)) for rows in pieces)
    with step("predicting, samples", len(samples)) as count, writing(out) as write:
        for predictions in predicted:
            write(predictions)
            shape = predictions.values.shape[1:]
            unseen.update(predictions.unseen)
            for _ in predictions.values:
                count()
    for column, cells in unseen.items():
        notify(
            f"{samples.where}: {cells:,} of {len(samples):,} cells of column {column!r} hold categories that training "
            f"saw too rarely, or never; they count as the rest"
        )
    return (len(samples), *shape), predictor.names


class _Worker:
    """One process of a cluster, which opens the model and the inputs for itself."""

    def __init__(self, asked: Asked, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self._asked = asked

    @cached_property
    def _opened(self) -> tuple[Predictor, NewSamples, list[range]]:
        predictor = self._asked.open()
        samples = predictor.open(self._asked.inputs)
        return predictor, samples, predictor.pieces(samples)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            predictor, samples, pieces = self._opened
            return {"given": predictor.predict(samples.piece(pieces[int(row["id"])]))}
        except PareTuneError as error:
            # Raised, it would reach the driver as text inside an error of Ray's.
            return {"given": DataError(str(error))}


def _on_cluster(asked: Asked, pieces: list[range], num_workers: int) -> Iterator[Predictions]:
    """The predictions of every piece, in order; no more are made than can be written."""
    from pare_tune.tune.cluster import connect

    with connect(workers=num_workers, dashboard=False, name="pare-tune predict") as cluster, _unwarned():
        import ray.data
        from ray.exceptions import RayError

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        threads = int(cluster.cpus_for(num_workers))
        data = ray.data.range(len(pieces), override_num_blocks=len(pieces)).map(
            _Worker,
            fn_constructor_args=(asked, threads),
            concurrency=num_workers,
            num_cpus=threads,
            num_gpus=cluster.gpus_for(None),
        )
        try:
            for row in data.iter_rows():
                if isinstance(row["given"], DataError):
                    raise row["given"]
                yield row["given"]
        except RayError as error:
            raise StudyFailed(f"predicting on the cluster failed: {error}") from error


@contextmanager
def _unwarned() -> Iterator[None]:
    """Ray Data warns of its own settings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
