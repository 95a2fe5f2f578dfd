"""How many of the N tokens are replaced in each epoch: from mostly source (easy) to mostly target (hard).

PaRe (Cai et al., ICML 2024), sections 3.2 and 4.2, https://arxiv.org/abs/2406.09003
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

ScheduleKind = Literal["linear", "exponential", "piecewise", "cosine", "constant", "random"]
_KINDS = ("linear", "exponential", "piecewise", "cosine", "constant", "random")


@dataclass(frozen=True, kw_only=True, slots=True)
class KSchedule:
    """The share K/N over the training, as a function of progress = epoch / epochs in [0, 1).

    Every falling kind begins at `start` in epoch 0, never rises, and would reach `end` at progress 1, one
    past the last epoch. The official configs store the drop, not the end: begin_num=2000, end_num=1500 of
    3136 there is KSchedule(start=2000 / 3136, end=500 / 3136) here.
    """

    kind: ScheduleKind = "linear"
    """linear: the paper's default. exponential, piecewise: its Table 4. cosine: half a cosine. constant:
    `start` in every epoch. random: the paper's non-gradual, a fresh uniform draw from [end, start] in every
    epoch."""
    start: float = 0.957
    """Share of the N tokens replaced in epoch 0 (paper: 3000 of 3136)."""
    end: float = 0.0
    """Share approached at the end of training (paper: 0)."""
    rate: float = 5.0
    """exponential: strength r of the decay; near 0 it is linear, 5 has done 92 % of the fall half-way."""
    steps: int = 4
    """piecewise: number of levels, equally long and far apart; as many as epochs is the linear schedule."""

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ValueError(f"KSchedule needs a kind of {', '.join(_KINDS)}, got {self.kind!r}")
        if not 0.0 <= self.end <= self.start <= 1.0:
            raise ValueError(
                f"KSchedule needs 0 <= end <= start <= 1, shares of N, got end={self.end}, start={self.start}"
            )
        if not (self.rate > 0.0 and math.isfinite(self.rate)):
            raise ValueError(f"KSchedule needs a finite rate > 0, got {self.rate}")
        if self.steps < 1:
            raise ValueError(f"KSchedule needs steps >= 1, got {self.steps}")

    def share_at(self, progress: float, rng: np.random.Generator | None = None) -> float:
        """Share of the tokens replaced at `progress` in [0, 1); kind "random" draws it from `rng`.

        Exponential: end + (start − end)·(e^(−r·progress) − e^(−r)) / (1 − e^(−r)).

        Raises:
            ValueError: progress is outside [0, 1), or a random schedule is given no `rng`.
        """
        if not 0.0 <= progress < 1.0:
            raise ValueError(f"progress through training must lie in [0, 1), got {progress}")
        if self.kind == "random":
            if rng is None:
                raise ValueError("a random schedule draws its share, so share_at needs an rng")
            return float(rng.uniform(self.end, self.start))
        return self.end + (self.start - self.end) * self._remaining(progress)

    def k_at(self, epoch: int, epochs: int, num_tokens: int, seed: int = 0) -> int:
        """Tokens replaced in `epoch` of `epochs`: share·N rounded, 0 to N. Same arguments, same K.

        Raises:
            ValueError: epoch is not one of 0 … epochs − 1, or there are no tokens.
        """
        if not 0 <= epoch < epochs:
            raise ValueError(f"epoch must be one of 0 … epochs - 1, got epoch {epoch} of {epochs}")
        if num_tokens < 1:
            raise ValueError(f"a schedule needs at least one token, got {num_tokens}")
        # Keyed by the epoch, not drawn in sequence, so that a resumed run meets the same K.
        rng = np.random.default_rng((seed, epoch)) if self.kind == "random" else None
        k = round(self.share_at(epoch / epochs, rng) * num_tokens)
        return min(max(k, 0), num_tokens)

    def _remaining(self, progress: float) -> float:
        """What is left of the fall: 1 at progress 0, towards 0 at progress 1."""
        match self.kind:
            case "linear":
                return 1.0 - progress
            case "exponential":
                # (e^(−rp) − e^(−r)) / (1 − e^(−r)); expm1 because a tiny rate would cancel every digit.
                left = math.exp(-self.rate * progress) * -math.expm1(-self.rate * (1.0 - progress))
                return left / -math.expm1(-self.rate)
            case "piecewise":
                # 29 / 100 · 100 is a little less than 29.
                return 1.0 - math.floor(progress * self.steps + 1e-9) / self.steps
            case "cosine":
                return 0.5 * (1.0 + math.cos(math.pi * progress))
            case _:
                return 1.0
