"""What a model takes and gives, for people and for OpenAPI."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from pare_tune.tasks.own.layout import Layout
from pare_tune.tasks.own.samples import Shape, said
from pare_tune.train.predict import Predictor


@dataclass(frozen=True, kw_only=True)
class Description:
    """Of one model."""

    task: str
    shape: Shape
    """Of one sample, None where any size will do."""
    columns: tuple[str, ...]
    """Of the table that a sample is a row of; empty where it is none."""
    meaning: str
    """Of the outputs: probability or value."""
    names: tuple[str, ...]
    """Of the outputs, where they have some."""

    @classmethod
    def of(cls, predictor: Predictor) -> Self:
        """What `predictor` takes and gives."""
        raw = predictor.shape.raw
        columns: tuple[str, ...] = ()
        shape: Shape = predictor.shape.input_shape
        if raw is not None:
            layout = Layout.from_dict(raw["inputs"])
            shape = layout.shape
            columns = tuple(dict.fromkeys(token.name for token in layout.tokens))
        meaning = "probability" if predictor.probabilities else "value"
        return cls(
            task=predictor.config.task, shape=shape, columns=columns, meaning=meaning, names=predictor.names
        )

    @property
    def text(self) -> str:
        """Markdown."""
        if self.columns:
            takes = f'`{{"rows": […]}}`, rows of a table with the columns {", ".join(self.columns)}'
        else:
            takes = (
                f'`{{"inputs": […]}}`, or an array in NumPy\'s .npy format, of shape (n, {said(self.shape)})'
            )
        gives = (
            f"one {self.meaning} each of {', '.join(self.names)}" if self.names else f"{self.meaning} arrays"
        )
        return f"Takes {takes}. Gives {gives}; as .npy with `Accept: application/x-npy`."

    @property
    def body(self) -> dict[str, Any]:
        """OpenAPI's requestBody."""
        if self.columns:
            cell = {"type": ["number", "string", "boolean", "null"]}
            row = {"type": "object", "properties": dict.fromkeys(self.columns, cell)}
            return {"required": True, "content": {"application/json": {"schema": _one_key("rows", row)}}}
        sample: dict[str, Any] = {"type": "number"}
        for size in reversed(self.shape):
            sized = {} if size is None else {"minItems": size, "maxItems": size}
            sample = {"type": "array", "items": sample, **sized}
        return {
            "required": True,
            "content": {
                "application/json": {"schema": _one_key("inputs", sample)},
                "application/x-npy": {"schema": {"type": "string", "format": "binary"}},
            },
        }

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        takes = {"columns": self.columns} if self.columns else {"shape": ["n", *self.shape]}
        return {"task": self.task, "takes": takes, "gives": self.meaning, "names": self.names}


def _one_key(key: str, item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": [key], "properties": {key: {"type": "array", "items": item}}}
