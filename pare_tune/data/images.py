"""Finds and reads images of any usual format, by one set of rules; a damaged or hostile file is one message.

Pillow guesses formats from content, and some of its plug-ins start other programs (EPS starts Ghostscript), so only
those of `FORMATS` may read. Sizes are looked at before anything is decoded.
"""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

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

LEFT_BEHIND: Final = frozenset({"__MACOSX", "@eaDir"})
"""Folders that archives and file servers leave beside the data, with images of their own."""

_EIGHT_BIT: Final = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
_GREY: Final = ("1", "L", "LA", "I", "F", "I;16", "I;16B", "I;16L")
_WITH_ALPHA: Final = ("LA", "PA", "RGBA")
_PAGED: Final = ("GIF", "PNG", "TIFF", "WEBP")
"""Further pictures in a JPEG are previews and depth maps of the first, which phones add."""
_TIFF_KIND, _THUMBNAIL_OR_MASK = 254, 0b101
_ORIENTATION: Final = 0x0112
_SHOWN: Final = 5


def is_image(name: object) -> bool:
    """Whether a file of this name is an image by its suffix."""
    return isinstance(name, str | Path) and Path(name).suffix.lower() in SUFFIXES


def natural(text: str) -> list[tuple[int, int, str]]:
    """Sorts x2 before x10."""
    return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in re.split(r"([0-9]+)", text) if p]


@dataclass(frozen=True)
class ImageFiles:
    """Image files, and what each is called."""

    paths: Sequence[Path]
    names: Sequence[str]
    """Paths below the folder, with '/'; or as a table writes them."""
    notes: tuple[str, ...] = ()
    """What was passed over, for people."""
    subfolders: tuple[str, ...] = ()
    """Right below the folder, those apart that are passed over."""


def find_images(folder: Path, *, named: str = ".*") -> ImageFiles:
    """Every image below `folder`, in natural order of their paths.

    An image is a file of one of `SUFFIXES`, in capitals or not, at any depth. Links to files and folders are followed;
    one that leads back to a folder that holds it is not. Hidden files and folders (`.ipynb_checkpoints`, `._1.png`),
    those of `LEFT_BEHIND` and files of other kinds are passed over, and `notes` say so.

    Args:
        named: what the whole names of the folders right below `folder` match; others are not looked into.

    Raises:
        DataError: there is no image, a link leads nowhere, or a folder cannot be read.
    """
    passed = _PassedOver(folder)
    try:
        subfolders = sorted(
            e.name for e in list(os.scandir(folder)) if e.is_dir() and re.fullmatch(named, e.name)
        )
        paths = list(_walk(folder, (), passed, named))
    except OSError as error:
        raise DataError(f"cannot read {error.filename or folder}: {error.strerror or error}") from error
    if not paths:
        raise no_image(folder)
    with_names = sorted(
        ((path.relative_to(folder).as_posix(), path) for path in paths), key=lambda pair: natural(pair[0])
    )
    return ImageFiles(
        [path for _, path in with_names],
        [name for name, _ in with_names],
        tuple(passed.notes()),
        tuple(name for name in subfolders if not _is_passed_over(name)),
    )


def class_of(folder: Path, images: ImageFiles) -> list[str]:
    """The folder right below `folder` that each of its images lies in: its class.

    Raises:
        DataError: images lie beside the folders, or one of these holds no image.
    """
    loose = next((name for name in images.names if "/" not in name), None)
    if loose is not None:
        raise DataError(
            f"{folder}: classes are subfolders, but {loose} lies beside them; move it into one, or give labels in a "
            f"table"
        )
    classes = [name.split("/", 1)[0] for name in images.names]
    empty = sorted(set(images.subfolders) - set(classes))
    if empty:
        raise no_image(folder / empty[0])
    return classes


def no_image(folder: Path) -> DataError:
    """What to say of a folder without images."""
    return DataError(
        f"{folder} holds no image ({', '.join(sorted(SUFFIXES))}); put some in, or take the folder away"
    )


@dataclass
class _PassedOver:
    """What the walk through a folder left aside."""

    folder: Path
    hidden: list[Path] = field(default_factory=list)
    circles: list[Path] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    """Files of other kinds, by suffix."""

    def notes(self) -> Iterator[str]:
        for paths, why in (
            (self.hidden, "hidden, or left behind by an archive"),
            (self.circles, "links back to a folder that holds them"),
        ):
            if paths:
                names = [path.relative_to(self.folder).as_posix() for path in paths]
                yield f"{self.folder}: passed over {listing(sorted(names))}: {why}"
        if self.others:
            kinds = listing(sorted(suffix or "without a suffix" for suffix in self.others))
            yield f"{self.folder}: passed over {self.others.total()} files that are no images ({kinds})"


def listing(names: Sequence[str]) -> str:
    """The first few names, for people."""
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _is_passed_over(name: str) -> bool:
    return name.startswith(".") or name in LEFT_BEHIND


def _walk(folder: Path, above: tuple[str, ...], passed: _PassedOver, named: str = ".*") -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in above:
        passed.circles.append(folder)
        return
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path, is_folder = folder / entry.name, entry.is_dir()
        if _is_passed_over(entry.name):
            if is_folder or is_image(entry.name):
                passed.hidden.append(path)
        elif is_folder:
            if re.fullmatch(named, entry.name):
                yield from _walk(path, (*above, real), passed)
        elif entry.is_symlink() and not entry.is_file():
            raise DataError(
                f"{path} is a link to {os.readlink(path)}, which is not there; mend the link or take it away"
            )
        elif is_image(entry.name):
            yield path
        else:
            passed.others[path.suffix.lower()] += 1


@dataclass(frozen=True, slots=True)
class Header:
    """What an image is, known before it is decoded."""

    size: tuple[int, int]
    """(H, W), upright."""
    mode: str
    """Pillow's."""
    scale: str
    """What its numbers count: those of 8 bits go from 0 to 255, those of 16 to 65,535."""
    has_alpha: bool
    is_cut: bool
    """Whether it has 16 bits a channel, of which Pillow reads the upper 8: all colours."""

    @property
    def is_grey(self) -> bool:
        """Whether it is read without a colour axis."""
        return self.mode in _GREY


def read_header(path: Path) -> Header:
    """What the image in `path` is. Raises DataError as `open_image`, but for what only decoding shows."""
    with _opened(path, "") as image:
        turned = (_turn(image) or 0) >= 5
        # How the file's bytes are packed is known to Pillow's readers alone.
        packing = [str(tile[3]) for tile in cast("Any", image).tile]
        has_sixteen = image.mode.startswith("I;16") or any(";16" in how for how in packing)
        return Header(
            size=(image.width, image.height) if turned else (image.height, image.width),
            mode=image.mode,
            scale=_scale(image, has_sixteen),
            has_alpha=image.mode in _WITH_ALPHA or "transparency" in image.info,
            is_cut=has_sixteen and image.mode in _EIGHT_BIT,
        )


def _scale(image: Image.Image, has_sixteen: bool) -> str:
    if image.mode in _EIGHT_BIT:
        return "8 bits"
    if image.mode == "F":
        return "floating point"
    # PNG and PGM know no more than 16 bits; older versions of Pillow call those I.
    return "16 bits" if has_sixteen or image.format in ("PNG", "PPM") else "32 bits"


def open_image(path: Path, *, near: int | None = None, homepage: str = "") -> Image.Image:
    """The image in `path`, decoded, in its own mode, turned upright as its EXIF orientation says.

    Args:
        near: shorter side that it will be resized to; a JPEG at least twice as large is decoded at a half, a quarter
            or an eighth of its size, never below `near`, in a fraction of the time.
        homepage: of the release that the file belongs to, for the message.

    Raises:
        DataError: the file is missing, damaged, of another format, larger than `MAX_PIXELS`, or holds several pages.
    """
    from PIL import Image

    with _opened(path, homepage) as image:
        turn = _turn(image)
        if near is not None:
            image.draft(None, (near, near))
        image.load()
        if turn is None:
            return image
        turns = Image.Transpose
        return image.transpose(
            {
                2: turns.FLIP_LEFT_RIGHT, 3: turns.ROTATE_180, 4: turns.FLIP_TOP_BOTTOM, 5: turns.TRANSPOSE,
                6: turns.ROTATE_270, 7: turns.TRANSVERSE, 8: turns.ROTATE_90,
            }[turn]
        )  # fmt: skip


def open_rgb(path: Path, *, near: int | None = None, homepage: str = "") -> Image.Image:
    """The image in `path` in colour; transparency is left out. Arguments and errors as `open_image`.

    Raises:
        DataError: it has more than 8 bits a channel, so that its scale is not known.
    """
    image = open_image(path, near=near, homepage=homepage)
    if image.mode not in _EIGHT_BIT:
        raise DataError(
            f"{path} must have 8 bits a channel, it is of Pillow's mode {image.mode}; convert it, or take it away"
        )
    image.info.pop("transparency", None)  # Pillow warns of palettes that have it
    return image.convert("RGB")


def read_square(path: Path, size: int, *, homepage: str = "") -> npt.NDArray[np.uint8]:
    """The image in `path` → (3, size, size): the shorter side scaled to `size` (bilinear), the middle cut out.

    Raises:
        DataError: see `open_rgb`.
    """
    from PIL import Image, ImageOps

    image = open_rgb(path, near=size, homepage=homepage)
    square = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))


@contextmanager
def _opened(path: Path, homepage: str) -> Iterator[Image.Image]:
    """The image in `path`, not decoded yet; what goes wrong with it until the block ends is a DataError."""
    from PIL import Image

    again = f"get it again ({homepage})" if homepage else "get it again or take it away"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata, which are of no use here
            with Image.open(path, formats=FORMATS) as image:
                _require_one_picture(image, path)
                yield image
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"no image {path} ({error.strerror}); {again}") from error
    except Exception as error:  # Pillow's parsers raise whatever a damaged file makes them trip over
        reason = str(error) or type(error).__name__
        raise DataError(f"{path} is not a whole image ({reason}); {again}") from error


def _require_one_picture(image: Any, path: Path) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DataError(
            f"{path} is {width} × {height} pixels, more than {MAX_PIXELS:,}; scale it down, or take it away"
        )
    if image.format not in _PAGED or not image.is_animated:
        return
    pages = image.n_frames
    if image.format == "TIFF":
        pages = sum(not _tiff_kind(image, page) & _THUMBNAIL_OR_MASK for page in range(pages))
        image.seek(0)
    if pages > 1:
        raise DataError(
            f"{path} holds {pages} pages, and an image is one; save each as a file of its own, or pages that belong "
            f"together as one array (.npy)"
        )


def _tiff_kind(image: Any, page: int) -> int:
    image.seek(page)
    return int(image.tag_v2.get(_TIFF_KIND, 0))


def _turn(image: Any) -> int | None:
    """EXIF's orientation, 2 to 8; None for an upright image, and for a TIFF, which Pillow turns itself."""
    # An orientation behind a PNG's pixels, where hardly any program writes it, would take decoding all of them.
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return None
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # damaged metadata say nothing, as its parsers say in many ways
        return None
    return orientation if orientation in range(2, 9) else None
