from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from pare_tune.data.store import Store, write_store
from pare_tune.errors import DataError
from pare_tune.tasks import TASKS, get_task
from pare_tune.tasks.advection import ADVECTION
from pare_tune.tasks.metrics import NRMSE
from pare_tune.tasks.samples.waves1d import BETA, FILE, SAMPLES, Waves, advect, write_solutions

COUNT, FRAMES, RELEASE_POINTS = 40, 5, 1024
X = (np.arange(256) + 0.5) / 256


@pytest.fixture(scope="module")
def solved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("solved")
    write_solutions(root, 0)
    return root


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """PDEBench's layout: 1024 points, one time more than frames."""
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / FILE, "w") as file:
        file["tensor"] = rng.normal(size=(COUNT, FRAMES, RELEASE_POINTS)).astype(np.float32)
        file["x-coordinate"] = np.linspace(0, 1, RELEASE_POINTS, dtype=np.float32)
        file["t-coordinate"] = np.linspace(0, 2.5, FRAMES + 1, dtype=np.float32)
    return tmp_path


def test_it_is_listed_once_and_found_under_the_name_of_its_family_too() -> None:
    assert get_task("pde-advection") is get_task("advection") is ADVECTION
    assert "pde-advection" not in TASKS


def read(root: Path, seed: int = 0) -> dict[str, list[dict[str, Any]]]:
    return {split: [dict(r) for r in records] for split, records in ADVECTION.read(root, seed).items()}


def waves(size: int = 200) -> Waves:
    return Waves.draw(np.random.default_rng(0), size)


@pytest.mark.parametrize("cells", [1, 64, 200, 256, 1000])
def test_a_wave_moves_by_beta_t_and_comes_round(cells: int) -> None:
    start, end = advect(waves(), x_X=X, t_T=np.array([0.0, cells / 256 / BETA])).transpose(1, 0, 2)
    shifted = np.roll(start, cells, axis=1)
    score = NRMSE.score(torch.from_numpy(end), {"y": torch.from_numpy(shifted)})
    assert score < 1e-10


def test_the_solution_satisfies_the_equation() -> None:
    drawn, step = waves(), 1e-5
    t = np.array([0.7 - step, 0.7, 0.7 + step])
    before, now, after = advect(drawn, x_X=X, t_T=t).transpose(1, 0, 2)
    right, left = (drawn.at(X + shift - BETA * 0.7) for shift in (step, -step))
    u_t, u_x = (after - before) / (2 * step), (right - left) / (2 * step)
    smooth = np.abs(now) > 0.05  # the absolute value has kinks at 0
    np.testing.assert_allclose((u_t + BETA * u_x)[smooth], 0.0, atol=1e-3 * np.abs(u_x).max())


def test_initial_waves_are_periodic() -> None:
    np.testing.assert_allclose(waves().at(X), waves().at(X - 3.0), atol=1e-12)
    # Also across the seam: no jump between the last cell and the first that is not there elsewhere.
    u = waves().at((np.arange(4096) + 0.5) / 4096)
    assert np.abs(u[:, 0] - u[:, -1]).max() <= np.abs(np.diff(u, axis=1)).max()


def test_mass_energy_and_extremes_are_conserved() -> None:
    fine = (np.arange(4096) + 0.5) / 4096
    u = advect(waves(), x_X=fine, t_T=np.linspace(0, 2, 7))
    for quantity in (u.mean(axis=2), (u**2).mean(axis=2), u.max(axis=2)):
        np.testing.assert_allclose(quantity, quantity[:, :1].repeat(7, axis=1), atol=2e-3)


def test_the_family_has_folded_flipped_and_windowed_waves() -> None:
    u = waves(2000).at(X)
    one_signed = (u.min(axis=1) >= -1e-9) | (u.max(axis=1) <= 1e-9)
    quiet_edges = np.abs(u[:, :10]).max(axis=1) < 1e-4
    assert 0.06 < one_signed.mean() < 0.14
    assert 0.06 < quiet_edges.mean() < 0.14
    assert (u[one_signed].mean(axis=1) < 0).mean() == pytest.approx(0.5, abs=0.1)


def test_the_first_tenth_is_test_and_validation_is_a_seeded_tenth_of_the_rest(release: Path) -> None:
    with h5py.File(release / FILE) as file:
        tensor = file["tensor"][:]
    row = {frame[0, ::4].tobytes(): i for i, frame in enumerate(tensor)}
    splits = read(release)
    rows = {split: [row[r["x"][0].tobytes()] for r in records] for split, records in splits.items()}
    assert rows["test"] == [0, 1, 2, 3]
    assert len(rows["val"]) == 3
    assert sorted(rows["train"] + rows["val"]) == list(range(4, COUNT))
    for split, records in splits.items():
        for r, i in zip(records, rows[split], strict=True):
            np.testing.assert_array_equal(r["y"], tensor[i, FRAMES - 1, ::4])
    assert [r["y"].tobytes() for r in read(release)["val"]] == [r["y"].tobytes() for r in splits["val"]]
    assert [r["y"].tobytes() for r in read(release, 1)["val"]] != [r["y"].tobytes() for r in splits["val"]]


def test_records_fit_the_store_and_the_task(release: Path) -> None:
    write_store(release / "train.arrow", ADVECTION.read(release, 0)["train"])
    record = Store(release / "train.arrow")[0]
    assert record["x"].shape == ADVECTION.input_shape
    assert record["y"].shape == ADVECTION.output.shape
    assert record["x"].dtype == record["y"].dtype == np.float32


def test_the_solved_file_is_read_at_its_own_resolution(solved: Path) -> None:
    splits = read(solved)
    assert {split: len(records) for split, records in splits.items()} == {"train": 486, "val": 54, "test": 60}
    assert sum(map(len, splits.values())) == SAMPLES
    with h5py.File(solved / FILE) as file:
        np.testing.assert_array_equal(splits["test"][3]["x"][0], file["tensor"][3, 0])
        np.testing.assert_array_equal(splits["test"][3]["y"], file["tensor"][3, -1])


def test_the_same_seed_makes_the_same_bytes_and_another_seed_others(solved: Path, tmp_path: Path) -> None:
    write_solutions(tmp_path / "again", 0)
    write_solutions(tmp_path / "other", 1)
    assert (tmp_path / "again" / FILE).read_bytes() == (solved / FILE).read_bytes()
    assert (tmp_path / "other" / FILE).read_bytes() != (solved / FILE).read_bytes()


def swap(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[h5py.File], None]:
    def act(file: h5py.File) -> None:
        value = change(file[name][:])
        del file[name]
        file[name] = value

    return act


def remove(name: str) -> Callable[[h5py.File], None]:
    def act(file: h5py.File) -> None:
        del file[name]

    return act


def spoil(index: tuple[int, ...]) -> Callable[[h5py.File], None]:
    def act(file: h5py.File) -> None:
        file["tensor"][index] = np.nan

    return act


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove("tensor"), r"must hold a data set 'tensor', found t-coordinate, x-coordinate"),
        (remove("t-coordinate"), r"must hold a data set 't-coordinate'"),
        (swap("tensor", lambda a: a[:, 0]), r"tensor must have shape \(any, any, any\), found \(40, 1024\)"),
        (swap("tensor", lambda a: a.astype(int)), r"tensor must be float, found int64"),
        (
            swap("tensor", lambda a: a[:, :, :1000]),
            r"x-coordinate must have shape \(1000,\), found \(1024,\)",
        ),
        (swap("tensor", lambda a: a[:15]), r"at least 20 samples to be split, found 15"),
        (swap("tensor", lambda a: a[:, :3]), r"found 6 entries for 3 frames"),
        (swap("t-coordinate", lambda a: a[:5] / 2), r"must span t = 0 to 2, found 0 to 1"),
        (spoil((1, 0, 8)), r"tensor sample 1, first frame must be finite, found nan at index \[2\]"),
        (spoil((39, 4, 4)), r"tensor sample 39, last frame must be finite"),
    ],
)
def test_a_bad_release_is_named_with_what_was_expected(
    release: Path, damage: Callable[[h5py.File], None], message: str
) -> None:
    with h5py.File(release / FILE, "a") as file:
        damage(file)
    with pytest.raises(DataError, match=message) as caught:
        read(release)
    assert str(release / FILE) in str(caught.value)
    assert ADVECTION.homepage in str(caught.value)


def test_another_resolution_is_refused(release: Path) -> None:
    with h5py.File(release / FILE, "a") as file:
        swap("tensor", lambda a: a[:, :, :1000])(file)
        swap("x-coordinate", lambda a: a[:1000])(file)
    with pytest.raises(DataError, match="a multiple of 256 grid points, found 1000"):
        read(release)


@pytest.mark.parametrize("keep", [0, 100, 50_000])
def test_a_file_that_is_cut_short_is_named(release: Path, keep: int) -> None:
    path = release / FILE
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=rf"{FILE} is not a whole HDF5 file.*get it again"):
        read(release)


def test_a_missing_file_is_named_with_where_to_find_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"no file .*{FILE}.*{ADVECTION.homepage}"):
        read(tmp_path)
