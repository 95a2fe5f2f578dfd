from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pare_tune.report.patches import REMOVED, TAKEN, captioned, draw
from pare_tune.train.patches import PatchRecord


def record(
    target_x: npt.NDArray[np.float16], source_x: npt.NDArray[np.generic], grid: tuple[int, int]
) -> PatchRecord:
    n = grid[0] * grid[1]
    keep, take = np.ones((1, n), np.uint8), np.zeros((1, n), np.uint8)
    keep[0, 0] = 0  # the first target patch goes
    take[0, n - 1] = 1  # the last source patch comes
    none = np.zeros((0, 0), np.float16)
    return PatchRecord(
        epoch=1, k=1, grid=grid, target_x=target_x, source_x=source_x, target_mask=keep, source_mask=take,
        target_score=none, source_score=none,
    )  # fmt: skip


def test_images_have_the_removed_and_the_taken_patch_framed() -> None:
    picture = draw(record(np.zeros((1, 1, 8, 8), np.float16), np.zeros((1, 3, 8, 8), np.float16), (4, 4)))
    assert picture.shape == (192, 192 + 6 + 192, 3)
    assert picture.dtype == np.uint8
    target, source = picture[:, :192], picture[:, 198:]
    assert tuple(target[0, 0]) == REMOVED
    assert not (target[48:] == REMOVED).all(-1).any(), "only the first of sixteen patches is framed"
    assert not (target[:, 48:] == REMOVED).all(-1).any()
    assert tuple(source[191, 191]) == TAKEN
    assert not (source[:143] == TAKEN).all(-1).any()


def test_series_have_the_spans_shaded_and_are_drawn() -> None:
    wave = np.sin(np.linspace(0, 9, 60))[None, None].astype(np.float16)
    picture = draw(record(wave, np.arange(6)[None], (1, 6)))
    target, text = picture[:, :384], picture[:, 390:]
    tint = target[2, 10]
    assert not np.array_equal(tint, [255, 255, 255])
    assert (target[2, :63] == tint).all()
    assert (target[2, 70:] == 255).all()
    assert (target == 30).all(-1).any(0)[5:-5].all(), "the line runs through every column"
    assert (text[2, :310] == 255).all()
    assert not (text[2, 330:] == 255).all()


def test_constant_samples_and_single_values_can_be_drawn() -> None:
    flat = np.full((1, 1, 1), 3.0, np.float16)
    assert draw(record(flat, np.zeros((1, 1, 5), np.float16), (1, 1))).shape == (96, 384 + 6 + 384, 3)


def test_a_caption_stands_above_and_leaves_the_picture_alone() -> None:
    shown = record(np.zeros((1, 1, 8, 8), np.float16), np.zeros((1, 3, 8, 8), np.float16), (4, 4))
    page, picture = captioned(shown), draw(shown)
    caption = page[: len(page) - len(picture)]
    np.testing.assert_array_equal(page[len(caption) :], picture)
    left, right = caption[:, :195], caption[:, 195:]
    assert (left == REMOVED).all(-1).any()
    assert (right == TAKEN).all(-1).any()
    assert (left == 0).all(-1).any(), "and words"
