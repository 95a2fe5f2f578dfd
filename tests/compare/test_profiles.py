from __future__ import annotations

import math

import pandas as pd
import pytest

from pare_tune.compare.profiles import draw, performance_ratios

ROWS = [
    # task, method, score, direction: PaRe's ratios are 1, 1.5, 1; NFT's 2, 1, 1.25
    ("a", "pare", 10.0, "min"),
    ("a", "nft", 20.0, "min"),
    ("b", "pare", 0.6, "min"),
    ("b", "nft", 0.4, "min"),
    ("c", "pare", 0.5, "max"),
    ("c", "nft", 0.4, "max"),
]


def ratios(rows: list[tuple[str, str, float, str]] = ROWS) -> pd.DataFrame:
    return performance_ratios(pd.DataFrame(rows, columns=["task", "method", "score", "direction"]))


def steps(table: pd.DataFrame, method: str) -> list[tuple[float, float]]:
    """What is written, which is what is drawn."""
    return [(pytest.approx(tau), pytest.approx(share)) for m, tau, share in draw(table).rows if m == method]


def test_profiles_are_those_worked_out_by_hand() -> None:
    assert steps(ratios(), "pare") == [(1.0, 1 / 3), (1.0, 2 / 3), (1.5, 1.0)]
    assert steps(ratios(), "nft") == [(1.0, 1 / 3), (1.25, 2 / 3), (2.0, 1.0)]
    assert "pare 67%" in draw(ratios()).caption
    lines = {line.get_label(): line.get_ydata()[-1] for line in draw(ratios()).figure.axes[0].lines}  # type: ignore[index]
    assert lines == {"pare": 1.0, "nft": 1.0}


def test_ties_are_both_the_best_and_perfect_scores_have_no_ratio() -> None:
    perfect = [("a", "x", 0.0, "min"), ("a", "y", 0.0, "min"), ("a", "z", 0.1, "min")]
    table = ratios([*perfect, ("b", "x", 0.0, "max"), ("b", "y", 2.0, "max")])
    assert table.loc["a"].tolist() == [1.0, 1.0, math.inf]
    assert table.loc["b", "y"] == 1.0
    assert table.loc["b", "x"] == math.inf
    assert table.loc["b", "z"] == math.inf, "z was not run on b"


def test_a_task_without_a_score_is_never_solved() -> None:
    table = ratios([*ROWS, ("d", "pare", 1.0, "min"), ("d", "nft", math.nan, "min")])
    assert steps(table, "nft")[-1] == (2.0, 3 / 4)
    assert steps(table, "pare")[-1] == (1.5, 1.0)


def test_a_method_without_any_score_can_be_in_the_table() -> None:
    table = ratios(
        [*ROWS, *((t, "none", math.nan, d) for t, d in (("a", "min"), ("b", "min"), ("c", "max")))]
    )
    assert steps(table, "none") == []
    assert "none 0%" in draw(table).caption


def test_seeds_count_by_their_mean_and_equal_scores_are_equal_whatever_the_last_bit() -> None:
    rows = [("a", "x", 1.0, "min"), ("a", "x", 3.0, "min"), ("a", "y", 1.0, "min")]
    assert ratios(rows).loc["a"].tolist() == [2.0, 1.0]
    assert "x 100%" in draw(ratios([("a", "x", 0.1 + 0.2, "min"), ("a", "y", 0.3, "min")])).caption


def test_twenty_methods_over_three_decades_can_be_drawn() -> None:
    rows = [("t", f"m{i}", float(10 ** (i / 6)), "min") for i in range(20)]
    assert draw(ratios(rows)).figure.axes[0].get_xscale() == "log"
