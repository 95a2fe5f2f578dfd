"""Temperatures and conformal sets, on samples whose true probabilities are known."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pare_tune.errors import DataError
from pare_tune.tasks.base import Dense, MultiLabel, Numbers, Output, Point
from pare_tune.train.calibration import Calibration, calibration_error, covered

N = 4000


def of(output: Output, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Outputs of a model that is three times too sure, or that errs by noise; and the truth."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(N, 4))
    match output:
        case Point():
            p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            y = (p.cumsum(1) < rng.random((N, 1))).sum(1)
            return torch.from_numpy(3 * logits).float(), {"y": torch.from_numpy(y)}
        case Numbers():
            errors = rng.normal(size=(N, 2)) * [1.0, 100.0]
            return torch.zeros(N, 2), {"y": torch.from_numpy(errors).float()}
        case _:
            y = (rng.random((N, 4)) < 1 / (1 + np.exp(-logits))).astype(np.float32)
            return torch.from_numpy(3 * logits).float(), {"y": torch.from_numpy(y)}


def fit(output: Output, *, is_mask: bool = False, **targets: Tensor) -> Calibration:
    outputs, y = of(output, 0)
    fitted = Calibration.fit(outputs, y | targets, output, is_mask=is_mask, fitted_on="validation")
    assert fitted is not None
    return Calibration.from_dict(json.loads(json.dumps(fitted.to_dict())))


@pytest.mark.parametrize(
    ("output", "is_mask"), [(Point(4), False), (MultiLabel(4), False), (Dense((4,)), True)]
)
def test_a_temperature_makes_up_for_too_much_confidence(output: Output, is_mask: bool) -> None:
    fitted = fit(output, is_mask=is_mask)
    assert fitted.temperature == pytest.approx(3.0, rel=0.1)
    logits, targets = of(output, 1)
    assert calibration_error(logits, targets, output) > 0.1
    assert calibration_error(logits / fitted.temperature, targets, output) < 0.03


@pytest.mark.parametrize(("output", "num_outputs"), [(Point(3), 3), (MultiLabel(2), 2)])
def test_few_samples_that_are_all_right_make_nothing_certain(output: Output, num_outputs: int) -> None:
    codes = torch.arange(40) % num_outputs
    right = torch.nn.functional.one_hot(codes, num_outputs)
    targets = {"y": codes if isinstance(output, Point) else right.float()}
    logits = 9.0 * (2.0 * right - 1.0)
    fitted = Calibration.fit(logits, targets, output, is_mask=False, fitted_on="validation")
    assert fitted is not None
    assert fitted.temperature is not None
    scaled = logits / fitted.temperature
    doubt = 1 - (scaled.softmax(1) if isinstance(output, Point) else scaled.sigmoid()).max(dim=1).values
    assert float(doubt.max()) == pytest.approx(1 / (targets["y"].numel() + 2), rel=0.05)


def test_padding_has_no_say() -> None:
    output = Dense((4,))
    ignore = torch.zeros(N, 4)
    ignore[:, 2:] = 1
    outputs, targets = of(output, 0)
    spoilt = {"y": torch.where(ignore > 0, 1 - targets["y"], targets["y"]), "ignore": ignore}
    fitted = Calibration.fit(outputs, spoilt, output, is_mask=True, fitted_on="validation")
    assert fitted is not None
    assert fitted.temperature == pytest.approx(3.0, rel=0.1)


@pytest.mark.parametrize("coverage", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("output", [Point(4), Numbers(2), Dense((4,))])
def test_sets_and_intervals_hold_the_truth_as_often_as_they_promise(output: Output, coverage: float) -> None:
    fitted = fit(output)
    assert len(fitted.ranks) <= 1000
    assert covered(*of(output, 1), output, fitted, coverage) == pytest.approx(coverage, abs=0.02)


def test_each_number_has_an_interval_in_its_own_unit() -> None:
    one, other = fit(Numbers(2)).radius(0.9)
    assert one == pytest.approx(1.64, rel=0.1)
    assert other == pytest.approx(164, rel=0.1)


@pytest.mark.parametrize(
    ("few", "coverage", "message"),
    [
        (9, 0.95, "needs at least 19 held-out samples, this model has 9; ask for 0.9 or less"),
        (9, 0.9, None),
        (0, 0.5, "labels and masks have neither"),
    ],
)
def test_more_than_the_samples_allow_is_refused(few: int, coverage: float, message: str | None) -> None:
    output: Any = Point(4) if few else MultiLabel(4)
    outputs, targets = of(output, 0)
    some = slice(few or None)
    fitted = Calibration.fit(
        outputs[some], {"y": targets["y"][some]}, output, is_mask=False, fitted_on="validation"
    )
    assert fitted is not None
    if message is None:
        assert fitted.radius(coverage)[0] == np.float32(fitted.scores[0][-1])
        return
    with pytest.raises(DataError, match=message):
        fitted.radius(coverage)


def test_outputs_that_are_not_finite_calibrate_nothing() -> None:
    outputs, targets = of(Point(4), 0)
    outputs[3, 1] = torch.nan
    assert Calibration.fit(outputs, targets, Point(4), is_mask=False, fitted_on="validation") is None
