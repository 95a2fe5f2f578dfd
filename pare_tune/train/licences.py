"""Under which terms the parts of a model came: what is known for sure, or where to look."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pare_tune.backbones import BACKBONES
from pare_tune.config import TrialConfig
from pare_tune.method import METHODS
from pare_tune.sources import SOURCES

_HUB: Final = "https://huggingface.co/"
_ROBERTA: Final = "FacebookAI/roberta-base"
_SAYS_LICENCE: Final = re.compile(r"---\r?\n(?:(?!---).*\r?\n)*?license: *([\w.-]+)[ \r]*\n")
"""The front matter of a model card on the hub."""
_WITH_US: Final[Mapping[str, str]] = {
    "photographs": "public domain and CC0",
    "shapes": "shapes on photographs in the public domain and under CC0",
    "docs": "PSF licence (docstrings of Python's standard library)",
    "waves": "made by formulas, no rights",
}
"""Proxy data that come with pare-tune, or with Python → licence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a part of a model came from."""

    name: str
    licence: str = ""
    """Of a backbone, as the Hugging Face hub calls it; empty where nothing here says it."""
    source: str = ""
    """Who says so, or who may."""
    on_hub: str = ""
    """Its name there."""

    @property
    def told(self) -> str:
        """For people."""
        if not self.licence:
            return f"{self.name}: not known here: see {self.source or 'where it came from'}"
        return f"{self.name}: {self.licence}" + (f" ({self.source})" if self.source else "")


def backbone_origin(name: str) -> Origin:
    """Of what `--backbone` takes; nothing is downloaded."""
    family, _, model = BACKBONES.get(name, name).partition(":")
    if not model:
        return Origin(name=name, licence="apache-2.0", source="it comes with pare-tune")
    if family == "timm":
        from timm.models import get_pretrained_cfg

        published = None if "@" in model else get_pretrained_cfg(model)
        if published is None or not published.hf_hub_id:
            return Origin(name=name)
        licence, on_hub = published.license or "", published.hf_hub_id
        return Origin(
            name=name, licence=licence, source="says timm" if licence else _HUB + on_hub, on_hub=on_hub
        )
    if (folder := Path(model)).is_dir():
        licence = _said_in(folder)
        return Origin(name=name, licence=licence, source="says its README.md" if licence else "")
    if model in ("roberta-base", _ROBERTA):
        return Origin(name=name, licence="mit", source=_HUB + _ROBERTA, on_hub=_ROBERTA)
    return Origin(name=name, source=_HUB + model, on_hub=model)


def _said_in(folder: Path) -> str:
    try:
        said = _SAYS_LICENCE.match((folder / "README.md").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return "" if said is None else said[1]


def proxy_origin(config: TrialConfig) -> Origin | None:
    """Of the proxy data; None for a method that reads none."""
    if not METHODS[config.method].reads_source:
        return None
    name = config.source.name
    homepage = SOURCES[name].homepage if name in SOURCES else ""
    licence = _WITH_US.get(name, "")
    return Origin(name=name, licence=licence, source="" if licence else homepage)
