from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pare_tune.sources import waves
from pare_tune.sources.base import SourceRequest
from pare_tune.sources.waves import GENERATORS, MIN_LENGTH, POINTS_PER_TOKEN, WAVES, make_waves


@pytest.mark.parametrize("length", [MIN_LENGTH, 33, 512])
def test_waves_are_finite_standardised_and_balanced(length: int) -> None:
    x, y, names = make_waves(100, length, seed=0)
    assert x.shape == (100, length)
    assert x.dtype == np.float32
    assert y.dtype == np.int64
    assert len(names) == len(GENERATORS) == 24
    assert np.isfinite(x).all()
    np.testing.assert_allclose(x.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(axis=1), 1, atol=1e-4)
    counts = np.bincount(y, minlength=24)
    assert counts.max() - counts.min() <= 1


def test_waves_repeat_with_the_seed_and_differ_without() -> None:
    first, again, other = (make_waves(48, 64, seed=s) for s in (0, 0, 1))
    assert first[0].tobytes() == again[0].tobytes()
    assert first[1].tobytes() == again[1].tobytes()
    assert first[0].tobytes() != other[0].tobytes()


def test_fewer_waves_than_classes_are_fine() -> None:
    x, y, _ = make_waves(3, 32, seed=0)
    assert x.shape == (3, 32)
    assert set(y) == {0, 1, 2}


def test_making_them_in_parts_loses_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waves, "_CHUNK", 64)
    x, _, _ = make_waves(200, 32, seed=0)
    np.testing.assert_allclose(x.std(axis=1), 1, atol=1e-4)


def test_too_short_waves_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 16 points, got 15"):
        make_waves(1, 15, seed=0)


@pytest.mark.parametrize("name", GENERATORS)
def test_parameters_are_drawn_for_every_wave(name: str) -> None:
    x = GENERATORS[name](20, np.arange(256) / 256, np.random.default_rng(0))
    assert x.shape == (20, 256)
    assert len({row.tobytes() for row in np.round(x, 6)}) == 20


def spectrum_slope(x: np.ndarray) -> float:
    """Slope of log power over log frequency, averaged over waves."""
    power = np.log(np.abs(np.fft.rfft(x, axis=1)) ** 2).mean(axis=0)[2:-2]
    return float(np.polyfit(np.log(np.arange(2, len(power) + 2)), power, 1)[0])


@pytest.mark.parametrize(
    ("name", "slope"), [("white noise", 0), ("pink noise", -1), ("blue noise", 1.4), ("random walk", -2)]
)
def test_noises_have_their_colour(name: str, slope: float) -> None:
    x = GENERATORS[name](400, np.arange(512) / 512, np.random.default_rng(0))
    assert spectrum_slope(x) == pytest.approx(slope, abs=0.35)


def test_autoregression_equals_the_loop() -> None:
    noise = np.random.default_rng(0).standard_normal((3, 10))
    first, second = np.array([0.5, 0.2, 1.2]), np.array([0.0, 0.3, -0.5])
    expected = noise.copy()
    for row in range(3):
        for i in range(1, 10):
            expected[row, i] += first[row] * expected[row, i - 1]
            expected[row, i] += second[row] * (expected[row, i - 2] if i > 1 else 0)
    np.testing.assert_allclose(waves._autoregression(noise, first, second), expected)


def test_the_relaxation_oscillator_reaches_its_limit_cycle() -> None:
    x = GENERATORS["relaxation oscillator"](50, np.arange(512) / 512, np.random.default_rng(0))
    np.testing.assert_allclose(np.abs(x).max(axis=1), 2.0, atol=0.1)  # its amplitude for any stiffness


def test_classes_can_be_told_apart_by_simple_features() -> None:
    """A nearest-centroid rule on spectra and sorted values is far above chance (4 %)."""
    x, y, _ = make_waves(2400, 256, seed=0)
    spectrum = np.log(np.abs(np.fft.rfft(x, axis=1)) + 0.1)
    features = np.concatenate([spectrum, np.sort(x, axis=1), np.sort(np.diff(x, axis=1), axis=1)], axis=1)
    train, test = slice(0, 1600), slice(1600, None)
    centroids = np.stack([features[train][y[train] == k].mean(axis=0) for k in range(24)])
    guess = ((features[test][:, None] - centroids) ** 2).sum(axis=2).argmin(axis=1)
    assert (guess == y[test]).mean() > 0.35


def test_a_single_token_gets_its_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waves, "NUM_WAVES", 48)
    source = WAVES.open(SourceRequest(cache=tmp_path, num_tokens=1))
    assert source.dataset[0]["x"].shape == (1, POINTS_PER_TOKEN)


def test_the_source_gives_series_that_the_tokens_divide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waves, "NUM_WAVES", 48)
    source = WAVES.open(SourceRequest(cache=tmp_path, num_tokens=10))
    item = source.dataset[0]
    assert item["x"].shape == (1, 10 * POINTS_PER_TOKEN)
    assert item["x"].dtype == torch.float32
    assert source.num_classes == 24
    expected = make_waves(48, 10 * POINTS_PER_TOKEN, seed=0)[0]
    assert item["x"].numpy().tobytes() == expected[0].tobytes()
