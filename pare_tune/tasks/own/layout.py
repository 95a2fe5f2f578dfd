"""How one raw sample becomes the model's input: which axes it has, how it is normalised and padded.

The same `Layout`, in the metadata of a model's weights, prepares new samples for `pare-tune predict`.
"""
# Shape suffixes: B = block of samples, C = channels (of a table: 1).

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pare_tune.data.arrays import to_float32
from pare_tune.errors import DataError
from pare_tune.tasks.base import Canvas, Dense, Modality, Output
from pare_tune.tasks.columns import Token
from pare_tune.tasks.own.samples import Array, Shape, said
from pare_tune.tasks.own.spec import Channels, Normalise

_FEW: Final = 4
"""An axis this many times shorter than the others is taken for channels."""
_SMALL_IMAGE: Final = 8
_TOKENS: Final = (32, 64, 512)
"""Most tokens of a series under the presets."""

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """From raw samples to x (C, ...) float32."""

    modality: Modality
    shape: Shape
    """One raw sample, None where samples differ in size."""
    channels: Channels
    normalise: Normalise
    length: int | None = None
    """Series are padded (or cut) to it, and a last channel is 1 on what is real; None: they are as long as they are."""
    mean: tuple[float, ...] = ()
    """Of each channel (of a table: of each column) over the training samples, for `normalise: channel`."""
    std: tuple[float, ...] = ()
    tokens: tuple[Token, ...] = ()
    """Of a table that holds more than numbers: how each of its columns becomes a token, instead of mean and std."""

    @property
    def num_channels(self) -> int:
        """C of the samples, without the mask of padding."""
        if self.tokens:
            return max(token.num_slots for token in self.tokens)
        if self.channels == "none":
            return 1
        channels = self.shape[0 if self.channels == "first" else -1]
        assert channels is not None
        return channels

    def places(self, shape: Shape) -> Shape:
        """The shape of a raw sample without its channels."""
        match self.channels:
            case "none":
                return shape
            case "first":
                return shape[1:]
            case "last":
                return shape[:-1]

    def channels_first(self, block: Array) -> Array:
        """(B, *shape) → (B, C, ...)."""
        match self.channels:
            case "none":
                return block[:, None]
            case "first":
                return block
            case "last":
                return np.moveaxis(block, -1, 1)

    def ready(self, x_C: Array, canvas: Canvas) -> Float32:
        """One sample, channels first (of a table with `tokens`: encoded), as the embedder gets it."""
        if self.tokens:
            return np.asarray(x_C, dtype=np.float32)
        ready_C = self._normalised(x_C)
        if self.length is not None:
            return self._padded(ready_C, self.length)
        if self.modality.is_grid and canvas is not None:
            return resized(ready_C, canvas)
        return ready_C

    def _normalised(self, x_C: Array) -> Float32:
        if self.normalise == "none":
            return to_float32(x_C)
        exact_C = x_C.astype(np.float64)
        if self.normalise == "sample":
            axes = tuple(range(1, x_C.ndim))
            mean, std = (np.asarray(f(exact_C, axis=axes, keepdims=True)) for f in (np.mean, np.std))
            return to_float32((exact_C - mean) / np.where(std > 0, std, 1.0))
        broadcast = (1, -1) if self.modality is Modality.TABLE else (-1, *[1] * (x_C.ndim - 1))
        mean, std = (np.reshape(v, broadcast) for v in (self.mean, self.std))
        return to_float32((exact_C - mean) / std)

    def _padded(self, x_CL: Float32, length: int) -> Float32:
        steps = min(x_CL.shape[1], length)
        padded = np.zeros((len(x_CL) + 1, length), np.float32)
        padded[:-1, :steps] = x_CL[:, :steps]
        padded[-1, :steps] = 1.0
        return padded

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> Layout:
        """From JSON."""
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in tree.items()}
        fields["modality"] = Modality(fields["modality"])
        fields["tokens"] = tuple(Token.from_dict(token) for token in fields.get("tokens", ()))
        return cls(**fields)


def resized(x_C: Float32, side: int, *, nearest: bool = False) -> Float32:
    """(C, H, W) → (C, side, side): bilinear, antialiased where it shrinks, or nearest; aspect ratio is not kept."""
    return resized_to(x_C, (side, side), nearest=nearest)


def resized_to(x_C: Float32, size: tuple[int, int], *, nearest: bool = False) -> Float32:
    """(C, H, W) → (C, *size), as `resized`."""
    import torch
    from torch.nn import functional

    if x_C.shape[1:] == size:
        return x_C
    x_1CHW = torch.from_numpy(np.ascontiguousarray(x_C))[None]
    if nearest:
        return functional.interpolate(x_1CHW, size=size, mode="nearest-exact")[0].numpy()
    return functional.interpolate(x_1CHW, size=size, mode="bilinear", align_corners=False, antialias=True)[
        0
    ].numpy()


def find_layout(
    shape: Shape,
    output: type[Output],
    *,
    target: Shape | None,
    modality: Modality | None,
    channels: Channels | None,
    normalise: Normalise,
    is_table: bool,
    is_images: bool,
) -> Layout:
    """See what samples of `shape` are; what is said is checked, what is not is inferred where it can only be one thing.

    Args:
        target: shape of one dense target, None for labels.

    Raises:
        DataError: it can be several things, or none.
    """
    chosen = modality or _modality(shape, output, target, is_table, is_images)
    wanted = 2 if chosen.is_grid else 1
    if chosen is Modality.TABLE and None in shape:
        raise DataError(f"rows of a table have one length, samples here have {said(shape)}")
    spare = len(shape) - wanted
    if spare not in (0, 1) or (chosen is Modality.TABLE and spare):
        more = "" if chosen is Modality.TABLE else ", or one more for channels"
        raise DataError(f"modality {chosen.value} has samples of {wanted} axes{more}; found {said(shape)}")
    if spare == 0:
        if channels not in (None, "none"):
            raise DataError(
                f"channels: {channels}, but samples of {said(shape)} have no axis left for channels"
            )
        return Layout(modality=chosen, shape=shape, channels="none", normalise=normalise)
    if channels == "none":
        raise DataError(
            f"channels: none, but samples of {said(shape)} have one axis more than modality {chosen.value} takes"
        )
    place: Channels = channels or _channels(shape, target, is_images)
    if shape[0 if place == "first" else -1] is None:
        raise DataError(
            f"the number of channels must be the same for all samples, found {said(shape)}, channels {place}"
        )
    return Layout(modality=chosen, shape=shape, channels=place, normalise=normalise)


def _modality(
    shape: Shape, output: type[Output], target: Shape | None, is_table: bool, is_images: bool
) -> Modality:
    series, grid = (
        (Modality.DENSE_1D, Modality.DENSE_2D)
        if output is Dense
        else (Modality.SEQUENCE_1D, Modality.GRID_2D)
    )
    if is_table and output is not Dense:
        return Modality.TABLE
    if is_images or len(shape) == 3:
        return grid
    if len(shape) == 1:
        return series
    if len(shape) != 2:
        raise DataError(
            f"samples are series (one axis, or two with channels) or images (two, or three with channels), "
            f"found {said(shape)}"
        )
    if target is not None:
        return grid if sum(n != 1 for n in target) > 1 else series
    a, b = shape
    if a is None or b is None:
        return grid if a is b else series
    if _FEW * min(a, b) <= max(a, b):
        return series
    if a == b >= _SMALL_IMAGE:
        return grid
    raise DataError(
        f"samples of {said(shape)} can be images of {a} × {b} or series with channels; say which: modality: "
        f"{grid.value} or {series.value} (and channels: first or last)"
    )


def _channels(shape: Shape, target: Shape | None, is_images: bool) -> Channels:
    """Where channels can only be: at the end that is fixed, does not belong to the target, or is far the shortest."""
    if is_images:
        return "last"
    first, last = shape[0], shape[-1]
    for other, place in ((last, "first"), (first, "last")):
        if other is None:
            return place  # type: ignore[return-value]
    places = tuple(n for n in target or () if n != 1)
    fits_first, fits_last = places == shape[1:], places == shape[:-1]
    if fits_first != fits_last:
        return "first" if fits_first else "last"
    assert first is not None
    assert last is not None
    small_first = _FEW * first <= min(n for n in shape[1:] if n is not None)
    small_last = _FEW * last <= min(n for n in shape[:-1] if n is not None)
    if small_first != small_last:
        return "first" if small_first else "last"
    raise DataError(f"samples of {said(shape)}: say where their channels are, channels: first or last")


def friendly_length(length: int) -> int:
    """The smallest length from `length` on that can be cut into equal tokens, about as many as a preset allows.

    A series of 997 steps would be one token: 997 is prime.
    """
    while any(_tokens(length, most) < 0.6 * min(length, most) for most in _TOKENS):
        length += 1
    return length


def _tokens(length: int, most: int) -> int:
    """How many tokens a series of `length` steps becomes (as `method.embed.stack_size` cuts it)."""
    return next(length // i for i in range(1, length + 1) if length % i == 0 and length // i <= most)
