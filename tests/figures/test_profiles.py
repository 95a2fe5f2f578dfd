from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from pare_tune.errors import DataError
from pare_tune.figures.profiles import make, performance_profile, performance_ratios, read_table

ROWS = [
    # task, method, score, direction: PaRe's ratios are 1, 1.5, 1; NFT's 2, 1, 1.25
    ("a", "pare", 10.0, "min"),
    ("a", "nft", 20.0, "min"),
    ("b", "pare", 0.6, "min"),
    ("b", "nft", 0.4, "min"),
    ("c", "pare", 0.5, "max"),
    ("c", "nft", 0.4, "max"),
]


def table(rows: list[tuple[str, str, float, str]] = ROWS) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["task", "method", "score", "direction"])


def steps(found: pd.DataFrame, method: str) -> list[tuple[float, float]]:
    mine = found[found["method"] == method]
    return [(pytest.approx(t), pytest.approx(s)) for t, s in zip(mine["tau"], mine["share"], strict=True)]


def test_profiles_are_those_worked_out_by_hand() -> None:
    found = performance_profile(table())
    assert steps(found, "pare") == [(1.0, 2 / 3), (1.5, 1.0)]
    assert steps(found, "nft") == [(1.0, 1 / 3), (1.25, 2 / 3), (2.0, 1.0)]


def test_a_method_that_is_always_the_best_is_a_line_at_one() -> None:
    found = performance_profile(table([("a", "x", 1.0, "min"), ("a", "y", 3.0, "min")]))
    assert steps(found, "x") == [(1.0, 1.0)]
    assert steps(found, "y") == [(1.0, 0.0), (3.0, 1.0)]


def test_ties_are_both_the_best_and_perfect_scores_have_no_ratio() -> None:
    perfect = [("a", "x", 0.0, "min"), ("a", "y", 0.0, "min"), ("a", "z", 0.1, "min")]
    rows = [*perfect, ("b", "x", 0.0, "max"), ("b", "y", 2.0, "max")]
    found = performance_ratios(table(rows))
    assert found.loc["a"].tolist() == [1.0, 1.0, math.inf]
    assert found.loc["b", "y"] == 1.0
    assert found.loc["b", "x"] == math.inf
    assert found.loc["b", "z"] == math.inf, "z was not run on b"


def test_a_task_without_a_score_is_never_solved() -> None:
    found = performance_profile(table([*ROWS, ("d", "pare", 1.0, "min"), ("d", "nft", math.nan, "min")]))
    assert steps(found, "nft")[-1] == (2.0, 3 / 4)
    assert steps(found, "pare")[-1] == (1.5, 1.0)


def test_a_method_without_any_score_can_be_in_the_table() -> None:
    rows = [*ROWS, *((t, "none", math.nan, d) for t, d in (("a", "min"), ("b", "min"), ("c", "max")))]
    assert "pare 67%" in make(table(rows), "toy").caption
    found = performance_profile(table(rows))
    assert all(share == 0.0 for _, share in found[found["method"] == "none"][["tau", "share"]].to_numpy())
    assert steps(found, "pare") == [(1.0, 2 / 3), (1.5, 1.0)]


def test_seeds_count_by_their_mean() -> None:
    rows = [("a", "x", 1.0, "min"), ("a", "x", 3.0, "min"), ("a", "y", 1.0, "min")]
    assert performance_ratios(table(rows)).loc["a"].tolist() == [2.0, 1.0]


def test_equal_scores_are_equal_whatever_the_last_bit() -> None:
    rows = [("a", "x", 0.1 + 0.2, "min"), ("a", "y", 0.3, "min")]
    assert steps(performance_profile(table(rows)), "x")[0] == (1.0, 1.0)


@pytest.mark.parametrize("name", ["scores.csv", "scores.parquet"])
def test_tables_are_read_and_drawn(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name.endswith("csv"):
        table().to_csv(path, index=False)
    else:
        table().assign(seed=0).to_parquet(path)
    drawing = make(read_table(path), name)
    assert drawing.columns == ("method", "tau", "share")
    assert len(drawing.rows) == 5
    assert "pare 67%" in drawing.caption


def test_twenty_methods_over_three_decades_can_be_drawn() -> None:
    rows = [("t", f"m{i}", float(10 ** (i / 6)), "min") for i in range(20)]
    assert make(table(rows), "toy").figure.axes[0].get_xscale() == "log"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("task,method,score\na,x,1\n", "'direction' is missing"),
        ("task,method,score,direction\n", "at least one row"),
        ("task,method,score,direction\na,x,1,down\n", "min or max, found 'down'"),
        ("task,method,score,direction\na,x,good,min\n", "must be a number, found 'good'"),
        ("task,method,score,direction\na,x,1,min\na,y,1,max\n", "task a has scores of both directions"),
        ("task,method,score,direction\na,x,-1,min\n", "x on a has -1"),
    ],
)
def test_a_table_that_is_none_is_one_clear_message(text: str, part: str, tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=part):
        make(read_table(path), "toy")


@pytest.mark.parametrize("name", ["none.csv", "broken.parquet", "empty.csv"])
def test_a_file_that_cannot_be_read_is_one_clear_message(name: str, tmp_path: Path) -> None:
    if name != "none.csv":
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match="as a table"):
        read_table(tmp_path / name)
