from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from pare_tune.tasks.samples.tables import (
    Simulated,
    write_simulated,
    write_whole,
)

SHAPE = Simulated(
    name="made-up",
    target="Class",
    class_rows=(120, 300, 80),
    num_numeric=7,
    levels=(3, 12, 4),
    numbered=("grade",),
    gaps=333,
)


def made(root: Path, shape: Simulated = SHAPE, seed: int = 0) -> pd.DataFrame:
    write_simulated(shape, root, seed)
    return pd.read_csv(root / f"{shape.name}.csv", na_values="?")


def test_a_lever_balances_where_moments_are_equal(tmp_path: Path) -> None:
    write_whole("balance-scale", tmp_path, 0)
    frame = pd.read_csv(tmp_path / "balance-scale.csv")
    assert Counter(frame["class"]) == {"L": 288, "B": 49, "R": 288}
    assert len(frame.drop_duplicates()) == 625
    left = frame["left-weight"] * frame["left-distance"]
    right = frame["right-weight"] * frame["right-distance"]
    assert ((frame["class"] == "B") == (left == right)).all()
    assert ((frame["class"] == "L") == (left > right)).all()


def test_the_boards_are_those_that_play_can_end_on(tmp_path: Path) -> None:
    write_whole("tic-tac-toe", tmp_path, 0)
    frame = pd.read_csv(tmp_path / "tic-tac-toe.csv")
    boards = {tuple(row) for row in frame.to_numpy()}
    assert boards == played_to_the_end()
    assert Counter(frame["Class"]) == {"positive": 626, "negative": 332}


def played_to_the_end() -> set[tuple[str, ...]]:
    """Boards and classes, found by playing every game."""
    lines = [(i, i + 1, i + 2) for i in (0, 3, 6)] + [(i, i + 3, i + 6) for i in (0, 1, 2)]
    lines += [(0, 4, 8), (2, 4, 6)]
    ended: set[tuple[str, ...]] = set()
    seen = {"b" * 9}
    waiting = ["b" * 9]
    while waiting:
        board = waiting.pop()
        player = "x" if board.count("x") == board.count("o") else "o"
        for square in (i for i in range(9) if board[i] == "b"):
            after = board[:square] + player + board[square + 1 :]
            if any(all(after[i] == player for i in line) for line in lines):
                ended.add((*after, "positive" if player == "x" else "negative"))
            elif "b" not in after:
                ended.add((*after, "negative"))
            elif after not in seen:
                seen.add(after)
                waiting.append(after)
    return ended


def test_the_cars_are_graded_as_published(tmp_path: Path) -> None:
    write_whole("car", tmp_path, 0)
    frame = pd.read_csv(tmp_path / "car.csv", dtype=str)
    assert Counter(frame["class"]) == {"unacc": 1210, "acc": 384, "good": 69, "vgood": 65}
    two_or_unsafe = (frame["persons"] == "2") | (frame["safety"] == "low")
    assert set(frame["class"][two_or_unsafe]) == {"unacc"}


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("car", "b703a9ac69f11e64ce8c223c0a40de4d2e9d769f7fb20be5f8f2e8a619893d83"),
        ("tic-tac-toe", "a996a756484d0cf8cbad1680d823aadbfcff8ae2d78c450e6999362d580301c5"),
    ],
)
def test_rows_are_those_of_the_published_files_in_their_order(tmp_path: Path, name: str, digest: str) -> None:
    """Digests of UCI's car.data and of OpenML's tic-tac-toe, without their headers."""
    write_whole(name, tmp_path, 0)
    rows = (tmp_path / f"{name}.csv").read_bytes().split(b"\n", 1)[1]
    assert hashlib.sha256(rows).hexdigest() == digest


def test_a_simulated_table_has_the_shape_it_is_asked_for(tmp_path: Path) -> None:
    frame = made(tmp_path)
    assert list(frame.columns) == [*(f"V{i}" for i in range(1, 8)), "grade", "V9", "V10", "Class"]
    assert Counter(frame["Class"]) == {1: 120, 2: 300, 3: 80}
    assert frame.isna().sum().sum() == 333
    assert [frame[name].nunique() for name in ("grade", "V9", "V10")] == [3, 12, 4]
    assert set(frame["grade"].dropna()) == {0, 1, 2}
    assert set(frame["V10"].dropna()) == {"c0", "c1", "c2", "c3"}


def test_a_seed_fixes_every_byte(tmp_path: Path) -> None:
    for folder, seed in (("first", 0), ("again", 0), ("other", 1)):
        made(tmp_path / folder, seed=seed)
    first, again, other = (
        (tmp_path / folder / "made-up.csv").read_bytes() for folder in ("first", "again", "other")
    )
    assert first == again != other


def test_planes_do_not_solve_it_and_trees_do(tmp_path: Path) -> None:
    shape = Simulated(name="made-up", target="Class", class_rows=(400, 200), num_numeric=12)
    frame = made(tmp_path, shape)
    x, y = frame.drop(columns="Class").to_numpy(), frame["Class"].to_numpy()
    x = (x - x.mean(axis=0)) / x.std(axis=0)

    def auroc(model: object) -> float:
        guess = cross_val_predict(model, x, y, cv=3, method="predict_proba")
        return float(roc_auc_score(y, guess[:, 1]))

    plane, trees = auroc(LogisticRegression(max_iter=500)), auroc(RandomForestClassifier(60, random_state=0))
    assert plane < 0.85
    assert trees > 0.93
