from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from pare_tune.sources.base import SourceRequest
from pare_tune.sources.digits import DIGITS


def test_items_are_scikit_learn_s_digits_enlarged(tmp_path: Path) -> None:
    request = SourceRequest(cache=tmp_path, image_size=32, image_mean=(0, 0, 0), image_std=(1, 1, 1))
    source = DIGITS.open(request)
    digits = load_digits()
    assert len(source.dataset) == len(digits.target) == 1797
    assert [int(source.dataset[i]["y"]) for i in range(50)] == digits.target[:50].tolist()
    x = source.dataset[7]["x"]
    assert x.shape == (3, 32, 32)
    assert (x[0] == x[1]).all()
    pooled = x[0].reshape(8, 4, 8, 4).mean(dim=(1, 3)).numpy()
    assert np.corrcoef(pooled.ravel(), digits.images[7].ravel())[0, 1] > 0.95
    assert 0 <= x.min() <= x.max() <= 1


def test_a_request_without_image_size_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="image_size"):
        DIGITS.open(SourceRequest(cache=tmp_path))
