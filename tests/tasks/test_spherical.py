from __future__ import annotations

import gzip
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pare_tune.data.store import Store, write_store
from pare_tune.errors import DataError, UnsafePickle
from pare_tune.tasks.base import Point
from pare_tune.tasks.samples import sphere
from pare_tune.tasks.samples.sphere import FILE, SIDE, grid, project, rotation, write_sample
from pare_tune.tasks.spherical import MEAN, SPHERICAL, STD

SIZES = {"train": 20, "test": 7}


def content(dtype: Any = np.uint8) -> dict[str, dict[str, Any]]:
    rng = np.random.default_rng(0)
    return {
        part: {
            "images": rng.integers(0, 256, (size, 3, 60, 60)).astype(dtype),
            "labels": rng.integers(0, 100, size),
        }
        for part, size in SIZES.items()
    }


def write(root: Path, value: object) -> None:
    (root / FILE).write_bytes(gzip.compress(pickle.dumps(value)))


@pytest.fixture
def release(tmp_path: Path) -> Path:
    write(tmp_path, content())
    return tmp_path


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A sample of a size that tests can wait for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sphere, "SIZES", {"train": 50, "test": 20})
        root = tmp_path_factory.mktemp("sample")
        for name, seed in (("first", 0), ("again", 0), ("other", 1)):
            (root / name).mkdir()
            write_sample(root / name, seed)
        yield root


def read(root: Path) -> dict[str, list[dict[str, Any]]]:
    return {split: [dict(r) for r in records] for split, records in SPHERICAL.read(root, 0).items()}


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_the_last_fifth_of_train_is_validation(tmp_path: Path, dtype: type) -> None:
    write(tmp_path, content(dtype))
    splits, parts = read(tmp_path), content()
    for split, part, rows in (
        ("train", "train", slice(0, 16)), ("val", "train", slice(16, 20)), ("test", "test", slice(0, 7)),
    ):  # fmt: skip
        x = np.stack([r["x"] for r in splits[split]])
        assert x.dtype == np.uint8
        np.testing.assert_array_equal(x, parts[part]["images"][rows])
        np.testing.assert_array_equal([r["y"] for r in splits[split]], parts[part]["labels"][rows])


@pytest.mark.parametrize("place", ["s2_cifar100", "spherical/s2_cifar100", f"spherical/{FILE}"])
def test_the_file_may_lie_where_the_benchmarks_scripts_put_it(release: Path, place: str) -> None:
    packed = (release / FILE).read_bytes()
    (release / FILE).unlink()
    (release / place).parent.mkdir(exist_ok=True)
    (release / place).write_bytes(packed if place.endswith(".gz") else gzip.decompress(packed))
    assert len(read(release)["test"]) == 7


def test_items_are_normalised_and_alike_in_training_and_evaluation(release: Path) -> None:
    path = release / "train.arrow"
    write_store(path, SPHERICAL.read(release, 0)["train"])
    record = Store(path)[3]
    item = SPHERICAL.item(record, None, None)
    assert item["x"].shape == SPHERICAL.input_shape
    assert (item["x"].dtype, item["y"].dtype) == (np.float32, np.int64)
    expected = (content()["train"]["images"][3] / 255 - MEAN) / STD
    np.testing.assert_allclose(item["x"], expected, atol=1e-6)
    again = SPHERICAL.item(record, None, np.random.default_rng(0))
    np.testing.assert_array_equal(again["x"], item["x"])
    assert SPHERICAL.output == Point(100)


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("true",))


def change(part: str, field: str, value: object) -> Callable[[Path], None]:
    def act(root: Path) -> None:
        parts = content()
        parts[part][field] = value
        write(root, parts)

    return act


def put(array: np.ndarray, value: float) -> np.ndarray:
    array = array.astype(np.float64)
    array[(1,) * array.ndim] = value
    return array


IMAGES, LABELS = content()["test"]["images"], content()["test"]["labels"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda r: (r / FILE).unlink(), r"no file .*s2_cifar100\.gz"),
        (lambda r: (r / FILE).write_bytes(b"no"), r"s2_cifar100\.gz is not a .*pickle"),
        (
            lambda r: (r / FILE).write_bytes((r / FILE).read_bytes()[:-5000]),
            r"s2_cifar100\.gz is not a whole pickle",
        ),
        (lambda r: write(r, [1]), r"must hold a dict with keys train and test, found list"),
        (lambda r: write(r, {"train": content()["train"]}), r"keys train and test, found keys \['train'\]"),
        (lambda r: write(r, {"train": 3, "test": 3}), r"keys images and labels, found int"),
        (change("test", "images", [[1]]), r"test images must be an array, found list"),
        (change("test", "images", IMAGES[..., :59]), r"shape \(any, 3, 60, 60\), found \(7, 3, 60, 59\)"),
        (
            change("test", "images", IMAGES.astype("U3")),
            r"test images must be int or uint or float, found <U3",
        ),
        (change("test", "images", put(IMAGES, np.nan)), r"test images must lie in \[0, 255\], found nan"),
        (change("test", "images", put(IMAGES, 256)), r"test images must lie in \[0, 255\], found 256"),
        (change("test", "images", put(IMAGES, 0.5)), r"test images must be whole numbers, found 0\.5"),
        (change("test", "images", IMAGES[:6]), r"test labels must have shape \(6,\), found \(7,\)"),
        (change("train", "images", IMAGES), r"train labels must have shape \(7,\), found \(20,\)"),
        (change("test", "labels", put(LABELS, 100)), r"test labels must lie in \[0, 99\], found 100"),
        (change("test", "labels", put(LABELS, -1)), r"test labels must lie in \[0, 99\], found -1"),
        (change("test", "labels", put(LABELS, 2.5)), r"test labels must be whole numbers, found 2\.5"),
        (lambda r: write(r, few("train", 4)), r"train must hold at least 5 images, found 4"),
        (lambda r: write(r, few("test", 0)), r"test must hold at least 1 images, found 0"),
    ],
)
def test_a_bad_release_is_named_with_what_was_expected(
    release: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(release)
    with pytest.raises(DataError, match=message) as caught:
        read(release)
    assert SPHERICAL.homepage in str(caught.value)


def few(part: str, count: int) -> dict[str, dict[str, Any]]:
    parts = content()
    parts[part] = {name: array[:count] for name, array in parts[part].items()}
    return parts


def test_a_hostile_pickle_is_refused(release: Path) -> None:
    write(release, content() | {"more": Hostile()})
    with pytest.raises(UnsafePickle, match="system"):
        read(release)


def test_the_grid_is_driscoll_and_healys_of_bandwidth_30() -> None:
    points = grid()
    np.testing.assert_allclose(np.linalg.norm(points, axis=-1), 1.0)
    np.testing.assert_allclose(points[0], np.tile([0, 0, 1], (60, 1)), atol=1e-12)  # the pole, 60 times
    np.testing.assert_allclose(points[30, 15], [0, 1, 0], atol=1e-12)
    step = np.degrees(np.arccos(np.clip((points[30, 0] * points[31, 0]).sum(), -1, 1)))
    np.testing.assert_allclose(step, 3.0)


def stereographic(picture: np.ndarray, row: int, column: int) -> np.ndarray:
    """The colour at one point of the unturned sphere, by the angles of the figure, for a point inside the picture."""
    south = np.pi - np.pi * row / 60  # angle from the south pole
    longitude = 2 * np.pi * column / 60
    radius = 2 * np.tan(south / 2)  # on the plane under the south pole, seen from the north pole
    side = picture.shape[-1]
    across = (radius * np.cos(longitude) / 1.5 + 1) / 2 * side - 0.5
    down = (radius * np.sin(longitude) / 1.5 + 1) / 2 * side - 0.5
    i, j = int(np.floor(across)), int(np.floor(down))
    a, b = across - i, down - j
    corner = picture[:, i : i + 2, j : j + 2].astype(float)
    return (
        (1 - a) * (1 - b) * corner[:, 0, 0] + (1 - a) * b * corner[:, 0, 1]
        + a * (1 - b) * corner[:, 1, 0] + a * b * corner[:, 1, 1]
    )  # fmt: skip


def test_a_point_takes_the_colour_under_its_ray_from_the_north_pole() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8)
    projected = project(picture, np.eye(3))
    for row in range(38, 60):  # 64° and less from the south pole: within the picture on all sides
        for column in range(60):
            expected = stereographic(picture, row, column)
            np.testing.assert_allclose(projected[:, row, column], expected, atol=0.5 + 1e-6)


def test_the_picture_covers_the_southern_cap_and_nothing_else() -> None:
    white = project(np.full((1, 32, 32), 255, np.uint8), np.eye(3))[0]
    assert (white[37:] == 255).all()  # 69° from the pole, the edge's middle being at 74°
    assert (white[:28] == 0).all()  # 96° and more, the corners being at 93°


def test_turning_the_sphere_about_its_axis_shifts_longitudes() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8)
    angle = 7 * 2 * np.pi / 60
    cos, sin = np.cos(angle), np.sin(angle)
    turned = project(picture, np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]))
    straight = project(picture, np.eye(3))
    shifts = [np.abs(turned.astype(int) - np.roll(straight, k, axis=2)).max() for k in range(60)]
    assert min(shifts) <= 1
    assert int(np.argmin(shifts)) in (7, 53)


def test_rotations_are_proper_and_take_a_point_anywhere() -> None:
    rng = np.random.default_rng(0)
    turns = np.stack([rotation(rng) for _ in range(2000)])
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), np.tile(np.eye(3), (2000, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(turns), 1.0)
    # On the sphere every coordinate of a uniform point is uniform in [-1, 1]: mean 0 ± 0.013, variance 1/3.
    np.testing.assert_allclose(turns[..., 2].mean(axis=0), 0.0, atol=0.06)
    np.testing.assert_allclose(turns[..., 2].var(axis=0), 1 / 3, atol=0.03)


def test_the_same_seed_makes_the_same_bytes_and_another_seed_others(sample: Path) -> None:
    first, again, other = ((sample / name / FILE).read_bytes() for name in ("first", "again", "other"))
    assert first == again != other


def test_the_sample_has_the_releases_layout_and_balanced_classes(sample: Path) -> None:
    splits = read(sample / "first")
    assert {split: len(records) for split, records in splits.items()} == {"train": 40, "val": 10, "test": 20}
    counts = np.bincount([r["y"] for split in ("train", "val") for r in splits[split]], minlength=100)
    assert set(counts[counts > 0]) == {50 // len(sphere.SPHERE_KINDS)}
    for record in splits["train"]:
        covered = (record["x"].any(axis=0) * np.sin(np.pi * np.arange(SIDE) / SIDE)[:, None]).mean() / (
            2 / np.pi
        )
        assert 0.3 < covered < 0.5  # of the sphere's area, wherever the picture was turned to
