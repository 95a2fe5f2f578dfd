"""One walker through folders of images and one reader of them, with stated rules."""

from __future__ import annotations

import io
import os
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pare_tune.data.images import (
    FORMATS,
    MAX_PIXELS,
    SUFFIXES,
    class_of,
    find_images,
    open_image,
    open_rgb,
    read_header,
    read_square,
)
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


def save(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(4, 4).save(path)


def link(at: Path, to: Path) -> None:
    at.parent.mkdir(parents=True, exist_ok=True)
    os.symlink(to, at)


WALKS: dict[str, tuple[Callable[[Path], object], list[str], str]] = {
    "capitals, and any depth": (
        lambda f: save(f / "a" / "x10.PNG", f / "a" / "x2.png", f / "b" / "deep" / "er" / "1.JPEG"),
        ["a/x2.png", "a/x10.PNG", "b/deep/er/1.JPEG"],
        "",
    ),
    "a link to a class folder": (
        lambda f: (save(f.parent / "far" / "1.png", f / "a" / "1.png"), link(f / "b", f.parent / "far")),
        ["a/1.png", "b/1.png"],
        "",
    ),
    "a link to an image": (
        lambda f: (save(f.parent / "far" / "1.png"), link(f / "a" / "2.png", f.parent / "far" / "1.png")),
        ["a/2.png"],
        "",
    ),
    "links in a circle": (
        lambda f: (save(f / "a" / "1.png"), link(f / "a" / "round", f)),
        ["a/1.png"],
        "passed over a/round: links back to a folder that holds them",
    ),
    "two folders that link to each other": (
        lambda f: (
            save(f / "a" / "1.png", f / "b" / "2.png"), link(f / "a" / "b", f / "b"), link(f / "b" / "a", f / "a")
        ),
        ["a/1.png", "a/b/2.png", "b/2.png", "b/a/1.png"],
        "passed over a/b/a, b/a/b: links back",
    ),
    "what notebooks leave": (
        lambda f: save(f / "a" / "1.png", f / ".ipynb_checkpoints" / "1-checkpoint.png"),
        ["a/1.png"],
        "passed over .ipynb_checkpoints: hidden",
    ),
    "what macOS leaves beside images": (
        lambda f: (save(f / "a" / "1.png"), (f / "a" / "._1.png").write_bytes(b"\0\5\x16\7")),
        ["a/1.png"],
        r"passed over a/\._1\.png: hidden",
    ),
    "what macOS leaves in archives": (
        lambda f: (save(f / "a" / "1.png"), (f / "__MACOSX" / "a").mkdir(parents=True)),
        ["a/1.png"],
        "passed over __MACOSX: hidden, or left behind by an archive",
    ),
    "files of other kinds": (
        lambda f: (save(f / "a" / "1.png"), [(f / "a" / n).touch() for n in ("2.heic", "notes.txt", ".DS_Store")]),
        ["a/1.png"],
        r"passed over 2 files that are no images \(\.heic, \.txt\)",
    ),
    "many hidden ones": (
        lambda f: save(f / "1.png", *(f / f".{i}.png" for i in range(9))),
        ["1.png"],
        r"passed over \.0\.png, .*\.4\.png and 4 more: hidden",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WALKS)
def test_images_are_found_by_one_set_of_rules(tmp_path: Path, case: str) -> None:
    make, names, note = WALKS[case]
    make(tmp_path / "images")
    images = find_images(tmp_path / "images")
    assert list(images.names) == names
    assert [path.relative_to(tmp_path / "images").as_posix() for path in images.paths] == names
    if note:
        (said,) = images.notes
        assert said.startswith(f"{tmp_path / 'images'}: ")
        assert re.search(note, said)
    else:
        assert images.notes == ()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: (f / "a").mkdir(parents=True), r"images holds no image \(\.bmp, .*take the folder away"),
        (lambda f: (save(f / "a" / "1.png"), (f / "b").mkdir()), r"images/b holds no image"),
        (
            lambda f: (save(f / "a" / "1.png"), (f / "b").mkdir(), (f / "b" / "1.heic").touch()),
            "images/b holds no image",
        ),
        (
            lambda f: (save(f / "a" / "1.png"), link(f / "b", f / "gone")),
            r"images/b is a link to .*gone, which is not there; mend",
        ),
        (
            lambda f: (save(f / "a" / "1.png"), link(f / "a" / "2.png", f / "gone.png")),
            r"2\.png is a link to .*gone\.png",
        ),
        (lambda f: save(f / "a" / "1.png", f / "1.png"), r"classes are subfolders, but 1\.png lies beside them"),
    ],
)  # fmt: skip
def test_a_folder_that_would_lose_a_class_is_refused(
    tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    make(tmp_path / "images")
    with pytest.raises(DataError, match=message):
        class_of(tmp_path / "images", find_images(tmp_path / "images"))


def test_folders_of_other_names_are_not_looked_into(tmp_path: Path) -> None:
    save(tmp_path / "n01" / "val" / "1.png", tmp_path / "val" / "1.png")
    assert list(find_images(tmp_path, named=r"n\d+").names) == ["n01/val/1.png"]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_exif_turns_an_image_upright(tmp_path: Path, suffix: str, orientation: int) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a{suffix}"
    picture(48, 32).save(path, exif=exif, **({"lossless": True} if suffix == ".webp" else {}))
    upright = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    np.testing.assert_array_equal(np.asarray(open_rgb(path)), upright)
    assert read_header(path).size == upright.shape[:2]
    assert upright.shape[:2] == ((48, 32) if orientation >= 5 else (32, 48))


def test_damaged_metadata_do_not_spoil_an_image(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert read_header(tmp_path / "a.jpg").size == (8, 12)
    assert open_rgb(tmp_path / "a.jpg").size == (12, 8)


@pytest.mark.parametrize(("suffix", "pages"), [(".tif", 3), (".gif", 2), (".png", 2), (".webp", 2)])
def test_further_pages_are_not_dropped_unsaid(tmp_path: Path, suffix: str, pages: int) -> None:
    path = tmp_path / f"a{suffix}"
    others = [picture().rotate(90 * i) for i in range(1, pages)]
    picture().save(path, save_all=True, append_images=others)
    for read in (read_header, open_image):
        with pytest.raises(
            DataError, match=rf"a\{suffix} holds {pages} pages, and an image is one; save each"
        ):
            read(path)


def test_thumbnails_and_previews_are_no_pages(tmp_path: Path) -> None:
    thumbnail = picture(4, 4)
    thumbnail.encoderinfo = {"tiffinfo": {254: 1}}  # type: ignore[attr-defined]
    picture().save(tmp_path / "a.tif", save_all=True, append_images=[thumbnail])
    picture().save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[picture(4, 4)])
    for name in ("a.tif", "a.jpg"):
        assert open_rgb(tmp_path / name).size == (12, 8)


@pytest.mark.parametrize(
    ("dtype", "suffix", "scale"),
    [
        (np.uint8, ".png", "8 bits"),
        (np.uint16, ".png", "16 bits"),
        (np.uint16, ".tif", "16 bits"),
        (np.uint16, ".pgm", "16 bits"),
        (np.int32, ".tif", "32 bits"),
        (np.float32, ".tif", "floating point"),
    ],
)
def test_the_scale_is_known_before_anything_is_decoded(
    tmp_path: Path, dtype: type[np.generic], suffix: str, scale: str
) -> None:
    Image.fromarray(np.ones((4, 6), dtype)).save(tmp_path / f"a{suffix}")
    header = read_header(tmp_path / f"a{suffix}")
    assert (header.size, header.scale, header.is_grey, header.is_cut) == ((4, 6), scale, True, False)
