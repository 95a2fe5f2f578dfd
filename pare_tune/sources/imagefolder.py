"""Source `imagefolder`: photographs of your own, one folder a class."""

from __future__ import annotations

from pare_tune.data import images
from pare_tune.errors import DataError
from pare_tune.sources import labelled
from pare_tune.sources.base import Source, SourceData, SourceKind, SourceRequest
from pare_tune.sources.stored import image_size


def _open_folder(request: SourceRequest) -> SourceData:
    image_size(request)  # said before the files are looked for
    if request.root is None or not request.root.is_dir():
        given = "none was given" if request.root is None else f"{request.root} is none"
        raise DataError(
            f"source {IMAGEFOLDER.name} reads a folder of class folders with images, and {given}; give one with "
            f"--source-data"
        )
    classes = labelled.class_folders(request.root)
    return labelled.open_labelled(
        IMAGEFOLDER,
        request,
        classes,
        provenance=f"{len(classes.files):,} images of {len(classes.names)} classes in {request.root}",
    )


IMAGEFOLDER = Source(
    name="imagefolder",
    title="images of your own, one folder a class",
    kind=SourceKind.IMAGES,
    classes=None,
    embedded=False,
    open=_open_folder,
    uses=(labelled, images),
)
