"""Licences that are known for sure, and where to look for others."""

from __future__ import annotations

from pathlib import Path

import pytest

from pare_tune.config import default_trial
from pare_tune.tasks import get_task
from pare_tune.train.licences import backbone_origin, proxy_origin


@pytest.mark.parametrize(
    ("name", "licence", "on_hub", "told"),
    [
        ("micro-swin", "apache-2.0", "", "(it comes with pare-tune)"),
        ("swin-base-22k", "mit", "timm/swin_base_patch4_window7_224.ms_in22k", "(says timm)"),
        ("timm:no_such_model", "", "", "not known here: see where it came from"),
        ("timm:vit_tiny_patch16_224@w.safetensors", "", "", "not known here: see where it came from"),
        (
            "roberta-base",
            "mit",
            "FacebookAI/roberta-base",
            "(https://huggingface.co/FacebookAI/roberta-base)",
        ),
        ("hf:some/bert", "", "some/bert", "not known here: see https://huggingface.co/some/bert"),
        ("hf:{folder}", "cc-by-4.0", "", "(says its README.md)"),
    ],
)
def test_a_licence_is_said_by_somebody(
    tmp_path: Path, name: str, licence: str, on_hub: str, told: str
) -> None:
    (tmp_path / "README.md").write_text(
        "---\nlanguage: en\nlicense: cc-by-4.0\n---\n# A model\nlicense: mit\n"
    )
    origin = backbone_origin(name.format(folder=tmp_path))
    assert (origin.licence, origin.on_hub) == (licence, on_hub)
    assert told in origin.told


@pytest.mark.parametrize(
    "card", ["# A model\nlicense: mit\n", "---\nlanguage: en\n---\nlicense: mit\n", None]
)
def test_a_folder_that_says_none_has_none(tmp_path: Path, card: str | None) -> None:
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    assert backbone_origin(f"hf:{tmp_path}").told.endswith("not known here: see where it came from")


@pytest.mark.parametrize(
    ("method", "source", "told"),
    [
        ("finetune", "docs", None),
        ("pare", "docs", "docs: PSF licence"),
        ("pare", "voc", "voc: not known here: see http://host.robots.ox.ac.uk/pascal/VOC/voc2012/"),
        ("pare", "textfile", "textfile: not known here: see where it came from"),
    ],
)
def test_proxy_data_say_theirs_or_where_they_are_from(method: str, source: str, told: str | None) -> None:
    config = default_trial(get_task("wdbc"), preset="embedded", method=method)
    origin = proxy_origin(config.with_values({"source.name": source}))
    assert (origin is None) if told is None else (origin is not None and origin.told.startswith(told))
