"""Development samples cut into folds: who is held out with whom, what is fitted on what, and when to choose them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pare_tune.errors import DataError
from pare_tune.tasks import get_task
from pare_tune.tasks.folds import Fold, Folds, draw_folds
from pare_tune.tasks.load import TaskData, load_fold, load_task
from pare_tune.tasks.own.spec import OwnData
from pare_tune.tasks.own.task import own_task
from pare_tune.tasks.own.validation import Validation, usual_validation
from pare_tune.yaml import validate

CLASSES = np.arange(30) % 3
ALONE = np.arange(30)
GROUPS = np.repeat(np.arange(10), 3)


@pytest.mark.parametrize("units", [ALONE, GROUPS], ids=["alone", "groups"])
@pytest.mark.parametrize("classes", [None, CLASSES], ids=["values", "classes"])
def test_every_sample_is_held_out_once_and_groups_and_classes_are_kept(units: Any, classes: Any) -> None:
    fold_n = draw_folds(Folds(5), units, classes)
    assert np.bincount(fold_n).tolist() == [6] * 5
    for unit in np.unique(units):
        assert len(np.unique(fold_n[units == unit])) == 1
    if classes is not None:
        assert all((np.bincount(classes[fold_n == k]) == 2).all() for k in range(5))
    assert (draw_folds(Folds(5), units, classes) == fold_n).all()
    assert (draw_folds(Folds(5, draw=1), units, classes) != fold_n).any(), "a fresh seed draws its own"


RARE = np.array([0] * 27 + [1] * 3)
ONE_GROUP = np.where(GROUPS == 4, 1, 0)


@pytest.mark.parametrize(
    ("count", "units", "classes", "told"),
    [
        (5, ALONE, RARE, r"5 folds need 5 samples of each class, class 'b' has 3 in train and val.*search\.folds=3"),
        (12, GROUPS, None, r"12 folds need as many groups .* have 10; take fewer \(--set search\.folds=10\)"),
        (2, np.zeros(30, int), None, r"2 folds need as many groups .* have 1; one split"),
        (3, GROUPS, ONE_GROUP, r"class 'b' is in one group only.*search\.validation=split"),
        (3, np.repeat([0, 1, 2], [28, 1, 1]), np.r_[[0, 1] * 14, 0, 1], None),
    ],
)  # fmt: skip
def test_what_cannot_be_cut_is_told(count: int, units: Any, classes: Any, told: str | None) -> None:
    if told is None:
        assert set(draw_folds(Folds(count), units, classes)) == {0, 1, 2}
        return
    with pytest.raises(DataError, match=told):
        draw_folds(Folds(count), units, classes, names=["a", "b"])


def spec_of(root: Path, **tree: Any) -> OwnData:
    return validate(OwnData, {"name": "mine", "kind": "point", **tree}, where="task").under(root)


def folds_of(spec: OwnData, cache: Path, count: int) -> list[TaskData]:
    task = own_task(spec, cache)
    return [load_fold(task, Fold(Folds(count), number), cache=cache) for number in range(count)]


def test_a_fold_of_ones_own_table_is_fitted_on_its_own_training_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=60), "b": np.arange(60.0) ** 2, "y": np.arange(60) % 2})
    frame.to_csv(tmp_path / "t.csv", index=False)
    spec = spec_of(tmp_path, input="t.csv", target="y", split={"seed": 3})
    whole = load_task(own_task(spec, tmp_path / "cache"), cache=tmp_path / "cache")
    development = np.stack([d.item(i)["x"] for d in (whole.train, whole.val) for i in range(len(d))])[:, 0]
    labels = [int(d.item(i)["y"]) for d in (whole.train, whole.val) for i in range(len(d))]
    folds = folds_of(spec, tmp_path / "cache", 3)
    assert sorted(np.concatenate([f.val_index for f in folds])) == list(range(len(development)))
    for fold in folds:
        x = np.stack([fold.train.item(i)["x"] for i in range(len(fold.train))])[:, 0]
        np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(x.std(axis=0), 1, atol=1e-5)
        held_out = np.stack([fold.val.item(i)["x"] for i in range(len(fold.val))])[:, 0]
        # One line maps the whole task's scale to the fold's: the samples are those that the index names.
        for column in range(2):
            fit = np.polyfit(development[fold.val_index, column], held_out[:, column], 1)
            np.testing.assert_allclose(
                np.polyval(fit, development[fold.val_index, column]), held_out[:, column], atol=1e-4
            )
        assert [int(fold.val.item(i)["y"]) for i in range(len(fold.val))] == [
            labels[i] for i in fold.val_index
        ]
        assert len(fold.train) + len(fold.val) == len(development), "test is no part of it"


def test_groups_of_ones_own_data_stay_together(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(60, 20)))
    table = pd.DataFrame({"y": np.arange(60) % 2, "machine": np.repeat(np.arange(12), 5)})
    table.to_csv(tmp_path / "t.csv", index=False)
    spec = spec_of(tmp_path, input="x.npy", target="t.csv:y", split={"group": "t.csv:machine"})
    task = own_task(spec, tmp_path / "cache")
    assert task.units is not None
    units = task.units()
    held_out = [set(units[f.val_index]) for f in folds_of(spec, tmp_path / "cache", 3)]
    assert len(set.union(*held_out)) == sum(map(len, held_out))


def test_a_benchmark_is_cut_from_its_own_splits(tmp_path: Path) -> None:
    task = get_task("wdbc")
    whole = load_task(task)
    folds = [load_fold(task, Fold(Folds(4), number)) for number in range(4)]
    assert sorted(np.concatenate([f.val_index for f in folds])) == list(
        range(len(whole.train) + len(whole.val))
    )
    first, at = folds[0], int(folds[0].val_index[-1]) - len(whole.train)
    assert (first.val.item(len(first.val) - 1)["x"] == whole.val.item(at)["x"]).all()


@pytest.mark.parametrize(
    ("samples", "tree", "expected"),
    [
        (60, {}, Validation("folds", 3, "the validation split has 9 samples, fewer than 300")),
        (200, {}, Validation("folds", 5, "the validation split has 30 samples, fewer than 300")),
        (2400, {}, Validation("split", 5, "360 samples")),
        (2400, {"target": "t.csv:rare"}, Validation("folds", 5, "it has 9 samples of 'b' in validation, fewer")),
        (60, {"target": "t.csv:rarest"}, Validation("folds", 2, "the validation split has 9 samples, fewer than 300")),
        (60, {"split": {"column": "t.csv:split"}}, Validation("split", 5, "as you cut it; the validation split has")),
        (60, {"split": {"column": "t.csv:tested"}}, Validation("folds", 3, "the validation split has 7")),
        (60, {"split": {"group": "t.csv:rarest"}}, Validation("folds", 2, "the validation split has")),
    ],
)  # fmt: skip
def test_folds_are_chosen_where_the_validation_split_is_small(
    samples: int, tree: dict[str, Any], expected: Validation, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(samples, 20)))
    number = np.arange(samples)
    pd.DataFrame(
        {
            "y": np.where(number % 2, "a", "b"),
            "rare": np.where(number % 40, "a", "b"),
            "rarest": np.where(number < 3, "b", np.where(number < 30, "a", "c")),
            "split": np.array(["train", "val", "test"])[number % 3],
            "tested": np.where(number % 3, "train", "test"),
        }
    ).to_csv(tmp_path / "t.csv", index=False)
    spec = spec_of(tmp_path, **{"input": "x.npy", "target": "t.csv:y", **tree})
    chosen = usual_validation(spec, tmp_path / "cache", 60)
    assert (chosen.method, chosen.folds) == (expected.method, expected.folds)
    assert chosen.why.startswith(expected.why)
