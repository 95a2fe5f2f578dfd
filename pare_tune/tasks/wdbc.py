"""Wisconsin diagnostic breast cancer (OpenML 1510): malignant or benign, from 30 measures of cell nuclei.

The table is small and free (UCI, CC BY 4.0) and comes with scikit-learn, so it is always the real one.
`read_table`, `half_split` and `standardised` serve any numeric table of OpenML-CC18.
"""
# Shape suffixes: R = rows of the table, F = features.

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from pare_tune.data.arrays import require_finite
from pare_tune.data.store import Record
from pare_tune.errors import DataError
from pare_tune.tasks.base import Modality, PaperSettings, Point, Split, Task, release_at
from pare_tune.tasks.metrics import AUROC_ERROR

if TYPE_CHECKING:
    import pandas as pd

HOMEPAGE = "https://www.openml.org/d/1510"
FEATURES: Final = tuple(f"V{i}" for i in range(1, 31))
"""OpenML's names; the order is UCI's: ten measures' mean, then their standard error, then their worst."""
LABEL: Final = "Class"
CLASSES: Final = ("1", "2")
"""Benign, malignant."""

_FILES = ("wdbc.csv", "wdbc.arff")
_VAL_SHARE = 0.2

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Table:
    """A numeric table."""

    values: npt.NDArray[np.float64]
    """(R, F), NaN where missing."""
    y: npt.NDArray[np.int64]
    """(R,), position in the list of classes."""


def read(root: Path, seed: int) -> Mapping[Split, Iterator[Record]]:
    """x (1, 30) float32 standardised by the training rows, y class 0 (benign) or 1 (malignant).

    Half of the rows, stratified and fixed by `seed`, are test, as in TabPFN's protocol; a fifth of the rest
    is val.

    Raises:
        DataError: the file is missing or no table, lacks a column, or holds text, gaps or another class.
    """
    with release_at(HOMEPAGE):
        path = _find(root)
        table = read_table(path, FEATURES, LABEL, CLASSES)
        for index, name in enumerate(FEATURES):
            require_finite(table.values[:, index], f"column {name}", path)
        chosen = half_split(table.y, seed, path)
    x_RF = standardised(table.values, fit_on=chosen["train"])
    return {split: _records(x_RF, table.y, rows) for split, rows in chosen.items()}


def read_table(path: Path, features: Sequence[str], label: str, classes: Sequence[str]) -> Table:
    """The named columns of a CSV or ARFF file as OpenML serves them; `?` and empty cells are missing values.

    Raises:
        DataError: the file is no such table, lacks a column, or holds text in a feature or another class.
    """
    frame = _read_arff(path) if path.suffix == ".arff" else _read_csv(path)
    missing = [name for name in (*features, label) if name not in frame.columns]
    if missing:
        raise DataError(
            f"{path} must have columns {features[0]} to {features[-1]} and {label}; {', '.join(missing)} not "
            f"found among {', '.join(map(str, frame.columns[:40]))}"
        )
    columns = [_numbers(frame[name], path) for name in features]
    return Table(np.stack(columns, axis=1), _codes(frame[label], classes, path))


def half_split(y_R: npt.NDArray[np.int64], seed: int, path: Path) -> dict[Split, Indices]:
    """Row numbers of each split: 40 % train, 10 % val, 50 % test, stratified by class.

    Raises:
        DataError: a class has too few rows to be in every split.
    """
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(y_R))
    try:
        rest, test = train_test_split(rows, test_size=0.5, stratify=y_R, random_state=seed)
        train, val = train_test_split(rest, test_size=_VAL_SHARE, stratify=y_R[rest], random_state=seed)
    except ValueError as error:
        raise DataError(f"{path}: {len(y_R)} rows cannot be split by class: {error}") from error
    return {"train": np.sort(train), "val": np.sort(val), "test": np.sort(test)}


def standardised(values_RF: npt.NDArray[np.float64], *, fit_on: Indices) -> npt.NDArray[np.float32]:
    """Columns to mean 0 and variance 1 over the rows `fit_on`; missing values become that mean, 0."""
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(values_RF[fit_on])
    return np.asarray(np.nan_to_num(scaler.transform(values_RF), nan=0.0), dtype=np.float32)


def write_table(root: Path, _seed: int) -> None:
    """Write scikit-learn's copy of the table as `root/wdbc.csv` in OpenML's columns; no seed matters."""
    import pandas as pd
    from sklearn.datasets import load_breast_cancer

    bundled = load_breast_cancer()
    frame = pd.DataFrame(bundled.data, columns=list(FEATURES))
    frame[LABEL] = [CLASSES[0] if bundled.target_names[y] == "benign" else CLASSES[1] for y in bundled.target]
    root.mkdir(parents=True, exist_ok=True)
    frame.to_csv(root / _FILES[0], index=False, lineterminator="\n")


def _find(root: Path) -> Path:
    for name in _FILES:
        if (root / name).is_file():
            return root / name
    raise DataError(
        f"no file {root / _FILES[0]} and no {_FILES[1]} beside it; save OpenML's table under either name"
    )


def _read_csv(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_csv(path, dtype=str, na_values=["?", ""], keep_default_na=False, skipinitialspace=True)
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise DataError(f"{path} is not a CSV table ({error}); get it again") from error


def _read_arff(path: Path) -> pd.DataFrame:
    import pandas as pd
    from scipy.io import arff

    try:
        rows, meta = arff.loadarff(path)
    except (OSError, ValueError, NotImplementedError, IndexError, StopIteration, arff.ArffError) as error:
        raise DataError(f"{path} is not an ARFF table ({error}); get it again") from error
    frame = pd.DataFrame(rows)
    for name, kind in zip(meta.names(), meta.types(), strict=True):
        if kind == "nominal":
            frame[name] = frame[name].str.decode("utf-8").replace("?", np.nan)
    return frame


def _numbers(column: pd.Series, path: Path) -> npt.NDArray[np.float64]:
    import pandas as pd

    try:
        return pd.to_numeric(column).to_numpy(np.float64)
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: column {column.name} must hold numbers: {error}") from error


def _codes(column: pd.Series, classes: Sequence[str], path: Path) -> npt.NDArray[np.int64]:
    known = {name: code for code, name in enumerate(classes)}
    names = column.tolist()
    for row, name in enumerate(names):
        if name not in known:
            raise DataError(
                f"{path}: column {column.name} must be one of {', '.join(classes)}, found {name!r} "
                f"in row {row + 1}"
            )
    return np.array([known[name] for name in names], dtype=np.int64)


def _records(x_RF: npt.NDArray[np.float32], y_R: npt.NDArray[np.int64], rows: Indices) -> Iterator[Record]:
    for row in rows:
        yield {"x": x_RF[row][None], "y": np.asarray(y_R[row])}


WDBC = Task(
    name="wdbc",
    title="30 measures of cell nuclei → benign or malignant",
    modality=Modality.TABLE,
    input_shape=(1, len(FEATURES)),
    output=Point(len(CLASSES)),
    loss="cross_entropy",
    loss_options={"class_weights": "balanced"},
    metric=AUROC_ERROR,
    paper=PaperSettings(
        batch_size=64,
        accumulation=1,
        epochs=60,
        optimizer="adamw",
        lr=1e-5,
        weight_decay=1e-5,
        clip=0.1,
        warmup_epochs=5,
        decay_epochs=60,
        target_tokens=len(FEATURES),
        source="conll2003",
        score=0.0053,
        notes=(
            "ORCA's config; it says target_seq_len 16, but its loader makes the whole row one token, where "
            "replacing patches means nothing: here each feature is a token. The paper's k of 3000 is "
            "impossible; its share 0.957 is kept. The official code splits 90/10 and fits the scaler on "
            "the test rows too."
        ),
    ),
    embedded_provenance="real",
    homepage=HOMEPAGE,
    files=("wdbc.csv",),
    read=read,
    make=write_table,
)
