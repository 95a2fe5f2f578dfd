from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pare_tune.data.images import FORMATS, MAX_PIXELS, SUFFIXES, open_image, read_square
from pare_tune.errors import DataError


def picture(width: int = 12, height: int = 8) -> Image.Image:
    """A red left and a blue right half, green growing downwards."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = 200
    pixels[:, width // 2 :, 2] = 200
    pixels[..., 1] = np.linspace(0, 100, height, dtype=np.uint8)[:, None]
    return Image.fromarray(pixels)


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_every_suffix_has_a_reader(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    picture().convert("L" if suffix == ".pgm" else "RGB").save(path)
    x = read_square(path, 8)
    assert (x.shape, x.dtype) == ((3, 8, 8), np.uint8)
    assert x.flags.c_contiguous


def test_the_middle_is_kept_and_nothing_is_squeezed(tmp_path: Path) -> None:
    picture(24, 8).save(tmp_path / "a.png")
    expected = np.asarray(picture(24, 8))[:, 8:16].transpose(2, 0, 1)
    np.testing.assert_array_equal(read_square(tmp_path / "a.png", 8), expected)


def test_large_jpegs_look_the_same_when_decoded_at_a_fraction(tmp_path: Path) -> None:
    picture(800, 640).save(tmp_path / "a.jpg", quality=95)
    opened = open_image(tmp_path / "a.jpg", near=32)
    assert opened.size == (100, 80)
    whole = np.asarray(open_image(tmp_path / "a.jpg").crop((80, 0, 720, 640)).resize((32, 32)))
    near = read_square(tmp_path / "a.jpg", 32).transpose(1, 2, 0)
    assert np.abs(near.astype(int) - whole).mean() < 3


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_eight_bit_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    picture().convert(mode).save(path)
    assert read_square(path, 4).shape == (3, 4, 4)


def test_palettes_with_transparency_are_read_quietly(tmp_path: Path) -> None:
    picture().quantize(4).save(tmp_path / "a.png", transparency=bytes([0, 255, 255, 255]))
    assert read_square(tmp_path / "a.png", 4).shape == (3, 4, 4)


def test_more_than_eight_bits_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png must have 8 bits a channel, it is of Pillow's mode I"):
        read_square(tmp_path / "a.png", 4)


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims any size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [10_000, 2_000_000])
def test_bombs_are_refused_before_they_are_decoded(tmp_path: Path, side: int) -> None:
    assert side**2 > MAX_PIXELS
    (tmp_path / "a.png").write_bytes(png_claiming(side, side))
    with pytest.raises(DataError, match=r"a\.png is (10000 × 10000 pixels|not a whole image)"):
        read_square(tmp_path / "a.png", 8)


def test_formats_that_start_other_programs_are_not_read(tmp_path: Path) -> None:
    assert "EPS" not in FORMATS
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")
    with pytest.raises(DataError, match="not a whole image"):
        open_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("keep", [0, 3, 40, 0.6])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP"])
def test_cut_files_are_named_with_where_to_get_them(tmp_path: Path, kind: str, keep: float) -> None:
    whole = io.BytesIO()
    picture(40, 40).save(whole, kind)
    content = whole.getvalue()
    (tmp_path / "a.png").write_bytes(content[: int(keep * len(content) if keep < 1 else keep)])
    with pytest.raises(DataError, match=r"a\.png is not a whole image.*get it again \(https://home\)"):
        read_square(tmp_path / "a.png", 8, homepage="https://home")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        open_image(tmp_path / "absent.png")
