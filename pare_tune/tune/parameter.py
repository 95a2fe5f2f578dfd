"""One searched setting, in three kinds: a number, a whole number, or one of several values.

`parse_parameter` reads what a space file says of one (`tune/space.py` shows the format); everything that a range or a
list of choices decides by itself is decided here.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import BaseTrial
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    model_validator,
)  # fmt: skip

from pare_tune.errors import ConfigError
from pare_tune.tune.prior import STRENGTHS

Scalar = StrictBool | StrictInt | StrictFloat | StrictStr
Whole = Annotated[int, Field(strict=True, ge=-(2**53), le=2**53)]
"""Larger ones are no longer themselves as Optuna's floats."""

_STRONGEST = 1000.0
"""A prior that outweighs every search is no prior but a fixed value."""


def _trials_worth(prior: Any) -> float:
    """`{strength: weak}` or `{strength: 3}` as a number of trials."""
    if prior is None:
        return 0.0
    given = prior.get("strength") if isinstance(prior, Mapping) and set(prior) == {"strength"} else None
    if isinstance(given, str) and given in STRENGTHS:
        return STRENGTHS[given]
    if isinstance(given, int | float) and not isinstance(given, bool) and 0 <= given <= _STRONGEST:
        return float(given)
    raise ValueError


class _Parameter(BaseModel):
    """What all kinds have. A field's description is what a file is told that breaks it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: ClassVar[Literal["float", "int", "choice"]]
    key: str
    """Dotted setting of `TrialConfig`."""
    where: str
    """file:line, for messages."""
    default: Any = None
    """What the configuration says that nobody changed; documents the range."""
    when: dict[str, Annotated[tuple[Scalar, ...], Field(min_length=1)]] = Field(
        default={}, description="needs a list of values for every setting it names, {setting: [values]}"
    )
    """Asked only where each of these settings has one of its values."""
    strength: Annotated[float, BeforeValidator(_trials_worth)] = Field(
        default=0.0,
        alias="prior",
        description=f"needs {{strength: {', '.join(STRENGTHS)}, or a number of trials from 0 to {_STRONGEST:g}}}",
    )
    """Trials that the expectation of good values near trial 0's is worth; 0 for none."""

    @property
    @abstractmethod
    def values(self) -> str:
        """For people: "0.05 … 1, log"."""

    def describe(self) -> str:
        """For people, with its conditions: "16 … 256, log; when gate.kind is mlp"."""
        conditions = " and ".join(f"{k} is {' or '.join(map(str, v))}" for k, v in self.when.items())
        return f"{self.values}; when {conditions}" if conditions else self.values


class _NumberParameter(_Parameter):
    bounds: tuple[float, float]
    log: StrictBool = Field(default=False, description="must be true or false")
    """Sampled on a log scale."""
    relative: StrictBool = Field(default=False, description="must be true or false")
    """The bounds are multiples of trial 0's own value."""
    step: StrictFloat | None = Field(default=None, description="must lie in (0, hi - lo]")
    times: str | None = Field(default=None, description="needs a number searched earlier in the file")
    """The sampled number is a share of this setting's value."""

    @property
    def name(self) -> str:
        """What the study calls it: a share of another setting is named as the share that it is."""
        return self.key if self.times is None else f"{self.key} / {self.times}"

    @property
    def low(self) -> float:
        return self.bounds[0]

    @property
    def high(self) -> float:
        return self.bounds[1]

    @property
    def extremes(self) -> tuple[Any, ...]:
        """Values that are valid if everything in between is."""
        return self.bounds

    def contains(self, value: Any) -> bool:
        """Whether the study could hold `value`."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if self.kind == "int" and value != int(value):
            return False
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return self.low <= value <= self.high and abs(steps - round(steps)) < 1e-8

    @property
    def values(self) -> str:
        """For people: "0.05 … 1, log"."""
        text = f"{self.low:g} … {self.high:g}{', log' if self.log else ''}"
        text += f", step {self.step:g}" if self.step is not None else ""
        return text + (f" of {self.times}" if self.times else "")

    def around(self, own: Any) -> Self:
        """With absolute bounds, where they are multiples of trial 0's value `own`.

        Raises:
            ConfigError: there are no such multiples, or no whole number among them.
        """
        if not self.relative:
            return self
        if not isinstance(own, int | float) or own <= 0:
            raise ConfigError(
                f"{self.where}: {self.key} is relative to trial 0's value, which must be > 0, got {own!r}"
            )
        low, high = self.low * own, self.high * own
        if self.kind == "int":
            low, high = max(1, math.floor(low)), math.ceil(high)
            if low >= high:
                raise ConfigError(f"{self.where}: {self.key} has no room between {low:g} and {high:g}")
        return self.model_copy(update={"bounds": (low, high)})

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        low, high, key, step = self.low, self.high, self.key, self.step
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"{key} needs finite lo < hi, got [{low:g}, {high:g}]")
        if self.log and low <= 0:
            raise ValueError(f"log of {key} needs lo > 0, got {low:g}")
        if step is not None and not 0 < step <= high - low:
            raise ValueError(f"step of {key} must lie in (0, hi - lo], got {step:g}")
        if step is not None and (self.log or self.relative):
            raise ValueError(f"step of {key} goes with neither log nor relative")
        if step is not None and self.kind == "int" and step != int(step):
            raise ValueError(f"step of {key} must be whole, got {step:g}")
        if self.times is not None and (self.kind != "float" or self.relative):
            raise ValueError(f"times of {key} goes with a float that is not relative")
        return self


class FloatParameter(_NumberParameter):
    """A number of a range."""

    kind = "float"
    bounds: tuple[StrictFloat, StrictFloat] = Field(alias="float", description="needs two numbers [lo, hi]")

    @property
    def distribution(self) -> FloatDistribution:
        """What it is to the study."""
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def ask(self, trial: BaseTrial) -> float:
        """`trial`'s value of it."""
        return trial.suggest_float(self.name, self.low, self.high, log=self.log, step=self.step)


class IntParameter(_NumberParameter):
    """A whole number of a range."""

    kind = "int"
    bounds: tuple[Whole, Whole] = Field(alias="int", description="needs two whole numbers [lo, hi]")

    @property
    def distribution(self) -> IntDistribution:
        """What it is to the study."""
        return IntDistribution(*self.bounds, log=self.log, step=int(self.step or 1))

    def ask(self, trial: BaseTrial) -> int:
        """`trial`'s value of it."""
        return trial.suggest_int(self.name, *self.bounds, log=self.log, step=int(self.step or 1))


class ChoiceParameter(_Parameter):
    """One of several values."""

    kind = "choice"
    relative: ClassVar[bool] = False
    times: ClassVar[None] = None
    choices: tuple[Scalar, ...] = Field(alias="choice", min_length=1, description="needs a list [a, b]")

    @property
    def name(self) -> str:
        """What the study calls it."""
        return self.key

    @property
    def distribution(self) -> CategoricalDistribution:
        """What it is to the study."""
        return CategoricalDistribution(self.choices)

    @property
    def extremes(self) -> tuple[Any, ...]:
        """Values that are valid if everything in between is: all of them."""
        return self.choices

    @property
    def is_ladder(self) -> bool:
        """Whether the choices are numbers, which have an order."""
        return all(isinstance(c, int | float) for c in self.choices)

    def contains(self, value: Any) -> bool:
        """Whether the study could hold `value`."""
        return any(value == c and isinstance(value, bool) == isinstance(c, bool) for c in self.choices)

    @property
    def values(self) -> str:
        """For people: "fc, mlp"."""
        return ", ".join(map(str, self.choices))

    def ask(self, trial: BaseTrial) -> Any:
        """`trial`'s value of it."""
        return trial.suggest_categorical(self.name, self.choices)

    @model_validator(mode="after")
    def _choices_differ(self) -> Self:
        if len(set(map(str, self.choices))) != len(self.choices):
            raise ValueError(f"choices of {self.key} must differ, got {list(self.choices)}")
        return self


Parameter = FloatParameter | IntParameter | ChoiceParameter

_KINDS: Mapping[str, type[Parameter]] = {k.kind: k for k in (FloatParameter, IntParameter, ChoiceParameter)}
_FLAGS = ("log", "relative")
_FIELDS = frozenset({*_KINDS, *_FLAGS, "step", "default", "times", "when", "prior"})


def parse_parameter(key: str, spec: Any, where: str) -> Parameter:
    """What a space file says of the setting `key`: a mapping whose one key of float, int and choice says which kind.

    Args:
        spec: built-in values only.
        where: file:line.

    Raises:
        ValueError: without `where`, a sentence with the rule and the value that breaks it.
    """
    if not isinstance(spec, Mapping):
        raise ValueError(f"{key} needs a mapping such as {{float: [lo, hi]}}, got {spec!r}")
    unknown = sorted(set(spec) - _FIELDS)
    if unknown:
        raise ValueError(f"{key} has an unknown key {unknown[0]!r}; known: {', '.join(sorted(_FIELDS))}")
    kinds = [kind for kind in _KINDS if kind in spec]
    if len(kinds) != 1:
        raise ValueError(f"{key} needs exactly one of float, int, choice, got {', '.join(kinds) or 'none'}")
    model = _KINDS[kinds[0]]
    said = {name: value for name, value in spec.items() if not (name in _FLAGS and value is False)}
    try:
        return model.model_validate({**said, "key": key, "where": where})
    except ValidationError as error:
        raise ValueError(_sentence(error.errors()[0], model, key, spec)) from None


def _sentence(error: Any, model: type[Parameter], key: str, spec: Mapping[str, Any]) -> str:
    if not error["loc"]:
        return str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"choice of {key} goes with neither log, step, relative nor times"
    if error["loc"][0] == "choice" and len(error["loc"]) > 1:
        return f"choices of {key} must be numbers, words or true/false, got {spec['choice']!r}"
    name = error["loc"][0]
    [rule] = [f.description for field, f in model.model_fields.items() if name in (field, f.alias)]
    return f"{name} of {key} {rule}, got {spec[name]!r}"
