from __future__ import annotations

import numpy as np
import pytest

from pare_tune.tasks.solvers.initial_waves import cell_centres, draw_waves, to_unit_range

X = cell_centres(64)


def test_a_wave_picked_twice_has_twice_its_wavenumber_and_one_not_picked_is_a_constant() -> None:
    waves = draw_waves(np.random.default_rng(0), 1500, slots=4, windowed=0.0)
    turns = waves.wavenumber / np.arange(1, 5)
    assert set(np.unique(turns)) == {0.0, 1.0, 2.0}
    assert (turns.sum(axis=1) == 2).all()
    assert ((turns == 2).any(axis=1)).mean() == pytest.approx(1 / 4, abs=0.04)
    spectrum = np.abs(np.fft.rfft(waves.at(X)[~waves.folded])) / len(X)
    assert spectrum[:, 9:].max() < 1e-12
    # The constants: 2 or 3 slots of variance E[a²] E[sin²] = 1/6 each.
    assert (spectrum[:, 0] ** 2).mean() == pytest.approx(2.25 / 6, rel=0.1)


@pytest.mark.parametrize("domain", [(0.0, 1.0), (-1.0, 1.0)])
def test_windows_lie_where_they_do_in_the_domain(domain: tuple[float, float]) -> None:
    waves = draw_waves(np.random.default_rng(1), 800, slots=3, windowed=0.5, domain=domain)
    assert waves.windowed.mean() == pytest.approx(0.5, abs=0.05)
    x = cell_centres(400, domain)
    u = waves.at((x - domain[0]) / (domain[1] - domain[0]))
    outside = (x < 0.05) | (x > 0.95)
    assert np.abs(u[waves.windowed][:, outside]).max() < 1e-3
    inside = (x > 0.5) & (x < 0.54)
    assert np.abs(u[waves.windowed][:, inside]).max(axis=1).mean() > 0.3


def test_the_unit_range_is_met_by_every_sample() -> None:
    u = to_unit_range(draw_waves(np.random.default_rng(2), 500, slots=4, windowed=0.1).at(X))
    np.testing.assert_allclose(u.min(axis=1), 0.0, atol=1e-15)
    np.testing.assert_allclose(u.max(axis=1), 1.0, atol=1e-15)


def test_cells_are_centred() -> None:
    np.testing.assert_allclose(cell_centres(4), [0.125, 0.375, 0.625, 0.875])
    np.testing.assert_allclose(cell_centres(4, (-1.0, 1.0)), [-0.75, -0.25, 0.25, 0.75])
