from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pare_tune.data.store import Store, write_store
from pare_tune.errors import DataError, UnsafePickle
from pare_tune.tasks.cosmic import COSMIC
from pare_tune.tasks.samples.stars import write_sample

VISITS = {"10182/pb": 9, "10260/5": 14, "10260/7": 3, "12058/1": 5}
"""Stamps of each training visit, 31 in all."""


def stamp(rng: np.random.Generator, side: int, planes: int = 3) -> np.ndarray:
    image = rng.normal(100, 30, (1, side, side))
    masks = rng.random((planes - 1, side, side)) < 0.1
    return np.concatenate([image, masks]).astype(np.float32)


def write_release(root: Path, side: int = 16, strings: bool = True) -> None:
    """The layout that deepCR's archive has, with as many exposures as stamps."""
    rng = np.random.default_rng(0)
    for split, visits in (("train", VISITS), ("test", {"13804/6": 4})):
        names = []
        for visit, count in visits.items():
            folder = f"cosmic/npy_{split}/f435w/{visit}"
            (root / folder).mkdir(parents=True)
            np.save(root / folder / "sky.npy", np.arange(1.0, count + 1) * 10)
            for i in range(count):
                np.save(root / folder / f"{i + 1}_0_{i}.npy", stamp(rng, side))
                names.append(f"./{folder}/{i + 1}_0_{i}.npy")
        index = np.array(names, dtype=None if strings else object)
        np.save(root / "cosmic" / f"{split}_dirs.npy", index[rng.permutation(len(index))])


@pytest.fixture
def release(tmp_path: Path) -> Path:
    write_release(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sample")
    write_sample(root, 0, train_visits=8, test_visits=2)
    return root


def read(root: Path, seed: int = 0) -> dict[str, list[dict[str, Any]]]:
    return {split: [dict(r) for r in records] for split, records in COSMIC.read(root, seed).items()}


def visits_of(root: Path, records: list[dict[str, Any]]) -> list[str]:
    """The visit that each record is from, found by its pixels."""
    paths = sorted((root / "cosmic").rglob("[0-9]*_*.npy"))
    found = {np.load(p)[0].astype(np.float32).tobytes(): f"{p.parts[-3]}/{p.parts[-2]}" for p in paths}
    return [found[r["image"].tobytes()] for r in records]


def first_stamp(root: Path) -> Path:
    return root / "cosmic/npy_train/f435w/10182/pb/1_0_0.npy"


class TestRead:
    @pytest.mark.parametrize("seed", range(5))
    def test_validation_is_whole_visits_of_a_tenth_of_the_stamps(self, release: Path, seed: int) -> None:
        splits = read(release, seed)
        visits = {split: set(visits_of(release, records)) for split, records in splits.items()}
        assert visits["test"] == {"13804/6"}
        assert visits["val"] == {"10260/7"}  # the only one of at most 3 stamps
        assert visits["train"] == set(VISITS) - {"10260/7"}
        assert {s: len(r) for s, r in splits.items()} == {"train": 28, "val": 3, "test": 4}

    def test_the_seed_chooses_among_visits_that_fit(self, tmp_path: Path) -> None:
        write_sample(tmp_path, 0, train_visits=12, test_visits=1, exposures=2, stamps=2, side=8)
        chosen = {frozenset(visits_of(tmp_path, read(tmp_path, seed)["val"])) for seed in range(8)}
        assert len(chosen) > 3
        assert all(len(visits) == 1 for visits in chosen)

    def test_one_visit_alone_is_cut_by_stamps(self, release: Path) -> None:
        index = release / "cosmic/train_dirs.npy"
        (release / "cosmic/npy_train/f435w/1/1").mkdir(parents=True)
        names = [f"./cosmic/npy_train/f435w/1/1/{i}_.npy" for i in range(20)]
        for i, name in enumerate(names):
            np.save(release / name, stamp(np.random.default_rng([1, i]), 16))
        np.save(index, names)
        assert [len(read(release)[split]) for split in ("train", "val")] == [18, 2]

    def test_the_smallest_visit_validates_where_none_fits(self, release: Path) -> None:
        names = np.load(release / "cosmic/train_dirs.npy")
        np.save(release / "cosmic/train_dirs.npy", [n for n in names if "/10260/7/" not in n])
        assert set(visits_of(release, read(release)["val"])) == {"12058/1"}

    def test_the_order_of_the_index_changes_nothing(self, release: Path) -> None:
        before = read(release)
        index = release / "cosmic/train_dirs.npy"
        np.save(index, np.load(index)[::-1])
        after = read(release)
        for split, records in before.items():
            assert [r["image"].tobytes() for r in records] == [r["image"].tobytes() for r in after[split]]

    def test_a_stamp_of_the_test_index_is_never_trained_on(self, release: Path) -> None:
        train, test = (release / f"cosmic/{split}_dirs.npy" for split in ("train", "test"))
        np.save(train, np.concatenate([np.load(train), np.load(test)[:2]]))
        splits = read(release)
        assert len(splits["train"]) + len(splits["val"]) == 31
        assert "13804/6" not in visits_of(release, splits["train"] + splits["val"])

    def test_an_index_of_objects_and_the_folder_itself_are_read_as_well(
        self, release: Path, tmp_path: Path
    ) -> None:
        write_release(tmp_path / "objects", strings=False)
        expected = [r["image"].tobytes() for r in read(release)["train"]]
        assert [r["image"].tobytes() for r in read(tmp_path / "objects")["train"]] == expected
        assert [r["image"].tobytes() for r in read(release / "cosmic")["train"]] == expected

    def test_records_hold_the_planes_and_the_sky_of_their_exposure(self, release: Path) -> None:
        by_image = {r["image"].tobytes(): r for r in read(release)["train"]}
        for number in (1, 9):
            planes = np.load(release / f"cosmic/npy_train/f435w/10182/pb/{number}_0_{number - 1}.npy")
            record = by_image[planes[0].tobytes()]
            assert record["sky"] == 10.0 * number
            np.testing.assert_array_equal(np.unpackbits(record["mask"], axis=1), planes[1])
            np.testing.assert_array_equal(np.unpackbits(record["ignore"], axis=1), planes[2])

    def test_the_middle_of_256_pixels_is_kept_bit_by_bit(self, release: Path) -> None:
        write_release(release / "whole", side=256)
        record = next(iter(COSMIC.read(release / "whole", 0)["test"]))
        planes = np.load(release / "whole/cosmic/npy_test/f435w/13804/6/1_0_0.npy")[:, 64:192, 64:192]
        np.testing.assert_array_equal(record["image"], planes[0])
        assert record["mask"].shape == (128, 16)
        item = COSMIC.item(record, None, None)
        np.testing.assert_array_equal(item["y"], planes[1])
        np.testing.assert_array_equal(item["ignore"], planes[2])

    def test_a_visit_without_sky_and_a_stamp_without_ignored_pixels_are_read(self, release: Path) -> None:
        folder = first_stamp(release).parent
        (folder / "sky.npy").unlink()
        image = np.load(first_stamp(release))[:2]
        np.save(first_stamp(release), image)
        record = next(r for r in read(release)["train"] if r["image"].tobytes() == image[0].tobytes())
        assert record["sky"] == 0
        assert not record["ignore"].any()

    def test_records_survive_the_store(self, release: Path, tmp_path: Path) -> None:
        records = read(release)["train"]
        write_store(tmp_path / "train.arrow", records, ragged=COSMIC.ragged)
        for stored, record in zip(Store(tmp_path / "train.arrow"), records, strict=True):  # type: ignore[call-overload]
            for name, value in record.items():
                np.testing.assert_array_equal(stored[name], value, strict=True)


class TestItem:
    @pytest.fixture
    def record(self, release: Path) -> dict[str, Any]:
        return read(release)["train"][0]

    def test_evaluation_sees_the_middle_under_its_own_sky(self, record: dict[str, Any]) -> None:
        item = COSMIC.item(record, 8, None)
        np.testing.assert_array_equal(item["x"][0], record["image"][4:12, 4:12] / np.float32(100))
        assert (item["x"].shape, item["y"].shape, item["ignore"].shape) == ((1, 8, 8), (8, 8), (8, 8))
        assert item["x"].dtype == item["y"].dtype == np.float32
        np.testing.assert_array_equal(COSMIC.item(record, 8, None)["x"], item["x"])
        assert COSMIC.item(record, None, None)["x"].shape == (1, 16, 16)

    def test_training_sees_windows_under_skies_of_the_documented_range(self, record: dict[str, Any]) -> None:
        added = []
        for seed in range(200):
            item = COSMIC.item(record, None, np.random.default_rng(seed))
            change = 100 * item["x"][0] - record["image"]
            np.testing.assert_allclose(change, change[0, 0], atol=1e-3)
            np.testing.assert_array_equal(item["y"], np.unpackbits(record["mask"], axis=1))
            added.append(change[0, 0] / record["sky"])
        assert -0.9 <= min(added) < -0.8
        assert 2.8 < max(added) <= 3.0

    def test_windows_keep_image_and_masks_together(self, record: dict[str, Any]) -> None:
        record = {**record, "sky": np.array(0.0, np.float32)}
        whole = COSMIC.item(record, None, None)
        corners = set()
        for seed in range(100):
            item = COSMIC.item(record, 12, np.random.default_rng(seed))
            top, left = np.argwhere(whole["x"][0] == item["x"][0, 0, 0])[0]
            corners.add((top, left))
            for name in ("y", "ignore"):
                np.testing.assert_array_equal(item[name], whole[name][top : top + 12, left : left + 12])
        assert len(corners) == 25

    def test_a_canvas_larger_than_the_stamps_is_refused(self, record: dict[str, Any]) -> None:
        with pytest.raises(DataError, match="at most the side of the stamps, 16, got 32"):
            COSMIC.item(record, 32, None)


def spoil(value: float, plane: int) -> Callable[[Path], None]:
    def act(root: Path) -> None:
        planes = np.load(first_stamp(root))
        planes[plane, 2, 3] = value
        np.save(first_stamp(root), planes)

    return act


def save(name: str, value: Any) -> Callable[[Path], None]:
    return lambda root: np.save(root / "cosmic" / name, value)


def rename_stamp(root: Path) -> None:
    index = root / "cosmic/train_dirs.npy"
    names = np.load(index)
    np.save(index, [n.replace("pb/1_0_0", "pb/77_0_0") for n in names])
    first_stamp(root).rename(first_stamp(root).with_name("77_0_0.npy"))


class TestBrokenReleases:
    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda root: first_stamp(root).unlink(), r"1_0_0\.npy is missing"),
            (lambda root: (root / "cosmic/train_dirs.npy").unlink(), r"no file .*train_dirs\.npy"),
            (lambda root: (root / "cosmic/test_dirs.npy").unlink(), r"cannot read .*test_dirs\.npy"),
            (spoil(np.nan, 0), r"1_0_0\.npy: image must be finite, found nan at index \[2, 3\]"),
            (spoil(2, 1), r"mask must lie in \[0, 1\], found 2"),
            (spoil(0.5, 1), r"mask must be 0 or 1, found 0\.5"),
            (spoil(np.nan, 2), r"ignore must lie in \[0, 1\], found nan"),
            (save("train_dirs.npy", ["./cosmic/a.npy"] * 40), r"at least 20 stamps .* found 1"),
            (save("test_dirs.npy", []), r"paths of stamps must be object or str, found float64"),
            (save("test_dirs.npy", np.array([], str)), r"test_dirs\.npy names no stamp"),
            (save("test_dirs.npy", ["./cosmic/../../secret.npy"]), r"every entry must be a path like"),
            (
                save("test_dirs.npy", ["/etc/passwd"]),
                r"every entry must be a path like .* found '/etc/passwd'",
            ),
            (save("test_dirs.npy", np.array([3], object)), r"every entry must be a path like .* found 3"),
            (save("npy_train/f435w/10182/pb/sky.npy", np.ones((9, 1))), r"sky levels must have shape"),
            (save("npy_train/f435w/10182/pb/sky.npy", np.full(9, np.inf)), r"sky levels must be finite"),
            (rename_stamp, r"77_0_0\.npy: its name must begin with the number of its exposure, 1 to 9"),
            (save("npy_train/f435w/10182/pb/1_0_0.npy", np.ones((3, 16, 15))), r"found \(3, 16, 15\)"),
            (save("npy_train/f435w/10182/pb/1_0_0.npy", np.ones((4, 16, 16))), r"found \(4, 16, 16\)"),
            (save("npy_train/f435w/10182/pb/1_0_0.npy", np.ones((3, 200, 200))), r"found \(3, 200, 200\)"),
            (save("npy_train/f435w/10182/pb/2_0_1.npy", np.ones((3, 8, 8))), r"found 8 after 16"),
            (
                save("npy_train/f435w/10182/pb/1_0_0.npy", np.ones((3, 16, 16), "M8[s]")),
                r"must be bool or int",
            ),
        ],
    )
    def test_what_is_wrong_is_named(
        self, release: Path, damage: Callable[[Path], None], message: str
    ) -> None:
        damage(release)
        with pytest.raises(DataError, match=message) as caught:
            read(release)
        assert COSMIC.homepage in str(caught.value)

    def test_a_stamp_that_is_cut_short_is_named(self, release: Path) -> None:
        path = first_stamp(release)
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(DataError, match=r"1_0_0\.npy is cut short"):
            read(release)

    def test_an_index_that_would_run_code_is_refused(self, release: Path, tmp_path: Path) -> None:
        class Bomb:
            def __reduce__(self) -> tuple[Any, ...]:
                return Path.touch, (tmp_path / "exploded",)

        path = release / "cosmic/train_dirs.npy"
        header = np.array(["./cosmic/a.npy"], object)
        np.save(path, header)
        head = path.read_bytes().split(b"\n", 1)[0] + b"\n"
        path.write_bytes(head + pickle.dumps([Bomb()]))
        with pytest.raises(UnsafePickle):
            read(release)
        assert not (tmp_path / "exploded").exists()


class TestSample:
    def test_the_same_seed_makes_the_same_bytes_and_another_seed_others(self, tmp_path: Path) -> None:
        folders = []
        for name, seed in (("once", 0), ("again", 0), ("other", 1)):
            write_sample(tmp_path / name, seed, train_visits=2, test_visits=1, side=32)
            files = sorted(path for path in (tmp_path / name).rglob("*.npy"))
            folders.append({path.relative_to(tmp_path / name): path.read_bytes() for path in files})
        once, again, other = folders
        assert once == again
        assert once.keys() == other.keys()
        assert not [name for name in once if once[name] == other[name] and "dirs" not in name.name]

    def test_a_few_pixels_are_hit_and_fewer_ignored(self, sample: Path) -> None:
        planes = np.stack([np.load(sample / name) for name in np.load(sample / "cosmic/train_dirs.npy")])
        assert planes.shape == (96, 3, 64, 64)
        assert 0.01 < planes[:, 1].mean() < 0.05
        assert 0 < planes[:, 2].mean() < 0.005

    def test_exposures_of_a_stamp_share_its_stars_and_not_its_cosmic_rays(self, sample: Path) -> None:
        folder = sample / "cosmic/npy_train/f435w/90001/01"
        first, second = (np.load(folder / f"{exposure}_1.npy") for exposure in (1, 2))
        clean = (first[1] == 0) & (second[1] == 0)
        assert np.corrcoef(np.arcsinh(first[0][clean]), np.arcsinh(second[0][clean]))[0, 1] > 0.8
        hit_twice = (first[1] * second[1]).mean()
        assert hit_twice < 0.3 * first[1].mean()

    def test_hit_pixels_stand_out_from_their_neighbours_more_than_stars_do(self, sample: Path) -> None:
        split = {s: list(r) for s, r in COSMIC.read(sample, 0).items()}["train"]
        items = [COSMIC.item(record, None, None) for record in split]
        batch = {k: torch.stack([torch.from_numpy(i[k]) for i in items]) for k in ("y", "ignore")}
        image = torch.from_numpy(np.stack([i["x"] for i in items])).asinh()
        around = torch.nn.functional.avg_pool2d(image, 3, stride=1, padding=1, count_include_pad=False)
        assert COSMIC.metric.score(torch.zeros(len(items), 64, 64), batch) == pytest.approx(0.5)
        assert COSMIC.metric.score((image - around)[:, 0], batch) < 0.35
