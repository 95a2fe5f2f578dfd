from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from pare_tune.errors import UnknownName
from pare_tune.sources import SOURCES, docs, open_source, photographs, shapes, waves
from pare_tune.sources.base import SourceKind, SourceRequest


def words(texts: Sequence[str]) -> list[list[int]]:
    return [[len(word) for word in text.split()] for text in texts]


@pytest.fixture
def request_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SourceRequest:
    for module, name in ((photographs, "NUM_CROPS"), (shapes, "NUM_IMAGES"), (waves, "NUM_WAVES")):
        monkeypatch.setattr(module, name, 30)
    monkeypatch.setattr(docs, "GROUPS", {"text": "textwrap difflib", "maths": "fractions"})
    return SourceRequest(
        cache=tmp_path, image_size=16, num_tokens=32, tokenize=words, tokenizer_name="lengths", max_samples=25
    )


def test_the_registry_is_keyed_by_name() -> None:
    assert all(name == source.name for name, source in SOURCES.items())
    assert list(SOURCES) == [
        *("photographs", "digits", "shapes", "docs", "waves"),
        *("cifar10", "cifar100", "tiny-imagenet", "caltech101", "voc", "conll2003"),
        *("imagefolder", "textfile"),
    ]


def test_sources_that_need_a_release_say_where_it_is_found() -> None:
    for source in SOURCES.values():
        released = source.homepage.startswith("http") and bool(source.releases)
        assert source.embedded or released or source.classes is None


def test_listing_the_sources_does_not_load_torch() -> None:
    code = "import sys, pare_tune.sources; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_an_unknown_source_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"no source named 'cifar'.*'cifar10'"):
        open_source("cifar", SourceRequest(cache=Path()))


@pytest.mark.parametrize("name", [name for name, source in SOURCES.items() if source.embedded])
def test_embedded_sources_give_what_their_kind_promises(name: str, request_: SourceRequest) -> None:
    source = open_source(name, request_)
    assert (source.name, source.kind) == (name, SOURCES[name].kind)
    assert len(source.dataset) == 25
    assert len(source.class_names) == source.num_classes
    assert source.num_classes == (len(docs.GROUPS) if name == "docs" else SOURCES[name].classes)
    assert source.provenance
    x, y = source.dataset[24]["x"], source.dataset[24]["y"]
    match source.kind:
        case SourceKind.IMAGES:
            assert (x.shape, x.dtype, y.shape, y.dtype) == ((3, 16, 16), torch.float32, (), torch.int64)
        case SourceKind.MASKED_IMAGES:
            assert (x.shape, x.dtype, y.shape, y.dtype) == (
                (3, 16, 16),
                torch.float32,
                (16, 16),
                torch.float32,
            )
        case SourceKind.TEXT:
            assert (x.shape, x.dtype, y.shape, y.dtype) == ((32,), torch.int64, (), torch.int64)
        case SourceKind.WAVES:
            assert (x.shape, x.dtype, y.shape, y.dtype) == ((1, 256), torch.float32, (), torch.int64)
    copy = pickle.loads(pickle.dumps(source.dataset))
    assert torch.equal(copy[24]["x"], x)


@pytest.mark.parametrize("name", ["photographs", "shapes", "waves", "digits"])
def test_two_caches_hold_the_same_bytes(name: str, request_: SourceRequest, tmp_path: Path) -> None:
    def stores(folder: str) -> list[bytes]:
        request = SourceRequest(cache=tmp_path / folder, image_size=16, num_tokens=8)
        open_source(name, request)
        return [path.read_bytes() for path in (tmp_path / folder).rglob("*.arrow")]

    assert stores("one") == stores("two") != []
