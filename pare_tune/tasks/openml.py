"""OpenML-CC18: the paper's thirty tables, and any other table of OpenML by its number.

https://www.openml.org/s/99, Bischl et al. 2021, https://arxiv.org/abs/1708.03731. A table's name gives it from
--data, or the table that comes with the package: the real one for four of them, a simulated one otherwise.
`openml:ID` gives it from --data or downloads it. `…@official` lays it out as the code of ORCA and PaRe does.
"""

from __future__ import annotations

import re
import socket
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from pare_tune.errors import DataError
from pare_tune.tasks.base import Modality, PaperSettings, Point, Provenance, Task, read_toml
from pare_tune.tasks.metrics import AUROC_ERROR
from pare_tune.tasks.samples.tables import Simulated, write_simulated, write_wdbc, write_whole
from pare_tune.tasks.tables import TARGET_ATTRIBUTE, Encoding, Form, read_splits

_NAME = re.compile(r"(?:openml[:-](?P<id>\d+)|(?P<table>[a-z0-9-]+))(?P<official>@official)?")
_TIMEOUT_S = 60.0

_WHOLE: Mapping[str, Callable[[Path, int], None]] = {
    **{name: partial(write_whole, name) for name in ("balance-scale", "tic-tac-toe", "car")},
    "wdbc": write_wdbc,
}
"""Tables that come with the package as they are."""

_NOTES = (
    "ORCA's config. Its loader splits 90/10, lets encoders see the test rows, cuts a row into at most "
    "target_tokens tokens, and makes a table without categories one token, where replacing patches means "
    "nothing: here rows are split 50/50 and every feature is a token. The paper's k of 3000 is impossible; its "
    "share 0.957 is kept."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One of the thirty tables."""

    id: int
    name: str
    title: str
    target: str
    class_rows: tuple[int, ...]
    """Rows of each class."""
    features: int
    levels: tuple[int, ...] = ()
    """Categories of each column that holds some."""
    gaps: int = 0
    """Empty cells."""
    numbered: tuple[str, ...] = ()
    """Columns of categories that are called by numbers."""
    ignored: tuple[str, ...] = ()
    """Columns that OpenML tells to leave out, but serves."""
    full_name: str = ""
    """OpenML's name where it is another."""
    paper: PaperSettings

    @property
    def homepage(self) -> str:
        """The table's page."""
        return f"https://www.openml.org/d/{self.id}"

    @property
    def form(self) -> Form:
        """What its file must look like."""
        return Form(
            stems=(self.name, str(self.id), *((self.full_name,) if self.full_name else ())),
            homepage=self.homepage,
            target=self.target,
            ignored=self.ignored,
            numbered=self.numbered,
            rows=sum(self.class_rows),
            features=self.features,
            classes=len(self.class_rows),
            numeric=not self.levels,
            gaps=self.gaps > 0,
        )

    @property
    def embedded(self) -> Mapping[str, Any]:
        """What one core trains in about half a minute: a row takes it 1.3 ms, and 0.2 ms more for each token."""
        num_train = 0.4 * sum(self.class_rows)
        epochs = min(30, max(3, round(30e3 / (num_train * (1.3 + 0.2 * self.features)))))
        # The fewer the steps, the larger they must be.
        return {"train.epochs": epochs, **({"optimizer.lr": 1e-3} if epochs < 10 else {})}

    def input_shape(self, encoding: Encoding) -> tuple[int, int]:
        """(C, F) where every category has a channel of its own; rare ones share one, which may make C smaller."""
        if encoding == "official" and not self.levels:
            return self.features, 1
        channels = max(self.levels) + 1 if self.levels else 1 + int(self.gaps > 0)
        return channels, self.features


def _spec(*, auroc: float, paper: Mapping[str, Any], **about: Any) -> Spec:
    notes = f"{_NOTES} {paper.get('notes', '')}"
    common = {"accumulation": 1, "decay_epochs": 60, "align_epochs": 20, "source": "conll2003"}
    settings = PaperSettings.read({**common, **paper, "score": round(1.0 - auroc, 4), "notes": notes})
    lists = {name: tuple(value) for name, value in about.items() if isinstance(value, list)}
    return Spec(**{**about, **lists, "paper": settings})


SPECS: Final = tuple(_spec(**table) for table in read_toml("openml.toml")["table"])


def task_named(name: str) -> Task | None:
    """The task of a table: `wdbc`, `openml:1510`, and either with `@official`; None for other names."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    encoding: Encoding = "official" if match["official"] else "tokens"
    spec = _BY_NAME.get(match["table"]) if match["table"] else _BY_ID.get(int(match["id"]))
    if spec is None:
        return _unknown(int(match["id"]), encoding) if match["id"] else None
    return _task(spec, encoding, fetched=match["id"] is not None and spec.name not in _WHOLE)


def _task(spec: Spec, encoding: Encoding, *, fetched: bool = False) -> Task:
    make, provenance = _origin(spec, fetched=fetched)
    return _table_task(
        f"openml-{spec.id}" if fetched else spec.name,
        encoding,
        title=spec.title,
        input_shape=spec.input_shape(encoding),
        output=Point(len(spec.class_rows)),
        paper=spec.paper,
        embedded_provenance=provenance,
        embedded=spec.embedded,
        homepage=spec.homepage,
        files=(f"{spec.name}.csv",),
        read=partial(read_splits, spec.form, encoding),
        make=make,
    )


def _unknown(data_id: int, encoding: Encoding) -> Task:
    """A table of which nothing is known until it is read."""
    homepage = f"https://www.openml.org/d/{data_id}"
    form = Form(stems=(str(data_id), f"openml-{data_id}"), homepage=homepage)
    return _table_task(
        f"openml-{data_id}",
        encoding,
        title=f"table {data_id} of OpenML",
        input_shape=(1, 0),
        output=Point(0),
        paper=_GENERIC,
        embedded_provenance="real",
        homepage=homepage,
        files=(f"{data_id}.parquet",),
        read=partial(read_splits, form, encoding),
        make=partial(download, data_id),
    )


def _table_task(name: str, encoding: Encoding, **fields: Any) -> Task:
    official = encoding == "official"
    return Task(
        name=f"{name}@official" if official else name,
        modality=Modality.SEQUENCE_1D if official else Modality.TABLE,
        loss="cross_entropy",
        loss_options={"class_weights": "balanced"},
        metric=AUROC_ERROR,
        **fields,
    )


def _origin(spec: Spec, *, fetched: bool) -> tuple[Callable[[Path, int], None], Provenance]:
    if fetched:
        return partial(download, spec.id), "real"
    if spec.name in _WHOLE:
        return _WHOLE[spec.name], "real"
    shape = Simulated(
        name=spec.name,
        target=spec.target,
        class_rows=spec.class_rows,
        num_numeric=spec.features - len(spec.levels),
        levels=spec.levels,
        numbered=spec.numbered,
        gaps=spec.gaps,
    )
    return partial(write_simulated, shape), "sample"


def download(data_id: int, root: Path, _seed: int) -> None:
    """Write OpenML's table as `root/<data_id>.parquet`, which keeps the kinds of its columns.

    Raises:
        DataError: OpenML cannot be reached, has no such table, or says of no column that it is the class.
    """
    from pandas.api.types import is_object_dtype
    from sklearn.datasets import fetch_openml

    try:
        with _impatient():
            bunch = fetch_openml(data_id=data_id, as_frame=True, cache=False, n_retries=1)
    except (OSError, ValueError) as error:
        raise DataError(
            f"table {data_id} could not be fetched from OpenML ({error}); save it as {data_id}.csv, {data_id}.arff "
            f"or {data_id}.parquet and give its folder with --data FOLDER"
        ) from error
    if len(bunch.target_names) != 1:
        raise DataError(
            f"table {data_id} of OpenML must have one column of classes, it names "
            f"{', '.join(bunch.target_names) or 'none'}; save it as CSV with the classes last and give its folder "
            "with --data FOLDER"
        )
    frame = bunch.frame
    # Columns of objects may mix kinds, which Parquet refuses.
    frame = frame.astype({name: "string" for name in frame.columns if is_object_dtype(frame[name])})
    frame.attrs = {TARGET_ATTRIBUTE: bunch.target_names[0]}
    try:
        frame.to_parquet(root / f"{data_id}.parquet")
    except (TypeError, ValueError, NotImplementedError) as error:
        raise DataError(
            f"table {data_id} of OpenML cannot be kept as Parquet ({error}); save it as CSV and give its folder "
            "with --data FOLDER"
        ) from error


@contextmanager
def _impatient() -> Iterator[None]:
    """A server that does not answer must not hang the command, for scikit-learn sets no limit; nor do retries warn."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_S)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "A network error occurred", UserWarning)
            yield
    finally:
        socket.setdefaulttimeout(before)


_GENERIC = PaperSettings(
    batch_size=64,
    accumulation=1,
    epochs=60,
    optimizer="adamw",
    lr=1e-5,
    weight_decay=1e-5,
    clip=1.0,
    decay_epochs=60,
    align_epochs=20,
    source="conll2003",
    notes="Not one of the paper's tables; most of those have settings like these.",
)

_BY_NAME: Final = {spec.name: spec for spec in SPECS}
_BY_ID: Final = {spec.id: spec for spec in SPECS}

TABLES: Final[Mapping[str, Task]] = MappingProxyType({spec.name: _task(spec, "tokens") for spec in SPECS})
"""The thirty."""
