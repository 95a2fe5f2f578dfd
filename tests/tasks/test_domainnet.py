from __future__ import annotations

import io
import pickle
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pare_tune.data.store import Store, write_store
from pare_tune.errors import DataError
from pare_tune.tasks.base import Point, Task
from pare_tune.tasks.domainnet import CLIPART, FOLDER, MEAN, PAINTING, REAL, SKETCH, STD
from pare_tune.tasks.samples import pictures
from pare_tune.tasks.samples.objects import KINDS

TASKS = {"clipart": CLIPART, "painting": PAINTING, "real": REAL, "sketch": SKETCH}
CLASSES = {0: 12, 7: 10, 125: 4}
"""Class → training pictures."""


def name(label: int, number: int) -> str:
    return f"clipart/thing {label}/clipart_{label:03d}_{number:06d}.png"


def picture(number: int, width: int = 20, height: int = 15) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    folder = tmp_path / FOLDER
    (folder / "splits_mini").mkdir(parents=True)
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for label, count in CLASSES.items():
        (folder / f"clipart/thing {label}").mkdir(parents=True)
        for number in range(count + 2):
            picture(1000 * label + number).save(folder / name(label, number))
            lists["train" if number < count else "test"].append(f"{name(label, number)} {label}\n")
    for part, lines in lists.items():
        list_path(tmp_path, part).write_text("".join(lines))
    return tmp_path


def list_path(root: Path, part: str) -> Path:
    return root / FOLDER / f"splits_mini/clipart_{part}.txt"


def read(root: Path, seed: int = 0, task: Task = CLIPART) -> dict[str, list[dict[str, Any]]]:
    return {split: [dict(r) for r in records] for split, records in task.read(root, seed).items()}


def listed(records: list[dict[str, Any]]) -> set[tuple[bytes, int]]:
    return {(r["x"].tobytes(), int(r["y"])) for r in records}


def test_a_fifth_of_each_class_is_validation_and_every_picture_is_in_one_split(release: Path) -> None:
    splits = read(release)
    counts = {s: np.bincount([r["y"] for r in records], minlength=126) for s, records in splits.items()}
    found = {split: {k: int(count[k]) for k in CLASSES} for split, count in counts.items()}
    assert found == {
        "train": {0: 10, 7: 8, 125: 4},
        "val": {0: 2, 7: 2, 125: 0},
        "test": {0: 2, 7: 2, 125: 2},
    }
    pixels = {
        (np.asarray(picture(1000 * k + i)).tobytes(), k) for k, n in CLASSES.items() for i in range(n + 2)
    }
    assert set.union(*(listed(records) for records in splits.values())) == pixels
    assert sum(len(records) for records in splits.values()) == len(pixels)


def test_validation_follows_the_seed_and_test_does_not(release: Path) -> None:
    first, again, other = (read(release, seed) for seed in (0, 0, 1))
    assert listed(first["val"]) == listed(again["val"]) != listed(other["val"])
    assert listed(first["test"]) == listed(other["test"])


def test_pictures_of_the_test_list_are_taken_out_of_training(release: Path) -> None:
    test = list_path(release, "test").read_text()
    with list_path(release, "train").open("a") as stream:
        stream.write(test + test)
    splits = read(release)
    assert not listed(splits["test"]) & (listed(splits["train"]) | listed(splits["val"]))
    assert len(splits["train"]) + len(splits["val"]) == sum(CLASSES.values())


def test_the_lists_of_orcas_code_are_read_where_there_are_no_others(release: Path) -> None:
    expected = read(release)
    for part in ("train", "test"):
        list_path(release, part).rename(release / FOLDER / f"clipart_{part}_mini.txt")
    assert {s: listed(r) for s, r in read(release).items()} == {s: listed(r) for s, r in expected.items()}


@pytest.mark.parametrize(
    ("size", "stored"), [((20, 15), (20, 15)), ((600, 300), (256, 256)), ((100, 1000), (100, 256))]
)
def test_large_pictures_are_squashed_to_256_and_small_ones_kept(
    release: Path, size: tuple[int, int], stored: tuple[int, int]
) -> None:
    picture(0, *size).save(release / FOLDER / name(0, 12))
    x = read(release)["test"][0]["x"]
    assert (x.shape, x.dtype) == ((stored[1], stored[0], 3), np.uint8)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_pictures_of_any_eight_bit_mode_become_rgb(release: Path, mode: str) -> None:
    path = release / FOLDER / name(0, 12)
    if mode == "CMYK":
        picture(0).convert(mode).save(path, format="JPEG")
    elif mode == "P":
        picture(0).quantize(4).save(path, transparency=bytes([0, 255, 255, 255]))
    else:
        picture(0).convert(mode).save(path)
    assert read(release)["test"][0]["x"].shape == (15, 20, 3)


def test_records_of_different_sizes_fit_the_store_and_the_task(release: Path) -> None:
    picture(0, 40, 70).save(release / FOLDER / name(0, 3))
    path = release / "train.arrow"
    write_store(path, CLIPART.read(release, 0)["train"], ragged=CLIPART.ragged)
    store = Store(path)
    for index in range(len(store)):
        item = CLIPART.item(store[index], None, None)
        assert item["x"].shape == CLIPART.input_shape == (3, 224, 224)
        assert (item["x"].dtype, item["y"].dtype) == (np.float32, np.int64)
        assert CLIPART.item(store[index], 64, np.random.default_rng(0))["x"].shape == (3, 64, 64)
    assert CLIPART.output == Point(126)


def pixels(x: np.ndarray) -> np.ndarray:
    """The colours of an item, 0 to 255, rows × columns × RGB."""
    return 255 * (x.transpose(1, 2, 0) * np.array(STD) + np.array(MEAN))


def test_an_evaluation_item_is_the_whole_picture_squashed(release: Path) -> None:
    record = read(release)["test"][0]
    expected = np.asarray(Image.fromarray(record["x"]).resize((64, 64), Image.Resampling.BILINEAR))
    item = CLIPART.item(record, 64, None)
    np.testing.assert_allclose(pixels(item["x"]), expected, atol=1e-3)


def test_training_items_are_windows_of_seven_eighths_and_their_mirror_images() -> None:
    # Red tells the column and green the row, so that an item tells where it was cut out.
    row, column = np.mgrid[:256, :256]
    ramp = {"x": np.stack([column, row, 0 * row], axis=-1).astype(np.uint8), "y": np.asarray(3)}
    starts = []
    for seed in range(200):
        x = pixels(REAL.item(ramp, 224, np.random.default_rng(seed))["x"])
        across, down = x[100, :, 0], x[:, 100, 1]
        mirrored = across[0] > across[-1]
        across = across[::-1] if mirrored else across
        np.testing.assert_allclose(np.diff(across), 1.0, atol=1.001)  # nothing is scaled: 224 of 256
        np.testing.assert_allclose([np.ptp(across), np.ptp(down)], 223, atol=2)
        starts.append((across[0], down[0], mirrored))
    lefts, tops, mirrored = (np.array(values) for values in zip(*starts, strict=True))
    for start in (lefts, tops):
        assert start.min() < 2
        assert start.max() > 30
    assert 70 < mirrored.sum() < 130
    assert abs(np.corrcoef(lefts, tops)[0, 1]) < 0.25


def bomb() -> bytes:
    """A PNG of a few bytes that claims 12,000 × 12,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 12000, 12000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def deep() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(stream, "PNG")
    return stream.getvalue()


def add(line: str) -> Callable[[Path], None]:
    def act(root: Path) -> None:
        with list_path(root, "train").open("a") as stream:
            stream.write(line)

    return act


def replace(content: bytes) -> Callable[[Path], None]:
    return lambda root: (root / FOLDER / name(0, 12)).write_bytes(content) and None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda r: list_path(r, "test").unlink(),
            r"no list .*splits_mini/clipart_test\.txt, nor .*_test_mini\.txt",
        ),
        (lambda r: list_path(r, "test").write_text("\n"), r"clipart_test\.txt lists no picture"),
        (
            lambda r: list_path(r, "test").write_bytes(b"\xff\xfe 1"),
            r"clipart_test\.txt cannot be read as text",
        ),
        (add("clipart/a.png\n"), r"clipart_train\.txt:27: a line must be .*found 'clipart/a\.png'"),
        (add("clipart/a.png one\n"), r":27: a line must be"),
        (add("clipart/a.png 126\n"), r":27: .* class 0 to 125, found 'clipart/a\.png 126'"),
        (add("clipart/a.png -1\n"), r":27: a line must be"),
        (add(f"{name(0, 0)} 1\n"), r":27: .* is listed with two classes"),
        (add("../../secret.png 3\n"), r":27: a line must be a picture's path below the folder"),
        (add("/etc/secret.png 3\n"), r":27: a line must be a picture's path below the folder"),
        (add("clipart/absent.png 3\n"), r"absent\.png.*No such file"),
        (replace(b"no"), r"000012\.png is not a whole image"),
        (replace(bomb()), r"000012\.png is 12000 × 12000 pixels, more than"),
        (replace(deep()), r"000012\.png must have 8 bits a channel"),
        (
            lambda r: (r / FOLDER / name(0, 12)).write_bytes((r / FOLDER / name(0, 12)).read_bytes()[:-200]),
            r"000012\.png is not a whole image",
        ),
    ],
)
def test_a_bad_release_is_named_with_what_was_expected(
    release: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(release)
    with pytest.raises(DataError, match=message) as caught:
        read(release)
    assert CLIPART.homepage in str(caught.value)


@pytest.mark.parametrize("domain", sorted(TASKS))
def test_each_domain_is_a_task_that_reaches_other_processes(domain: str) -> None:
    task = pickle.loads(pickle.dumps(TASKS[domain]))
    assert (task.name, task.paper, task.files) == (domain, TASKS[domain].paper, TASKS[domain].files)


def test_the_papers_scores_are_those_of_table_16() -> None:
    scores = {domain: task.paper.score for domain, task in TASKS.items()}
    assert scores == {"clipart": 9.21, "painting": 11.75, "real": 5.08, "sketch": 14.13}


@pytest.fixture(scope="module")
def small() -> Iterator[None]:
    """Samples of a size that tests can wait for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "DOMAIN_SIZES", {"train": 100, "test": 20})
        yield


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("domain", sorted(TASKS))
def test_the_sample_has_the_releases_layout_and_the_same_bytes_for_a_seed(
    tmp_path: Path, domain: str
) -> None:
    task = TASKS[domain]
    assert task.make is not None
    for folder in ("first", "again"):
        task.make(tmp_path / folder, 0)
    splits = read(tmp_path / "first", task=task)
    for split, each in (("train", 4), ("val", 1), ("test", 1)):
        assert sorted(int(r["y"]) for r in splits[split]) == sorted(list(range(len(KINDS))) * each)
    files = sorted(p.relative_to(tmp_path / "first") for p in (tmp_path / "first").rglob("*") if p.is_file())
    assert len(files) == 122
    content = {f: b"".join((tmp_path / f / p).read_bytes() for p in files) for f in ("first", "again")}
    assert content["first"] == content["again"]


def nearest_mean_accuracy(x: np.ndarray, y: np.ndarray, train: int) -> float:
    x = (x - x[:train].mean(axis=0)) / (x[:train].std(axis=0) + 1e-9)
    mean = np.stack([x[:train][y[:train] == k].mean(axis=0) for k in np.unique(y)])
    distance = ((x[train:, None] - mean) ** 2).sum(axis=-1)
    return float((distance.argmin(axis=1) == y[train:]).mean())


@pytest.mark.parametrize("style", sorted(TASKS))
def test_kinds_show_in_edges_and_hardly_in_pixels(style: str) -> None:
    from skimage.feature import hog

    kinds, rng, train = list(KINDS)[:6], np.random.default_rng(0), 120
    y = np.arange(train + 60) % len(kinds)
    x = np.stack([pictures.draw(kinds[label], style, 48, rng) for label in y])
    edges = np.stack(
        [hog(p, orientations=6, pixels_per_cell=(12, 12), cells_per_block=(1, 1), channel_axis=-1) for p in x]
    )
    by_edges = nearest_mean_accuracy(edges, y, train)
    by_pixels = nearest_mean_accuracy(x.reshape(len(x), -1) / 255, y, train)
    assert by_edges > 0.4  # chance is 0.17
    assert by_pixels < by_edges - 0.1
