"""Images of a user's own: one scale a data set, masks by their numbers, and nothing left out unsaid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pare_tune.data.images import find_images
from pare_tune.errors import DataError
from pare_tune.tasks.base import Modality
from pare_tune.tasks.own.images import open_images
from pare_tune.tasks.own.layout import Layout
from pare_tune.tasks.own.samples import Joined
from pare_tune.tasks.own.scan import scan_inputs

RGB = Image.new("RGB", (4, 4), (10, 20, 30))
GREY = Image.new("L", (4, 4), 7)
GREY_16 = Image.fromarray(np.full((4, 4), 4095, np.uint16))
GREY_32 = Image.fromarray(np.full((4, 4), 70_000, np.int32))
FLOAT = Image.fromarray(np.full((4, 4), 0.5, np.float32))
PALETTE = Image.new("P", (4, 4), 3)
PALETTE.putpalette([0, 0, 0, 9, 9, 9, 50, 50, 50, 200, 0, 0])


def folder(root: Path, *images: Image.Image) -> Path:
    root.mkdir()
    for number, image in enumerate(images):
        image.save(root / f"{number}{'.tif' if image.mode in ('I', 'F') else '.png'}")
    return root


@pytest.mark.parametrize(
    ("images", "shape", "dtype"),
    [
        ((GREY, GREY), (4, 4), np.uint8),
        ((GREY, RGB), (4, 4, 3), np.uint8),
        ((GREY, PALETTE), (4, 4, 3), np.uint8),
        ((RGB, RGB.convert("CMYK").convert("RGB")), (4, 4, 3), np.uint8),
        ((GREY.convert("1"), GREY), (4, 4), np.uint8),
        ((GREY_16, GREY_16), (4, 4), np.uint16),
        ((GREY_32, GREY_32), (4, 4), np.int32),
        ((FLOAT, FLOAT), (4, 4), np.float32),
    ],
)
def test_images_of_one_scale_are_read_as_they_are(
    tmp_path: Path, images: tuple[Image.Image, ...], shape: tuple[int, ...], dtype: type[np.generic]
) -> None:
    samples = open_images(find_images(folder(tmp_path / "x", *images)), "x")
    assert (samples.shape, samples.dtype) == (shape, np.dtype(dtype))
    last = next(iter(samples.each(np.array([1]))))
    mode = {3: "RGB"}.get(len(shape))
    np.testing.assert_array_equal(last, np.asarray(images[1].convert(mode) if mode else images[1]))


@pytest.mark.parametrize(
    ("images", "found"),
    [
        ((GREY_16, RGB), r"1 of 16 bits \(0\.png\), 1 of 8 bits \(1\.png\)"),
        ((GREY, GREY, GREY_16), r"2 of 8 bits \(0\.png\), 1 of 16 bits \(2\.png\)"),
        ((GREY_16, GREY_32), r"1 of 16 bits .* 1 of 32 bits"),
        ((GREY, FLOAT), r"1 of 8 bits .* 1 of floating point"),
    ],
)
def test_several_scales_are_refused(tmp_path: Path, images: tuple[Image.Image, ...], found: str) -> None:
    files = find_images(folder(tmp_path / "x", *images))
    for are_masks in (False, True):
        with pytest.raises(
            DataError, match=rf"x: images of one data set have one scale, found {found}.*; convert"
        ):
            open_images(files, "x", are_masks=are_masks)


def test_splits_of_several_scales_are_refused(tmp_path: Path) -> None:
    train, test = (
        open_images(find_images(folder(tmp_path / name, image)), name)
        for name, image in (("train", GREY), ("test", GREY_16))
    )
    with pytest.raises(DataError, match="one scale, found 8 bits in train and 16 bits in test"):
        Joined([train, test])


def test_a_palette_is_grey_as_it_looks_and_a_mask_by_its_numbers(tmp_path: Path) -> None:
    files = find_images(folder(tmp_path / "x", PALETTE))
    for samples, value in (
        (open_images(files, "x", grey=True), int(np.asarray(PALETTE.convert("L"))[0, 0])),
        (open_images(files, "x", are_masks=True), 3),
    ):
        assert next(iter(samples.each(np.array([0]))))[0, 0] == value


def test_deep_greys_are_not_read_as_colours(tmp_path: Path) -> None:
    samples = open_images(find_images(folder(tmp_path / "x", GREY_16)), "x", grey=False)
    with pytest.raises(DataError, match="must have 8 bits a channel"):
        next(iter(samples.each(np.array([0]))))


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    root = folder(tmp_path / "x", *[RGB.convert("RGBA")] * 3)
    (root / ".hidden.png").touch()
    samples = open_images(find_images(root), "x")
    layout = Layout(modality=Modality.GRID_2D, shape=(4, 4, 3), channels="last", normalise="none")
    hidden, alpha, *_ = scan_inputs(Joined([samples]), layout).warnings
    assert "passed over .hidden.png: hidden" in hidden
    assert alpha == "x: 3 images have transparency, which is not read"
