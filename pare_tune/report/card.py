"""The model card of a final/ folder, in Hugging Face's format (https://huggingface.co/docs/hub/model-cards).

It is made of what lies in the folder alone, so that it can be written again wherever the folder was copied to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pare_tune.config import TrialConfig
from pare_tune.data.files import write_text
from pare_tune.errors import DataError
from pare_tune.report import words
from pare_tune.train.build import ModelShape
from pare_tune.train.checkpoint import load_weights
from pare_tune.train.describe import Description
from pare_tune.train.export import ModelFolder
from pare_tune.train.licences import Origin, backbone_origin, proxy_origin
from pare_tune.train.simple.models import SIMPLE
from pare_tune.yaml import dump_yaml

CARD: Final = "README.md"

_PIPELINES: Final[Mapping[tuple[str, bool], str]] = {
    ("table", True): "tabular-classification",
    ("table", False): "tabular-regression",
    ("grid_2d", True): "image-classification",
    ("grid_2d", False): "image-feature-extraction",
    ("dense_2d", False): "image-to-image",
}
"""(modality, whether classes come out) → what the hub calls it; series have no name there."""


def write_card(folder: Path) -> Path:
    """Write the card of a final/ folder; returns its path.

    Raises:
        DataError: no trained model is there.
        StorageError: the folder cannot be written.
    """
    path = folder / CARD
    write_text(path, card(folder))
    return path


def card(folder: Path) -> str:
    """The card of a final/ folder. Raises DataError: no trained model is there."""
    model = ModelFolder(folder)
    if not model.is_complete:
        raise DataError(
            f"{folder} holds no trained model; give the final/ folder of `pare-tune train`, whole"
        )
    with model.told_if_newer():
        try:
            metrics = model.metrics()
        except (OSError, ValueError) as error:
            raise DataError(
                f"{folder}: its metrics.json is damaged ({error}); copy the folder again"
            ) from error
        if "test" not in metrics:
            raise DataError(
                f"{folder} holds a model whose test split was not scored: a search's best, or a member of an ensemble; "
                f"give the final/ folder of `pare-tune train`"
            )
        together = model.ensemble()
        members = [folder] if together is None else [folder / name for name, _ in together["members"]]
        config, about = model.config(), load_weights(ModelFolder(members[0]).weights)[1]
        for name in ("epoch", "simple"):
            about.pop(name, None)
        shape = ModelShape.from_dict(about)
        kinds = [member["model"] for member in metrics.get("members", ())] or [""]
        parts = [
            ModelFolder(member).config()
            for member, kind in zip(members, kinds, strict=True)
            if kind not in SIMPLE
        ]
    backbones = [backbone_origin(name) for name in dict.fromkeys(part.backbone for part in parts)]
    proxies = [proxy for proxy in dict.fromkeys(map(proxy_origin, parts)) if proxy is not None]
    front = dump_yaml(_front_matter(config, metrics, shape, backbones))
    text = [*_text(config, metrics, shape), *_licences(config.task, backbones, proxies)]
    return f"---\n{front}---\n\n" + "\n".join(text) + "\n"


def _front_matter(
    config: TrialConfig, metrics: Mapping[str, Any], shape: ModelShape, backbones: Sequence[Origin]
) -> dict[str, Any]:
    description = Description.of(config.task, shape)
    pipeline = _PIPELINES.get((shape.modality, description.has_classes))
    bases = [backbone.on_hub for backbone in backbones if backbone.on_hub]
    licences = {backbone.licence for backbone in backbones}
    metric = {"type": metrics["metric"], "value": metrics["test"], "name": f"test {metrics['metric']}"}
    task = {"type": pipeline or "other", "name": config.task}
    dataset = {"type": config.task, "name": f"{config.task} ({metrics['data']})", "split": "test"}
    return {
        "library_name": "pare-tune",
        "license": licences.pop() or "other" if len(licences) == 1 else "other",
        "tags": ["pare", "cross-modal-fine-tuning", shape.modality],
        **({} if pipeline is None else {"pipeline_tag": pipeline}),
        **({} if not bases else {"base_model": bases[0] if len(bases) == 1 else bases}),
        "model-index": [
            {"name": config.task, "results": [{"task": task, "dataset": dataset, "metrics": [metric]}]}
        ],
    }


def _text(config: TrialConfig, metrics: Mapping[str, Any], shape: ModelShape) -> Iterator[str]:
    description = Description.of(config.task, shape)
    yield f"# {config.task}\n"
    yield (
        f"{_made_of(config, metrics)} with pare-tune (https://arxiv.org/abs/2406.09003). It takes {description.takes} "
        f"and gives {description.gives}.\n"
    )
    yield "## How to load it\n"
    yield "```python\nimport pare_tune\n"
    yield 'model = pare_tune.load("final")  # this folder'
    yield f"outputs = model({'inputs' if description.takes_arrays else 'table'})\n```\n"
    yield "`pare-tune predict`, `export` and `serve` take the folder as well.\n"
    yield "## Data\n"
    yield f"- {config.task}: {metrics['data']}, {words.PROVENANCE.get(metrics['data'], '')}."
    if config.own is not None:
        yield f"- From {', '.join(sorted({str(part.input) for _, part in config.own.parts()}))}."
    yield f"- Trained on {metrics['trained_on']}; {metrics['test_samples']:,} samples of test were scored once.\n"
    yield "## Score\n"
    yield f"- test {metrics['metric']}: {_score(metrics)}"
    if metrics.get("validation") is not None:
        yield f"- validation, which the epoch was chosen by: {metrics['validation']:.4g}"
    for line in words.calibration(metrics):
        yield f"- {line}"
    yield "\n## What was compared\n"
    yield f"{metrics.get('search') or 'Nothing: this configuration was trained without a search beside it.'}\n"
    yield "## Limits\n"
    yield from (f"- {line}" for line in _limits(config, metrics, description))


def _licences(task: str, backbones: Sequence[Origin], proxies: Sequence[Origin]) -> Iterator[str]:
    yield "\n## Licences\n"
    yield from (f"- backbone {backbone.told}" for backbone in backbones)
    yield from (f"- proxy data {proxy.told}" for proxy in proxies)
    yield f"- data of {Origin(name=task).told}; it may ask for more than the backbone does"


def _made_of(config: TrialConfig, metrics: Mapping[str, Any]) -> str:
    members = metrics.get("members")
    if not members:
        return f"{config.backbone}, fine-tuned by {config.method}"
    total = sum(member["weight"] for member in members)
    told = ", ".join(f"{member['model']} {member['weight'] / total:.0%}" for member in members)
    return f"The average of {words.plural(len(members), 'model')} ({told}), trained"


def _score(metrics: Mapping[str, Any]) -> str:
    if metrics["test"] is None:
        return "not defined on the test split"
    unit = "" if metrics["unit"] == "1" else f" {metrics['unit']}"
    better = "lower" if metrics["direction"] == "min" else "higher"
    interval = metrics.get("test_interval")
    between = "" if interval is None else f", 95 % interval {interval[0]:.4g} to {interval[1]:.4g}"
    return f"{metrics['test']:.4g}{unit} ({better} is better{between})"


def _limits(config: TrialConfig, metrics: Mapping[str, Any], description: Description) -> Iterator[str]:
    if metrics["data"] == "sample":
        yield "The data are simulated: the score says nothing of real ones."
    yield f"Samples of another kind than {description.takes} are refused or mean nothing."
    if not metrics.get("members"):
        yield "One training with one seed; the interval is that of the test samples, not of seeds."
    if metrics.get("calibration") is None:
        yield "Not calibrated: probabilities need not be frequencies."
    if description.columns:
        yield "A category that training never saw counts as a rare one."
