from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from pare_tune.backbones import load_backbone
from pare_tune.config import TrialConfig, default_trial
from pare_tune.data.store import Record
from pare_tune.errors import ConfigError
from pare_tune.method import (
    GridDenseHead,
    GridStagesHead,
    PointHead,
    SequenceAcrossHead,
    SequenceDenseHead,
    SequenceStagesHead,
    TargetScale,
)
from pare_tune.method.embed import FixedNorm
from pare_tune.tasks import get_task
from pare_tune.tasks.base import Dense, Split
from pare_tune.tasks.load import TaskData, load_task
from pare_tune.train.build import (
    ModelShape,
    build_model,
    check_fits,
    count_tokens,
    open_backbone,
    open_trial_source,
)
from pare_tune.train.checkpoint import save_weights
from pare_tune.train.export import CONFIG, MODEL
from pare_tune.train.opened import open_trial
from pare_tune.train.predict import load_model
from pare_tune.yaml import validate

SIDE = 12


def _read(root: Path, seed: int) -> Mapping[Split, Iterable[Record]]:
    """Targets that differ in mean and spread from row to row; the last row never varies."""

    def records(count: int, offset: int) -> Iterable[Record]:
        for i in range(count):
            rng = np.random.default_rng((seed, offset + i))
            row = np.arange(SIDE, dtype=np.float32)[:, None]
            y = 1e-3 * (10 + row + (SIDE - 1 - row) * rng.normal(size=(SIDE, SIDE)))
            yield {"x": rng.normal(size=(1, SIDE, SIDE)).astype(np.float32), "y": y.astype(np.float32)}

    return {"train": records(40, 0), "val": records(5, 100), "test": records(5, 200)}


def _make(folder: Path, seed: int) -> None:
    """The samples are made while they are read."""


TASK = replace(
    get_task("psicov"), name="rows", input_shape=(1, SIDE, SIDE), output=Dense((SIDE, SIDE)), read=_read, make=_make,
    item=lambda record, canvas, rng: dict(record), ragged=frozenset(), canvas={"paper": None, "embedded": None},
)  # fmt: skip


def opened(kind: bool | Literal["pointwise"], cache: Path) -> TaskData:
    return load_task(replace(TASK, scale_target=kind), cache=cache)


def test_each_position_has_its_own_mean_and_spread(tmp_path: Path) -> None:
    data = opened("pointwise", tmp_path)
    assert data.target_scale is not None
    mean, spread = data.target_scale
    y = torch.stack([data.train.item(i)["y"] for i in range(len(data.train))])
    torch.testing.assert_close(mean, y.mean(0))
    torch.testing.assert_close(spread[:-1], y[:, :-1].std(0))
    assert spread[-1].unique().tolist() == pytest.approx([1e-3 * float(spread.max())])


def test_one_mean_and_spread_or_none(tmp_path: Path) -> None:
    data = opened(True, tmp_path)
    assert data.target_scale is not None
    assert [part.shape for part in data.target_scale] == [(), ()]
    assert opened(False, tmp_path).target_scale is None


def test_targets_that_never_vary_are_only_shifted(tmp_path: Path) -> None:
    def constant(record: Record, canvas: object, rng: object) -> dict[str, np.ndarray]:
        return {"x": record["x"], "y": np.full((SIDE, SIDE), 7.0, np.float32)}

    for kind in (True, "pointwise"):
        task = replace(TASK, scale_target=kind, item=constant)  # type: ignore[arg-type]
        scale = load_task(task, cache=tmp_path).target_scale
        assert scale is not None
        assert (scale[0] == 7).all()
        assert (scale[1] == 1).all()


@pytest.mark.parametrize("kind", ["pointwise", True, False])
def test_an_exported_model_predicts_in_the_targets_unit(
    tmp_path: Path, kind: bool | Literal["pointwise"]
) -> None:
    data = opened(kind, tmp_path / "cache")
    config = default_trial(TASK, preset="embedded", method="finetune")
    backbone = open_backbone(config)
    num_tokens = count_tokens(config, data.task.modality, data.input_shape, backbone)
    shape = ModelShape.of(data, None)
    model = build_model(config, shape, backbone, num_tokens).eval()
    (tmp_path / CONFIG).write_text(config.to_yaml())
    save_weights(tmp_path / MODEL, model, {**shape.to_dict(), "epoch": 1})
    assert len(json.dumps(shape.to_dict())) < 500  # the values are among the weights, not in the metadata

    again, about, _ = load_model(tmp_path, torch.device("cpu"))
    assert about == shape
    x = np.stack([data.val.item(i)["x"].numpy() for i in range(5)])
    with torch.no_grad():
        before, after = (m(torch.from_numpy(x)).target.numpy() for m in (model, again))
    np.testing.assert_array_equal(before, after)
    scales = [module for module in again.modules() if isinstance(module, TargetScale)]
    if data.target_scale is None:
        assert not scales
        return
    mean, spread = data.target_scale
    torch.testing.assert_close(scales[0].mean, mean)
    torch.testing.assert_close(scales[0].std, spread)
    # A head that has learned nothing says the mean, give or take its small start.
    assert (np.abs(after - mean.numpy()) < 3 * spread.numpy()).all()


def test_a_source_that_holds_the_tasks_validation_images_is_refused(tmp_path: Path) -> None:
    config = default_trial(get_task("spherical"), preset="embedded").with_values({"source.name": "cifar100"})
    with pytest.raises(ConfigError, match="validation images of task spherical"):
        open_trial_source(config, open_backbone(config), 256, tmp_path)


def test_a_model_of_one_token_is_loaded_as_it_was_trained(tmp_path: Path) -> None:
    """By `finetune`, whatever method its config asks for: nothing can be mixed."""
    config = default_trial(get_task("advection"), preset="embedded").with_values({"input.max_tokens": 1})
    opened = open_trial(config)
    assert (config.method, opened.config.method, opened.num_tokens) == ("pare", "finetune", 1)
    (tmp_path / CONFIG).write_text(config.to_yaml())
    shape = ModelShape.of(opened.data, opened.source)
    save_weights(tmp_path / MODEL, opened.build(), {**shape.to_dict(), "epoch": 1})
    again, _, _ = load_model(tmp_path, torch.device("cpu"))
    assert not any("mixer" in name for name, _ in again.named_parameters())


@pytest.mark.parametrize(("task", "backbone"), [("psicov", "micro-swin"), ("advection", "micro-roberta")])
def test_dense_heads_read_all_stages_unless_a_file_is_older_or_says_last(task: str, backbone: str) -> None:
    config = default_trial(get_task(task), preset="embedded", backbone=backbone)
    shape = ModelShape(
        modality=get_task(task).modality.value, input_shape=(2, 64),
        output=Dense((64, 64) if task == "psicov" else (64,)),
        target_scale=None,
        source_kind="masked_images" if task == "psicov" else "text", source_classes=3,
    )  # fmt: skip
    kind, norm = ("stages", "own") if task == "psicov" else ("across", "fixed")
    assert (config.head.kind, config.input.norm) == (kind, norm)
    before = config.to_dict()
    del before["head"], before["input"]["norm"]
    older = validate(TrialConfig, before, where="best.yaml")
    assert older == config.with_values({"head.kind": "last", "input.norm": "own"})
    for settings, fixed in ((config, norm == "fixed"), (older, False)):
        model = build_model(settings, shape, open_backbone(settings), 8)
        assert isinstance(model.target_embedder.norm, FixedNorm) == fixed
        assert isinstance(model.target_head, SequenceAcrossHead) == fixed
    config = config.with_values({"head.kind": "stages"})
    for settings, dense, series in (
        (config, GridStagesHead, SequenceStagesHead),
        (older, GridDenseHead, SequenceDenseHead),
    ):
        model = build_model(settings, shape, open_backbone(settings), 8)
        assert isinstance(model.target_head, dense if task == "psicov" else series)
        assert isinstance(model.source_head, dense if task == "psicov" else PointHead)


@pytest.mark.parametrize(
    ("task", "backbone", "settings", "said"),
    [
        ("psicov", "micro-swin", {"head.kind": "across"}, "dense_2d does not ask for; choose stages or last"),
        ("satellite", "micro-roberta", {"head.kind": "across"}, "modality sequence_1d does not ask"),
        ("psicov", "timm:vit_tiny_patch16_224", {"input.norm": "fixed"}, "without a norm, which is as linear"),
    ],
)  # fmt: skip
def test_a_part_that_fits_neither_task_nor_backbone_is_refused(
    task: str, backbone: str, settings: dict[str, str], said: str
) -> None:
    config = default_trial(get_task(task), preset="embedded", backbone=backbone).with_values(settings)
    encoder = load_backbone(backbone, pretrained=False)
    with pytest.raises(ConfigError, match=said):
        check_fits(config, get_task(task).modality, encoder)
