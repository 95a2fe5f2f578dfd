"""Writes predictions as they are made; the suffix of the file says how."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

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

    members: npt.NDArray[np.bool_] | None = None
    """(n, classes): which are in a sample's set; None where no sets are asked for."""
    off: npt.NDArray[np.float32] | None = None
    """(numbers,): half the width of an interval, of maps (1,); None where no intervals are asked for."""

    def array(self) -> npt.NDArray[np.float32]:
        """The values, (n, ...); with intervals value, lower and upper end, (n, 3, ...)."""
        if self.off is None:
            return self.values
        return np.stack([self.values, self.values - self.off, self.values + self.off], axis=1)

    def table(self) -> pd.DataFrame:
        """One row a sample, in the order of the inputs.

        Columns are `sample` (where samples have names; `sample id` beside a number that is called so), `class` (the
        most likely one) and then one of each class or label, `probability:NAME` or `logit:NAME`; or of each number, by
        its own name. Without names, they are counted. With sets, `set` names the classes that are in it, with | between
        them; with intervals, `NAME:lower` and `NAME:upper` follow each number.
        """
        import pandas as pd

        numbers = range(self.values.shape[1])
        names = self.names or tuple(map(str, numbers))
        is_own_name = self.meaning == "value" and bool(self.names)
        columns = names if is_own_name else tuple(f"{self.meaning}:{name}" for name in names)
        frame = pd.DataFrame(self.values, columns=columns)
        if self.off is not None:
            for place, (column, off) in enumerate(zip(columns, self.off, strict=True)):
                frame.insert(3 * place + 1, f"{column}:lower", self.values[:, place] - off)
                frame.insert(3 * place + 2, f"{column}:upper", self.values[:, place] + off)
        if self.members is not None:
            sets = [
                "|".join(name for name, inside in zip(names, row, strict=True) if inside)
                for row in self.members
            ]
            frame.insert(0, "set", sets)
        if self.are_classes:
            frame.insert(0, "class", np.asarray(names, dtype=object)[self.values.argmax(axis=1)])
        if self.samples is not None:
            # A target may have the very name, which would be two columns of one name.
            frame.insert(0, "sample id" if "sample" in frame else "sample", list(self.samples))
        return frame

    def to_dict(self) -> dict[str, Any]:
        """For JSON: an entry a sample under each key, of the same meaning as in `table`."""
        tree: dict[str, Any] = {"names": list(self.names), self.meaning: self.values.tolist()}
        if self.off is not None:
            tree |= {"lower": (self.values - self.off).tolist(), "upper": (self.values + self.off).tolist()}
        if self.are_classes:
            names = np.asarray(self.names or range(self.values.shape[1]), dtype=object)
            tree["class"] = names[self.values.argmax(axis=1)].tolist()
            if self.members is not None:
                tree["set"] = [names[inside].tolist() for inside in self.members]
        return tree

    def arrow(self) -> pa.Table:
        """As `table`; maps and series are a column of arrays."""
        import pyarrow as pa

        if self.values.ndim <= 2:
            return pa.Table.from_pandas(self.table(), preserve_index=False)
        columns = {} if self.samples is None else {"sample": pa.array(list(self.samples))}
        ends = {} if self.off is None else {"lower": self.values - self.off, "upper": self.values + self.off}
        for name, values in {self.meaning: self.values, **ends}.items():
            columns[name] = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(values))
        return pa.table(columns)


Write = Callable[[Predictions], None]


def require_writable(out: Path, *, axes: int = 2, has_sets: bool = False) -> None:
    """Refuse a file that predictions with so many axes cannot be written to, before they are made.

    Raises:
        ConfigError: its suffix is none of `SUFFIXES`, or stands for a table and the outputs are none, or the reverse.
    """
    suffix = out.suffix.lower()
    if suffix not in SUFFIXES:
        raise ConfigError(
            f"--out must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}, which says how predictions are written, "
            f"got {out.name!r}"
        )
    if suffix == ".npy" and has_sets:
        raise ConfigError(
            f"sets of classes are a column of a table; give an --out in .csv or .parquet, got {out.name!r}"
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
            array = predictions.array()
            if count == 0:
                shape = array.shape[1:]
                head()
            count += len(array)
            stream.write(np.ascontiguousarray(array, dtype="<f4").tobytes())

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
