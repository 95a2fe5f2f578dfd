"""Source `photographs`: free photographs that ship inside scikit-image, and random crops of them.

Only images whose terms, as scikit-image documents them (docstrings of `skimage.data`), are CC0 or the public
domain. Left out, although they lie in the same wheel: images without a stated licence (moon, page,
motorcycle, colour wheel), "no known copyright restrictions" without a dedication (coins, ihc), drawings
(horse, logo, phantom, checkerboards) and faces of the LFW data set. scikit-learn's two photographs (china,
flower) are CC BY and left out too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from pare_tune.data.store import Record
from pare_tune.errors import DataError
from pare_tune.sources.base import Source, SourceData, SourceKind, SourceRequest
from pare_tune.sources.stored import chunk_seed, image_size, open_stored

NUM_CROPS: Final = 4000
"""Crops in the source's prepared store: 49 MB at 64×64, 602 MB at 224×224."""

_CROPS_AT_ONCE: Final = 500
"""Crops in memory at once: 75 MB at 224×224."""

_CHUNK: Final = 128
"""Crops whose colours are changed at once: bounds the float32 copy, 77 MB at 224×224."""

_LUMA: Final = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Photograph:
    """One photograph and the terms it comes under."""

    name: str
    image: npt.NDArray[np.uint8]
    """(H, W, 3); grey photographs have three equal channels."""
    licence: str


FILES: Final[dict[str, tuple[str, str]]] = {
    "astronaut": ("astronaut.png", "public domain (NASA)"),
    "brick": ("brick.png", "CC0 (CC0Textures, Bricks25)"),
    "camera": ("camera.png", "CC0 (Lav Varshney)"),
    "cell": ("cell.png", "CC0 (Paul Müller and others, 2018)"),
    "chelsea": ("chelsea.png", "CC0 (Stefan van der Walt)"),
    "clock": ("clock_motion.png", "public domain (Stefan van der Walt)"),
    "coffee": ("coffee.png", "CC0 (Rachel Michetti, Pikolo Espresso Bar)"),
    "grass": ("grass.png", "CC0 (linolafett)"),
    "gravel": ("gravel.png", "CC0 (CC0Textures, Gravel04)"),
    "hubble": ("hubble_deep_field.jpg", "public domain (NASA)"),
    "microaneurysms": ("microaneurysms.png", "CC0 (Andreas Maier)"),
    "retina": ("retina.jpg", "CC0 (Mikael Häggström)"),
    "rocket": ("rocket.jpg", "public domain (SpaceX)"),
    "text": ("text.png", "public domain (Wikipedia, Corner.png)"),
}
"""name → (file in `skimage/data`, terms)."""


def photographs() -> list[Photograph]:
    """All photographs of `FILES`, in that order; nothing is downloaded.

    Raises:
        DataError: the installed scikit-image lacks one of the files.
    """
    return [Photograph(name, _read(file), licence) for name, (file, licence) in FILES.items()]


def digest(photos: Sequence[Photograph]) -> str:
    """Fingerprint of the pixels, so that stores are made anew when scikit-image replaces a photograph."""
    total = hashlib.sha256()
    for photo in photos:
        total.update(f"{photo.name} {photo.image.shape}".encode())
        total.update(np.ascontiguousarray(photo.image).data)
    return total.hexdigest()[:16]


def crops(
    photos: Sequence[Photograph],
    n: int,
    size: int,
    seed: int,
    *,
    scale: tuple[float, float] = (0.08, 0.7),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    jitter: float = 0.2,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Random augmented crops, labelled by the photograph that they come from.

    Each is a random resized crop, mirrored left to right half of the time, with brightness, contrast and
    saturation each changed by a factor in [1 - jitter, 1 + jitter]. No rotations: gentle pretexts transferred
    better.

    Args:
        scale: range of the crop's share of the photograph's area, drawn uniformly.
        ratio: range of the crop's width / height, drawn log-uniformly.

    Returns:
        (n, 3, size, size) images and (n,) labels, in random order; label counts differ by at most one.
    """
    rng = np.random.default_rng([seed, n, size])
    labels = rng.permutation(np.arange(n) % len(photos)).astype(np.int64)
    images = [Image.fromarray(photo.image) for photo in photos]
    out = np.empty((n, 3, size, size), dtype=np.uint8)
    for start in range(0, n, _CHUNK):
        chunk = labels[start : start + _CHUNK]
        pixels = np.stack([_resized_crop(images[label], size, rng, scale, ratio) for label in chunk])
        mirrored = rng.random(len(chunk)) < 0.5
        pixels[mirrored] = pixels[mirrored, :, ::-1]
        out[start : start + len(chunk)] = _jitter(pixels, jitter, rng)
    return out, labels


def _read(file: str) -> npt.NDArray[np.uint8]:
    # Read from the wheel itself: skimage.data's functions may go to the network for a file that is not there.
    path = resources.files("skimage") / "data" / file
    if not path.is_file():
        raise DataError(
            f"the installed scikit-image has no data/{file}, one of the embedded photographs; "
            f"reinstall scikit-image (0.24 to 0.26 are known to have it)"
        )
    with path.open("rb") as stream, Image.open(stream) as image:
        return np.asarray(image.convert("RGB"))


def _resized_crop(
    image: Image.Image,
    size: int,
    rng: np.random.Generator,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> npt.NDArray[np.uint8]:
    width, height = image.size
    area = width * height * rng.uniform(*scale)
    aspect = np.exp(rng.uniform(*np.log(ratio)))
    w = min(width, float(np.sqrt(area * aspect)))
    h = min(height, float(np.sqrt(area / aspect)))
    left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
    box = (left, top, left + w, top + h)
    # reducing_gap: large boxes are first averaged by whole factors, in half the time; the look is the same.
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box=box, reducing_gap=2.0))


def _jitter(pixels: npt.NDArray[np.uint8], amount: float, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """(n, H, W, 3) → (n, 3, H, W) with brightness, contrast and saturation changed.

    Brightness scales colours, contrast moves them from the image's mean grey, saturation from their own grey.
    All three are affine, so together they are one 3×3 matrix and one offset an image.
    """
    n, height, width, _ = pixels.shape
    brightness, contrast, saturation = rng.uniform(1 - amount, 1 + amount, (3, n, 1, 1)).astype(np.float32)
    mean_grey = pixels.mean(axis=(1, 2), dtype=np.float32) @ _LUMA
    saturate = saturation * np.eye(3, dtype=np.float32) + (1 - saturation) * _LUMA
    offset = (
        (1 - contrast) * brightness * mean_grey[:, None, None]
    )  # a grey, which saturation leaves as it is
    colours = pixels.reshape(n, -1, 3).astype(np.float32).transpose(0, 2, 1)
    changed = (brightness * contrast * saturate) @ colours
    changed += offset + 0.5  # half, so that the cast rounds
    np.clip(changed, 0, 255, out=changed)
    rounded: npt.NDArray[np.uint8] = changed.astype(np.uint8)
    return rounded.reshape(n, 3, height, width)


def _open_photographs(request: SourceRequest) -> SourceData:
    photos, size = photographs(), image_size(request)

    def records() -> Iterator[Record]:
        for start in range(0, NUM_CROPS, _CROPS_AT_ONCE):
            count = min(_CROPS_AT_ONCE, NUM_CROPS - start)
            images, labels = crops(photos, count, size, chunk_seed(request.seed, start))
            for x, y in zip(images, labels, strict=True):
                yield {"x": x, "y": y}

    return open_stored(
        PHOTOGRAPHS,
        request,
        records,
        class_names=[photo.name for photo in photos],
        provenance=f"crops of {len(photos)} photographs shipped with scikit-image, all CC0 or public domain",
        pixels=digest(photos),
        size=size,
        seed=request.seed,
    )


PHOTOGRAPHS = Source(
    name="photographs",
    title="augmented crops of free photographs, labelled by photograph",
    kind=SourceKind.IMAGES,
    classes=len(FILES),
    embedded=True,
    open=_open_photographs,
    homepage="https://scikit-image.org/docs/stable/api/skimage.data.html",
)
