"""The source (proxy) data sets that PaRe mixes the target with."""

from __future__ import annotations

from pare_tune.errors import UnknownName
from pare_tune.sources.base import Source, SourceData, SourceRequest
from pare_tune.sources.base import SourceKind as SourceKind
from pare_tune.sources.caltech101 import CALTECH101
from pare_tune.sources.cifar import CIFAR10, CIFAR100
from pare_tune.sources.conll2003 import CONLL2003
from pare_tune.sources.digits import DIGITS
from pare_tune.sources.docs import DOCS
from pare_tune.sources.imagefolder import IMAGEFOLDER
from pare_tune.sources.photographs import PHOTOGRAPHS
from pare_tune.sources.shapes import SHAPES
from pare_tune.sources.textfile import TEXTFILE
from pare_tune.sources.tiny_imagenet import TINY_IMAGENET
from pare_tune.sources.voc import VOC
from pare_tune.sources.waves import WAVES

_EMBEDDED = (PHOTOGRAPHS, DIGITS, SHAPES, DOCS, WAVES)
_RELEASED = (CIFAR10, CIFAR100, TINY_IMAGENET, CALTECH101, VOC, CONLL2003)
_OWN = (IMAGEFOLDER, TEXTFILE)

SOURCES: dict[str, Source] = {source.name: source for source in (*_EMBEDDED, *_RELEASED, *_OWN)}
"""Every source by name: those that need no files, those that read a public release, those that read the user's own."""


def open_source(name: str, request: SourceRequest) -> SourceData:
    """Prepare source `name` if that was not done before, and open it.

    Raises:
        UnknownName: there is no such source.
        DataError: its release is missing or not as it should be.
        StorageError: the cache folder cannot be written.
    """
    source = SOURCES.get(name)
    if source is None:
        raise UnknownName("source", name, SOURCES)
    return source.open(request)
