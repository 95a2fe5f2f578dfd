"""What scores depend on beside settings: the samples of each split, the backbone's weights, the packages' versions.

A run keeps its fingerprint in `fingerprint.yaml`, and every configuration that comes out of it (best.yaml, config.yaml
of best/ and of final/) has it under the key `fingerprint`, so that a copy of one file is enough to compare. To go on
with a search on other data, or to train in full what it found, would score samples that were trained on before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, Self

from pare_tune.backbones import load_backbone
from pare_tune.config import FINGERPRINT, TrialConfig
from pare_tune.errors import ConfigError
from pare_tune.method import METHODS
from pare_tune.steps import step
from pare_tune.tasks import Task
from pare_tune.tasks.load import contents_of
from pare_tune.tasks.own.read import files_of
from pare_tune.tasks.stores import release_files
from pare_tune.yaml import as_builtins, dump_yaml, load_yaml

_PACKAGES = (
    "pare-tune", "torch", "torchvision", "timm", "transformers", "ray", "optuna", "numpy", "scipy", "pandas",
    "scikit-learn", "scikit-image", "pillow", "pyarrow", "safetensors", "torchmetrics",
)  # fmt: skip
_LISTED = 100
"""Files named one by one; of more, such as a folder of images, each folder's sum is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """What scores were measured on; compares by content, wherever the data lie and whenever they were written."""

    splits: Mapping[str, Mapping[str, int | str]]
    """Split → its number of samples and a digest of them."""
    files: Mapping[str, Mapping[str, int | str]]
    """File of the data, or folder of many → bytes and time of its last change: these tell what changed, not whether."""
    backbone: Mapping[str, str]
    """Name, and a digest of the pretrained weights; empty where none are used."""
    packages: Mapping[str, str]
    """Package → version."""

    @classmethod
    def of(cls, config: TrialConfig, task: Task, cache: Path | None = None) -> Self:
        """What training `config` now would depend on; prepares its data if that was not done before.

        Raises:
            DataError, StorageError, BackboneUnavailable: see `load_task` and `load_backbone`.
        """
        backbone = {}
        if METHODS[config.method].pretrained:
            backbone = {"name": config.backbone, "content": _weights_digest(config.backbone, cache)}
        return cls(
            splits=contents_of(task, data=config.data, cache=cache),
            files=_state_of(_files_of(config, task)),
            backbone=backbone,
            packages=package_versions(),
        )

    def changes(self, now: Self) -> list[str]:
        """What of data, splits and backbone is another `now`, one line each; empty if nothing is."""
        lines = []
        if self.splits != now.splits:
            before, after = (sum(int(s["samples"]) for s in f.splits.values()) for f in (self, now))
            lines.append(
                f"samples: {before:,} → {after:,}" if before != after else f"samples: {before:,}, other ones"
            )
            lines += [_split_line(name, s, now.splits.get(name, {})) for name, s in self.splits.items()]
            lines += _file_lines(self.files, now.files)
        if self.backbone.get("name") == now.backbone.get("name") and self.backbone != now.backbone:
            lines.append(f"backbone {now.backbone['name']}: other pretrained weights")
        return lines

    def other_versions(self, now: Self) -> list[str]:
        """Packages whose version is another `now`: "torch 2.14.0 → 2.14.1"."""
        names = dict.fromkeys([*self.packages, *now.packages])
        pairs = ((name, self.packages.get(name, "none"), now.packages.get(name, "none")) for name in names)
        return [f"{name} {before} → {after}" for name, before, after in pairs if before != after]

    def to_yaml(self) -> str:
        """One key, `fingerprint`, to stand behind a configuration or alone."""
        return dump_yaml({FINGERPRINT: asdict(self)})


def read_fingerprint(path: Path) -> Fingerprint | None:
    """What a YAML file says beside its settings; None where it says nothing of it, or there is no file.

    Raises:
        ConfigError: it is no YAML, or the fingerprint was edited into something else.
    """
    tree = load_yaml(path) if path.is_file() else {}
    kept = tree.get(FINGERPRINT) if isinstance(tree, Mapping) else None
    if kept is None:
        return None
    parts = [kept.get(name) for name in Fingerprint.__slots__] if isinstance(kept, Mapping) else []
    if not parts or not all(isinstance(part, Mapping) for part in parts):
        raise ConfigError(
            f"{path}: {FINGERPRINT} is not what pare-tune wrote there; take it away to do without the comparison"
        )
    return Fingerprint(
        **{name: as_builtins(part) for name, part in zip(Fingerprint.__slots__, parts, strict=True)}
    )


def check_unchanged(
    then: Fingerprint | None,
    now: Fingerprint,
    *,
    where: Path,
    accept: bool,
    accepted_means: str,
    notify: Callable[[str], None],
) -> None:
    """Refuse to go on where data, splits or backbone changed; warn where versions did.

    Args:
        where: the run or file that `then` comes from.
        accept: go on all the same, with a warning.
        accepted_means: what that would mean, after "goes on all the same: ".

    Raises:
        ConfigError: something changed and is not accepted.
    """
    if then is None:
        notify(f"{where} does not say what data it was made on; whether they changed since cannot be told")
        return
    changes = then.changes(now)
    if changes and not accept:
        told = "\n".join(f"  {line}" for line in changes)
        raise ConfigError(
            f"changed since {where} was made:\n{told}\nPut that back as it was, or search anew. "
            f"--accept-changed-data goes on all the same: {accepted_means}"
        )
    if changes:
        notify(f"changed since {where} was made, and accepted: {'; '.join(changes)}. {accepted_means}")
    if versions := then.other_versions(now):
        notify(f"versions changed since {where} was made, scores may differ a little: {', '.join(versions)}")


def package_versions() -> dict[str, str]:
    """Version of every package that numbers can depend on, of those that are installed."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


@lru_cache(maxsize=4)
def _weights_digest(name: str, cache: Path | None) -> str:
    """Of the weights alone, as they come: names of parameters and fitted sizes are those of a package's version."""
    with step(f"taking the fingerprint of {name}"):
        weights = [p.detach().float().numpy() for p in load_backbone(name, cache=cache).parameters()]
    digests = sorted(hashlib.blake2b(w.tobytes(), digest_size=16).hexdigest() for w in weights)
    return hashlib.blake2b("".join(digests).encode(), digest_size=8).hexdigest()


def _files_of(config: TrialConfig, task: Task) -> list[Path]:
    if config.own is not None:
        return list(dict.fromkeys(files_of(config.own)))
    return [] if config.data is None else list(release_files(task, config.data))


def _state_of(paths: Iterable[Path]) -> dict[str, dict[str, int | str]]:
    stats = {path: path.stat() for path in paths}
    groups: dict[Path, list[Any]] = {}
    for path, stat in stats.items():
        groups.setdefault(path if len(stats) <= _LISTED else path.parent, []).append(stat)
    return {
        str(place): {
            "bytes": sum(s.st_size for s in within),
            "changed": datetime.fromtimestamp(max(s.st_mtime for s in within)).isoformat(),
        }
        for place, within in groups.items()
    }


def _split_line(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    had, has = before.get("samples", 0), after.get("samples", 0)
    if had != has:
        return f"{name}: {had:,} → {has:,} samples"
    return f"{name}: {had:,} samples, {'the same' if before == after else 'other ones'}"


def _file_lines(before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Files that are of another size; where none is, those written since."""
    lines = [f"{place}: new" for place in after if place not in before]
    lines += [f"{place}: gone" for place in before if place not in after]
    both = [(place, before[place], after[place]) for place in before if place in after]
    sizes = [f"{p}: {b['bytes']:,} → {a['bytes']:,} bytes" for p, b, a in both if b["bytes"] != a["bytes"]]
    return lines + (
        sizes or [f"{p}: written {a['changed']}" for p, b, a in both if b["changed"] != a["changed"]]
    )
