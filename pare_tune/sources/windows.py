"""Windows of exactly N sub-tokens: 1D sources always have as many tokens as the target."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from pare_tune.sources.base import SourceRequest

_TEXTS_AT_ONCE = 1000


def token_ids(texts: Sequence[str], request: SourceRequest) -> Iterator[list[int]]:
    """Each text's sub-tokens, without special ones."""
    if request.tokenize is None:
        raise ValueError("a text source needs request.tokenize, the backbone's tokenizer")
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        yield from request.tokenize(texts[start : start + _TEXTS_AT_ONCE])


def cut(ids: Iterable[Sequence[int]], length: int) -> npt.NDArray[np.int32]:
    """Token sequences laid end to end and cut → (windows, length); what is left at the end is dropped."""
    stream = np.fromiter((token for sequence in ids for token in sequence), dtype=np.int32)
    return stream[: len(stream) // length * length].reshape(-1, length)
