"""Reads photographs of any usual format; a damaged or hostile file is one message.

Pillow guesses formats from content, and some of its plug-ins start other programs (EPS starts Ghostscript), so only
those of `FORMATS` may read. Sizes are looked at before anything is decoded.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from pare_tune.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

FORMATS: Final = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
SUFFIXES: Final = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
"""Of files that are taken for images, in lower case."""

MAX_PIXELS: Final = 1 << 26
"""67 megapixels, 256 MiB decoded; a small file can claim any size."""


_EIGHT_BIT: Final = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")


def open_image(path: Path, *, near: int | None = None, homepage: str = "") -> Image.Image:
    """The image in `path`, decoded, in its own mode.

    Args:
        near: shorter side that it will be resized to; a JPEG at least twice as large is decoded at a half, a quarter
            or an eighth of its size, never below `near`, in a fraction of the time.
        homepage: of the release that the file belongs to, for the message.

    Raises:
        DataError: the file is missing, damaged, of another format, or larger than `MAX_PIXELS`.
    """
    from PIL import Image

    again = f"get it again ({homepage})" if homepage else "get it again or take it away"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata, which are of no use here
            with Image.open(path, formats=FORMATS) as image:
                width, height = image.size
                if width * height <= MAX_PIXELS:
                    if near is not None:
                        image.draft(None, (near, near))
                    image.load()
                    return image
    except Exception as error:  # Pillow's parsers raise whatever a damaged file makes them trip over
        reason = str(error) or type(error).__name__
        raise DataError(f"{path} is not a whole image ({reason}); {again}") from error
    raise DataError(
        f"{path} is {width} × {height} pixels, more than {MAX_PIXELS:,}; scale it down, or take it away"
    )


def read_square(path: Path, size: int, *, homepage: str = "") -> npt.NDArray[np.uint8]:
    """The image in `path` → (3, size, size): the shorter side scaled to `size` (bilinear), the middle cut out.

    Raises:
        DataError: see `open_image`; or it has more than 8 bits a channel.
    """
    from PIL import Image, ImageOps

    image = open_image(path, near=size, homepage=homepage)
    if image.mode not in _EIGHT_BIT:
        raise DataError(
            f"{path} must have 8 bits a channel, it is of Pillow's mode {image.mode}; convert it, or take it away"
        )
    image.info.pop("transparency", None)  # only colours are wanted, and Pillow warns of palettes that have it
    square = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))
