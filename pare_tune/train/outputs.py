"""Writes predictions; the suffix of the file says how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import numpy.typing as npt

from pare_tune.data.files import replacing
from pare_tune.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES: Final = (".npy", ".csv", ".parquet")


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """A model's outputs, and what they are called."""

    values: npt.NDArray[np.float32]
    """(n, ...)"""
    names: tuple[str, ...]
    """Of classes, labels or numbers; empty where the task gives them none."""
    samples: Sequence[str] | None
    """What the samples are called in the inputs, where these say."""
    meaning: Literal["probability", "logit", "value"]
    are_classes: bool
    """Whether a sample is of one class, so that the most likely one has a column of its own."""

    def table(self) -> pd.DataFrame:
        """One row a sample, in the order of the inputs.

        Columns are `sample` (where samples have names; `sample id` beside a number that is called so), `class` (the
        most likely one) and then one of each class or label, `probability:NAME` or `logit:NAME`; or of each number, by
        its own name. Without names, they are counted.
        """
        import pandas as pd

        numbers = range(self.values.shape[1])
        names = self.names or tuple(map(str, numbers))
        is_own_name = self.meaning == "value" and bool(self.names)
        columns = names if is_own_name else tuple(f"{self.meaning}:{name}" for name in names)
        frame = pd.DataFrame(self.values, columns=columns)
        if self.are_classes:
            frame.insert(0, "class", np.asarray(names, dtype=object)[self.values.argmax(axis=1)])
        if self.samples is not None:
            # A target may have the very name, which would be two columns of one name.
            frame.insert(0, "sample id" if "sample" in frame else "sample", list(self.samples))
        return frame


def require_writable(out: Path, *, axes: int = 2) -> None:
    """Refuse a file that predictions with so many axes cannot be written to, before they are made.

    Raises:
        ConfigError: its suffix is none of `SUFFIXES`, or stands for a table and the outputs are none.
    """
    suffix = out.suffix.lower()
    if suffix not in SUFFIXES:
        raise ConfigError(
            f"--out must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}, which says how predictions are written, "
            f"got {out.name!r}"
        )
    if suffix != ".npy" and axes > 2:
        raise ConfigError(
            f"this model predicts an array a sample, which is no row of a table; give an --out in .npy, "
            f"got {out.name!r}"
        )


def write_predictions(out: Path, predictions: Predictions) -> None:
    """Write `out` as its suffix says; it is replaced as a whole. Raises as `require_writable`, or StorageError."""
    require_writable(out, axes=predictions.values.ndim)
    with replacing(out) as partial:
        match out.suffix.lower():
            case ".npy":
                with partial.open("wb") as stream:
                    np.save(stream, predictions.values)
            case ".csv":
                predictions.table().to_csv(partial, index=False)
            case ".parquet":
                predictions.table().to_parquet(partial, index=False)
