from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pare_tune.errors import DataError
from pare_tune.method.embed import stack_size
from pare_tune.tasks.base import Dense, Modality, Point
from pare_tune.tasks.own.layout import Layout, find_layout, friendly_length


def found(shape: tuple[int | None, ...], kind: Any = "point", **changes: Any) -> Layout:
    options: dict[str, Any] = {
        "target": None, "modality": None, "channels": None, "normalise": "channel", "is_table": False,
        "is_images": False, **changes,
    }  # fmt: skip
    return find_layout(shape, Dense if kind == "dense" else Point, **options)


@pytest.mark.parametrize(
    ("shape", "changes", "modality", "channels"),
    [
        ((500,), {}, "sequence_1d", "none"),
        ((500,), {"kind": "dense", "target": (500,)}, "dense_1d", "none"),
        ((30,), {"is_table": True}, "table", "none"),
        ((30,), {"is_table": True, "kind": "dense", "target": (30,)}, "dense_1d", "none"),
        ((30,), {"modality": Modality.TABLE}, "table", "none"),
        ((8, 500), {}, "sequence_1d", "first"),
        ((500, 8), {}, "sequence_1d", "last"),
        ((8, None), {}, "sequence_1d", "first"),
        ((None, 8), {}, "sequence_1d", "last"),
        ((28, 28), {}, "grid_2d", "none"),
        ((16, 52), {"modality": Modality.GRID_2D}, "grid_2d", "none"),
        ((16, 52), {"modality": Modality.SEQUENCE_1D, "channels": "first"}, "sequence_1d", "first"),
        ((16, 52), {"kind": "dense", "target": (52,)}, "dense_1d", "first"),
        ((16, 52), {"kind": "dense", "target": (16,)}, "dense_1d", "last"),
        ((16, 52), {"kind": "dense", "target": (16, 52)}, "dense_2d", "none"),
        ((16, 52), {"kind": "dense", "target": (1, 52)}, "dense_1d", "first"),
        ((3, 64, 64), {}, "grid_2d", "first"),
        ((64, 64, 3), {}, "grid_2d", "last"),
        ((40, 64, 48), {"kind": "dense", "target": (64, 48)}, "dense_2d", "first"),
        ((64, 48, 40), {"kind": "dense", "target": (64, 48)}, "dense_2d", "last"),
        ((40, 64, 48), {"channels": "first"}, "grid_2d", "first"),
        ((None, None, 3), {}, "grid_2d", "last"),
        ((None, None), {}, "grid_2d", "none"),
        ((33, 20, 3), {"is_images": True}, "grid_2d", "last"),
        ((33, 8), {"is_images": True}, "grid_2d", "none"),
    ],
)
def test_what_can_only_be_one_thing_is_seen(
    shape: tuple[int | None, ...], changes: dict[str, Any], modality: str, channels: str
) -> None:
    layout = found(shape, **changes)
    assert (layout.modality.value, layout.channels) == (modality, channels)


@pytest.mark.parametrize(
    ("shape", "changes", "message"),
    [
        ((16, 52), {}, "images of 16 × 52 or series with channels; say which"),
        ((4, 4), {}, "say which"),
        ((16, 52), {"modality": Modality.SEQUENCE_1D}, "say where their channels are"),
        ((40, 64, 48), {}, "say where their channels are"),
        ((3, 64, 3), {}, "say where their channels are"),
        ((52, 52), {"kind": "dense", "target": (52,)}, "say where their channels are"),
        ((2, 3, 4, 5), {}, "samples are series"),
        ((), {}, "samples are series .* found one number"),
        ((500,), {"channels": "first"}, "no axis left for channels"),
        ((8, 500), {"channels": "none"}, "one axis more"),
        ((8, None), {"channels": "last"}, "number of channels must be the same"),
        ((500,), {"modality": Modality.GRID_2D}, "samples of 2 axes, or one more for channels; found 500"),
        ((8, 500), {"modality": Modality.TABLE}, "samples of 1 axes; found 8 × 500"),
        ((None,), {"modality": Modality.TABLE}, "rows of a table have one length"),
    ],
)
def test_what_can_be_several_things_is_asked(
    shape: tuple[int | None, ...], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        found(shape, **changes)


@pytest.mark.parametrize("channels", ["first", "last"])
def test_channels_come_first_whatever_the_file_says(channels: Any) -> None:
    block = np.arange(2 * 3 * 50).reshape(2, 3, 50)
    raw = block if channels == "first" else block.transpose(0, 2, 1)
    layout = found(raw.shape[1:], channels=channels)
    np.testing.assert_array_equal(layout.channels_first(raw), block)
    assert layout.num_channels == 3


def layout(**changes: Any) -> Layout:
    options: dict[str, Any] = {
        "modality": Modality.SEQUENCE_1D, "shape": (2, 6), "channels": "first", "normalise": "none",
    }  # fmt: skip
    return Layout(**{**options, **changes})


def test_normalisation_by_channel_takes_what_was_fitted() -> None:
    x = np.array([[1, 2, 3, 4, 5, 6], [10, 10, 10, 10, 10, 40]], np.int16)
    ready = layout(normalise="channel", mean=(3.5, 10.0), std=(0.5, 10.0)).ready(x, None)
    np.testing.assert_allclose(ready, [[-5, -3, -1, 1, 3, 5], [0, 0, 0, 0, 0, 3]])
    assert ready.dtype == np.float32


def test_normalisation_by_sample_takes_its_own_and_leaves_constants_at_zero() -> None:
    x = np.array([[1, 2, 3, 4, 5, 6], [7, 7, 7, 7, 7, 7]], np.float32)
    ready = layout(normalise="sample").ready(x, None)
    np.testing.assert_allclose([ready[0].mean(), ready[0].std()], [0, 1], atol=1e-6)
    assert (ready[1] == 0).all()


def test_a_tables_columns_are_normalised_each() -> None:
    table = layout(
        modality=Modality.TABLE,
        shape=(2,),
        channels="none",
        normalise="channel",
        mean=(1.0, 2.0),
        std=(2.0, 4.0),
    )
    np.testing.assert_allclose(table.ready(np.array([[3.0, 0.0]]), None), [[1.0, -0.5]])


def test_large_offsets_keep_their_small_differences() -> None:
    x = 1e9 + np.array([[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]])
    ready = layout(shape=(6,), channels="none", normalise="channel", mean=(1e9 + 2.5,), std=(1.0,)).ready(
        x, None
    )
    np.testing.assert_allclose(ready, [[-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]])


@pytest.mark.parametrize(("steps", "real"), [(3, 3), (6, 6), (9, 6)])
def test_padding_is_marked_by_a_channel_of_its_own(steps: int, real: int) -> None:
    x = np.ones((2, steps), np.float32)
    ready = layout(shape=(2, None), length=6).ready(x, None)
    assert ready.shape == (3, 6)
    assert ready[2].tolist() == [1] * real + [0] * (6 - real)
    assert (ready[:2, real:] == 0).all()
    assert (ready[:2, :real] == 1).all()


def test_images_are_laid_on_the_canvas() -> None:
    ramp = np.broadcast_to(np.linspace(0, 1, 40), (3, 20, 40)).astype(np.float32)
    grid = layout(modality=Modality.GRID_2D, shape=(3, None, None))
    ready = grid.ready(ramp, 16)
    assert ready.shape == (3, 16, 16)
    assert (np.diff(ready[0, 0]) > 0).all()
    assert grid.ready(ramp, None).shape == (3, 20, 40)


def test_a_layout_survives_json() -> None:
    import json

    one = layout(normalise="channel", length=64, mean=(1 / 3, 2.0), std=(1.0, 1e-9), shape=(2, None))
    assert Layout.from_dict(json.loads(json.dumps(one.to_dict()))) == one


@pytest.mark.parametrize("length", [1, 7, 31, 37, 61, 97, 178, 250, 499, 997, 1000, 1009, 4999])
def test_a_length_gives_tokens_enough_under_every_preset(length: int) -> None:
    friendly = friendly_length(length)
    assert length <= friendly <= 1.1 * length + 3
    for most in (32, 64, 512):
        tokens = friendly // stack_size(friendly, most)
        assert tokens >= 0.6 * min(friendly, most)


def test_a_friendly_length_is_kept() -> None:
    assert [friendly_length(n) for n in (8, 64, 250, 1000, 1024)] == [8, 64, 250, 1000, 1024]
