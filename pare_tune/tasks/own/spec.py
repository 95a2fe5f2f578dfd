"""What a user says about their data: the contents of a task file, or what `--data`, `--target` and `--kind` amount to.

    name: bearings
    kind: point                                   # one class a sample; or multilabel, regression, or dense
    input: {file: vibration.h5, key: signals}     # short: vibration.h5:signals
    target: labels.csv:fault                      # a column of a table
    split: {group: labels.csv:machine}            # no machine is in two splits

Everything else has a default. A `TrialConfig` carries the whole of it, with absolute paths.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from pare_tune.data.frames import TABLES, is_table
from pare_tune.tasks import TASKS
from pare_tune.tasks.base import Dense, Modality, MultiLabel, Numbers, Output, Point, Split

Kind = Literal["point", "multilabel", "regression", "dense"]
_OUTPUTS: Final[Mapping[Kind, type[Output]]] = {
    "point": Point, "multilabel": MultiLabel, "regression": Numbers, "dense": Dense,
}  # fmt: skip
Channels = Literal["first", "last", "none"]
Normalise = Literal["channel", "sample", "none"]

HDF5: Final = (".h5", ".hdf5", ".hdf")
KEYED: Final = (".npz", *HDF5, ".mat")
ARRAYS: Final = (".npy",)

_FILE_AND_KEY = re.compile(
    rf"(?P<file>.+(?:{'|'.join(map(re.escape, (*KEYED, *TABLES)))})):(?P<key>[^:].*)", re.IGNORECASE
)
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_serializer(mode="wrap")
    def _said(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What is not said is left out, so that a best.yaml stays readable."""
        return {k: v for k, v in handler(self).items() if v is not None and v != "" and v != {}}


def _column_names(value: Any) -> Any:
    """One name or several; YAML reads a column called 2 as a number."""
    values = [value] if isinstance(value, str | int) else value
    return (
        [str(v) if isinstance(v, int) else v for v in values] if isinstance(values, list | tuple) else values
    )


class At(_Model):
    """Where an array is.

    A string is short for it: `inputs.npy`, `data.npz:key`, `table.csv`, `table.csv:column`, `images/`; where the inputs
    are a table, also the name of one of its columns.
    """

    file: Path | None = None
    """A file, or a folder of images; None for columns of the inputs' own table."""
    key: str | None = None
    """Of an array in an .npz, HDF5 or MATLAB file. A pattern (`x_*`) or an HDF5 group names one array a sample."""
    columns: Annotated[tuple[str, ...] | None, BeforeValidator(_column_names)] = None
    """Of a table; None takes every column that serves for nothing else."""
    id: str | None = None
    """Column that tells samples apart, where a table has one row a time step, or is not in the inputs' order.

    Of the inputs: where no two rows have one id, and there is no time, a row is a sample, and the id is none of its
    features.

    A table of targets, groups or splits goes by the samples' names in this column; without it by the inputs' own id
    column, where it has one of that name; else row by row, in the inputs' order (that of first appearance)."""
    time: str | None = None
    """Column that orders the rows of a sample; None keeps the order of the file."""

    def __str__(self) -> str:
        """As it is written short."""
        name = "" if self.file is None else self.file.name
        if self.key is not None:
            return f"{name}:{self.key}"
        if self.columns is None:
            return name
        columns = ", ".join(self.columns) if len(self.columns) <= 3 else f"{len(self.columns)} columns"
        if not name:
            return columns
        return f"{name}:{columns}" if len(self.columns) == 1 else f"{name}[{columns}]"

    def under(self, root: Path, *, beside: At | None = None) -> At:
        """With the file's path made absolute.

        Args:
            beside: the inputs. Where they are no table they have no columns, so a lone name is a file's; where they
                are, a name with a slash is a file's if there is such a file (columns are called `speed km/h` too).
        """
        if self.file is not None:
            return self.model_copy(update={"file": _absolute(root, self.file)})
        if beside is None or self.columns is None or len(self.columns) != 1:
            return self
        path = _absolute(root, Path(self.columns[0]))
        is_path = not beside.is_table or (re.search(r"[/\\]", self.columns[0]) and path.exists())
        return self.model_copy(update={"file": path, "columns": None}) if is_path else self

    @property
    def is_table(self) -> bool:
        """Whether the file has named columns."""
        return self.file is not None and is_table(self.file)


def _absolute(root: Path, path: Path) -> Path:
    return (root / path.expanduser()).absolute()


def written_short(text: str) -> dict[str, str]:
    """The tree of an `At` from `FILE`, `FILE:KEY` or `TABLE:COLUMN`."""
    parts = _FILE_AND_KEY.fullmatch(text)
    if parts is None:
        return {"file": text}
    return {"file": parts["file"], "columns" if is_table(Path(parts["file"])) else "key": parts["key"]}


def _file(value: Any) -> Any:
    return written_short(value) if isinstance(value, str) else value


def _file_or_column(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return {"columns": [value]}
    if not isinstance(value, str):
        return value
    is_file = value.lower().endswith((*TABLES, *KEYED, *ARRAYS)) or _FILE_AND_KEY.fullmatch(value)
    return _file(value) if is_file else {"columns": [value]}


def _names_a_file(at: At) -> At:
    if at.file is None:
        raise ValueError("inputs are in a file or folder: say which, as `file: PATH`")
    return at


def _names_something(at: At) -> At:
    if at.file is None and at.columns is None:
        raise ValueError("say `file: PATH`, or `columns: NAME` for a column of the inputs' table")
    return at


InputAt = Annotated[At, BeforeValidator(_file), AfterValidator(_names_a_file)]
ColumnAt = Annotated[At, BeforeValidator(_file_or_column), AfterValidator(_names_something)]


class Part(_Model):
    """The samples of one split, where each has files of its own."""

    input: InputAt
    target: ColumnAt | None = None
    """None where the input is a folder with one subfolder a class."""
    group: ColumnAt | None = None

    def under(self, root: Path) -> Part:
        """With absolute paths."""
        others = {
            k: at.under(root, beside=self.input) for k in ("target", "group") if (at := getattr(self, k))
        }
        return self.model_copy(update={"input": self.input.under(root), **others})


class SplitSpec(_Model):
    """Which samples are trained on, which choose between trials, which are scored once at the end."""

    fractions: tuple[float, float, float] = (0.70, 0.15, 0.15)
    """Of train, val and test, where neither a column nor files say it. Classes keep their shares in each."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    column: ColumnAt | None = None
    """Column (or array) that says train, val or test of each sample."""
    group: ColumnAt | None = None
    """Column (or array) whose equal values must not be in two splits: the patient, the machine, the recording."""
    time: ColumnAt | None = None
    """Column (or array) that says when each sample was taken, in numbers or dates and in any order: the last are test,
    those before them val, and folds go forward in time."""

    @model_validator(mode="after")
    def _one_rule_cuts(self) -> Self:
        if self.time is not None and (self.column is not None or self.group is not None):
            other = "column" if self.column is not None else "group"
            raise ValueError(f"time and {other} both say how to cut; give one of them")
        return self

    @field_validator("fractions")
    @classmethod
    def _add_up(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(value) <= 0 or abs(sum(value) - 1.0) > 1e-6:
            raise ValueError(f"three shares above 0 that add up to 1 are needed, got {list(value)}")
        return value


class MetricSpec(_Model):
    """A score by name: one of `tasks.metrics`, or `torchmetrics:ClassName` with its options."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)
    """Of the torchmetrics class; how many classes, labels or numbers there are is filled in."""
    direction: Literal["min", "max"] | None = None
    """None takes the class's own."""
    unit: str = "1"
    """Of a torchmetrics score, or of rmse of numbers a sample; for people."""


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _weights(value: Any) -> Any:
    numbers = isinstance(value, list | tuple) and all(
        isinstance(v, int | float) and not isinstance(v, bool) and v > 0 for v in value
    )
    if value is not None and value != "balanced" and not numbers:
        raise ValueError(f"it is `balanced` or a list of numbers above 0, got {value!r}")
    return value


def _texts(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        return value
    return [str(v).lower() if isinstance(v, bool) else str(v) for v in value]


class OwnData(_Model):
    """A task of a user's own."""

    name: str = Field(pattern=_NAME)
    """Letters, digits, - and _; run folders are called so."""
    kind: Kind
    """point: one class a sample. multilabel: any number of labels a sample. regression: one number a sample, or
    several. dense: a value at every position."""
    title: str = ""
    """One line for people; made from the data where it is empty."""
    modality: Modality | None = None
    """None: seen from the inputs and the kind. Samples of one axis are series, or rows of a table where their order
    says nothing."""
    channels: Channels | None = None
    """Where the channels of a sample's axes are; None: seen from its shape."""
    input: InputAt | None = None
    target: ColumnAt | None = None
    train: Part | None = None
    """With `test` and perhaps `val`: files of their own, instead of `input` and `target`."""
    val: Part | None = None
    test: Part | None = None
    split: SplitSpec = SplitSpec()
    classes: Annotated[tuple[str, ...] | None, BeforeValidator(_texts)] = None
    """The labels that there are, in the order of the outputs; None: those that occur, sorted."""
    metric: Annotated[MetricSpec | None, BeforeValidator(_named)] = None
    """None: error_rate, multilabel_auroc_error, rmse, scaled_rmse of several numbers, or jaccard_error of masks."""
    class_weights: Annotated[tuple[float, ...] | Literal["balanced"] | None, BeforeValidator(_weights)] = None
    """Of the classes in the loss (background, foreground for masks); balanced: inverse to how often they occur."""
    normalise: Normalise = "channel"
    """channel: mean 0 and variance 1 a channel (a table: a column), fitted on train. sample: a sample's own. none."""
    length: int | None = Field(default=None, ge=1)
    """Steps that series are padded, or cut, to; None for the longest."""

    @property
    def output(self) -> type[Output]:
        """What a sample's prediction is."""
        return _OUTPUTS[self.kind]

    @field_validator("name")
    @classmethod
    def _is_free(cls, value: str) -> str:
        if value in TASKS:
            raise ValueError("this is the name of a benchmark task; choose another")
        return value

    @model_validator(mode="after")
    def _has_samples(self) -> Self:
        parts = [name for name in ("train", "val", "test") if getattr(self, name) is not None]
        if self.input is not None:
            if parts:
                raise ValueError(f"give either input and target, or train and test; not input and {parts[0]}")
        elif not parts:
            raise ValueError("input is missing: where the samples are")
        elif "train" not in parts or "test" not in parts:
            missing = "test" if "train" in parts else "train"
            raise ValueError(
                f"{missing} is missing beside {parts[0]} (val may be, it is then cut from train)"
            )
        elif self.target is not None or self.split.column is not None or self.split.group is not None:
            raise ValueError(
                "where each split has files of its own, target and group are said in train, val and test"
            )
        elif self.split.time is not None:
            raise ValueError("where each split has files of its own, no time cuts them; leave it out")
        return self

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.modality is not None:
            dense = self.modality in (Modality.DENSE_1D, Modality.DENSE_2D)
            if dense != (self.output is Dense):
                fits = "dense_1d or dense_2d" if self.output is Dense else "grid_2d, sequence_1d or table"
                raise ValueError(f"modality of kind {self.kind} is {fits}, got {self.modality.value}")
        if self.classes is not None and self.output is Dense:
            raise ValueError("classes go with kind point and multilabel; a dense task has values or masks")
        if self.classes is not None and self.output is Numbers:
            raise ValueError(
                "classes go with kind point and multilabel; numbers are called as their columns are"
            )
        if self.classes is not None and len(set(self.classes)) != len(self.classes):
            raise ValueError(f"each class once, got {list(self.classes)}")
        if self.class_weights is not None and self.output in (MultiLabel, Numbers):
            raise ValueError("class_weights go with kind point and with masks")
        return self

    def parts(self) -> Iterator[tuple[Split | None, Part]]:
        """(split, its samples); one pair with split None where all samples lie together."""
        if self.input is not None:
            yield None, Part(input=self.input, target=self.target, group=self.split.group)
            return
        for split, part in (("train", self.train), ("val", self.val), ("test", self.test)):
            if part is not None:
                yield split, part  # type: ignore[misc]

    def under(self, root: Path) -> OwnData:
        """With paths made absolute, from the folder of the task file."""
        places = {k: part.under(root) for k in ("train", "val", "test") if (part := getattr(self, k))}
        if self.input is None:
            return self.model_copy(update=places)
        columns = {
            k: at.under(root, beside=self.input)
            for k in ("column", "group", "time")
            if (at := getattr(self.split, k))
        }
        target = None if self.target is None else self.target.under(root, beside=self.input)
        split = self.split.model_copy(update=columns)
        return self.model_copy(update={"input": self.input.under(root), "target": target, "split": split})


def name_of(path: str) -> str:
    """A task name from a data file's: `My data (2).npz:x` → `my-data-2`."""
    stem = Path(written_short(path)["file"].lower().removesuffix(".gz")).stem
    name = re.sub(r"[^a-z0-9_]+", "-", stem).strip("-_")[:60] or "own"
    return f"own-{name}" if name in TASKS or not name[0].isalnum() else name


def from_options(options: Mapping[str, str | None]) -> dict[str, Any]:
    """The tree of an `OwnData` that the command line's options amount to: data, target, kind, modality, channels."""
    tree: dict[str, Any] = {
        k: options[k] for k in ("kind", "modality", "channels", "target") if options.get(k)
    }
    data = options["data"]
    assert data is not None
    return {"name": name_of(data), "input": data, **tree}
