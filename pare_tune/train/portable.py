"""A trained model for other runtimes: an ONNX graph, or a program of torch.export, and a description beside it.

What is exported takes model-ready samples (batch, channels, ...) of any batch. `NAME.json` beside the file says how raw
samples become such (as `tasks.own.layout.Layout` does it), what the outputs mean, and how far the file was checked.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pare_tune.config import TrialConfig, task_of
from pare_tune.data.files import replacing, write_json
from pare_tune.errors import ConfigError, PareTuneError, StudyFailed
from pare_tune.steps import step
from pare_tune.tasks.base import MultiLabel, Point
from pare_tune.tasks.load import TaskData, load_task
from pare_tune.train.build import ModelShape
from pare_tune.train.evaluation import Context, join, score_of
from pare_tune.train.export import ModelFolder
from pare_tune.train.fingerprint import package_versions
from pare_tune.train.predict import load_model

SUFFIXES: Final = (".onnx", ".pt2")
OPSET: Final = 18
TOLERANCE: Final = 1e-4
"""Of outputs, as a share of the largest where that is above 1."""

_CHECKED: Final = 32
_BATCH: Final = 64

Run = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
"""Model-ready samples (n, ...) → outputs (n, ...)."""


class Portable(nn.Module):
    """What a model predicts, without what it was trained with."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) → (B, ...)."""
        outputs: Tensor = self.model(x).target
        return outputs


def export_model(folder: Path, out: Path, *, int8: bool = False) -> dict[str, Any]:
    """Write the model of a final/ or best/ folder as .onnx or .pt2, and what describes it as `out`.json.

    The file is run on real samples, those of the validation split, before it gets its name.

    Args:
        int8: weights of linear layers as 8-bit integers (ONNX alone); the score's loss on validation is measured.

    Returns:
        What the description holds.

    Raises:
        ConfigError: another suffix, or a package that is not installed.
        StudyFailed: the model cannot be exported, or the file gives other outputs than the model.
        DataError: no model there, or no data to measure the loss of `int8` on.
    """
    suffix = out.suffix.lower()
    if suffix not in SUFFIXES:
        raise ConfigError(f"--out must end in .onnx or .pt2 (torch.export), got {out.name!r}")
    if int8 and suffix != ".onnx":
        raise ConfigError(f"--int8 goes with .onnx, got {out.name!r}")
    if suffix == ".onnx":
        require_onnx()
    model, shape, config = load_model(folder, torch.device("cpu"))
    portable = Portable(model)
    with step("opening samples to check the export on"):
        data = open_samples(config, needed=int8)
    x = _samples(data, shape)
    about = _described(folder, shape, config)
    with replacing(out) as partial:
        with step("exporting the model"), told(config):
            run = write_program(program_of(portable, x), partial, suffix)
        about["checked"] = check(run, portable, x, out.name, on=_said(data))
        if int8 and data is not None:
            with step("quantising"), told(config):
                run = _quantise(partial)
            about["int8"] = _loss_of(run, portable, data)
    write_json(out.with_name(f"{out.name}.json"), about)
    return about


def require_onnx() -> None:
    """Raise ConfigError unless the packages of the extra are here."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"exporting to ONNX needs {error.name}; install it with: pip install 'pare-tune[export]'"
        ) from error


def open_samples(config: TrialConfig, *, needed: bool) -> TaskData | None:
    """The data that the model was trained on; None where they are not here. Raises as `load_task` if `needed`."""
    try:
        return load_task(task_of(config), data=config.data, canvas=config.input.canvas)
    except PareTuneError:
        if needed:
            raise
        return None


def _samples(data: TaskData | None, shape: ModelShape) -> Tensor:
    """(n, ...), at least two: a batch of one would be taken for the only one there is."""
    if data is None:
        return torch.randn((_CHECKED, *shape.input_shape), generator=torch.Generator().manual_seed(0))
    count = min(_CHECKED, len(data.val))
    return torch.stack([data.val.item(index % count)["x"] for index in range(max(2, count))])


def _said(data: TaskData | None) -> str:
    return "noise, since the data of the task are not here" if data is None else "validation samples"


def _described(folder: Path, shape: ModelShape, config: TrialConfig) -> dict[str, Any]:
    calibration = ModelFolder(folder).calibration()
    has_logits = isinstance(shape.output, Point | MultiLabel)
    temperature = None if calibration is None else calibration.temperature
    apply = "softmax" if isinstance(shape.output, Point) else "sigmoid"
    return {
        "task": config.task,
        "inputs": {"name": "x", "dtype": "float32", "shape": ["batch", *shape.input_shape]},
        "prepare": None
        if shape.raw is None
        else {"canvas": config.input.canvas, "layout": shape.raw["inputs"], "at": shape.raw["at"]},
        "outputs": {
            "name": "outputs",
            "names": [] if shape.raw is None else list(shape.raw["target"]["names"]),
            "probabilities": f"{apply}(outputs / temperature)" if has_logits or temperature else None,
            "temperature": temperature or (1.0 if has_logits else None),
        },
        "opset": OPSET,
        "versions": package_versions(),
    }


@contextmanager
def told(config: TrialConfig) -> Iterator[None]:
    """What torch and ONNX raise at a model that they do not take, as one message; their advice is for others."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (PareTuneError, OSError):
        raise
    except Exception as error:
        first = next(iter(str(error).strip().splitlines()), "no reason given")
        raise StudyFailed(
            f"a model on {config.backbone} with head.kind {config.head.kind} cannot be exported "
            f"({type(error).__name__}: {first})"
        ) from error
    finally:
        logging.disable(before)


def program_of(portable: nn.Module, x: Tensor) -> torch.export.ExportedProgram:
    """What is written: it takes samples like `x` (at least two), in batches of any size."""
    batch = torch.export.Dim("batch", max=65536)
    return torch.export.export(portable, (x[:2],), dynamic_shapes=({0: batch},))


def write_program(program: torch.export.ExportedProgram, path: Path, suffix: str) -> Run:
    """Write .onnx or .pt2; what runs the file."""
    return _write_pt2(program, path) if suffix == ".pt2" else _write_onnx(program, path)


def _write_pt2(program: torch.export.ExportedProgram, path: Path) -> Run:
    with path.open("wb") as stream:
        torch.export.save(program, stream)
    with path.open("rb") as stream:
        again = torch.export.load(stream).module()
    return lambda x: np.asarray(again(torch.from_numpy(x)).detach().numpy())


def _write_onnx(program: torch.export.ExportedProgram, path: Path) -> Run:
    named: dict[str, Any] = {"input_names": ["x"], "output_names": ["outputs"]}
    graph = torch.onnx.export(program, dynamo=True, opset_version=OPSET, verbose=False, **named)
    assert graph is not None
    graph.save(str(path), external_data=False)
    return _onnx_run(path)


def _onnx_run(path: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda x: np.asarray(session.run(["outputs"], {"x": x})[0])


def check(run: Run, portable: nn.Module, x: Tensor, name: str, *, on: str) -> dict[str, Any]:
    """How far a file's outputs are from the model's, in batches of one, some and all of `x`.

    Raises:
        StudyFailed: further than `TOLERANCE`.
    """
    with torch.no_grad():
        wanted = portable(x).numpy()
    scale = max(1.0, float(np.abs(wanted).max()))
    parts = [x[:1], x[1:], x]
    given = [run(part.numpy()) for part in parts]
    difference = max(
        float(np.abs(np.concatenate(given[:2]) - wanted).max()), float(np.abs(given[2] - wanted).max())
    )
    if not difference <= TOLERANCE * scale:
        raise StudyFailed(
            f"{name} gives other outputs than the model, up to {difference:.2g} off on {on} (of at most "
            f"{scale:.3g}); nothing was written"
        )
    return {"on": on, "samples": len(x), "max_difference": difference, "largest_output": scale}


def _quantise(path: Path) -> Run:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with replacing(path) as quantised:
        quantize_dynamic(str(path), str(quantised), weight_type=QuantType.QInt8)
    return _onnx_run(path)


def _loss_of(run: Run, portable: Portable, data: TaskData) -> dict[str, Any]:
    """The metric on validation, of the model and of the file."""
    outputs: dict[str, list[Tensor]] = {"model": [], "int8": []}
    targets: list[dict[str, Tensor]] = []
    for start in range(0, len(data.val), _BATCH):
        items = [data.val.item(i) for i in range(start, min(start + _BATCH, len(data.val)))]
        batch = {name: torch.stack([item[name] for item in items]) for name in items[0]}
        x = batch.pop("x")
        targets.append(batch)
        with torch.no_grad():
            outputs["model"].append(portable(x))
        outputs["int8"].append(torch.from_numpy(run(x.numpy())))
    context = Context(report=lambda epoch: None)
    scores = {
        name: score_of((torch.cat(parts), join(targets)), data.task.metric, context=context)
        for name, parts in outputs.items()
    }
    return {"metric": data.task.metric.name, "unit": data.task.metric.unit, "validation": scores}
