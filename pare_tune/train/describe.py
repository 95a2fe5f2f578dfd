"""What a model takes and gives, for people and for OpenAPI."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from pare_tune.tasks.base import Modality, MultiLabel, Point
from pare_tune.tasks.own.layout import Layout
from pare_tune.tasks.own.samples import Shape
from pare_tune.train.build import ModelShape


@dataclass(frozen=True, kw_only=True)
class Description:
    """Of one model."""

    task: str
    shape: Shape
    """Of one sample, None where any size will do."""
    columns: tuple[str, ...]
    """Of the table that a sample is a row of; empty where it is none, or its columns have no names."""
    takes_arrays: bool
    """False for tables that hold more than numbers."""
    has_classes: bool
    """Whether outputs are of classes or labels."""
    names: tuple[str, ...]
    """Of the outputs, where they have some."""

    @classmethod
    def of(cls, task: str, model: ModelShape) -> Self:
        """What a model of this shape takes and gives."""
        columns: tuple[str, ...] = ()
        names: tuple[str, ...] = ()
        shape: Shape = model.input_shape
        takes_arrays = True
        if model.raw is not None:
            layout = Layout.from_dict(model.raw["inputs"])
            shape, names = layout.shape, tuple(model.raw["target"]["names"])
            takes_arrays = not layout.tokens
            columns = tuple(dict.fromkeys(token.name for token in layout.tokens))
            if takes_arrays and layout.modality is Modality.TABLE:
                columns = tuple(model.raw["at"]["columns"] or ())
        return cls(
            task=task,
            shape=shape,
            columns=columns,
            takes_arrays=takes_arrays,
            has_classes=isinstance(model.output, Point | MultiLabel),
            names=names,
        )

    @property
    def takes(self) -> str:
        """What samples are, for people."""
        sizes = ", ".join("any" if size is None else str(size) for size in self.shape)
        kinds = [f"rows of a table with the columns {', '.join(self.columns)}"] if self.columns else []
        return " or ".join([*kinds, *([f"arrays of shape (n, {sizes})"] if self.takes_arrays else [])])

    @property
    def gives(self) -> str:
        """What comes out, for people."""
        what = "a probability" if self.has_classes else "a value"
        return f"{what} for each of {', '.join(self.names)}" if self.names else f"{what} for each output"

    @property
    def body(self) -> dict[str, Any]:
        """OpenAPI's requestBody."""
        cell = {"type": ["number", "string", "boolean", "null"]}
        row = {"type": "object", "properties": dict.fromkeys(self.columns, cell)}
        schemas = [_one_key("rows", row)] if self.columns else []
        content: dict[str, Any] = {}
        if self.takes_arrays:
            sample: dict[str, Any] = {"type": "number"}
            for size in reversed(self.shape):
                sized = {} if size is None else {"minItems": size, "maxItems": size}
                sample = {"type": "array", "items": sample, **sized}
            schemas.append(_one_key("inputs", sample))
            content["application/x-npy"] = {"schema": {"type": "string", "format": "binary"}}
        schema = schemas[0] if len(schemas) == 1 else {"oneOf": schemas}
        return {"required": True, "content": {"application/json": {"schema": schema}, **content}}

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        shape = ["n", *self.shape] if self.takes_arrays else None
        takes = {"columns": self.columns, "shape": shape}
        return {"task": self.task, "takes": takes, "gives": self.gives, "names": self.names}


def _one_key(key: str, item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": [key], "properties": {key: {"type": "array", "items": item}}}
