"""Source `digits`: the 8×8 handwritten digits that scikit-learn ships."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pare_tune.data.store import Record
from pare_tune.sources.base import Source, SourceData, SourceKind, SourceRequest
from pare_tune.sources.stored import image_size, open_stored


def _open_digits(request: SourceRequest) -> SourceData:
    image_size(request)  # said here, where the request is known, and not in the first batch

    def records() -> Iterator[Record]:
        from sklearn.datasets import load_digits  # slow to import, and needed once

        digits = load_digits()
        grey = np.round(digits.images * (255 / 16)).astype(np.uint8)  # ink is 0 to 16
        for image, label in zip(grey, digits.target, strict=True):
            yield {"x": np.repeat(image[None], 3, axis=0), "y": np.asarray(label, dtype=np.int64)}

    return open_stored(
        DIGITS,
        request,
        records,
        class_names="0123456789",
        provenance="1,797 handwritten digits that ship with scikit-learn (UCI, CC BY 4.0)",
    )


DIGITS = Source(
    name="digits",
    title="8×8 handwritten digits, enlarged",
    kind=SourceKind.IMAGES,
    classes=10,
    embedded=True,
    open=_open_digits,
    homepage="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
)
