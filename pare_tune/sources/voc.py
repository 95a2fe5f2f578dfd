"""Source `voc`: PASCAL VOC 2012 segmentation, foreground against background, the paper's dense source.

Everingham et al., IJCV 2010. Labels follow the official PaRe code: any object is foreground, the void border
(255) is background like the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from pare_tune.data import images
from pare_tune.data.store import Record
from pare_tune.errors import DataError
from pare_tune.sources.base import Source, SourceData, SourceKind, SourceRequest
from pare_tune.sources.stored import find_release, image_size, inventory, open_stored

VOID: Final = 255

_LIST: Final = "ImageSets/Segmentation/train.txt"
_NAME: Final = re.compile(r"\w[\w.-]*")
"""An image's name: never a path, so a list cannot lead out of the release."""


def read_pair(
    image_path: Path, mask_path: Path, size: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """A photograph (3, size, size) and its mask (size, size), 1 on objects; aspect ratio is not kept.

    Raises:
        DataError: a file is missing or cut short, the two differ in size, or the mask holds no class numbers.
    """
    image = images.open_rgb(image_path, homepage=VOC.homepage)
    mask = images.open_image(mask_path, homepage=VOC.homepage)
    if mask.mode not in ("P", "L"):
        raise DataError(
            f"{mask_path}: a mask is a palette or grey PNG of class numbers, this one is {mask.mode}; take "
            f"SegmentationClass from the release, not colours drawn from it"
        )
    if image.size != mask.size:
        raise DataError(f"{mask_path} is {mask.size}, but its photograph is {image.size}; get both again")
    classes = np.asarray(mask)
    foreground = Image.fromarray(((classes > 0) & (classes != VOID)).astype(np.uint8))
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
    resized = np.asarray(foreground.resize((size, size), Image.Resampling.NEAREST))
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)), resized


def _names(path: Path) -> list[str]:
    names = path.read_text(encoding="utf-8", errors="replace").split()
    odd = next((name for name in names if not _NAME.fullmatch(name)), None)
    if odd is not None or not names:
        content = f"found {odd!r}" if names else "it is empty"
        raise DataError(f"{path} must list one image name a line, such as 2007_000032; {content}")
    return names


def _open_voc(request: SourceRequest) -> SourceData:
    size = image_size(request)
    folder = find_release(request, VOC).parents[2]

    names = _names(folder / _LIST)
    photos = [folder / "JPEGImages" / f"{name}.jpg" for name in names]
    masks = [folder / "SegmentationClass" / f"{name}.png" for name in names]

    def records() -> Iterator[Record]:
        for image, mask in zip(photos, masks, strict=True):
            x, y = read_pair(image, mask, size)
            yield {"x": x, "y": y}

    return open_stored(
        VOC,
        request,
        records,
        class_names=("foreground",),
        provenance="PASCAL VOC 2012 segmentation, train list; objects are foreground, void is background",
        files=inventory([*photos, *masks], VOC.homepage),
        size=size,
    )


VOC = Source(
    name="voc",
    title="PASCAL VOC 2012: 1,464 photographs with foreground masks",
    kind=SourceKind.MASKED_IMAGES,
    classes=1,
    embedded=False,
    open=_open_voc,
    homepage="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
    releases=tuple(home + _LIST for home in ("VOCdevkit/VOC2012/", "VOC2012/", "")),
    uses=(images,),
)
