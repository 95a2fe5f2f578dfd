"""Bilinear resizing that behaves the same for every floating type."""
# Shape suffixes: B = batch, C = channels, H, W = rows and columns.

from __future__ import annotations

import torch
import torch.nn.functional as nnf
from torch import Tensor


def resize_bilinear(x_BCHW: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, H, W) → (B, C, *size), antialiased where it shrinks; the input itself where nothing changes."""
    if x_BCHW.shape[-2:] == size:
        return x_BCHW
    # The antialiased kernel has no half precision on CPU, and sums many small terms. Where nothing shrinks the plain
    # one gives the same, sooner.
    exact_BCHW = x_BCHW.to(torch.promote_types(x_BCHW.dtype, torch.float32))
    shrinks = size[0] < x_BCHW.shape[-2] or size[1] < x_BCHW.shape[-1]
    resized = nnf.interpolate(exact_BCHW, size=size, mode="bilinear", align_corners=False, antialias=shrinks)
    return resized.to(x_BCHW.dtype)
