"""How often a search says "better" when nothing is, and how often the gain that it claims is right.

    python tests/benchmarks/verdict.py --searches 400

Each search is simulated on per-sample errors: 50 configurations and the default, each of which finds some
samples easier and some harder than the others do (`taste`), is a little better or worse with each seed, and is right or
wrong on each sample by chance. The best trial is chosen, confirmed and judged by the code that searches use. In the
first rows no configuration is better than the default; in the others the true gains differ, in logits (mean ± standard
deviation; half a logit is about 6 points). The truth is the error on endless samples and seeds. "Beyond the spread" is
what was called better before: by more than the seeds' spread.
"""
# Shape suffixes: M = configurations, the default first, n = samples.

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pare_tune.report import words
from pare_tune.train.judge import _BLOCKS, blocks
from pare_tune.tune.snapshot import Snapshot, TrialView

TRIALS, SEEDS = 50, 2


@dataclass(frozen=True)
class World:
    """What configurations are like, on the scale of logits."""

    samples: int
    taste: float
    gains: float = 0.0
    mean: float = 0.0
    seed: float = 0.1
    noise: float = 1.0

    def errors(
        self, rng: np.random.Generator, easy_n: np.ndarray, shift: float, taste_n: np.ndarray
    ) -> np.ndarray:
        """Whether one training of a configuration is wrong on each sample."""
        logit_n = easy_n + shift + self.taste * taste_n + self.noise * rng.normal(size=len(easy_n))
        return (rng.random(len(easy_n)) < 1 / (1 + np.exp(-logit_n - self.seed * rng.normal()))).astype(float)

    def truth(self, shift: float) -> float:
        """Error in percent on endless samples and seeds."""
        spread = np.sqrt(_HARD**2 + self.taste**2 + self.noise**2 + self.seed**2)
        return float(100 * np.mean(1 / (1 + np.exp(-(_EASY + shift + spread * _NORMAL)))))


_EASY, _HARD = -2.5, 1.8
"""Mean and spread of how hard samples are: about 18 % are wrong."""
_NORMAL = np.random.default_rng(0).normal(size=100_000)


def trial(number: int, wrong_n: np.ndarray, repeats: int | None = None) -> TrialView:
    """A finished trial with these errors; the influences of a mean are its blocks' means."""
    block_n = blocks(np.arange(len(wrong_n)), _BLOCKS)
    told = 100 * np.bincount(block_n, weights=wrong_n) / np.bincount(block_n)
    score = 100 * float(wrong_n.mean())
    report = {
        "epoch": 1,
        "epochs": 1,
        "score": score,
        "best_score": score,
        "k": 0,
        "influences": told.tolist(),
    }
    return TrialView(
        number=number, state="complete", params={}, curve=(report,), epochs=1, best_score=score, best_epoch=1,
        repeats=repeats,
    )  # fmt: skip


def search(world: World, seed: int) -> tuple[Snapshot, list[float]]:
    """A finished search and how much harder than usual each of its configurations finds every sample."""
    rng = np.random.default_rng(seed)
    easy_n = rng.normal(_EASY, _HARD, world.samples)
    shift_M = np.concatenate([[0.0], rng.normal(-world.mean, world.gains, TRIALS)])
    taste_Mn = rng.normal(size=(TRIALS + 1, world.samples))

    def train(configuration: int) -> np.ndarray:
        return world.errors(rng, easy_n, shift_M[configuration], taste_Mn[configuration])

    trials = [trial(number, train(number)) for number in range(TRIALS + 1)]
    leaders = sorted(trials[1:], key=lambda t: t.best_score or 0.0)[:2]
    for number in (leaders[0].number, 0, leaders[1].number):
        trials += [trial(len(trials) + i, train(number), repeats=number) for i in range(SEEDS)]
    snapshot = Snapshot(
        run=Path("run"), task="simulated", metric="error_rate", unit="%", direction="min", provenance="sample",
        preset="embedded", backbone="none", budget="57 trials", spent=1.0, elapsed_s=0.0, remaining_s=0.0,
        trials=tuple(trials), finished=True, is_running=False, samples=world.samples,
    )  # fmt: skip
    return snapshot, shift_M.tolist()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--searches", type=int, default=400)
    options = parser.parse_args()
    print(
        '| samples | taste | true gains | says "better" | beyond the spread | right | claimed | true gain |'
    )
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for gains, mean in ((0.0, 0.0), (0.3, 0.0), (0.6, -0.3)):
        for samples in (50, 200, 1000):
            for taste in (0.5, 1.0):
                print(row(World(samples, taste, gains, mean), options.searches), flush=True)


def row(world: World, searches: int) -> str:
    """One world's line."""
    better, naive, right, claimed, true = [], [], [], [], []
    for seed in range(searches):
        snapshot, shift = search(world, seed)
        better.append(words.verdict(snapshot).startswith("Better"))
        number = next(c.number for c in snapshot.choice.confirmed if c.number != 0)
        gain = snapshot.gain(snapshot.best.number or number)
        gained = world.truth(shift[0]) - world.truth(shift[snapshot.best.number or number])
        assert gain.interval is not None
        right.append(gain.interval.low <= gained <= gain.interval.high)
        spread = snapshot.choice.spread or 0.0
        naive.append(snapshot.best.number != 0 and gain.value > spread)
        if better[-1]:
            claimed.append(gain.value)
            true.append(gained)
    said = f"{np.mean(claimed):.1f} | {np.mean(true):.1f}" if claimed else "– | –"
    gains = "none" if not world.gains else f"{world.mean:g} ± {world.gains:g}"
    return (
        f"| {world.samples} | {world.taste} | {gains} | {100 * np.mean(better):.1f} % | {100 * np.mean(naive):.1f} % | "
        f"{100 * np.mean(right):.1f} % | {said} |"
    )


if __name__ == "__main__":
    main()
