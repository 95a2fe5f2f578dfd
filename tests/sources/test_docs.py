from __future__ import annotations

import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import pytest

from pare_tune.errors import DataError
from pare_tune.sources import docs
from pare_tune.sources.base import SourceRequest
from pare_tune.sources.docs import DOCS, docstrings

TINY = {"text": "textish", "maths": "mathish"}


@pytest.fixture
def stdlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library of one module and one package, whose import would be seen."""
    root = tmp_path / "lib"
    (root / "mathish" / "test").mkdir(parents=True)
    (root / "textish.py").write_text(
        '"""About text."""\nraise SystemExit("imported")\n\n\ndef f():\n    """A function."""\n'
    )
    (root / "mathish" / "__init__.py").write_text(
        'class C:\n    """A class."""\n\n    async def g(self):\n        "Async."\n'
    )
    (root / "mathish" / "test" / "test_it.py").write_text('"""Not documentation."""\n')
    monkeypatch.setattr(docs, "GROUPS", TINY)
    monkeypatch.setattr(docs.sysconfig, "get_path", lambda name: str(root))
    return root


def as_bytes(texts: Sequence[str]) -> list[list[int]]:
    return [list(text.encode()) for text in texts]


def request(cache: Path, num_tokens: int = 4) -> SourceRequest:
    return SourceRequest(cache=cache, num_tokens=num_tokens, tokenize=as_bytes, tokenizer_name="bytes")


def test_docstrings_are_collected_without_importing(stdlib: Path) -> None:
    assert docstrings(stdlib) == {"text": ["About text.", "A function."], "maths": ["A class.", "Async."]}


def test_windows_are_exactly_n_tokens_and_never_mix_groups(stdlib: Path, tmp_path: Path) -> None:
    source = DOCS.open(request(tmp_path, num_tokens=5))
    items = [source.dataset[i] for i in range(len(source.dataset))]
    texts = [(int(item["y"]), bytes(item["x"].tolist()).decode()) for item in items]
    assert {len(text) for _, text in texts} == {5}
    assert "".join(text for label, text in texts if label == 0) == "About text.\nA function.\n"[:20]
    assert "".join(text for label, text in texts if label == 1) == "A class.\nAsync.\n"[:15]
    assert source.class_names == ("text", "maths")


def test_a_python_without_sources_is_named(stdlib: Path, tmp_path: Path) -> None:
    (stdlib / "textish.py").unlink()
    with pytest.raises(DataError, match="no source files for the modules of 'text'"):
        DOCS.open(request(tmp_path))


def test_tokenizers_do_not_share_stores(stdlib: Path, tmp_path: Path) -> None:
    one = DOCS.open(request(tmp_path)).dataset
    other = DOCS.open(
        SourceRequest(
            cache=tmp_path,
            num_tokens=4,
            tokenize=lambda texts: [[7] * len(t) for t in texts],
            tokenizer_name="7",
        )
    ).dataset
    assert one[0]["x"].tolist() != other[0]["x"].tolist() == [7] * 4


def test_a_request_without_tokenizer_is_refused(stdlib: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tokenize"):
        DOCS.open(SourceRequest(cache=tmp_path, num_tokens=4))


def test_the_real_library_documents_every_group() -> None:
    texts = docstrings(Path(sysconfig.get_path("stdlib")))
    sizes = {group: sum(map(len, found)) for group, found in texts.items()}
    assert len(sizes) == 10
    assert min(sizes.values()) > 50_000, sizes
    assert "antigravity" not in sys.modules
