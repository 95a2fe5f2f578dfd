"""CutMix of target and source at the embedding (PaRe's Table 4, https://arxiv.org/abs/2406.09003)."""
# Shape suffixes: B = batch, N = tokens, D = embedding width.

from __future__ import annotations

import torch
from torch import Tensor

from pare_tune.method.mixers.base import Mixed, Mixer


class CutMixer(Mixer):
    """One block of target tokens, at a random place, is replaced by the source's tokens of the same place.

    CutMix (Yun et al., ICCV 2019, https://arxiv.org/abs/1905.04899), equation 1 on tokens: a block of the grid's own
    proportions, λ its share. The block is as near to K tokens as whole rows and columns allow.
    """

    def __init__(self, token_grid: tuple[int, int]) -> None:
        """`token_grid`: rows and columns of tokens; (1, N) for a series."""
        super().__init__()
        self.token_grid = token_grid

    def mix(self, target_BND: Tensor, source_BND: Tensor, k: int) -> Mixed:
        batch, n = target_BND.shape[:2]
        rows, columns = self.token_grid
        if rows * columns != n:
            raise ValueError(f"a token grid of {rows}×{columns} cannot hold {n} tokens")
        height, width = block_size(k, rows, columns)
        device = target_BND.device
        top_B = torch.randint(rows - height + 1, (batch,), device=device)
        left_B = torch.randint(columns - width + 1, (batch,), device=device)
        inside_rows = _inside(top_B, height, rows)
        inside_columns = _inside(left_B, width, columns)
        cut_BN = (inside_rows[:, :, None] & inside_columns[:, None, :]).flatten(1)
        lam = height * width / n
        mask_BN = cut_BN.to(target_BND.dtype)
        return Mixed(
            tokens_BND=torch.where(cut_BN[..., None], source_BND.to(target_BND.dtype), target_BND),
            lam=lam,
            target_weight=1.0 - lam,
            target_mask=1.0 - mask_BN,
            source_mask=mask_BN,
        )


def block_size(k: int, rows: int, columns: int) -> tuple[int, int]:
    """(height, width) of the block: nearest to K tokens, then nearest to the grid's proportions.

    >>> block_size(64, 16, 16)
    (8, 8)
    >>> block_size(5, 1, 12)
    (1, 5)
    """
    wanted = (k / (rows * columns)) ** 0.5
    # Only sizes about the right proportions: a sliver of 1 × K tokens would be nearer to K, and no block.
    candidates = [
        (height, width)
        for height in range(1, rows + 1)
        if abs(height - wanted * rows) < 1 or rows == 1
        for width in {max(1, min(columns, round(k / height)))}
    ]
    return min(candidates, key=lambda s: (abs(s[0] * s[1] - k), abs(s[0] / rows - s[1] / columns)))


def _inside(first_B: Tensor, size: int, length: int) -> Tensor:
    """(B, length) bool: positions first … first + size − 1."""
    position = torch.arange(length, device=first_B.device)
    return (position >= first_B[:, None]) & (position < first_B[:, None] + size)
