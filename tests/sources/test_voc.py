from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from pare_tune.errors import DataError
from pare_tune.sources.base import SourceData, SourceRequest
from pare_tune.sources.voc import VOC

NAMES = ("2007_000032", "2007_000039")


def palette_png(path: Path, classes: npt.NDArray[np.uint8]) -> None:
    image = Image.fromarray(classes)
    image.putpalette([value for i in range(256) for value in (i, 255 - i, i // 2)])
    assert image.mode == "P"
    image.save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    home = tmp_path / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (home / folder).mkdir(parents=True)
    (home / "ImageSets/Segmentation/train.txt").write_text("\n".join(NAMES) + "\n")
    for i, name in enumerate(NAMES):
        Image.new("RGB", (40, 20), (200, 100 * i, 50)).save(home / "JPEGImages" / f"{name}.jpg", quality=95)
        classes = np.zeros((20, 40), np.uint8)
        classes[:, 20:] = 5 + i  # objects of the right half,
        classes[:10, :20] = 255  # and void in the upper left
        palette_png(home / "SegmentationClass" / f"{name}.png", classes)
    return tmp_path


def opened(root: Path, size: int = 8) -> SourceData:
    return VOC.open(
        SourceRequest(
            root=root, cache=root / "cache", image_size=size, image_mean=(0, 0, 0), image_std=(1, 1, 1)
        )
    )


def home(root: Path) -> Path:
    return root / "VOCdevkit" / "VOC2012"


def test_objects_are_foreground_and_void_is_background(root: Path) -> None:
    source = opened(root)
    assert (len(source.dataset), source.num_classes) == (2, 1)
    mask = source.dataset[0]["y"]
    expected = torch.zeros(8, 8)
    expected[:, 4:] = 1
    assert torch.equal(mask, expected)
    assert mask.dtype == torch.float32


def test_images_are_squeezed_to_the_square(root: Path) -> None:
    x = opened(root).dataset[1]["x"]
    assert x.shape == (3, 8, 8)
    torch.testing.assert_close(x.mean(dim=(1, 2)), torch.tensor([200, 100, 50]) / 255, atol=0.02, rtol=0)


@pytest.mark.parametrize("inner", [".", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_any_of_the_usual_folders_will_do(root: Path, inner: str) -> None:
    request = SourceRequest(root=root / inner, cache=root / "cache", image_size=8)
    assert len(VOC.open(request).dataset) == 2


def test_grey_pngs_of_class_numbers_are_masks_too(root: Path) -> None:
    before = opened(root).dataset[0]["y"]
    path = home(root) / "SegmentationClass" / f"{NAMES[0]}.png"
    with Image.open(path) as mask:
        grey = Image.fromarray(np.asarray(mask))
    assert grey.mode == "L"
    grey.save(path)
    assert torch.equal(opened(root).dataset[0]["y"], before)


def test_colour_masks_are_refused(root: Path) -> None:
    Image.new("RGB", (40, 20)).save(home(root) / "SegmentationClass" / f"{NAMES[0]}.png")
    with pytest.raises(
        DataError, match=r"2007_000032\.png.*palette or grey PNG of class numbers, this one is RGB"
    ):
        opened(root)


def test_a_mask_of_another_size_is_refused(root: Path) -> None:
    palette_png(home(root) / "SegmentationClass" / f"{NAMES[0]}.png", np.zeros((20, 41), np.uint8))
    with pytest.raises(DataError, match=r"\(41, 20\).*\(40, 20\)"):
        opened(root)


def test_missing_files_are_named(root: Path) -> None:
    (home(root) / "JPEGImages" / f"{NAMES[1]}.jpg").unlink()
    with pytest.raises(DataError, match=r"2007_000039\.jpg is missing.*robots\.ox\.ac\.uk"):
        opened(root)


@pytest.mark.parametrize("file", [f"JPEGImages/{NAMES[0]}.jpg", f"SegmentationClass/{NAMES[0]}.png"])
@pytest.mark.parametrize("keep", [0, 60, 0.8])
def test_damaged_images_are_named(root: Path, file: str, keep: float) -> None:
    path = home(root) / file
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content) if keep < 1 else keep)])
    with pytest.raises(DataError, match=f"{path.name}.*is not a whole image"):
        opened(root)


@pytest.mark.parametrize(
    "text", ["", "../../etc/passwd\n", "JPEGImages/2007_000032.jpg\n", "\x00\x01garbage\n"]
)
def test_a_list_that_is_not_names_is_refused(root: Path, text: str) -> None:
    (home(root) / "ImageSets/Segmentation/train.txt").write_text(text)
    with pytest.raises(DataError, match="one image name a line"):
        opened(root)


def test_a_folder_without_the_release_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no .*ImageSets/Segmentation/train\.txt.*get it from"):
        opened(tmp_path)
