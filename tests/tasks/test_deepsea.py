from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from pare_tune.errors import DataError
from pare_tune.tasks.deepsea import DEEPSEA, item, read
from pare_tune.tasks.samples.motifs import FILE, LENGTH, NUM_BASES, NUM_LABELS, write_sample

Arrays = dict[str, npt.NDArray[np.uint8]]


def arrays(sizes: tuple[int, int, int] = (9, 4, 5)) -> Arrays:
    rng = np.random.default_rng(0)
    made: Arrays = {}
    for split, size in zip(("train", "val", "test"), sizes, strict=True):
        bases = np.eye(NUM_BASES, dtype=np.uint8)[rng.integers(0, NUM_BASES, (size, LENGTH))]
        bases[0, :3] = 0  # unknown bases
        made[f"x_{split}"] = bases
        made[f"y_{split}"] = rng.integers(0, 2, (size, NUM_LABELS), dtype=np.uint8)
    return made


def release(root: Path, made: Arrays) -> Path:
    np.savez(root / FILE, **made)  # type: ignore[arg-type]
    return root


def everything(root: Path) -> None:
    for records in read(root, 0).values():
        for _ in records:
            pass


def test_reads_the_releases_own_splits_bit_for_bit(tmp_path: Path) -> None:
    made = arrays()
    for split, records in read(release(tmp_path, made), 0).items():
        for index, record in enumerate(records):
            assert record["x"].shape == (NUM_BASES, LENGTH // 8)
            assert record["x"].dtype == np.uint8
            shown = item(record, None, None)
            np.testing.assert_array_equal(shown["x"], made[f"x_{split}"][index].T)
            np.testing.assert_array_equal(shown["y"], made[f"y_{split}"][index])
            assert shown["x"].dtype == shown["y"].dtype == np.float32
        assert index + 1 == len(made[f"x_{split}"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": None}, "x_train"),
        ({"y_val": None}, "y_val"),
        ({"y_train": np.zeros((9, 35), np.uint8)}, r"\(any, 36\)"),
        ({"x_train": np.zeros((9, LENGTH - 1, NUM_BASES), np.uint8)}, "x_train"),
        ({"x_val": np.zeros((3, LENGTH, NUM_BASES), np.uint8)}, "x_val"),
        ({"y_test": np.full((5, NUM_LABELS), 2, np.uint8)}, "0 and 1 alone, found 2"),
        ({"x_test": np.full((5, LENGTH, NUM_BASES), 3, np.uint8)}, "0 and 1 alone, found 3"),
        ({"x_test": np.ones((5, LENGTH, NUM_BASES), np.uint8)}, "one base a position"),
        ({"x_test": np.array([["a"]])}, "x_test"),
        ({"y_train": np.full((9, NUM_LABELS), np.nan)}, "y_train"),
    ],
)
def test_a_wrong_array_is_one_message(
    changes: dict[str, npt.NDArray[np.uint8] | None], message: str, tmp_path: Path
) -> None:
    made = {**arrays(), **changes}
    release(tmp_path, {name: array for name, array in made.items() if array is not None})
    with pytest.raises(DataError, match=message):
        everything(tmp_path)


def test_a_missing_or_truncated_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"deepsea_filtered\.npz.*public release"):
        everything(tmp_path)
    path = release(tmp_path, arrays()) / FILE
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="public release"):
        everything(tmp_path)


def test_the_sample_is_the_same_twice(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_sample(tmp_path / name, 0)
    assert (tmp_path / "a" / FILE).read_bytes() == (tmp_path / "b" / FILE).read_bytes()
    (tmp_path / "c").mkdir()
    write_sample(tmp_path / "c", 1)
    assert (tmp_path / "a" / FILE).read_bytes() != (tmp_path / "c" / FILE).read_bytes()


def test_the_samples_labels_follow_from_planted_words(tmp_path: Path) -> None:
    """Counts of four-base words on both strands tell the labels; single bases hardly do."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.preprocessing import StandardScaler

    write_sample(tmp_path, 0)
    with np.load(tmp_path / FILE) as file:
        x = {s: file[f"x_{s}"][:600].argmax(-1) for s in ("train", "val")}
        y = {s: file[f"y_{s}"][:600] for s in ("train", "val")}
    words = list(itertools.product(range(NUM_BASES), repeat=4))
    code = {s: sum(v[:, i : LENGTH - 3 + i] * 4 ** (3 - i) for i in range(4)) for s, v in x.items()}
    counts = {s: np.stack([np.bincount(row, minlength=len(words)) for row in c]) for s, c in code.items()}
    scaler = StandardScaler().fit(counts["train"])
    label = int(np.argmax(y["train"].mean(0)))
    probe = LogisticRegression(C=0.01, max_iter=500).fit(
        scaler.transform(counts["train"]), y["train"][:, label]
    )
    auc = roc_auc_score(y["val"][:, label], probe.decision_function(scaler.transform(counts["val"])))
    assert auc > 0.7


def test_the_loss_weighs_labels_that_are_there_as_the_benchmark_does() -> None:
    assert DEEPSEA.loss_options == {"pos_weight": 4.0}
