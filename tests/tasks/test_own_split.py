from __future__ import annotations

import numpy as np
import pytest

from pare_tune.errors import DataError
from pare_tune.tasks.own.split import assign, cut

SHARES = (0.7, 0.15, 0.15)
NAMES = ("a", "b", "c")


def counts(chosen: np.ndarray) -> list[int]:
    return np.bincount(chosen, minlength=3).tolist()


def test_every_class_keeps_its_shares() -> None:
    classes = np.repeat([0, 1, 2], [200, 100, 20])
    chosen = cut(np.arange(320), classes, SHARES, names=NAMES, seed=0)
    assert [counts(chosen[classes == c]) for c in range(3)] == [[140, 30, 30], [70, 15, 15], [14, 3, 3]]


def test_rounding_does_not_add_up_over_many_classes() -> None:
    chosen = cut(np.arange(300), np.repeat(np.arange(30), 10), SHARES, names=NAMES * 10, seed=0)
    assert counts(chosen) == [210, 45, 45]


def test_a_rare_class_is_in_every_split() -> None:
    classes = np.repeat([0, 1], [100, 3])
    chosen = cut(np.arange(103), classes, SHARES, names=NAMES, seed=0)
    assert counts(chosen[classes == 1]) == [1, 1, 1]


def test_the_seed_alone_decides() -> None:
    first, again, other = (cut(np.arange(60), None, SHARES, names=(), seed=s) for s in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize(("size", "said"), [(1, "'c' has 1 sample;"), (2, "'c' has 2 samples;")])
def test_a_class_too_small_to_be_split_is_named(size: int, said: str) -> None:
    classes = np.repeat([0, 1, 2], [20, 20, size])
    with pytest.raises(DataError, match=f"{said} to be in each of 3 splits it needs 3"):
        cut(np.arange(len(classes)), classes, SHARES, names=NAMES, seed=0)


@pytest.mark.parametrize("seed", range(5))
def test_no_group_is_in_two_splits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 25, size=400)
    classes = rng.integers(0, 3, size=400)
    chosen = cut(groups, classes, SHARES, names=NAMES, seed=seed)
    for group in np.unique(groups):
        assert len(set(chosen[groups == group])) == 1
    # 25 groups of 16 can be no closer to the shares than half a group or so.
    np.testing.assert_allclose(np.array(counts(chosen)) / 400, SHARES, atol=0.05)


def test_groups_of_one_class_each_keep_the_classes_in_proportion() -> None:
    groups = np.repeat(np.arange(40), 5)
    classes = groups % 2
    chosen = cut(groups, classes, SHARES, names=NAMES, seed=0)
    for split in range(3):
        assert 0.3 < classes[chosen == split].mean() < 0.7


@pytest.mark.parametrize("sizes", [(1, 1, 1), (100, 1, 1), (30, 30, 30)])
def test_as_many_groups_as_splits_fill_each(sizes: tuple[int, ...]) -> None:
    chosen = cut(np.repeat([0, 1, 2], sizes), None, SHARES, names=(), seed=0)
    assert sorted(counts(chosen)) == sorted(sizes)


def test_fewer_groups_than_splits_are_refused() -> None:
    with pytest.raises(DataError, match="at least as many groups of samples that differ, found 2"):
        cut(np.array([0, 0, 1, 1]), None, SHARES, names=(), seed=0)


def assigned(said: list, groups: list[str] | None = None, same: np.ndarray | None = None) -> np.ndarray:
    same = np.arange(len(said)) if same is None else same
    return assign(said, groups, same, None, names=(), fractions=SHARES, seed=0)


def test_what_is_said_is_taken() -> None:
    assert assigned(["train", "test", "val", "train"]).tolist() == [0, 2, 1, 0]


def test_val_is_cut_from_train_where_nothing_is_said_of_it() -> None:
    chosen = assigned([None] * 100 + ["test"] * 10)
    assert chosen[100:].tolist() == [2] * 10
    assert counts(chosen) == [82, 18, 10]  # 15 of the 85 shares that are not test


def test_val_is_cut_from_the_train_of_a_column() -> None:
    assert counts(assigned(["train"] * 100 + ["test"] * 10)) == [82, 18, 10]


def test_val_is_cut_between_groups() -> None:
    groups = [f"g{i // 10}" for i in range(100)] + ["t"] * 10
    chosen = assigned([None] * 100 + ["test"] * 10, groups)
    for group in set(groups):
        assert len({c for c, g in zip(chosen.tolist(), groups, strict=True) if g == group}) == 1


def test_samples_that_are_the_same_are_not_torn_apart() -> None:
    same = np.arange(100) // 4
    chosen = assign(None, None, same, None, names=(), fractions=SHARES, seed=0)
    assert all(len(set(chosen[same == s])) == 1 for s in range(25))


def test_a_group_in_two_splits_is_a_leak() -> None:
    with pytest.raises(DataError, match=r"group 'p1' is in train \(sample 0\) and in test \(sample 2\)"):
        assigned(["train", "val", "test"], ["p1", "p2", "p1"])


@pytest.mark.parametrize(
    ("said", "message"),
    [(["train", "val"], "no sample is in test"), (["val", "test"], "no sample is in train")],
)
def test_a_split_without_samples_is_named(said: list, message: str) -> None:
    with pytest.raises(DataError, match=message):
        assigned(said)
