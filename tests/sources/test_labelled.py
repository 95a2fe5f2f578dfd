"""Sources of labelled image files: imagefolder, tiny-imagenet, caltech101."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pare_tune.errors import DataError
from pare_tune.sources.base import Source, SourceData, SourceRequest
from pare_tune.sources.caltech101 import CALTECH101
from pare_tune.sources.imagefolder import IMAGEFOLDER
from pare_tune.sources.tiny_imagenet import TINY_IMAGENET

WNIDS = ("n01443537", "n01629819", "n12267677")


def save(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (20, 16)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def opened(source: Source, root: Path, **fields: Any) -> SourceData:
    fields = {"image_size": 8, "image_mean": (0, 0, 0), "image_std": (1, 1, 1), **fields}
    return source.open(SourceRequest(root=root, cache=fields.pop("cache", root.parent / "cache"), **fields))


def colours(source: SourceData) -> list[tuple[int, ...]]:
    """(label, red, green, blue) of each item's mean."""
    found = []
    for i in range(len(source.dataset)):
        item = source.dataset[i]
        mean = (255 * item["x"].mean(dim=(1, 2))).round().int().tolist()
        found.append((int(item["y"]), *mean))
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "pictures"
    save(root / "cats" / "1.png", (250, 0, 0))
    save(root / "cats" / "more" / "2.PNG", (200, 0, 0), (16, 40))
    save(root / "dogs" / "1.png", (0, 100, 0), (8, 8))
    (root / "dogs" / "notes.txt").write_text("not an image")
    (root / "readme.md").write_text("neither")
    save(root / ".thumbnails" / "1.png", (9, 9, 9))
    return root


def test_folders_are_classes_in_the_order_of_their_names(folder: Path) -> None:
    source = opened(IMAGEFOLDER, folder)
    assert source.class_names == ("cats", "dogs")
    assert colours(source) == [(0, 250, 0, 0), (0, 200, 0, 0), (1, 0, 100, 0)]
    assert source.dataset[1]["x"].shape == (3, 8, 8)
    assert "3 images of 2 classes" in source.provenance


def test_a_subset_is_all_that_is_read(folder: Path) -> None:
    for i in range(20):
        save(folder / "cats" / f"many{i:02d}.png", (i, 0, 0))
    whole = colours(opened(IMAGEFOLDER, folder))
    some = colours(opened(IMAGEFOLDER, folder, max_samples=5, seed=4))
    assert len(some) == 5
    assert set(some) < set(whole)
    assert colours(opened(IMAGEFOLDER, folder, max_samples=5, seed=4)) == some
    assert colours(opened(IMAGEFOLDER, folder, max_samples=5, seed=5)) != some
    sizes = [p.stat().st_size for p in (folder.parent / "cache").rglob("samples.arrow")]
    assert len(sizes) == 3
    assert colours(opened(IMAGEFOLDER, folder, max_samples=99)) == whole
    assert len(list((folder.parent / "cache").rglob("samples.arrow"))) == 3, (
        "all and more than all are one store"
    )


def test_changed_files_are_read_again(folder: Path) -> None:
    before = colours(opened(IMAGEFOLDER, folder))
    save(folder / "dogs" / "1.png", (0, 100, 77), (9, 9))
    assert colours(opened(IMAGEFOLDER, folder)) != before


def test_a_linked_class_is_a_class_and_what_notebooks_leave_is_none(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(folder.parent / "far" / "1.png", (0, 0, 90))
    os.symlink(folder.parent / "far", folder / "owls")
    save(folder / ".ipynb_checkpoints" / "1-checkpoint.png", (9, 9, 9))
    with caplog.at_level("INFO", logger="pare_tune.sources.labelled"):
        source = opened(IMAGEFOLDER, folder)
    assert source.class_names == ("cats", "dogs", "owls")
    assert "passed over .ipynb_checkpoints" in caplog.text


def test_links_that_lead_round_in_a_circle_end(folder: Path) -> None:
    os.symlink(folder, folder / "cats" / "round")
    assert len(opened(IMAGEFOLDER, folder).dataset) == 3


def test_a_folder_without_classes_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "one" / "class" / "1.png", (1, 1, 1))
    with pytest.raises(DataError, match="one folder of images a class, at least two of them; found 1"):
        opened(IMAGEFOLDER, tmp_path / "one", cache=tmp_path / "cache")
    with pytest.raises(DataError, match="none was given.*--source-data"):
        IMAGEFOLDER.open(SourceRequest(cache=tmp_path, image_size=8))
    with pytest.raises(DataError, match="absent is none"):
        opened(IMAGEFOLDER, tmp_path / "absent")


def test_a_class_without_images_is_named(folder: Path) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty holds no image \(\.bmp, .*take the folder away"):
        opened(IMAGEFOLDER, folder)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n"])
def test_a_damaged_image_is_named_and_nothing_stays(folder: Path, content: bytes) -> None:
    (folder / "dogs" / "1.png").write_bytes(content)
    with pytest.raises(DataError, match=r"dogs/1\.png is not a whole image"):
        opened(IMAGEFOLDER, folder)
    assert not list((folder.parent / "cache").rglob("*.arrow"))


@pytest.fixture(params=["tiny-imagenet-200/train/{}/images", "train/{}", "tiny-imagenet-200/{}", "{}"])
def tiny(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The release's layout, and those of copies."""
    for i, name in enumerate(WNIDS):
        home = tmp_path / "release" / str(request.param).format(name)
        for j in range(2):
            save(home / f"{name}_{j}.JPEG", (80 * i, 100, 50 * j), (64, 64))
        (home.parent / f"{name}_boxes.txt").write_text("x.JPEG\t0\t0\t63\t63\n")
    save(tmp_path / "release" / "test" / "images" / "test_0.JPEG", (255, 255, 255))
    return tmp_path / "release"


def test_tiny_imagenet_is_read_in_any_layout_without_its_test_images(tiny: Path) -> None:
    source = opened(TINY_IMAGENET, tiny)
    assert source.class_names == WNIDS
    expected = [(i, 80 * i, 100, 50 * j) for i in range(3) for j in range(2)]
    np.testing.assert_allclose(colours(source), expected, atol=3)


def test_tiny_imagenet_is_stored_at_its_own_size_and_enlarged_when_fetched(tiny: Path) -> None:
    small, large = opened(TINY_IMAGENET, tiny, image_size=64), opened(TINY_IMAGENET, tiny, image_size=96)
    assert large.dataset[0]["x"].shape == (3, 96, 96)
    expected = torch.nn.functional.interpolate(small.dataset[0]["x"][None], (96, 96), mode="bilinear")[0]
    torch.testing.assert_close(large.dataset[0]["x"], expected, atol=1e-5, rtol=0)
    assert len(list((tiny.parent / "cache" / "sources").glob("tiny-imagenet-*"))) == 1


def test_tiny_imagenet_that_is_not_there_says_where_it_is(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no tiny-imagenet-200/train/n0.*stanford"):
        opened(TINY_IMAGENET, tmp_path)


@pytest.fixture
def caltech(tmp_path: Path) -> Path:
    root = tmp_path / "release"
    for i, name in enumerate(("BACKGROUND_Google", "accordion", "yin_yang")):
        save(root / "101_ObjectCategories" / name / "image_0001.jpg", (100 * i, 30, 60), (300, 200))
    return root


def test_caltech101_is_one_folder_a_class_background_included(caltech: Path) -> None:
    source = opened(CALTECH101, caltech)
    assert source.class_names == ("BACKGROUND_Google", "accordion", "yin_yang")
    np.testing.assert_allclose(colours(source), [(i, 100 * i, 30, 60) for i in range(3)], atol=3)


def write_list(caltech: Path, text: str) -> Path:
    """The lists' layout instead of the folder's."""
    (caltech / "101_ObjectCategories").rename(caltech / "train")
    (caltech / "image_list").mkdir()
    path = caltech / "image_list" / "train.txt"
    path.write_text(text)
    return path


def test_caltech101_is_read_by_its_training_list(caltech: Path) -> None:
    write_list(caltech, "train/yin_yang/image_0001.jpg 3\n\ntrain/accordion/image_0001.jpg 0\n")
    (caltech / "image_list" / "test.txt").write_text("nothing reads this")
    source = opened(CALTECH101, caltech)
    assert source.class_names == ("accordion", "class 1", "class 2", "yin_yang")
    np.testing.assert_allclose(colours(source), [(3, 200, 30, 60), (0, 100, 30, 60)], atol=3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at least two classes, found 0"),
        ("train/accordion/image_0001.jpg 0\n", "at least two classes, found 1"),
        ("train/accordion/image_0001.jpg\n", r"line 1: expected a file below .* found 'train/acc"),
        ("train/accordion/image_0001.jpg 102\n", "label from 0 to 101"),
        ("train/accordion/image_0001.jpg -1\n", "label from 0 to 101"),
        ("train/accordion/image_0001.jpg ²\n", "label from 0 to 101"),
        ("a.jpg 0\n/etc/passwd 1\n", "line 2: expected a file below"),
        ("a.jpg 0\n../../secret.jpg 1\n", "line 2: expected a file below"),
        ("a.jpg 0\nb.jpg 1\n", r"a\.jpg is missing"),
    ],
)
def test_a_garbled_list_is_described(caltech: Path, text: str, message: str) -> None:
    write_list(caltech, text)
    with pytest.raises(DataError, match=message):
        opened(CALTECH101, caltech)


def test_a_list_that_is_no_text_is_named(caltech: Path) -> None:
    write_list(caltech, "").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"train\.txt cannot be read as text"):
        opened(CALTECH101, caltech)
