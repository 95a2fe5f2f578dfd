from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pare_tune.backbones import BACKBONES, load_backbone, weights_io
from pare_tune.errors import BackboneUnavailable, UnknownName


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache, and a hub that nothing listens at: refused at once on any machine."""
    monkeypatch.setattr(weights_io.huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(weights_io.huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    return tmp_path


@pytest.mark.parametrize("name", ["micro-swim", "roberta", "timm", "timm:", "hf:", "tim:x", ""])
def test_an_unknown_name_lists_what_exists(name: str) -> None:
    with pytest.raises(UnknownName, match="micro-swin.*timm:MODEL"):
        load_backbone(name)


def test_a_near_miss_is_suggested() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'micro-swin'"):
        load_backbone("micro-swim")


@pytest.mark.parametrize(
    ("name", "file", "copy"),
    [
        (
            "swin-base-22k",
            "model.safetensors of timm/swin_base_patch4_window7_224.ms_in22k",
            "timm:swin_base.*@PATH",
        ),
        (
            "timm:vit_tiny_patch16_224",
            "model.safetensors of timm/vit_tiny_patch16_224",
            "@PATH/model.safetensors",
        ),
        ("roberta-base", "config.json of roberta-base", "hf:FOLDER"),
        ("hf:org/model", "config.json of org/model", "hf:FOLDER"),
    ],
)
def test_a_failed_download_says_what_is_missing_and_where_to_put_it(
    name: str, file: str, copy: str, no_network: Path
) -> None:
    with pytest.raises(BackboneUnavailable, match=f"missing file {file}.*{copy}"):
        load_backbone(name, cache=no_network)


@pytest.mark.parametrize("pretrained", [True, False])
@pytest.mark.parametrize(
    "name", ["/no/folder", "no/such/folder", "~/folder", "a b", "-x", "x" * 97, "here.txt"]
)
def test_what_is_neither_a_folder_nor_a_name_of_the_hub_is_told_so(
    name: str, pretrained: bool, no_network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(no_network)
    (no_network / "here.txt").touch()
    where = no_network / name if name == "here.txt" else name
    with pytest.raises(
        BackboneUnavailable, match=r"is neither a folder here nor a name of the hub; give a folder"
    ):
        load_backbone(f"hf:{where}", pretrained=pretrained, cache=no_network)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("/no/file.safetensors", "no weights file /no/file.safetensors; check the path"),
        ("", "no weights file .*; check the path"),
        ("weights.bin", r"read from \.safetensors only .*convert it"),
        ("weights.safetensors", "damaged or cut short .*fetch it again"),
    ],
)
def test_weights_that_are_no_safetensors_file_are_named(tmp_path: Path, file: str, message: str) -> None:
    for name in ("weights.bin", "weights.safetensors"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(BackboneUnavailable, match=message):
        load_backbone(f"timm:vit_tiny_patch16_224@{tmp_path / file}")


def test_weights_that_timm_does_not_publish_are_an_unknown_name() -> None:
    with pytest.raises(UnknownName, match="no timm model named 'vit_tiny_patch16_224.nope'.*augreg"):
        load_backbone("timm:vit_tiny_patch16_224.nope", pretrained=False)


def test_offline_mode_is_respected_without_a_probe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(weights_io.huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(
        weights_io.urllib.request, "urlopen", lambda *_, **__: pytest.fail("probed the network")
    )
    with pytest.raises(BackboneUnavailable, match="cannot be reached"):
        load_backbone("roberta-base", cache=tmp_path)


@pytest.mark.parametrize("name", ["micro-swin", "micro-roberta"])
def test_random_weights_follow_the_seed_and_leave_the_global_state_alone(name: str) -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    a, b, c = (load_backbone(name, pretrained=False, seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert any(not torch.equal(a[key], c[key]) for key in a)


def test_short_names_stand_for_models_with_a_prefix() -> None:
    assert {name for name, model in BACKBONES.items() if name == model} == {"micro-swin", "micro-roberta"}
    assert {model.partition(":")[0] for model in BACKBONES.values()} == {
        "timm",
        "hf",
        "micro-swin",
        "micro-roberta",
    }
