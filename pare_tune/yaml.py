"""Settings as nested mappings: in and out of YAML, by dotted key, and checked against models.

Every mistake in a file becomes one message that names the file, the line, the rule and the value.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pare_tune.errors import ConfigError, did_you_mean

M = TypeVar("M", bound=BaseModel)


def load_yaml(path: Path) -> Any:
    """Read YAML 1.2 (so `1e-4` is a number) with line numbers kept for error messages.

    Raises:
        ConfigError: the file is missing, unreadable or not YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = (
            error.strerror if isinstance(error, OSError) else error
        )  # the former's text names the path again
        raise ConfigError(f"cannot read {path}: {reason}") from error
    try:
        return YAML(typ="rt").load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"{path}{line}: not valid YAML: {getattr(error, 'problem', error)}") from error


def dump_yaml(tree: Mapping[str, Any]) -> str:
    """Write YAML with keys in the order given."""
    yaml = YAML()
    yaml.width = 100
    stream = io.StringIO()
    yaml.dump(dict(tree), stream)
    return stream.getvalue()


def validate(model: type[M], tree: Any, *, where: str) -> M:
    """Check `tree` against `model`; every mistake becomes one line of one ConfigError."""
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{where}: expected a mapping of settings, found {type(tree).__name__}")
    try:
        return model.model_validate(as_builtins(tree))
    except ValidationError as error:
        lines = [f"{where}{_line(tree, e['loc'])}: {_sentence(e)}" for e in error.errors()]
        raise ConfigError("\n".join(lines)) from None


def line_of(tree: Any, path: tuple[str | int, ...]) -> int | None:
    """1-based line of the deepest key of `path` that the file holds, None for trees that came from no file."""
    line: int | None = None
    for key in path:
        positions: Callable[[Any], tuple[int, int]] | None = getattr(getattr(tree, "lc", None), "key", None)
        if positions is None or not isinstance(tree, Mapping) or key not in tree:
            break
        line = positions(key)[0] + 1
        tree = tree[key]
    return line


def _line(tree: Any, path: tuple[str | int, ...]) -> str:
    line = line_of(tree, path)
    return "" if line is None else f":{line}"


def _sentence(error: Any) -> str:
    name = ".".join(str(p) for p in error["loc"]) or "settings"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"unknown key {name!r}"
    if error["type"] == "missing":
        return f"{name} is missing"
    value = error.get("input")
    shown = f", got {value!r}" if isinstance(value, str | int | float | bool | None) else ""
    return f"{name}: {message[0].lower()}{message[1:]}{shown}"


def as_builtins(node: Any) -> Any:
    """ruamel's nodes as builtins, so that what is validated holds no file positions."""
    if isinstance(node, Mapping):
        return {str(k): as_builtins(v) for k, v in node.items()}
    if isinstance(node, list | tuple):
        return [as_builtins(v) for v in node]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


def dotted(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves of nested mappings by dotted key: {"k": {"start": 0.5}} is {"k.start": 0.5}."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        inside = (
            {f"{key}.{k}": v for k, v in dotted(value).items()}
            if isinstance(value, Mapping)
            else {key: value}
        )
        leaves |= inside
    return leaves


def no_setting(key: str, keys: Iterable[str]) -> str:
    """What to tell of a key that is none of `keys`."""
    return f"no setting named {key!r}.{did_you_mean(key, list(keys))} `pare-tune --task TASK --dry-run` prints them all"


def replace_at(tree: dict[str, Any], key: str, value: Any) -> None:
    """Put `value` at a dotted key that `tree` has. Raises ConfigError where it has none."""
    *parents, leaf = key.split(".")
    node: Any = tree
    for parent in parents:
        node = node.get(parent) if isinstance(node, dict) else None
    if not isinstance(node, dict) or leaf not in node:
        raise ConfigError(no_setting(key, dotted(tree)))
    node[leaf] = value
