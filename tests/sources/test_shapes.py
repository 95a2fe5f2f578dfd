from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pare_tune.sources import photographs as pictures
from pare_tune.sources import shapes
from pare_tune.sources.base import SourceRequest
from pare_tune.sources.shapes import FOREGROUND, SHAPES, paste_shapes
from pare_tune.sources.stored import chunk_seed


def test_outside_of_the_mask_the_photograph_is_untouched() -> None:
    photos = pictures.photographs()
    images, masks = paste_shapes(photos, 20, 32, seed=5)
    background, _ = pictures.crops(photos, 20, 32, chunk_seed(5, 0))
    outside = np.broadcast_to(masks[:, None] == 0, images.shape)
    assert (images[outside] == background[outside]).all()
    inside = np.broadcast_to(masks[:, None] == 1, images.shape)
    assert (images[inside] != background[inside]).mean() > 0.8


def test_masks_are_binary_and_cover_neither_too_little_nor_too_much() -> None:
    _, masks = paste_shapes(pictures.photographs(), 40, 32, seed=0)
    assert masks.dtype == np.uint8
    assert set(np.unique(masks)) == {0, 1}
    shares = masks.mean(axis=(1, 2))
    assert FOREGROUND[0] <= shares.min()
    assert shares.max() <= FOREGROUND[1]


def test_shapes_repeat_with_the_seed_and_differ_without() -> None:
    photos = pictures.photographs()
    first, again, other = (paste_shapes(photos, 10, 16, seed=s) for s in (0, 0, 1))
    assert first[0].tobytes() == again[0].tobytes()
    assert first[1].tobytes() == again[1].tobytes()
    assert first[1].tobytes() != other[1].tobytes()


def test_the_source_pairs_images_with_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "NUM_IMAGES", 12)
    monkeypatch.setattr(shapes, "_IMAGES_AT_ONCE", 8)
    source = SHAPES.open(SourceRequest(cache=tmp_path, image_size=16))
    assert (len(source.dataset), source.num_classes) == (12, 1)
    item = source.dataset[9]
    assert item["x"].shape == (3, 16, 16)
    assert item["y"].shape == (16, 16)
    assert item["y"].dtype == torch.float32
    _, masks = paste_shapes(pictures.photographs(), 4, 16, chunk_seed(0, 8))
    assert (item["y"].numpy() == masks[1]).all()
