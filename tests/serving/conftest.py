"""Models to serve."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pare_tune.config import TrialConfig, default_trial
from pare_tune.tasks.base import Point
from pare_tune.tasks.load import load_task
from pare_tune.tasks.own.memory import task_in_memory
from pare_tune.train.build import ModelShape, build_model
from pare_tune.train.checkpoint import save_weights
from pare_tune.train.opened import open_target


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], Path]:
    """Exports an untrained model of two classes of such samples; gives its folder."""

    def export(inputs: Any) -> Path:
        torch.set_num_threads(1)
        folder = tmp_path_factory.mktemp("model")
        targets = np.arange(len(inputs)) % 2
        task = task_in_memory("mine", inputs, targets, output=Point, names=["no", "yes"])
        config = default_trial(task, preset="embedded", method="finetune")
        opened = open_target(config, data=load_task(task, cache=folder / "cache"))
        shape = ModelShape.of(opened.data, None)
        model = build_model(config, shape, opened.backbone, opened.num_tokens)
        save_weights(folder / "model.safetensors", model, shape.to_dict())
        (folder / "config.yaml").write_text(TrialConfig.to_yaml(config))
        return folder

    return export
