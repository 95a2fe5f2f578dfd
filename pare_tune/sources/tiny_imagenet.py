"""Source `tiny-imagenet`: 200 ImageNet classes at 64×64, the paper's proxy for spherical images.

Le and Yang, "Tiny ImageNet visual recognition challenge", 2015. The training images, as released (train/<class>/images)
or laid out anew (train/<class>, or the classes alone).
"""

from __future__ import annotations

from typing import Final

from pare_tune.data import images
from pare_tune.sources import labelled
from pare_tune.sources.base import Source, SourceData, SourceKind, SourceRequest
from pare_tune.sources.stored import find_release, image_size

_SIDE: Final = 64
_CLASS: Final = r"n\d{8}"
"""Names of WordNet; the first classes begin with n0."""


def _open_tiny_imagenet(request: SourceRequest) -> SourceData:
    image_size(request)  # said before the files are looked for
    photographs = labelled.class_folders(find_release(request, TINY_IMAGENET).parent, named=_CLASS)
    return labelled.open_labelled(
        TINY_IMAGENET,
        request,
        photographs,
        largest=_SIDE,
        provenance=f"Tiny-ImageNet training images (Le and Yang, 2015), {len(photographs.names)} classes",
    )


TINY_IMAGENET = Source(
    name="tiny-imagenet",
    title="Tiny-ImageNet: 100,000 photographs of 200 classes, 64×64",
    kind=SourceKind.IMAGES,
    classes=200,
    embedded=False,
    open=_open_tiny_imagenet,
    homepage="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
    releases=("tiny-imagenet-200/train/n0*", "train/n0*", "tiny-imagenet-200/n0*", "n0*"),
    uses=(labelled, images),
)
