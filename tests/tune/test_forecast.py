"""The time left: against hand-made cases, and against simulated searches whose end is known."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest

from pare_tune.config import Budget, SearchConfig
from pare_tune.tune.forecast import affordable_seeds, remaining, repeats_due, repeats_planned
from pare_tune.tune.snapshot import TrialView

EPOCHS = 9


def plan(budget: Budget, confirm: int = 0) -> SearchConfig:
    """With one rung, after 3 of 9 epochs, where a third goes on."""
    return SearchConfig(budget=budget, confirm=confirm, first_rung=0.3, reduction=3)


def trial(
    number: int, state: Any, epochs_run: int, *, repeats: int | None = None, curve: Any = None
) -> TrialView:
    rows = [{"epoch": e + 1, "score": 1.0} for e in range(epochs_run)] if curve is None else curve
    return TrialView(
        number=number, state=state, params={}, curve=tuple(rows), epochs=EPOCHS, best_score=1.0, repeats=repeats
    )  # fmt: skip


@pytest.mark.parametrize(
    ("budget", "trials", "expected"),
    [
        (Budget(amount=4), [trial(0, "running", 0)], None),
        # Before any trial has ended, halving's average: a third of 9 epochs and two thirds of 3 make 5.
        (Budget(amount=4), [trial(0, "running", 2)], 100.0 / 2 * (7 + 3 * 5)),
        # Four such are assumed beside the one seen, which took 3 epochs: 23 / 5 each. The running one is past its
        # second epoch, so 2 less.
        (
            Budget(amount=4),
            [trial(0, "complete", 9), trial(1, "pruned", 3), trial(2, "running", 2)],
            100.0 / 14 * (23 / 5 + 23 / 5 - 2),
        ),
        (Budget(amount=20, unit="epochs"), [trial(0, "complete", 9), trial(1, "running", 1)], 100.0),
        (Budget(amount=130, unit="seconds"), [trial(0, "running", 0)], 30.0),
        (Budget(amount=90, unit="seconds"), [trial(0, "complete", 9), trial(1, "running", 1)], 10.0),
    ],
)
def test_time_left_follows_from_the_epochs_measured(
    budget: Budget, trials: list[TrialView], expected: float | None
) -> None:
    assert remaining(plan(budget), trials, elapsed=100.0) == pytest.approx(expected)


def test_two_rungs_are_two_chances_to_stop() -> None:
    """Half of all trials after 4 of 9 epochs, half of the others after 8: 6.25 on average."""
    two = SearchConfig(budget=Budget(amount=4), confirm=0, first_rung=0.34, reduction=2)
    assert remaining(two, [trial(0, "running", 2)], elapsed=100.0) == pytest.approx(50 * (7 + 3 * 6.25))


def test_the_confirmation_is_of_full_length_and_waits_for_the_search() -> None:
    done = [trial(0, "complete", 9), *(trial(n, "pruned", 3) for n in range(1, 18))]
    without = remaining(plan(Budget(amount=24)), done, elapsed=60.0)
    withal = remaining(plan(Budget(amount=24), 2), done, elapsed=60.0)
    length = (17 * 3 + 4 * 5) / 21
    assert without == pytest.approx(6 * length)
    assert withal == pytest.approx(6 * 9)


@pytest.mark.parametrize(
    ("budget", "confirm", "seeds"),
    [
        (Budget(amount=24), 2, 2),
        (Budget(amount=23), 2, 1),
        (Budget(amount=11), 2, 0),
        (Budget(amount=99), 0, 0),
    ],
)
def test_fresh_seeds_cost_a_quarter_of_the_budget_at_most(budget: Budget, confirm: int, seeds: int) -> None:
    assert affordable_seeds(budget, confirm, float) == seeds


def test_a_default_that_was_confirmed_is_not_repeated() -> None:
    assert [repeats_due(repeated, 2) for repeated in range(4)] == [6, 5, 4, 4]


def test_the_repeats_to_come_are_counted_once_they_have_begun() -> None:
    search = [trial(n, "complete", 9) for n in range(18)]
    assert repeats_planned(plan(Budget(amount=24), 2), search) == 0
    assert repeats_planned(plan(Budget(amount=24), 2), [*search, trial(18, "running", 1, repeats=3)]) == 6
    assert repeats_planned(plan(Budget(amount=24), 2), [*search[:1], trial(1, "running", 1, repeats=0)]) == 2


@dataclass
class Simulated:
    """A search as it would run: places that become free one by one, epochs of uneven length, rungs that stop trials."""

    budget: Budget
    slots: int
    confirm: int
    seed: int
    epoch_s: float = 10.0
    starts: float = 15.0
    """Seconds before the first trial starts: Ray and the backbone."""
    gap: float = 1.0
    curves: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    states: dict[int, Any] = field(default_factory=dict)
    repeats: dict[int, int | None] = field(default_factory=dict)

    def views(self) -> list[TrialView]:
        return [
            trial(n, state, 0, repeats=self.repeats[n], curve=list(self.curves[n]))
            for n, state in self.states.items()
        ]

    def run(self) -> Iterator[float]:
        """The moments after each change, in order; the state is in `views`."""
        rng = random.Random(self.seed)
        events: list[tuple[float, int, int]] = []
        free, now, spent = self.slots, self.starts, 0

        def start(at: float) -> bool:
            number = len(self.states)
            left = self.left(spent)
            seeds = affordable_seeds(self.budget, self.confirm, lambda n: float(self.cost(n)))
            repeated = sum(n == 0 for n in self.repeats.values())
            again = seeds and number and left <= self.cost(repeats_due(repeated, seeds))
            if left <= 0:
                return False
            if again and any(s == "running" and self.repeats[n] is None for n, s in self.states.items()):
                return False
            self.states[number], self.curves[number] = "running", []
            self.repeats[number] = 0 if again else None
            heapq.heappush(events, (at + self.length(rng), number, 1))
            return True

        while free and start(now):
            free -= 1
        yield now
        while events:
            now, number, epoch = heapq.heappop(events)
            spent += 1
            row = {"epoch": epoch, "score": 1.0, "elapsed": now, "seconds": self.epoch_s}
            self.curves[number].append(row)
            exhausted = self.budget.unit == "epochs" and self.left(spent) <= 0
            safe = number == 0 or self.repeats[number] is not None
            if epoch == EPOCHS:
                self.states[number] = "complete"
            elif exhausted or (not safe and epoch == 3 and number % 5 in (1, 3, 4)):
                self.states[number] = "pruned"
            else:
                heapq.heappush(events, (now + self.length(rng), number, epoch + 1))
            if self.states[number] != "running":
                free += 1
                while free and start(now + self.gap):
                    free -= 1
            yield now

    def length(self, rng: random.Random) -> float:
        return self.epoch_s * rng.uniform(0.9, 1.1)

    def cost(self, trials: int) -> float:
        return trials if self.budget.unit == "trials" else trials * EPOCHS

    def left(self, spent: int) -> float:
        return self.budget.amount - (len(self.states) if self.budget.unit == "trials" else spent)


CASES = [
    (Budget(amount=50), 2, 2),
    (Budget(amount=50), 1, 2),
    (Budget(amount=50), 8, 2),
    (Budget(amount=90), 4, 2),
    (Budget(amount=24), 2, 0),
    (Budget(amount=400, unit="epochs"), 4, 2),
    (Budget(amount=300, unit="epochs"), 1, 0),
]


@pytest.mark.parametrize(("budget", "slots", "confirm"), CASES)
@pytest.mark.parametrize("seed", range(2))
def test_the_estimate_of_a_simulated_search_is_honest(
    budget: Budget, slots: int, confirm: int, seed: int
) -> None:
    times = list(Simulated(budget, slots, confirm, seed).run())
    end, stride = times[-1], math.ceil(len(times) / 60)
    told: list[tuple[float, float]] = []
    search = Simulated(budget, slots, confirm, seed)
    for i, (now, after) in enumerate(zip(search.run(), times[1:], strict=False)):
        if i % stride and i < len(times) - 20:
            continue
        views = search.views()
        for elapsed in (now, (now + after) / 2):
            left = remaining(plan(budget, confirm), views, elapsed)
            assert (left is None) == (not any(t.curve for t in views))
            if left is not None:
                assert math.isfinite(left)
                assert left > 0.0, f"nothing left at {elapsed:.0f} s of {end:.0f} s"
                told.append((elapsed, left))
    for elapsed, left in told:
        if 0.25 * end <= elapsed:
            # One whole trial more or less is chance, whatever is left.
            assert left == pytest.approx(end - elapsed, rel=0.3, abs=100.0), (
                f"at {elapsed:.0f} of {end:.0f} s"
            )
    for (_, before), (_, then) in pairwise(told):
        assert abs(then - before) < 0.15 * end, "the estimate jumps"


def test_ignoring_the_confirmation_would_have_been_wrong() -> None:
    budget = Budget(amount=50)
    search = Simulated(budget, 2, 2, seed=1)
    moments = [(now, search.views()) for now in search.run()]
    end = moments[-1][0]
    now, views = moments[len(moments) // 2]
    honest = remaining(plan(budget, 2), views, now)
    blind = remaining(plan(budget, 0), views, now)
    assert honest is not None
    assert blind is not None
    assert abs(honest - (end - now)) < abs(blind - (end - now))


@pytest.mark.parametrize(
    "budget", [Budget(amount=4), Budget(amount=14, unit="epochs"), Budget(amount=95, unit="seconds")]
)
def test_an_epoch_that_takes_longer_than_expected_does_not_bring_the_estimate_to_zero(budget: Budget) -> None:
    rows = [{"epoch": e, "score": 1.0, "elapsed": 10.0 * e, "seconds": 10.0} for e in range(1, 10)]
    last = [{"epoch": 1, "score": 1.0, "elapsed": 101.0, "seconds": 10.0}]
    trials = [trial(0, "complete", 0, curve=rows), trial(1, "running", 0, curve=last)]
    estimates = [remaining(plan(budget), trials, elapsed) for elapsed in (101.0, 105.0, 111.0, 500.0)]
    assert all(left is not None and left > 0 for left in estimates)
    assert estimates == sorted(estimates, reverse=True), "it falls as time goes by"


def test_trials_that_a_killed_session_left_behind_count_with_what_they_lack() -> None:
    rows = [{"epoch": e, "score": 1.0, "elapsed": 10.0 * e, "seconds": 10.0} for e in range(1, 10)]
    waiting = trial(1, "waiting", 0, curve=rows[:4])
    assert remaining(
        plan(Budget(amount=2)), [trial(0, "complete", 0, curve=rows), waiting], 90.0
    ) == pytest.approx(50.0)


def test_trials_that_wait_for_nodes_wait_for_the_places_there_are() -> None:
    """Twelve were asked for where two run at a time: the ten that wait run two by two."""
    rows = [{"epoch": e, "score": 1.0, "elapsed": 10.0 * e, "seconds": 10.0} for e in range(1, 4)]
    running = [trial(n, "running", 0, curve=rows) for n in range(2)]
    waiting = [trial(n, "waiting", 0) for n in range(2, 12)]
    search = plan(Budget(amount=12)).model_copy(update={"pruning": False})
    assert remaining(search, [*running, *waiting], 30.0) == pytest.approx(60 + 5 * 90)
