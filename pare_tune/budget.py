"""How much a search may spend: trials, epochs or time, and bytes of disk, as people write them."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, Field

from pare_tune.errors import ConfigError


class Budget(BaseModel, extra="forbid", frozen=True, allow_inf_nan=False):
    """How much a search may spend; exactly one unit."""

    amount: float = Field(gt=0)
    unit: Literal["trials", "seconds", "epochs"] = "trials"

    @classmethod
    def parse(cls, text: str) -> Budget:
        """`50` trials, `90s`, `30m`, `2h` or `1d` of wall time, `600ep` epochs.

        Raises:
            ConfigError: anything else.
        """
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(trials?|ep|epochs?|s|m|min|h|d)?\s*", text)
        if match is None or float(match[1]) <= 0:
            raise ConfigError(
                f"a budget is a positive number of trials (50), wall time (90s, 30m, 2h, 1d) or epochs (600ep), "
                f"got {text!r}"
            )
        amount, unit = float(match[1]), match[2] or "trials"
        seconds = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
        if unit in seconds:
            return cls(amount=amount * seconds[unit], unit="seconds")
        if amount != int(amount):
            raise ConfigError(f"a budget in trials or epochs is a whole number, got {text!r}")
        return cls(amount=amount, unit="trials" if unit.startswith("trial") else "epochs")

    def measured(self, *, trials: float, epochs: float, seconds: float) -> float:
        """The one of these that is of the budget's unit."""
        return {"trials": trials, "epochs": epochs, "seconds": seconds}[self.unit]

    def __str__(self) -> str:
        """As `parse` reads it, without loss."""
        if self.unit != "seconds":
            return f"{int(self.amount)} {self.unit if self.amount != 1 else self.unit.removesuffix('s')}"
        for unit, length in (("h", 3600.0), ("min", 60.0)):
            if self.amount >= length and (self.amount / length * 4).is_integer():
                return f"{self.amount / length:g} {unit}"
        return f"{self.amount!r} s"


_BYTES = {
    "b": 1, "k": 10**3, "kb": 10**3, "m": 10**6, "mb": 10**6, "g": 10**9, "gb": 10**9, "t": 10**12, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip


def parse_size(text: str) -> int:
    """Bytes: `5GB`, `1.5 GiB`, `800M`; decimal units are powers of 1000, binary ones of 1024.

    Raises:
        ConfigError: anything else.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]+)\s*", text)
    factor = _BYTES.get(match[2].lower()) if match is not None else None
    if match is None or factor is None or int(float(match[1]) * factor) < 1:
        raise ConfigError(f"a size is a positive number with its unit (5GB, 1.5 GiB, 800MB), got {text!r}")
    return round(float(match[1]) * factor)


def show_size(size: int) -> str:
    """As `parse_size` reads it, without loss: 5 GB, 1.5 GiB, or bytes where no unit is whole to two places."""
    for unit in ("TB", "TiB", "GB", "GiB", "MB", "MiB", "kB", "KiB"):
        factor = _BYTES[unit.lower()]
        if size >= factor and size * 100 % factor == 0:
            return f"{size / factor:g} {unit}"
    return f"{size} B"
