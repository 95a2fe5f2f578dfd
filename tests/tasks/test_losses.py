from __future__ import annotations

import math
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pare_tune.data.store import Store, write_store
from pare_tune.errors import ConfigError, DataError, UnknownName
from pare_tune.tasks import get_task
from pare_tune.tasks.base import Dense, MultiLabel, Numbers, Output, Point, Task
from pare_tune.tasks.losses import LOSSES, build_loss
from pare_tune.tasks.pdes import ADVECTION

B, K, P = 6, 3, 5
LABELS = [0, 0, 0, 0, 0, 1, 1, 2]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    write_store(tmp_path / "train.arrow", ({"y": np.asarray(y, dtype=np.int64)} for y in LABELS))
    return Store(tmp_path / "train.arrow")


def task(loss: str, output: Output | None = None, **options: Any) -> Task:
    usual: dict[str, Output] = {"cross_entropy": Point(K), "scaled_mse": Numbers(P)}
    return replace(ADVECTION, loss=loss, output=output or usual.get(loss, Dense((P,))), loss_options=options)


def values(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_cross_entropy_equals_the_loop(store: Store) -> None:
    prediction, y = values(B, K), torch.tensor([0, 1, 2, 0, 1, 0])
    total = 0.0
    for row, label in zip(prediction.tolist(), y.tolist(), strict=True):
        total -= math.log(math.exp(row[label]) / sum(math.exp(v) for v in row))
    loss = build_loss(task("cross_entropy"), store)(prediction, {"y": y})
    assert float(loss) == pytest.approx(total / B, rel=1e-5)


def test_balanced_weights_are_one_over_the_training_frequency(store: Store) -> None:
    prediction, y = values(B, K), torch.tensor([0, 1, 2, 0, 1, 0])
    weight = [len(LABELS) / LABELS.count(k) for k in range(K)]
    above = below = 0.0
    for row, label in zip(prediction.tolist(), y.tolist(), strict=True):
        above -= weight[label] * math.log(math.exp(row[label]) / sum(math.exp(v) for v in row))
        below += weight[label]
    loss = build_loss(task("cross_entropy", class_weights="balanced"), store)(prediction, {"y": y})
    assert float(loss) == pytest.approx(above / below, rel=1e-5)


@pytest.mark.parametrize("output", [MultiLabel(P), Dense((P,))])
def test_bce_equals_the_loop_and_weighs_positives(store: Store, output: MultiLabel | Dense) -> None:
    prediction, y = values(B, P), (values(B, P, seed=1) > 0).float()
    total = 0.0
    for z, t in zip(prediction.flatten().tolist(), y.flatten().tolist(), strict=True):
        p = 1 / (1 + math.exp(-z))
        total -= 4.0 * t * math.log(p) + (1 - t) * math.log(1 - p)
    loss = build_loss(task("bce_with_logits", output, pos_weight=4.0), store)(prediction, {"y": y})
    assert float(loss) == pytest.approx(total / (B * P), rel=1e-5)


def test_ignored_positions_have_no_part_in_bce(store: Store) -> None:
    loss = build_loss(task("bce_with_logits", ignore="ignore"), store)
    prediction, y = values(B, P), (values(B, P, seed=1) > 0).float()
    ignore = torch.zeros(B, P)
    ignore[:, 0] = 1.0
    kept = build_loss(task("bce_with_logits"), store)(prediction[:, 1:], {"y": y[:, 1:]})
    torch.testing.assert_close(loss(prediction, {"y": y, "ignore": ignore}), kept)
    nothing_left = loss(prediction.requires_grad_(), {"y": y, "ignore": torch.ones(B, P)})
    assert float(nothing_left.detach()) == 0.0


def test_ignored_positions_have_no_part_in_mse(store: Store) -> None:
    loss = build_loss(task("mse", ignore="ignore"), store)
    prediction, y = values(B, P), values(B, P, seed=1)
    ignore = (values(B, P, seed=2) > 0).float()
    expected = []
    for p, t, i in zip(prediction.tolist(), y.tolist(), ignore.tolist(), strict=True):
        kept = [(a - b) ** 2 for a, b, gone in zip(p, t, i, strict=True) if not gone]
        expected.append(sum(kept) / len(kept))
    assert float(loss(prediction, {"y": y, "ignore": ignore})) == pytest.approx(sum(expected) / B, rel=1e-5)


@pytest.mark.parametrize("shape", [(P,), (2, 3)])
def test_dense_losses_equal_the_loops(store: Store, shape: tuple[int, ...]) -> None:
    prediction, y = values(B, *shape), values(B, *shape, seed=1)
    square, root, relative = [], [], []
    for p, t in zip(prediction.flatten(1).tolist(), y.flatten(1).tolist(), strict=True):
        error = sum((a - b) ** 2 for a, b in zip(p, t, strict=True)) / len(t)
        square.append(error)
        root.append(math.sqrt(error))
        relative.append(math.sqrt(error / (sum(b * b for b in t) / len(t))))
    for name, samples in {"mse": square, "rmse": root, "relative_l2": relative, "nrmse": relative}.items():
        loss = build_loss(task(name, Dense(shape)), store)(prediction, {"y": y})
        assert float(loss) == pytest.approx(sum(samples) / B, rel=1e-5), name


def test_scaled_mse_equals_the_loop_whatever_the_units(tmp_path: Path) -> None:
    rows = values(8, 3, seed=2).double() * torch.tensor([1.0, 1e4, 1e-3]) + torch.tensor([0.0, 5e4, 2.0])
    write_store(tmp_path / "train.arrow", ({"y": row.numpy()} for row in rows))
    prediction, y = (values(B, 3, seed=s) * torch.tensor([1.0, 1e4, 1e-3]) for s in (0, 1))
    total = 0.0
    for j in range(3):
        column = rows[:, j].tolist()
        mean = sum(column) / 8
        variance = sum((v - mean) ** 2 for v in column) / 8
        total += sum(
            (a - b) ** 2 / variance for a, b in zip(prediction[:, j].tolist(), y[:, j].tolist(), strict=True)
        )
    loss = build_loss(task("scaled_mse", Numbers(3)), Store(tmp_path / "train.arrow"))
    assert float(loss(prediction, {"y": y})) == pytest.approx(total / (3 * B), rel=1e-5)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_batch_equals_its_micro_batches_weighted_by_size(store: Store, name: str) -> None:
    loss = build_loss(task(name), store)
    prediction = values(B, K if name == "cross_entropy" else P)
    y = (
        torch.tensor([0, 1, 2, 0, 1, 0])
        if name == "cross_entropy"
        else (values(B, P, seed=1) > 0).float() + 0.1
    )
    if name == "bce_with_logits":
        y = y.clamp_max(1.0)
    parts = [(prediction[s], {"y": y[s]}, len(y[s])) for s in (slice(0, 4), slice(4, B))]
    summed = sum(loss(p, batch) * n / B for p, batch, n in parts)
    torch.testing.assert_close(summed, loss(prediction, {"y": y}))


@pytest.mark.parametrize("name", ["mse", "scaled_mse", "rmse", "relative_l2", "nrmse"])
def test_a_perfect_prediction_has_a_finite_gradient(store: Store, name: str) -> None:
    y = values(B, P)
    prediction = y.clone().requires_grad_()
    build_loss(task(name), store)(prediction, {"y": y}).backward()
    assert prediction.grad is not None
    assert torch.equal(prediction.grad, torch.zeros_like(y))


@pytest.mark.parametrize("name", ["rmse", "relative_l2", "mse", "scaled_mse", "bce_with_logits"])
def test_shapes_that_would_broadcast_are_refused(store: Store, name: str) -> None:
    with pytest.raises(ValueError, match="one shape"):
        build_loss(task(name), store)(values(B, 1, P), {"y": values(B, P).clamp(0, 1)})


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_half_precision_predictions_give_float32(store: Store, name: str) -> None:
    y = torch.zeros(B, dtype=torch.long) if name == "cross_entropy" else torch.ones(B, P)
    prediction = values(B, K if name == "cross_entropy" else P).bfloat16()
    assert build_loss(task(name), store)(prediction, {"y": y}).dtype == torch.float32


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_losses_travel_to_other_processes(store: Store, name: str) -> None:
    assert callable(pickle.loads(pickle.dumps(build_loss(task(name), store))))


def test_an_unknown_loss_names_the_nearest(store: Store) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'cross_entropy'"):
        build_loss(replace(get_task("wdbc"), loss="crossentropy"), store)


def test_an_unknown_option_names_the_known_ones(store: Store) -> None:
    with pytest.raises(ConfigError, match=r"no option weights; its options: class_weights"):
        build_loss(task("cross_entropy", weights="balanced"), store)
    with pytest.raises(ConfigError, match=r"no option p; its options: none"):
        build_loss(task("rmse", p=2), store)


@pytest.mark.parametrize(
    ("name", "output", "options"),
    [
        ("cross_entropy", Dense((P,)), {}),
        ("cross_entropy", Point(K), {"class_weights": "inverse"}),
        ("cross_entropy", Point(K), {"class_weights": [1.0] * (K + 1)}),
        ("bce_with_logits", Point(K), {}),
        ("bce_with_logits", MultiLabel(K), {"pos_weight": 0.0}),
        ("nrmse", Point(K), {}),
        ("scaled_mse", Dense((P,)), {}),
        ("bce_with_logits", Numbers(K), {}),
    ],
)
def test_a_loss_that_does_not_fit_is_refused(
    store: Store, name: str, output: Output, options: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError):
        build_loss(task(name, output, **options), store)


def test_classes_can_be_weighed_one_by_one(store: Store) -> None:
    prediction, y = values(B, K), torch.arange(B) % K
    weights = [float(1 + k) for k in range(K)]
    nats = [-float(p.log_softmax(0)[t]) for p, t in zip(prediction, y.tolist(), strict=True)]
    of_sample = [weights[t] for t in y.tolist()]
    expected = sum(w * n for w, n in zip(of_sample, nats, strict=True)) / sum(of_sample)
    loss = build_loss(task("cross_entropy", Point(K), class_weights=weights), store)
    assert float(loss(prediction, {"y": y})) == pytest.approx(expected, rel=1e-5)


def test_a_class_without_samples_cannot_be_balanced(store: Store) -> None:
    with pytest.raises(DataError, match="class 3 has no training sample"):
        build_loss(task("cross_entropy", Point(4), class_weights="balanced"), store)
