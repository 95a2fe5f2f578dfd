from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pare_tune.data.store import Record, write_store
from pare_tune.errors import DataError, StorageError
from pare_tune.sources.base import Source, SourceData, SourceKind, SourceRequest
from pare_tune.sources.stored import StoredSamples, chunk_seed, code_of, stored

N = 200


def images() -> Iterator[Record]:
    rng = np.random.default_rng(0)
    for i in range(N):
        yield {"x": rng.integers(0, 256, (3, 4, 4), dtype=np.uint8), "y": np.asarray(i)}


def never_opened(request: SourceRequest) -> SourceData:
    raise AssertionError


SOURCE = Source(
    name="pictures", title="", kind=SourceKind.IMAGES, classes=N, embedded=True, open=never_opened
)


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
    paths = [stored(SOURCE, request, records, size=size) for size in (4, 4, 5)]
    assert paths[0] == paths[1] != paths[2]
    assert len(made) == 2


def test_an_unusable_cache_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write .*PARE_TUNE_CACHE=FOLDER"):
        stored(SOURCE, SourceRequest(cache=tmp_path / "file"), images)


def test_chunks_have_seeds_of_their_own() -> None:
    assert len({chunk_seed(seed, start) for seed in range(10) for start in range(10)}) == 100
    assert chunk_seed(1, 2) == chunk_seed(1, 2)


def test_a_store_is_named_by_its_source_and_code(tmp_path: Path) -> None:
    path = stored(SOURCE, SourceRequest(cache=tmp_path), images, size=4)
    assert path.parent.name.startswith(f"pictures-{code_of(SOURCE)}-")
    assert code_of(SOURCE) != code_of(replace(SOURCE, uses=(pickle,)))


def test_what_is_written_beside_a_store_stays_with_it(tmp_path: Path) -> None:
    def note(folder: Path) -> None:
        (folder / "note").write_text("kept")

    for _ in range(2):
        path = stored(SOURCE, SourceRequest(cache=tmp_path), images, beside=note)
        assert (path.parent / "note").read_text() == "kept"


@pytest.mark.parametrize("home", ["b", "deep/a1"])
def test_a_release_is_found_by_any_of_its_patterns(tmp_path: Path, home: str) -> None:
    source = replace(SOURCE, releases=("deep/a*", "b"))
    assert source.find(tmp_path) is None
    (tmp_path / home).mkdir(parents=True)
    assert source.find(tmp_path) == tmp_path / home
    assert source.find(tmp_path / "absent") is None
    assert replace(SOURCE, releases=()).find(tmp_path) == tmp_path
