"""Distances of data sets by name, on the real embedded backbones."""

from __future__ import annotations

import pytest

from pare_tune.errors import UnknownName
from pare_tune.train.data_distance import data_distance, resolve


def distance(a: str, b: str, **options: object) -> float:
    return data_distance(a, b, samples=60, **options).otdd  # type: ignore[arg-type]


def test_names_are_tasks_first_and_sources_where_said() -> None:
    assert resolve("ecg") == ("task", "ecg")
    assert resolve("digits") == ("source", "digits")
    assert resolve("cifar100") == ("task", "cifar100")
    assert resolve("source:cifar100") == ("source", "cifar100")
    assert resolve("task:wdbc") == ("task", "wdbc")
    with pytest.raises(UnknownName, match="no task or source named 'photograph'.*Did you mean 'photographs'"):
        resolve("photograph")
    with pytest.raises(UnknownName, match="no source named 'doc'.*Did you mean 'docs'"):
        resolve("source:doc")


@pytest.mark.parametrize("inner", ["gaussian", "exact"])
def test_a_table_is_nearer_to_itself_than_to_text(inner: str) -> None:
    there, back = distance("wdbc", "docs", inner=inner), distance("docs", "wdbc", inner=inner)
    assert there == pytest.approx(back, rel=1e-6)
    assert there > 0
    assert distance("wdbc", "wdbc", inner=inner) == 0.0


def test_pictures_are_compared_as_pictures_and_with_text_as_series() -> None:
    pictures = data_distance("digits", "digits", samples=60)
    assert (pictures.backbone, pictures.otdd) == ("micro-swin", 0.0)
    assert pictures.samples == (60, 60)
    assert pictures.labels == ("10 classes", "10 classes")
    mixed = data_distance("digits", "waves", samples=60)
    assert mixed.backbone == "micro-roberta"
    assert mixed.otdd == pytest.approx(distance("waves", "digits"), rel=1e-6)
    assert mixed.otdd > 0
