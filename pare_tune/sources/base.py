"""What a source (proxy) data set is: labelled samples of the modality a backbone was pretrained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # listing the sources must not wait for torch
    from torch import Tensor


class SourceKind(StrEnum):
    """What one source sample is, and so which source embedder reads it."""

    IMAGES = "images"
    """x (3, H, W) float32, normalised as the backbone was trained; y () int64 class."""
    MASKED_IMAGES = "masked_images"
    """x (3, H, W) float32; y (H, W) float32 in {0, 1}: foreground."""
    TEXT = "text"
    """x (N,) int64 token ids; y () int64 class."""
    WAVES = "waves"
    """x (1, L) float32 series of any length L that N divides; y () int64 class."""


class SourceDataset(Protocol):
    """Map-style; every item is {"x": Tensor, "y": Tensor}. `__getitems__` may fetch a batch at once."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Tensor]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRequest:
    """What the chosen backbone needs of a source."""

    root: Path | None = None
    """Folder that holds public releases, or the user's own folder or file; None for the embedded sources."""
    cache: Path
    """Where prepared stores go."""
    seed: int = 0
    max_samples: int | None = None
    """A fixed, seeded subset of this size; None for all (the paper's headline numbers use all)."""
    image_size: int | None = None
    """Side of the square image, for IMAGES and MASKED_IMAGES."""
    image_mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    image_std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    num_tokens: int | None = None
    """Window length N, for TEXT and WAVES."""
    tokenize: Callable[[Sequence[str]], list[list[int]]] | None = None
    """Texts → token ids without special tokens, for TEXT."""
    tokenizer_name: str = ""
    """Tells prepared stores of different tokenizers apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceData:
    """An opened source."""

    name: str
    kind: SourceKind
    dataset: SourceDataset
    num_classes: int
    """Classes of the source head; 1 for MASKED_IMAGES (one foreground logit a pixel)."""
    class_names: tuple[str, ...] = ()
    provenance: str
    """One line for the report: what this is and under which terms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One entry of the registry `sources.SOURCES`."""

    name: str
    title: str
    kind: SourceKind
    classes: int | None
    """Of the source head; None where the user's files decide."""
    embedded: bool
    """Whether it needs no files from the user."""
    open: Callable[[SourceRequest], SourceData]
    homepage: str = ""
    releases: tuple[str, ...] = ()
    """Where the release may lie below the folder that is given, as `Path.glob` takes it; the first that is there is
    read. Empty: what is given is itself read."""
    fewest_tokens: int = 1
    """Of 1D windows; shorter ones hold no label that a probe could read (tests/benchmarks/sources.py)."""
    holds: tuple[str, ...] = ()
    """Tasks whose validation split is cut from the same samples."""
    uses: tuple[ModuleType, ...] = ()
    """Modules, beside the one of `open`, whose code decides what is stored."""

    def find(self, root: Path) -> Path | None:
        """The release below `root`, None if it is not there."""
        if not self.releases:
            return root if root.exists() else None
        for pattern in self.releases:
            for path in root.glob(pattern):
                return path
        return None
