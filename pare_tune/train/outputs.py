"""Writes predictions as they are made; the suffix of the file says how."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from pare_tune.data.files import replacing
from pare_tune.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

SUFFIXES: Final = (".npy", ".csv", ".parquet")


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """A model's outputs for some samples, and what they are called."""

    values: npt.NDArray[np.float32]
    """(n, ...)"""
    names: tuple[str, ...]
    """Of classes, labels or numbers; empty where the task gives them none."""
    samples: Sequence[str] | None
    """What the samples are called in the inputs, where these say."""
    meaning: Literal["probability", "logit", "value"]
    are_classes: bool
    """Whether a sample is of one class, so that the most likely one has a column of its own."""
    unseen: Mapping[str, int] = field(default_factory=dict)
    """Column of the inputs → cells whose category has no weights of its own."""

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

    def arrow(self) -> pa.Table:
        """As `table`; maps and series are a column of arrays."""
        import pyarrow as pa

        if self.values.ndim <= 2:
            return pa.Table.from_pandas(self.table(), preserve_index=False)
        maps = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(self.values))
        columns = {} if self.samples is None else {"sample": pa.array(list(self.samples))}
        return pa.table({**columns, self.meaning: maps})


Write = Callable[[Predictions], None]


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
    if suffix == ".csv" and axes > 2:
        raise ConfigError(
            f"this model predicts an array a sample, which is no row of a CSV table; give an --out in .npy or "
            f".parquet, got {out.name!r}"
        )


@contextmanager
def writing(out: Path) -> Iterator[Write]:
    """Take predictions piece by piece and write `out` as its suffix says; it is replaced as a whole, at the end.

    Raises:
        ConfigError: as `require_writable`.
        StorageError: the disk refused.
    """
    require_writable(out)
    with replacing(out) as partial, _WRITERS[out.suffix.lower()](partial) as write:
        yield write


@contextmanager
def _npy(path: Path) -> Iterator[Write]:
    count, shape = 0, (0,)
    with path.open("wb") as stream:

        def head() -> None:
            # NumPy leaves room in a header for an array that grows along its first axis.
            stream.seek(0)
            described = {"descr": "<f4", "fortran_order": False, "shape": (count, *shape)}
            npy.write_array_header_1_0(stream, described)

        def write(predictions: Predictions) -> None:
            nonlocal count, shape
            if count == 0:
                shape = predictions.values.shape[1:]
                head()
            count += len(predictions.values)
            stream.write(np.ascontiguousarray(predictions.values, dtype="<f4").tobytes())

        yield write
        head()


@contextmanager
def _csv(path: Path) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", newline="") as stream:

        def write(predictions: Predictions) -> None:
            predictions.table().to_csv(stream, index=False, header=stream.tell() == 0)

        yield write


@contextmanager
def _parquet(path: Path) -> Iterator[Write]:
    import pyarrow.parquet as pq

    writer: pq.ParquetWriter | None = None

    def write(predictions: Predictions) -> None:
        nonlocal writer
        table = predictions.arrow()
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)

    try:
        yield write
    finally:
        if writer is not None:
            writer.close()


_WRITERS: Final[Mapping[str, Callable[[Path], AbstractContextManager[Write]]]] = {
    ".npy": _npy,
    ".csv": _csv,
    ".parquet": _parquet,
}
