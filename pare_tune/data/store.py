"""Prepared arrays on disk: one memory-mapped Arrow file a split, shared by every trial on a node.

A field with one shape for all records is a canonical `arrow.fixed_shape_tensor` (or a plain column when it is a
scalar); a field whose shape differs from record to record is a `large_list` beside a `<field>.shape` column. Reading
is zero-copy: arrays are read-only views into the page cache.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pare_tune.data.cache import CHOOSE_ANOTHER
from pare_tune.data.files import replacing
from pare_tune.errors import DataError

Record = Mapping[str, npt.NDArray[Any]]
"""One sample: field name → array (a scalar is a 0-d array)."""

BATCH_BYTES = 4 << 20
"""Records are grouped until they hold this much; small enough to stream, large enough for few Arrow batches."""

_META_KEY = b"pare_tune"


def write_store(path: Path, records: Iterable[Record], *, ragged: frozenset[str] = frozenset()) -> int:
    """Write `records` to `path`, atomically and streaming, and return how many there were.

    Args:
        ragged: fields whose shape (never their dtype or number of axes) differs from record to record.

    Raises:
        DataError: there is no record, or one differs from the first in fields, dtype or shape.
        StorageError: the disk is full, or cannot be written.
    """
    iterator = iter(records)
    first = next(iterator, None)
    if first is None:
        raise DataError(f"{path.stem}: the split is empty; every split needs at least one record")
    layout = {k: _Field.of(k, np.asarray(v), k in ragged) for k, v in first.items()}
    schema = pa.schema([f for field in layout.values() for f in field.arrow_fields()])
    meta = {k: [field.dtype.str, len(field.shape), field.ragged] for k, field in layout.items()}
    tagged = schema.with_metadata({_META_KEY: json.dumps(meta).encode()})
    count = 0
    with (
        replacing(path, otherwise=CHOOSE_ANOTHER) as partial,
        pa.OSFile(str(partial), "wb") as sink,
        pa.ipc.new_file(sink, tagged) as writer,
    ):
        pending: list[Record] = []
        pending_bytes = 0
        for count, record in enumerate(chain([first], iterator), start=1):
            _check(record, layout, count - 1)
            pending.append(record)
            pending_bytes += sum(np.asarray(v).nbytes for v in record.values())
            if pending_bytes >= BATCH_BYTES:
                writer.write_batch(_batch(pending, layout, writer_schema=schema))
                pending, pending_bytes = [], 0
        if pending:
            writer.write_batch(_batch(pending, layout, writer_schema=schema))
    return count


class Store:
    """Random access to the records of one prepared split.

    Pickles as its path and share alone, so handing a store to another process copies nothing.

    Args:
        share: of the records, in (0, 1]: a fixed choice, which holds that of any smaller share.

    Raises:
        DataError: the file is missing, or is not a store written by `write_store`.
    """

    def __init__(self, path: Path, *, share: float = 1.0) -> None:
        self._map(path, share)

    def _map(self, path: Path, share: float) -> None:
        self.path, self._share = path, share
        if not path.is_file():
            raise DataError(f"no prepared store at {path}; run `pare-tune data prepare` again")
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            layout = json.loads(reader.schema.metadata[_META_KEY])
        except (pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path} is not a prepared store ({error}); delete it and prepare again"
            ) from error
        batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        self._starts = np.cumsum([0, *(b.num_rows for b in batches)])
        self.fields: tuple[str, ...] = tuple(layout)
        self._columns = {
            name: [_read_column(b, name, np.dtype(dtype), ragged) for b in batches]
            for name, (dtype, _, ragged) in layout.items()
        }
        total = int(self._starts[-1])
        self._chosen: npt.NDArray[np.int64] | None = None
        if share < 1:
            order = np.random.default_rng(total).permutation(total)
            self._chosen = np.sort(order[: max(1, round(share * total))])

    def __len__(self) -> int:
        return int(self._starts[-1]) if self._chosen is None else len(self._chosen)

    def __getitem__(self, index: int) -> dict[str, npt.NDArray[Any]]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"record {index} of a store of {len(self)}")
        index %= len(self)
        if self._chosen is not None:
            index = int(self._chosen[index])
        batch = int(np.searchsorted(self._starts, index, side="right")) - 1
        row = index - int(self._starts[batch])
        return {name: columns[batch].row(row) for name, columns in self._columns.items()}

    def column(self, name: str) -> npt.NDArray[Any]:
        """Every record of a field of one shape, (n, *shape); a copy of a share or of several Arrow batches.

        Raises:
            DataError: the field is ragged or does not exist.
        """
        if name not in self._columns:
            raise DataError(f"{self.path} has no field {name!r}; it has {', '.join(self.fields)}")
        parts = [column.whole() for column in self._columns[name]]
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return whole if self._chosen is None else whole[self._chosen]

    def digest(self) -> str:
        """16 digits that change with any value, with the order of the records, and with names or types of fields."""
        content = {}
        for name, parts in self._columns.items():
            running = hashlib.blake2b(digest_size=8)
            for part in parts:
                for array in part.arrays():
                    running.update(array.tobytes())
            content[name] = [parts[0].arrays()[0].dtype.str, running.hexdigest()]
        return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=8).hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "share": self._share}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._map(**state)


class _Field:
    def __init__(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...], ragged: bool) -> None:
        self.name, self.dtype, self.shape, self.ragged = name, dtype, shape, ragged

    @classmethod
    def of(cls, name: str, value: npt.NDArray[Any], ragged: bool) -> _Field:
        return cls(name, value.dtype, value.shape, ragged)

    def arrow_fields(self) -> list[pa.Field]:
        kind = pa.from_numpy_dtype(self.dtype)
        if self.ragged:
            return [
                pa.field(self.name, pa.large_list(kind)),
                pa.field(f"{self.name}.shape", pa.list_(pa.int32(), len(self.shape))),
            ]
        if not self.shape:
            return [pa.field(self.name, kind)]
        return [pa.field(self.name, pa.fixed_shape_tensor(kind, self.shape))]


class _Whole:
    """A column of one shape: one array for the batch."""

    def __init__(self, values: npt.NDArray[Any]) -> None:
        self._values = values

    def row(self, index: int) -> npt.NDArray[Any]:
        return self._values[index]  # type: ignore[no-any-return]

    def whole(self) -> npt.NDArray[Any]:
        return self._values

    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        return (self._values,)


class _Ragged:
    """A column of differing shapes: one flat array, offsets and shapes."""

    def __init__(
        self, name: str, flat: npt.NDArray[Any], offsets: npt.NDArray[Any], shapes: npt.NDArray[Any]
    ) -> None:
        self._name, self._flat, self._offsets, self._shapes = name, flat, offsets, shapes

    def row(self, index: int) -> npt.NDArray[Any]:
        flat = self._flat[self._offsets[index] : self._offsets[index + 1]]
        return flat.reshape(self._shapes[index])

    def whole(self) -> npt.NDArray[Any]:
        raise DataError(f"field {self._name!r} has another shape in every record; read it record by record")

    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        return (self._flat[self._offsets[0] : self._offsets[-1]], self._shapes)


def _read_column(batch: pa.RecordBatch, name: str, dtype: np.dtype[Any], ragged: bool) -> _Whole | _Ragged:
    column = batch.column(name)
    if ragged:
        shapes = batch.column(f"{name}.shape")
        ndim = shapes.type.list_size
        shape_rows = shapes.flatten().to_numpy(zero_copy_only=True).reshape(-1, ndim)
        offsets = column.offsets.to_numpy(zero_copy_only=True)
        return _Ragged(name, _primitive(column.values, dtype), offsets, shape_rows)
    if isinstance(column.type, pa.FixedShapeTensorType):
        return _Whole(column.to_numpy_ndarray())
    return _Whole(_primitive(column, dtype))


def _primitive(values: pa.Array, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    # Booleans are bit-packed in Arrow and cannot be viewed.
    return values.to_numpy(zero_copy_only=dtype != np.bool_)  # type: ignore[no-any-return]


def _check(record: Record, layout: Mapping[str, _Field], index: int) -> None:
    if record.keys() != layout.keys():
        raise DataError(f"record {index} has fields {sorted(record)}, the first record has {sorted(layout)}")
    for name, field in layout.items():
        value = np.asarray(record[name])
        same = value.ndim == len(field.shape) if field.ragged else value.shape == field.shape
        if value.dtype != field.dtype or not same:
            raise DataError(
                f"record {index}, field {name!r}: got {value.dtype} {value.shape}, "
                f"the first record has {field.dtype} {field.shape}"
            )


def _batch(
    records: list[Record], layout: Mapping[str, _Field], *, writer_schema: pa.Schema
) -> pa.RecordBatch:
    columns: list[pa.Array] = []
    for name, field in layout.items():
        values = [np.asarray(r[name]) for r in records]
        if field.ragged:
            offsets = np.cumsum([0, *(v.size for v in values)], dtype=np.int64)
            flat = pa.array(np.concatenate([v.reshape(-1) for v in values]))
            columns.append(pa.LargeListArray.from_arrays(pa.array(offsets), flat))
            shapes = pa.array(np.array([v.shape for v in values], dtype=np.int32).reshape(-1))
            columns.append(pa.FixedSizeListArray.from_arrays(shapes, len(field.shape)))
        elif not field.shape:
            columns.append(pa.array(np.stack(values)))
        else:
            columns.append(pa.FixedShapeTensorArray.from_numpy_ndarray(np.stack(values)))
    return pa.record_batch(columns, schema=writer_schema)
