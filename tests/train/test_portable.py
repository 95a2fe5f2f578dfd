"""Exported models give what the model gives; every backbone with every head."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from transformers import BertConfig, BertModel, RobertaConfig, RobertaModel

from pare_tune.backbones import Backbone
from pare_tune.backbones.hf import SequenceBackbone, sequence_spec
from pare_tune.backbones.vision import SwinBackbone, VitBackbone, swin_spec, vit_spec
from pare_tune.config import default_trial
from pare_tune.errors import ConfigError, DataError, PareTuneError, StudyFailed
from pare_tune.method import PareModel
from pare_tune.tasks import get_task
from pare_tune.tasks.base import Dense, Numbers, Output, Point
from pare_tune.train import portable as exporting
from pare_tune.train.build import ModelShape, build_model
from pare_tune.train.ensemble import Averaged
from pare_tune.train.final import run_final
from pare_tune.train.loop import Context
from pare_tune.train.portable import OPSET, Portable, check, export_model, program_of, write_program
from pare_tune.train.simple.fits import FITS, Training


def swin(build: type[nn.Module]) -> Backbone:
    model = build(img_size=16, embed_dim=8, depths=(1, 1), num_heads=(1, 2), window_size=2, num_classes=0)
    return SwinBackbone(model, swin_spec(model, name="small"))  # type: ignore[arg-type]


def vit() -> Backbone:
    model = VisionTransformer(
        img_size=16, patch_size=4, embed_dim=16, depth=2, num_heads=2, num_classes=0, reg_tokens=1
    )
    return VitBackbone(model, vit_spec(model, name="small"))


def language(config: RobertaConfig | BertConfig, build: type[nn.Module]) -> Backbone:
    config = config.__class__(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=66,
    )  # fmt: skip
    spec = sequence_spec(config, name="small", offset=2)
    return SequenceBackbone(build(config), spec, position_offset=2, tokenize=lambda texts: [])


BACKBONES: dict[str, Callable[[], Backbone]] = {
    "swin": lambda: swin(SwinTransformer),
    "swinv2": lambda: swin(SwinTransformerV2),
    "vit": vit,
    "roberta": lambda: language(RobertaConfig(), RobertaModel),
    "bert": lambda: language(BertConfig(), BertModel),
}


class Together(nn.Module):
    """One encoder with several heads as one graph, whose making costs most of the time."""

    def __init__(self, models: list[PareModel]) -> None:
        super().__init__()
        self.model = models[0]
        self.heads = nn.ModuleList(model.target_head for model in models)

    def forward(self, x: Tensor) -> Tensor:
        stages = self.model.encoder.stages(self.model.target_embedder(x))
        return torch.cat([head(stages).flatten(1) for head in self.heads], dim=1)


def heads(backbone: Backbone, task: str, modality: str, dense: tuple[int, ...]) -> list[PareModel]:
    """A model of every head on one backbone, large enough to differ from sample to sample."""
    of_maps = "dense_2d" if backbone.spec.kind == "grid" else "dense_1d"
    scale = (torch.full((2,), 5.0), torch.full((2,), 3.0))
    kinds: list[tuple[Output, str, str, Any]] = [
        (Point(3), "last", modality, None),
        (Numbers(2), "last", modality, scale),
        (Dense(dense), "last", of_maps, None),
        (Dense(dense), "stages", of_maps, None),
    ]
    models = []
    for output, head, kind, target_scale in kinds:
        config = default_trial(get_task(task), preset="embedded", method="finetune")
        shape = ModelShape(
            modality=kind, input_shape=(2, 20, 20) if len(dense) == 2 else (2, 24), output=output,
            target_scale=target_scale, source_kind=None, source_classes=0,
        )  # fmt: skip
        tokens = 12 if len(dense) == 1 else 16
        stem = "none" if len(dense) == 2 else "convolutions"
        settings = {"head.kind": head, "input.stem": stem}
        model = build_model(config.with_values(settings), shape, backbone, tokens).eval()
        for parameter in model.target_head.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
        models.append(model)
    return models


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_is_exported_with_every_head(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = BACKBONES[name]().eval()
    is_grid = backbone.spec.kind == "grid"
    together: Any = Together(
        heads(
            backbone,
            "ninapro" if is_grid else "satellite",
            "grid_2d" if is_grid else "sequence_1d",
            (18, 18) if is_grid else (24,),
        )
    )
    x = torch.randn(5, 2, 20, 20) if is_grid else torch.randn(5, 2, 24)
    with exporting.told(default_trial(get_task("wdbc"), preset="embedded")):
        run = write_program(program_of(together, x), tmp_path / "model.onnx", ".onnx")
    checked = check(run, together, x, "model.onnx", on="noise")
    assert checked["max_difference"] < 1e-4
    assert checked["largest_output"] > 1.0
    with torch.no_grad():
        assert together(x).std(dim=0).min() > 1e-4, "samples are told apart"


def test_an_average_of_all_simple_models_is_exported(tmp_path: Path) -> None:
    x = torch.randn(60, 2, 12, generator=torch.Generator().manual_seed(0))
    y = (x.sum((1, 2)) > 0).long() + (x[:, 0, 0] > 1).long()
    training = Training(x=x, y=y, output=Point(3), is_mask=False)
    # A probe is a fine-tuned model, which others are exported as.
    models = [fit.fit(training) for kind, fit in FITS.items() if kind != "probe"]
    together = Portable(Averaged(models, [1.0] * len(models), "softmax").eval())
    with exporting.told(default_trial(get_task("wdbc"), preset="embedded")):
        run = write_program(program_of(together, x), tmp_path / "model.onnx", ".onnx")
    checked = check(run, together, x, "model.onnx", on="noise")
    assert checked["max_difference"] < 1e-4
    assert checked["largest_output"] > 1.0


@pytest.fixture(scope="module")
def final(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("final")
    config = default_trial(get_task("wdbc"), preset="embedded", method="finetune")
    run_final(
        config.with_values({"train.epochs": 1}),
        Context(report=lambda epoch: None, folder=folder),
        with_val=False,
    )
    return folder


def test_a_model_is_exported_with_what_describes_it(final: Path, tmp_path: Path) -> None:
    import onnx
    import onnxruntime

    about = export_model(final, tmp_path / "model.onnx", int8=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "model.onnx.json"]
    assert json.loads((tmp_path / "model.onnx.json").read_text()) == about
    metrics = json.loads((final / "metrics.json").read_text())
    assert about["outputs"]["temperature"] == pytest.approx(metrics["calibration"]["temperature"])
    assert about["checked"]["on"] == "validation samples"
    scores = about["int8"]["validation"]
    assert scores["model"] == pytest.approx(metrics["validation"], abs=1e-9)
    assert scores["int8"] == pytest.approx(scores["model"], abs=0.05)
    assert (tmp_path / "model.onnx").stat().st_size < 0.5 * (final / "model.safetensors").stat().st_size
    graph = onnx.load(tmp_path / "model.onnx")
    assert {o.domain: o.version for o in graph.opset_import}[""] == OPSET
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert session.run(None, {"x": np.zeros((7, 1, 30), np.float32)})[0].shape == (7, 2)


def fail(*_: Any) -> Any:
    raise RuntimeError("no translation for aten::strange\nand a long trace")


@pytest.mark.parametrize(
    ("name", "int8", "changed", "error", "message"),
    [
        ("model.pt", False, {}, ConfigError, r"--out must end in \.onnx or \.pt2 .* got 'model\.pt'"),
        ("model.pt2", True, {}, ConfigError, r"--int8 goes with \.onnx"),
        (
            "model.pt2",
            False,
            {"TOLERANCE": -1.0},
            StudyFailed,
            "other outputs than the model.* nothing was written",
        ),
        (
            "model.pt2",
            False,
            {"write_program": fail},
            StudyFailed,
            r"on micro-roberta with head.kind last cannot be exported \(RuntimeError: no translation",
        ),
    ],
)
def test_what_cannot_be_exported_is_told_and_leaves_nothing(
    final: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    int8: bool,
    changed: dict[str, Any],
    error: type[PareTuneError],
    message: str,
) -> None:
    for attribute, value in changed.items():
        monkeypatch.setattr(exporting, attribute, value)
    with pytest.raises(error, match=message):
        export_model(final, tmp_path / name, int8=int8)
    assert not list(tmp_path.iterdir())


def test_without_its_packages_it_says_what_to_install(final: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        ConfigError, match=r"needs onnxruntime; install it with: pip install 'pare-tune\[export\]'"
    ):
        export_model(final, tmp_path / "model.onnx")


def test_where_the_data_are_not_it_is_checked_on_noise(
    final: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any, **__: Any) -> Any:
        raise DataError("the files are gone")

    monkeypatch.setattr(exporting, "load_task", gone)
    about = export_model(final, tmp_path / "model.pt2")
    assert about["checked"]["on"].startswith("noise, since the data")
    again = torch.export.load(tmp_path / "model.pt2").module()
    assert again(torch.zeros(3, 1, 30)).shape == (3, 2)
    with pytest.raises(DataError, match="the files are gone"):
        export_model(final, tmp_path / "model.onnx", int8=True)
