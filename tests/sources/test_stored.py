from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pare_tune.data.store import Record, write_store
from pare_tune.errors import DataError, StorageError
from pare_tune.sources.base import SourceKind, SourceRequest
from pare_tune.sources.stored import StoredSamples, chunk_seed, stored

N = 200


def images() -> Iterator[Record]:
    rng = np.random.default_rng(0)
    for i in range(N):
        yield {"x": rng.integers(0, 256, (3, 4, 4), dtype=np.uint8), "y": np.asarray(i)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_store(tmp_path / "samples.arrow", images())
    return tmp_path / "samples.arrow"


def opened(path: Path, **fields: Any) -> StoredSamples:
    return StoredSamples(path, SourceKind.IMAGES, SourceRequest(cache=path.parent, image_size=4, **fields))


def test_a_batch_equals_its_items(path: Path) -> None:
    samples = opened(path)
    wanted = [3, 150, 3, 0]
    batch = samples.__getitems__(wanted)
    for index, item in zip(wanted, batch, strict=True):
        assert torch.equal(item["x"], samples[index]["x"])
        assert int(item["y"]) == index


def test_a_subset_is_fixed_by_its_seed(path: Path) -> None:
    def chosen(**fields: Any) -> list[int]:
        samples = opened(path, **fields)
        return [int(samples[i]["y"]) for i in range(len(samples))]

    first = chosen(max_samples=20, seed=1)
    assert len(set(first)) == 20
    assert chosen(max_samples=20, seed=1) == first
    assert chosen(max_samples=20, seed=2) != first
    assert chosen(max_samples=N + 1) == list(range(N))


def test_an_empty_subset_is_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        opened(path, max_samples=0)


def test_pickles_stay_small_and_open_the_same_samples(path: Path) -> None:
    samples = opened(path, max_samples=150, seed=3)
    pickled = pickle.dumps(samples)
    assert len(pickled) < 1000
    copy = pickle.loads(pickled)
    assert len(copy) == 150
    assert torch.equal(copy[149]["x"], samples[149]["x"])


def test_items_may_be_written_to_without_changing_the_store(path: Path) -> None:
    samples = opened(path)
    before = samples[0]["x"].clone()
    samples[0]["x"].zero_()
    assert torch.equal(samples[0]["x"], before)


def test_a_missing_store_is_named(path: Path) -> None:
    path.unlink()
    with pytest.raises(DataError, match="no prepared store"):
        opened(path)


def test_stores_are_made_once_for_each_set_of_parts(tmp_path: Path) -> None:
    made = []

    def records() -> Iterator[Record]:
        made.append(1)
        return images()

    request = SourceRequest(cache=tmp_path)
    paths = [stored("images", request, records, size=size) for size in (4, 4, 5)]
    assert paths[0] == paths[1] != paths[2]
    assert len(made) == 2


def test_an_unusable_cache_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        stored("images", SourceRequest(cache=tmp_path / "file"), images)


def test_chunks_have_seeds_of_their_own() -> None:
    assert len({chunk_seed(seed, start) for seed in range(10) for start in range(10)}) == 100
    assert chunk_seed(1, 2) == chunk_seed(1, 2)
