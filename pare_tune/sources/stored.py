"""What all sources share: samples in a prepared store, and the dataset that reads them for the backbone."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from pare_tune.data import store
from pare_tune.data.cache import fingerprint, prepared
from pare_tune.data.store import Record, Store, write_store
from pare_tune.errors import DataError
from pare_tune.sources.base import Source, SourceData, SourceKind, SourceRequest
from pare_tune.steps import Count, step

if TYPE_CHECKING:  # imported where it is used: listing the sources must not wait for it
    from torch import Tensor

FOLDER: Final = "sources"
"""Of the cache, where the stores of all sources lie."""


class StoredSamples:
    """Samples of one store, made model-ready when fetched: a pure function of the index.

    The store's fields are x and y. Images are uint8 (3, h, w), resized (bilinear) if h, w are not the
    requested size and normalised; masks uint8 (h, w); windows of tokens int32 (N,); waves float32 (L,);
    labels int64.

    Pickles as a path and a few numbers.

    Raises:
        DataError: the store is missing or is not one.
    """

    def __init__(self, path: Path, kind: SourceKind, request: SourceRequest) -> None:
        self._kind = kind
        self._image_size = request.image_size
        self._mean, self._std = request.image_mean, request.image_std
        self._store = Store(path)
        self._subset = request.max_samples, request.seed
        self._chosen = subset(len(self._store), *self._subset)

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Tensor]]:
        """The items of a whole batch at once, several times faster than one by one."""
        import torch

        records = [self._store[int(self._chosen[i])] for i in indices]
        x, y = (torch.from_numpy(np.stack([record[field] for record in records])) for field in ("x", "y"))
        x, y = self._decoded(x, y)
        return [{"x": x_i, "y": y_i} for x_i, y_i in zip(x, y, strict=True)]

    def _decoded(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        match self._kind:
            case SourceKind.IMAGES:
                return self._normalised(x), y
            case SourceKind.MASKED_IMAGES:
                return self._normalised(x), y.float()
            case SourceKind.TEXT:
                return x.long(), y
            case SourceKind.WAVES:
                return x[:, None], y

    def _normalised(self, x: Tensor) -> Tensor:
        import torch
        from torch.nn.functional import interpolate

        x = x.float()
        size = self._image_size
        if size is not None and x.shape[-2:] != (size, size):
            x = interpolate(x, (size, size), mode="bilinear", antialias=True)
        mean, std = (255 * torch.tensor(values)[:, None, None] for values in (self._mean, self._std))
        return x.sub_(mean).div_(std)

    def __getstate__(self) -> dict[str, Any]:
        # The subset is drawn again on arrival: an array of indices would travel with every batch of work.
        return {name: value for name, value in self.__dict__.items() if name != "_chosen"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._chosen = subset(len(self._store), *self._subset)


def open_stored(
    source: Source,
    request: SourceRequest,
    records: Callable[[], Iterable[Record]],
    *,
    class_names: Sequence[str],
    provenance: str,
    **parts: Any,
) -> SourceData:
    """`source` by its store, which is made from `records` if it is not there yet.

    Args:
        records: yields x and y.
        class_names: of the source head's outputs, one each.
        provenance: one line for the report.
        parts: what decides the content beside the code: sizes, seeds, the files read.

    Raises:
        StorageError: the cache folder cannot be written, or the disk is full.
    """
    path = stored(source, request, records, **parts)
    return SourceData(
        name=source.name,
        kind=source.kind,
        dataset=StoredSamples(path, source.kind, request),
        num_classes=len(class_names),
        class_names=tuple(class_names),
        provenance=provenance,
    )


def stored(
    source: Source,
    request: SourceRequest,
    records: Callable[[], Iterable[Record]],
    *,
    beside: Callable[[Path], None] | None = None,
    **parts: Any,
) -> Path:
    """The store of `source`, made from `records` if it is not there yet. Arguments and errors as `open_stored`.

    Args:
        beside: writes what else is worth keeping into the store's folder.
    """

    def make(folder: Path) -> None:
        with step(f"preparing the source {source.name}, samples") as count:
            if beside is not None:
                beside(folder)
            write_store(folder / "samples.arrow", _counted(records(), count))

    key = f"{source.name}-{code_of(source)}-{fingerprint(**parts)}"
    return prepared(request.cache / FOLDER, key, make) / "samples.arrow"


def _counted(records: Iterable[Record], count: Count) -> Iterator[Record]:
    for record in records:
        yield record
        count()


def code_of(source: Source) -> str:
    """Digest of the code that decides what is stored of `source`."""
    modules = (sys.modules[source.open.__module__], store, *source.uses)
    return fingerprint(code=[inspect.getsource(module) for module in modules])


def find_release(request: SourceRequest, source: Source) -> Path:
    """The release of `source` below the request's root: the first of `source.releases` that is there.

    Raises:
        DataError: no folder was given, or the release is not in it.
    """
    wanted = " or ".join(source.releases)
    if request.root is None:
        raise DataError(
            f"source {source.name} is read from a folder and none was given; get it from {source.homepage} and "
            f"give the folder that holds {wanted} with --source-data"
        )
    release = source.find(request.root)
    if release is None:
        raise DataError(
            f"source {source.name}: {request.root} holds no {wanted}; get it from {source.homepage} and unpack it "
            f"there"
        )
    return release


def inventory(paths: Iterable[Path], homepage: str) -> list[str]:
    """Where, how long and how old files are: part of a fingerprint, so that changed files are read again.

    Raises:
        DataError: one of the files is missing, or cannot be looked at.
    """
    lines = []
    for path in paths:
        try:
            stat = path.stat()
        except OSError as error:
            remedy = f"get the release from {homepage} and unpack it again" if homepage else "put it there"
            state = (
                "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
            )
            raise DataError(f"{path} {state}; {remedy}") from error
        lines.append(f"{path.absolute()} {stat.st_size} {stat.st_mtime_ns}")
    return lines


def chunk_seed(*numbers: int) -> int:
    """A seed that depends on all of `numbers`, for content that is made in parts."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def image_size(request: SourceRequest) -> int:
    """The request's image size, which image sources cannot do without."""
    if request.image_size is None:
        raise ValueError("an image source needs request.image_size, the side of the backbone's images")
    return request.image_size


def num_tokens(request: SourceRequest) -> int:
    """The request's window length, which 1D sources cannot do without."""
    if request.num_tokens is None or request.num_tokens < 1:
        raise ValueError(f"a 1D source needs request.num_tokens of at least 1, got {request.num_tokens}")
    return request.num_tokens


def subset(total: int, size: int | None, seed: int) -> npt.NDArray[np.int64]:
    """Indices, rising, of a fixed choice of `size` out of `total`; all for None or more than there are."""
    if size is None or size >= total:
        return np.arange(total)
    if size < 1:
        raise ValueError(f"max_samples must be at least 1, got {size}")
    return np.sort(np.random.default_rng([seed, total]).permutation(total)[:size])
