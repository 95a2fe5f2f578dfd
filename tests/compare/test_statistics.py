"""Against numbers worked out by hand, and the worked example of Demšar (JMLR 2006)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pare_tune.compare.statistics import (
    Ranking,
    bootstrap_interval,
    compare_pairs,
    critical_difference,
    holm,
    rank_methods,
    relative_difference,
    smallest_p,
    wilcoxon,
)

# Demšar's Table 6: AUC of C4.5, with m, with cf, and with both tuned. (The two that are printed as 0.975 have ranks 2
# and 3 there.)
TREES = ("c45", "c45+m", "c45+cf", "c45+m+cf")
AUC = """
0.763 0.768 0.771 0.798
0.599 0.591 0.590 0.569
0.954 0.971 0.968 0.967
0.628 0.661 0.654 0.657
0.882 0.888 0.886 0.898
0.936 0.931 0.916 0.931
0.661 0.668 0.609 0.685
0.583 0.583 0.563 0.625
0.775 0.838 0.866 0.875
1.000 1.000 1.000 1.000
0.940 0.962 0.965 0.962
0.619 0.666 0.614 0.669
0.972 0.981 0.9751 0.975
0.957 0.978 0.946 0.970
"""


def demsar() -> Ranking:
    rows = np.array([[float(v) for v in line.split()] for line in AUC.strip().splitlines()])
    scores = {f"d{i}": {m: (v,) for m, v in zip(TREES, row, strict=True)} for i, row in enumerate(rows)}
    return rank_methods(scores, dict.fromkeys(scores, "max"), TREES)


def test_ranks_and_critical_difference_are_those_of_demsars_example() -> None:
    found = demsar()
    assert found.tasks == 14
    np.testing.assert_allclose(found.ranks, [3.143, 2.000, 2.893, 1.964], atol=5e-4)
    assert found.critical == pytest.approx(1.25, abs=5e-3)
    # He leaves ties uncorrected, which gives 9.28 and 3.69.
    n, k = 14, 4
    plain = 12 * n / (k * (k + 1)) * (sum(r * r for r in found.ranks) - k * (k + 1) ** 2 / 4)
    assert plain == pytest.approx(9.28, abs=0.02)
    assert found.chi2 > plain
    assert found.p < 0.02


@pytest.mark.parametrize(("methods", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_critical_values_are_those_of_demsars_table_5(methods: int, q: float) -> None:
    per_q = math.sqrt(methods * (methods + 1) / (6 * 30))
    assert critical_difference(methods, 30) == pytest.approx(q * per_q, rel=3e-4)


def test_friedman_without_ties_is_the_sum_worked_out_by_hand() -> None:
    scores = {
        "s": {"a": (1,), "b": (2,), "c": (3,)},
        "t": {"a": (1,), "b": (3,), "c": (2,)},
        "u": {"a": (2,), "b": (4,), "c": (9,)},
    }
    found = rank_methods(scores, dict.fromkeys(scores, "min"), ("a", "b", "c"))
    assert found.ranks == pytest.approx((1, 7 / 3, 8 / 3))
    chi2 = 12 * 3 / (3 * 4) * (1 + 49 / 9 + 64 / 9 - 3 * 16 / 4)
    assert found.chi2 == pytest.approx(chi2)
    f = 2 * chi2 / (3 * 2 - chi2)
    # The survival function of F with 2 and 4 degrees of freedom is (1 + f/2)^-2.
    assert found.p == pytest.approx((1 + f / 2) ** -2)


def test_complete_agreement_and_complete_ties_have_a_p_too() -> None:
    agree = {t: {"a": (1,), "b": (2,), "c": (3,)} for t in "stu"}
    assert rank_methods(agree, dict.fromkeys(agree, "min"), ("a", "b", "c")).p == 0.0
    tied = {t: {"a": (1,), "b": (1,), "c": (1,)} for t in "stu"}
    found = rank_methods(tied, dict.fromkeys(tied, "min"), ("a", "b", "c"))
    assert (found.ranks, found.chi2, found.p) == ((2, 2, 2), 0.0, 1.0)


def test_only_tasks_that_all_methods_have_are_ranked() -> None:
    scores = {"s": {"a": (1,), "b": (2,)}, "t": {"a": (3,), "b": ()}, "u": {"a": (4,)}}
    found = rank_methods(scores, dict.fromkeys(scores, "min"), ("a", "b"))
    assert (found.tasks, found.ranks) == (1, (1, 2))
    assert math.isnan(found.critical)
    empty = rank_methods({"t": {"a": (), "b": ()}}, {"t": "min"}, ("a", "b"))
    assert empty.tasks == 0
    assert all(map(math.isnan, empty.ranks))


def test_relative_differences_have_a_sign_that_means_worse() -> None:
    assert relative_difference(3.0, 1.0, "min") == pytest.approx(1.0)
    assert relative_difference(3.0, 1.0, "max") == pytest.approx(-1.0)
    assert relative_difference(0.0, 0.0, "min") == 0.0
    assert relative_difference(0.0, 5.0, "min") == -2.0
    assert relative_difference(30.0, 10.0, "min") == pytest.approx(relative_difference(0.3, 0.1, "min"))


def test_wilcoxon_is_exact_and_leaves_zeros_out() -> None:
    # Five differences of one sign: 2 of the 2^5 sign patterns are as extreme.
    assert wilcoxon([0.1, 0.2, 0.3, 0.4, 0.5]) == pytest.approx(2 / 32) == smallest_p(5)
    assert wilcoxon([0.0, 0.1, 0.2, 0.3, 0.4, 0.5]) == pytest.approx(2 / 32)
    # Ranks 1..3, the smallest against the others: sums 1 and 5; 4 of 8 patterns have a sum of 1 or less, or 5 or more.
    assert wilcoxon([-0.1, 0.2, 0.3]) == pytest.approx(4 / 8)
    assert wilcoxon([0.0, 0.0]) == 1.0
    assert math.isnan(wilcoxon([]))
    assert smallest_p(1) == 1.0


def test_holm_multiplies_by_what_is_left_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    corrected = holm([0.5, math.nan, 0.9])
    assert corrected[0] == corrected[2] == pytest.approx(1.0)
    assert math.isnan(corrected[1])


def test_the_bootstrap_covers_all_means_of_two_seeds_and_nothing_else() -> None:
    low, high = bootstrap_interval([((1.0, 3.0), (2.0,), "min")])
    # Means of two draws are 1, 2 or 3: relative differences -2/3, 0 and 2/5, the outer ones a quarter of the time each.
    assert (low, high) == pytest.approx((-2 / 3, 2 / 5))
    assert bootstrap_interval([((1.0, 3.0), (2.0,), "max")]) == pytest.approx((-2 / 5, 2 / 3))
    assert all(map(math.isnan, bootstrap_interval([((1.0,), (2.0,), "min")])))
    assert all(map(math.isnan, bootstrap_interval([])))


def test_pairs_say_on_how_many_tasks_they_rest() -> None:
    scores = {
        "s": {"a": (1.0, 1.0), "b": (2.0, 2.0), "c": ()},
        "t": {"a": (2.0, 2.0), "b": (2.0, 2.0), "c": (9.0, 9.0)},
    }
    ab, ac, bc = compare_pairs(scores, {"s": "min", "t": "max"}, ("a", "b", "c"))
    assert (ab.tasks, ab.wins, ab.ties, ab.losses) == (2, 1, 1, 0)
    assert (ac.tasks, ac.wins, ac.losses) == (1, 0, 1), "higher is better on t"
    assert ab.difference == pytest.approx((-2 / 3 + 0) / 2)
    assert (ab.low, ab.high) == pytest.approx((ab.difference, ab.difference)), (
        "seeds that agree leave no interval"
    )
    assert (bc.first, bc.second, bc.p) == ("b", "c", 1.0)
    assert ab.p_holm == 1.0
