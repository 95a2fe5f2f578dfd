"""RunConfig and TrialConfig: everything a run or a trial is made of, in and out of YAML.

A `TrialConfig` is enough to train one model again; `best.yaml` is one. A `RunConfig` is a whole search: the default
trial (trial 0) and how to search around it; `run.yaml` is one. The frozen dataclasses live beside what they configure
(`KSchedule` beside the schedule); this module composes them, and `yaml` turns every mistake in a file into one message.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)

from pare_tune.budget import Budget, parse_size, show_size
from pare_tune.data.remote import is_url
from pare_tune.errors import ConfigError
from pare_tune.method.embed import stack_size
from pare_tune.method.gate import GateConfig
from pare_tune.method.heads import HeadConfig
from pare_tune.method.methods import METHODS
from pare_tune.method.model import Precision
from pare_tune.method.schedule import KSchedule
from pare_tune.sources import SOURCES
from pare_tune.sources.base import SourceKind
from pare_tune.tasks import get_task
from pare_tune.tasks.base import Modality, Preset, Task
from pare_tune.tasks.own.spec import OwnData, from_options
from pare_tune.yaml import dump_yaml, load_yaml, replace_at, validate

FINGERPRINT = "fingerprint"
"""Key of a best.yaml beside the settings: what they were found on."""


def absolute(path: Path) -> Path:
    """`path` as every process finds it: each of Ray's has a working directory of its own."""
    return Path(os.path.expanduser(path)).absolute()


def _located(backbone: str) -> str:
    """A backbone whose folder or file, if it has one, is found from anywhere."""
    prefix, _, rest = backbone.partition(":")
    if prefix == "timm":
        model, _, file = rest.partition("@")
        return f"timm:{model}@{absolute(Path(file))}" if file else backbone
    is_folder = prefix == "hf" and (rest.startswith(("/", ".", "~")) or os.path.isdir(rest))
    return f"hf:{absolute(Path(rest))}" if is_folder else backbone


Place = Annotated[Path, AfterValidator(absolute)]
"""A file or folder that trials read."""


def _known_keys(kind: type[Any]) -> BeforeValidator:
    """Plain dataclasses would let unknown keys pass silently."""
    names = {f.name for f in dataclasses.fields(kind)}

    def check(value: Any) -> Any:
        unknown = set(value) - names if isinstance(value, Mapping) else set()
        if unknown:
            raise ValueError(f"unknown key {sorted(unknown)[0]!r}; known keys: {', '.join(sorted(names))}")
        return value

    return BeforeValidator(check)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)


@dataclasses.dataclass(frozen=True)
class _Removed:
    """A setting of earlier versions; files that leave it unused say nothing that is missing today."""

    unused: tuple[Any, ...]
    why: str
    instead: str


def _without(tree: Any, removed: Mapping[str, _Removed]) -> Any:
    """`tree` as it is written today.

    Raises:
        ValueError: the file makes use of a setting that was removed.
    """
    if not isinstance(tree, Mapping):
        return tree
    for key, setting in removed.items():
        if key in tree and tree[key] not in setting.unused:
            raise ValueError(
                f"{key}: {tree[key]!r} is no longer there, for {setting.why}; {setting.instead}, "
                f"or use the version of pare-tune that wrote this file"
            )
    return {key: value for key, value in tree.items() if key not in removed}


_CURVES = "two curricula were no better than one"
_ANEW = "delete the line in a copy of the file to search anew"
_NOT_TRAINED = {
    "restart": _Removed((None, False), _CURVES, "delete the line to train in one curriculum of all epochs")
}
_NOT_SEARCHED = {
    "restart": _Removed((None, False), _CURVES, _ANEW),
    "judge": _Removed(("best",), "no other judge was better than the best score so far", _ANEW),
    "source_order": _Removed(([], ()), "ranked sources did little better than chance", _ANEW),
}


class LossConfig(_Model):
    """L = beta1·L_t + beta2·[(1−λ)·L_mt + λ·L_ms] (paper, equations 1 and 2)."""

    beta1: float = Field(default=1.0, ge=0.0, le=100.0)
    """Weight of the loss on unmixed target samples."""
    beta2: float = Field(default=1.0, ge=0.0, le=100.0)
    """Weight of the loss on mixed samples."""


class SourceConfig(_Model):
    """The proxy data set whose patches are mixed in."""

    name: str
    data: Place | None = None
    """Folder of the public release; None for embedded sources."""
    samples: int | None = Field(default=None, ge=1)
    """A fixed subset of this size; None for all."""


class AlignConfig(_Model):
    """How `orca` aligns the target embedder with the source before training; other methods ignore it."""

    epochs: int = Field(default=60, ge=0, le=10_000)
    """Steps, of one batch each, as ORCA's code counts them (60; NinaPro 100, tables 20). 0 is plain fine-tuning."""
    distance: Literal["otdd", "mmd", "l2"] = "otdd"
    """What is made small between embedded target and source samples."""
    inner: Literal["exact", "gaussian"] = "exact"
    """otdd: the distance between two classes."""
    samples: int = Field(default=512, ge=16, le=8192)
    """Of target and of source, in one step."""


class OptimizerConfig(_Model):
    """Optimiser and learning-rate schedule."""

    name: Literal["sgd", "adam", "adamw"] = "adamw"
    lr: float = Field(gt=0.0, le=10.0)
    """Peak learning rate, reached at the end of the warm-up."""
    weight_decay: float = Field(default=0.0, ge=0.0, le=10.0)
    new_parts: float = Field(default=1.0, gt=0.0, le=100.0)
    """Learning rate of what is not pretrained (embedder, heads, gate), in multiples of `lr`."""
    gate: float = Field(default=1.0, gt=0.0, le=100.0)
    """Learning rate of the gate, in multiples of that of the other new parts."""
    decays: Literal["all", "matrices"] = "all"
    """What `weight_decay` shrinks. all: everything, as in the paper's code. matrices: all but norms, biases and
    positions."""
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0)
    """SGD only."""
    betas: tuple[float, float] = (0.9, 0.98)
    """Adam and AdamW (paper, A.2)."""
    clip: float | None = Field(default=None, gt=0.0)
    """Largest global gradient norm; None for no clipping."""
    warmup: float = Field(default=0.083, ge=0.0, lt=1.0)
    """Share of the run in which the rate rises linearly from 0 (paper: 5 of 60 epochs)."""
    decay: float = Field(default=1.0, ge=1.0, le=100.0)
    """Where the falling line meets 0, in runs: 1 is the last step, 2 would be one more run later."""


class TrainConfig(_Model):
    """Length and batches of one training."""

    epochs: int = Field(ge=1, le=100_000)
    batch_size: int = Field(ge=1)
    """Samples of a worker's forward pass; fewer where several workers share an optimiser step."""
    accumulation: int = Field(default=1, ge=1)
    """Forward passes of an optimiser step on one worker; the loss is their mean. Several workers make fewer, so that a
    step has batch_size × accumulation samples on any number of them."""
    share: float = Field(default=1.0, gt=0.0, le=1.0)
    """Of the training split, a fixed choice: how the score would be with less data (paper, Table 17)."""
    freeze: Literal["none", "layernorm", "query_key", "all"] = "none"
    """Which encoder parameters stay as pretrained; always layernorm with `method: layernorm`."""
    precision: Precision = "bf16"
    """On CUDA: bfloat16 autocast, or float32 throughout. bfloat16 doubles the error of smooth fields, so new trials
    take it for classes and labels alone."""
    gradient_checkpointing: bool = False
    """Compute the encoder's blocks again in the backward pass instead of keeping what they made: memory for time."""
    compile: bool = False
    """Let torch.compile make the encoder faster; it takes minutes a trial, and a compiler on every node."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """What the workers of a trial hold. ddp: a whole model each. fsdp: a share of its weights, gradients and optimiser
    state each, for encoders that do not fit one device."""
    loader_workers: int = Field(default=0, ge=0, le=64)
    """Processes a worker that prepare batches; 0 prepares them in the training process."""

    @model_validator(mode="before")
    @classmethod
    def _without_removed(cls, tree: Any) -> Any:
        return _without(tree, _NOT_TRAINED)

    @property
    def group(self) -> int:
        """Samples of an optimiser step, over all workers."""
        return self.batch_size * self.accumulation

    def per_worker(self, workers: int) -> tuple[int, int]:
        """Samples of a worker's forward pass, and its passes an optimiser step: as few passes as the batch allows.

        Raises:
            ConfigError: a step has fewer samples than there are workers, or one worker shall share its model.
        """
        if self.parallel == "fsdp" and workers == 1:
            raise ConfigError(
                "train.parallel fsdp shares a model among the workers of a trial, and there is one; take more "
                "(--workers-per-trial of a search, --num-workers of train), or leave it at ddp"
            )
        if self.group < workers:
            raise ConfigError(
                f"{workers} workers cannot share an optimiser step of {self.group} samples (train.batch_size × "
                f"train.accumulation); take at most {self.group} workers, or a larger batch"
            )
        passes = math.ceil(self.group / (workers * self.batch_size))
        return math.ceil(self.group / (workers * passes)), passes


class InputConfig(_Model):
    """How samples are laid out before the embedder."""

    canvas: int | None = Field(default=None, ge=16, le=4096)
    """Side of the square for tasks whose samples differ in size (psicov: 512 in the paper)."""
    image_size: int | None = Field(default=None, ge=16, le=2048)
    """Side that the backbone sees; None is the backbone's own."""
    max_tokens: int = Field(default=512, ge=1, le=8192)
    """Most tokens a 1D input is cut into."""
    embedder: Literal["pretrained", "random"] = "pretrained"
    """Where the new target embedder begins: at the backbone's own patch embedding, fitted to the input's channels (the
    official code), or at random (the paper's text). Small backbones transfer only with the former. Always random with
    `method: scratch`."""
    norm: Literal["own", "fixed"] = "own"
    """What brings the embedder's tokens to the scale that the encoder expects. own: the spread of each token, as
    pretrained embedders do. fixed: one spread for all, so that tokens stay linear in what they show."""
    start: Literal["readable", "plain"] = "plain"
    """How the embedder begins where it has nothing pretrained to begin at. plain: without bias, as in ORCA's code, and
    with a new projection for short patches; behind a LayerNorm such tokens tell no amplitudes, and positions of text
    encoders are lost in them. readable: with a random bias, the pretrained projection resampled to short patches, and
    positions as strong as in pretraining."""
    stem: Literal["none", "convolutions"] = "none"
    """What an embedder of series adds to its patches. convolutions: shares of steps at which fixed convolutions are
    above thresholds, in the token's own steps and in the whole series (MiniRocket's features)."""


class TrialConfig(_Model):
    """One training, whole: `pare-tune train best.yaml` needs nothing else.

    What a file leaves out is as it was before the setting came; `default_trial` gives new trials what is best.
    """

    task: str
    data: Place | None = None
    """Folder of the public release; None for the data that the task brings itself."""
    own: OwnData | None = None
    """A task of the user's own, whole; None for a benchmark's."""
    preset: Preset = "embedded"
    backbone: Annotated[str, AfterValidator(_located)] = "micro-swin"
    method: str = "pare"
    """A name of `METHODS`."""
    k: Annotated[KSchedule, _known_keys(KSchedule)] = KSchedule()
    gate: Annotated[GateConfig, _known_keys(GateConfig)] = GateConfig()
    head: Annotated[HeadConfig, _known_keys(HeadConfig)] = HeadConfig()
    loss: LossConfig = LossConfig()
    source: SourceConfig
    optimizer: OptimizerConfig
    train: TrainConfig
    input: InputConfig = InputConfig()
    align: AlignConfig = AlignConfig()
    seed: int = Field(default=0, ge=0, lt=2**31)

    @field_validator("method")
    @classmethod
    def _method_exists(cls, value: str) -> str:
        if value not in METHODS:
            raise ValueError(f"one of {', '.join(METHODS)}")
        return value

    @field_validator("train", "input")
    @classmethod
    def _method_decides(cls, value: _Part, info: ValidationInfo) -> _Part:
        """So that the configuration says what was trained: earlier releases wrote what the method then overrode."""
        for key, decided in _decided_by(info.data.get("method")).items():
            section, _, name = key.partition(".")
            if section == info.field_name:
                given = getattr(value, name)
                if given not in (decided, _UNDECIDED[key]):
                    raise ValueError(_contradiction(key, given, info.data["method"], decided))
                value = value.model_copy(update={name: decided})
        return value

    @field_validator("own")
    @classmethod
    def _own_data_are_found_from_anywhere(cls, value: OwnData | None) -> OwnData | None:
        return None if value is None else value.under(Path.cwd())

    @model_validator(mode="after")
    def _own_data_are_named(self) -> Self:
        if self.own is not None and (self.own.name != self.task or self.data is not None):
            raise ValueError(
                f"task must be own.name ({self.own.name}), and data left out: own says where they are"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_absent_data(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        tree: dict[str, Any] = handler(self)
        if self.own is None:
            del tree["own"]
        return tree

    def with_values(self, values: Mapping[str, Any]) -> Self:
        """A copy with dotted keys replaced: {"k.start": 0.5, "optimizer.lr": 1e-4}.

        What a method decides goes with it: another method takes it back, unless `values` says otherwise.

        Raises:
            ConfigError: a key does not exist, or a value is out of its range or contradicts the method.
        """
        tree = self.to_dict()
        method = values.get("method", self.method)
        decided = _decided_by(method)
        if method != self.method:
            for key in {*_decided_by(self.method), *decided}:
                replace_at(tree, key, _UNDECIDED[key])
        for key, value in values.items():
            if value != decided.get(key, value):
                raise ConfigError(f"settings: {_contradiction(key, value, method, decided[key])}")
            replace_at(tree, key, value)
        return validate(type(self), tree, where="settings")

    def value_of(self, key: str) -> Any:
        """The value at a dotted key."""
        node: Any = self.to_dict()
        for part in key.split("."):
            node = node[part]
        return node

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and dicts, as in YAML."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """The text of `best.yaml`; loading and writing it again gives the same bytes."""
        return dump_yaml(self.to_dict())


_Part = TypeVar("_Part", TrainConfig, InputConfig)
_UNDECIDED: Mapping[str, str] = {"train.freeze": "none", "input.embedder": "pretrained"}
"""What is taken for "nothing said" of the settings that a method may decide: their defaults."""


def _decided_by(method: Any) -> dict[str, str]:
    """The settings that a method decides; none if there is no such method."""
    if not isinstance(method, str) or method not in METHODS:
        return {}
    freeze = METHODS[method].freeze
    decided: dict[str, str] = {} if freeze is None else {"train.freeze": freeze}
    if not METHODS[method].pretrained:
        decided["input.embedder"] = "random"
    return decided


def _contradiction(key: str, value: Any, method: str, decided: str) -> str:
    return (
        f"{key} is always {decided} with method {method}, got {value!r}; leave it out or take another method"
    )


class SearchConfig(_Model):
    """How the search goes on around trial 0."""

    budget: Budget = Budget(amount=50)
    seed: int = Field(default=0, ge=0, lt=2**31)
    space: Place | None = None
    """A space of your own; None takes the shipped one of the modality."""
    methods: bool = False
    """Try other methods than trial 0's, too, where the shipped space has them; plain fine-tuning is then the trial
    after trial 0. A search that nobody gives a `--method` does."""
    startup_trials: int = Field(default=5, ge=1)
    """Random trials before the model-based sampler starts."""
    warm_start: tuple[Place, ...] = ()
    """Runs, or files of points, whose best configurations are tested first and whose rankings guide the search at its
    beginning. They are copied into the run folder."""
    portfolio: bool = True
    """Begin with the few configurations that cover the other tasks best whose curves come with the package. What
    `warm_start` names takes their place."""
    reduction: int = Field(default=2, ge=2, le=10)
    """Successive halving keeps one in so many at each rung."""
    first_rung: float = Field(default=0.34, gt=0.0, le=1.0)
    """Share of the epochs, rounded up to whole ones, after which a trial can first be stopped; until then curves say
    little of their ends. The next rungs are `reduction` times as late each."""
    pruning: bool = True
    validation: Literal["split", "folds"] = "split"
    """What trials are judged by: the validation split, or folds of train and val together, each held out once. A plan
    for data of one's own takes folds where the validation split is small, see `tasks.own.validation`."""
    folds: int = Field(default=5, ge=2, le=20)
    """Trainings of a trial with `validation: folds`."""
    confirm: int = Field(default=2, ge=0, le=20)
    """Fresh seeds with which the best two trials and trial 0 are trained again, inside the budget (of which this may
    take a quarter: fewer seeds otherwise); 0 chooses by the single scores of the search."""
    max_disk: int | None = Field(default=None, ge=1)
    """Bytes that the run folder may take, written as 5GB or 800 MiB; what is least wanted goes first, never the best
    trial, the record, or what a running trial needs. None for no limit."""
    max_concurrent: int | None = Field(default=None, ge=1)
    """Trials at a time; None is as many as the cluster holds. More than that wait for the nodes that an autoscaler
    adds."""
    workers_per_trial: int = Field(default=1, ge=1)
    cpus_per_worker: float = Field(default=1.0, gt=0)
    gpus_per_worker: float | None = Field(default=None, ge=0)
    """Fractions let trials share a GPU; None is one each where the cluster has GPUs."""

    @property
    def num_folds(self) -> int:
        """Trainings of a trial."""
        return self.folds if self.validation == "folds" else 1

    @model_validator(mode="before")
    @classmethod
    def _without_removed(cls, tree: Any) -> Any:
        return _without(tree, _NOT_SEARCHED)

    @field_validator("budget", mode="before")
    @classmethod
    def _parse_budget(cls, value: Any) -> Any:
        return Budget.parse(str(value)) if isinstance(value, str | int | float) else value

    @field_serializer("budget")
    def _show_budget(self, value: Budget) -> str:
        return str(value)

    @field_validator("warm_start", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str | Path) else value

    @field_validator("max_disk", mode="before")
    @classmethod
    def _parse_max_disk(cls, value: Any) -> Any:
        return parse_size(value) if isinstance(value, str) else value

    @field_serializer("max_disk")
    def _show_max_disk(self, value: int | None) -> str | None:
        return None if value is None else show_size(value)


def _runs_place(value: Any) -> Any:
    """A URL is a string, a folder a path."""
    if not isinstance(value, str | Path) or is_url(value):
        return value
    return Path(os.path.expanduser(value))


class RunConfig(_Model):
    """A whole search: `pare-tune --config run.yaml` repeats it."""

    trial: TrialConfig
    """Trial 0: the paper's configuration, under the preset."""
    search: SearchConfig = SearchConfig()
    runs: Annotated[Path | str, BeforeValidator(_runs_place)] = Path("runs")
    """Folder of the run folders: on this disk, or a URL (s3://bucket/runs) that all nodes reach."""

    @model_validator(mode="after")
    def _gpus_are_whole_beyond_one(self) -> Self:
        gpus = self.search.gpus_per_worker
        if gpus is not None and gpus > 1 and gpus != int(gpus):
            raise ValueError(f"gpus_per_worker above 1 must be whole, got {gpus}")
        return self

    @property
    def epochs_of_a_trial(self) -> int:
        """Of one that is not stopped early, through all its folds."""
        return self.trial.train.epochs * self.search.num_folds

    def to_yaml(self) -> str:
        """The text of `run.yaml`."""
        return dump_yaml(self.model_dump(mode="json"))


@dataclasses.dataclass(frozen=True)
class _Embedded:
    """What the embedded preset changes for one modality: the paper's values were chosen for 87 M parameters."""

    backbone: str
    sources: tuple[str, ...]
    """The first one whose windows of so few tokens can be learned."""
    epochs: int
    batch_size: int
    lr: float
    max_tokens: int
    new_parts: float = 1.0
    gate: float = 1.0


_TEXT = ("docs", "waves")
EMBEDDED: Mapping[Modality, _Embedded] = {
    Modality.GRID_2D: _Embedded(
        "micro-swin", ("photographs",), epochs=9, batch_size=8, lr=1e-3, max_tokens=64
    ),
    Modality.DENSE_2D: _Embedded(
        "micro-swin", ("shapes",), epochs=8, batch_size=4, lr=2e-3, max_tokens=64, new_parts=3.0, gate=10.0
    ),
    Modality.SEQUENCE_1D: _Embedded("micro-roberta", _TEXT, epochs=9, batch_size=16, lr=1e-3, max_tokens=64),
    Modality.DENSE_1D: _Embedded(
        "micro-roberta", _TEXT, epochs=20, batch_size=8, lr=1e-3, max_tokens=32, new_parts=3.0
    ),
    Modality.TABLE: _Embedded("micro-roberta", _TEXT, epochs=18, batch_size=16, lr=3e-4, max_tokens=64),
}

_LARGE_LR, _LARGE_NEW_PARTS = 5e-5, 20.0
"""`optimizer.lr` and `optimizer.new_parts` of other encoders, which forget what they know at the small ones' rates
(MiniLM, tests/benchmarks/RESULTS.md)."""


def default_trial(
    task: Task,
    *,
    preset: Preset,
    data: Path | None = None,
    backbone: str | None = None,
    method: str = "pare",
    seed: int = 0,
    own: OwnData | None = None,
) -> TrialConfig:
    """Trial 0: the paper's configuration of `task`, on the preset's backbone, batch and length.

    Args:
        own: what `task` was made of, if it is a user's own.
    """
    paper = task.paper
    # Measured (tests/benchmarks/RESULTS.md): maps need all stages, series a way across that is linear in amplitudes.
    is_series = task.modality is Modality.DENSE_1D
    is_map = task.modality is Modality.DENSE_2D
    head = HeadConfig(kind="stages" if is_map else "across" if is_series else "last")
    norm: Literal["own", "fixed"] = "fixed" if is_series else "own"
    precision: Precision = "bf16" if task.loss in ("cross_entropy", "bce_with_logits") else "fp32"
    k = KSchedule(start=paper.k_start, end=paper.k_end)
    common: dict[str, Any] = {
        "task": task.name, "data": data, "own": own, "preset": preset, "method": method, "k": k, "seed": seed,
        "head": head,
    }  # fmt: skip
    if preset == "embedded":
        small = EMBEDDED[task.modality]
        if backbone not in (None, small.backbone):
            read = tuple(s for s in small.sources if SOURCES[s].kind is not SourceKind.WAVES)
            small = dataclasses.replace(
                small, backbone=backbone, sources=read, lr=_LARGE_LR, new_parts=_LARGE_NEW_PARTS
            )
        trial = TrialConfig(
            **common,
            backbone=small.backbone,
            # Measured: at the paper's 1 the mixed loss drowns the target's in a short training (RESULTS.md).
            loss=LossConfig(beta2=0.1),
            source=SourceConfig(name=_learnable(small, task)),
            align=AlignConfig(epochs=paper.align_epochs, samples=256),
            optimizer=OptimizerConfig(
                lr=small.lr,
                weight_decay=0.01,
                clip=1.0,
                warmup=0.1,
                new_parts=small.new_parts,
                gate=small.gate,
            ),
            train=TrainConfig(epochs=small.epochs, batch_size=small.batch_size, precision=precision),
            input=InputConfig(
                canvas=task.canvas["embedded"], max_tokens=small.max_tokens, start="readable", norm=norm
            ),
        )
        return trial.with_values(task.embedded) if task.embedded else trial
    return TrialConfig(
        **common,
        backbone=backbone or ("swin-base-22k" if task.modality.is_grid else "roberta-base"),
        source=SourceConfig(name=paper.source),
        align=AlignConfig(epochs=paper.align_epochs),
        optimizer=OptimizerConfig(
            name=paper.optimizer,
            lr=paper.lr,
            weight_decay=paper.weight_decay,
            momentum=paper.momentum,
            clip=paper.clip,
            warmup=min(paper.warmup_epochs / paper.epochs, 0.99),
            decay=max(paper.decay_epochs / paper.epochs, 1.0),
        ),
        train=TrainConfig(
            epochs=paper.epochs,
            batch_size=paper.batch_size,
            accumulation=paper.accumulation,
            precision=precision,
        ),
        input=InputConfig(
            canvas=task.canvas["paper"], max_tokens=paper.target_tokens, start="readable", norm=norm
        ),
    )


def _learnable(small: _Embedded, task: Task) -> str:
    num_tokens = tokens_of(task, int(task.embedded.get("input.max_tokens", small.max_tokens)))
    fits = (s for s in small.sources if num_tokens is None or num_tokens >= SOURCES[s].fewest_tokens)
    return next(fits, small.sources[0])


def tokens_of(task: Task, most: int) -> int | None:
    """How many tokens a sample of `task` becomes, at most `most` for a series; None for grids."""
    if task.modality.is_grid:
        return None
    length = task.input_shape[-1]
    return length if task.modality is Modality.TABLE else length // stack_size(length, most)


def task_of(config: TrialConfig, cache: Path | None = None) -> Task:
    """The task that `config` trains: a benchmark's by name, or the user's own.

    Raises:
        UnknownName: there is no task of that name.
        PareTuneError: the user's data cannot be trained on; see `tasks.own.task.own_task`.
    """
    if config.own is None:
        return get_task(config.task)
    from pare_tune.tasks.own.task import own_task

    return own_task(config.own, cache)


def load_trial(path: Path) -> TrialConfig:
    """Read a `best.yaml`, but not what it was found on. Raises ConfigError with file and line."""
    tree = load_yaml(path)
    if isinstance(tree, MutableMapping):
        tree.pop(FINGERPRINT, None)
    return validate(TrialConfig, tree, where=str(path))


def load_run(path: Path) -> RunConfig:
    """Read a `run.yaml`. Raises ConfigError with file and line."""
    return validate(RunConfig, load_yaml(path), where=str(path))


def load_own(path: Path, settings: Mapping[str, Any] | None = None) -> OwnData:
    """Read a task file; the paths in it start from its folder. Raises ConfigError with file and line.

    Args:
        settings: dotted keys that replace what the file says: {"split.seed": 3}.
    """
    tree = _changed(load_yaml(path), settings or {})
    return validate(OwnData, tree, where=str(path)).under(absolute(path).parent)


def own_of(
    task: str | None,
    *,
    data: Path | None = None,
    target: str | None = None,
    kind: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> OwnData | None:
    """The user's own task that options name, by a task file or by its data; None where they name a benchmark.

    Args:
        settings: dotted keys of a task file, beside the options or in place of what the file says.

    Raises:
        ConfigError: the file or an option is not valid, or two contradict each other.
    """
    said = {"target": target, "kind": kind}
    given = [f"--{name}" for name, value in said.items() if value is not None]
    if task is not None and task.lower().endswith((".yaml", ".yml")):
        if given or data is not None:
            raise ConfigError(f"{task} says all of its data; leave out {(given or ['--data'])[0]}")
        return load_own(Path(task), settings)
    given += [f"--set own.{key}" for key in settings or {}]
    if not given:
        return None
    if task is not None:
        raise ConfigError(f"{given[0]} is for data of your own, --task {task} has its own; give one of them")
    if data is None or kind is None:
        missing = "--data FILE" if data is None else "--kind point, multilabel, regression or dense"
        raise ConfigError(f"a task of your own needs {missing} beside {given[0]}")
    tree = _changed(from_options({"data": str(data), **said}), settings or {})
    return validate(OwnData, tree, where="options").under(Path.cwd())


def _changed(tree: Any, settings: Mapping[str, Any]) -> Any:
    for key, value in settings.items():
        *parents, leaf = key.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {}) if isinstance(node, dict) else None
        if not isinstance(node, dict):
            raise ConfigError(f"no setting named own.{key}: what it would be in is no mapping of settings")
        node[leaf] = value
    return tree
