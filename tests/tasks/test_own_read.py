"""Every form that inputs and targets can have on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from PIL import Image

from pare_tune.errors import DataError
from pare_tune.tasks.own.read import Opened, files_of, open_data
from pare_tune.tasks.own.samples import Whole
from pare_tune.tasks.own.spec import OwnData
from pare_tune.yaml import validate

N = 12
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 2, 40)).astype(np.float32)
Y = np.arange(N) % 3
SERIES = [RNG.normal(size=(2, 5 + i)).astype(np.float32) for i in range(N)]


def opened(root: Path, **tree: Any) -> Opened:
    return open_data(validate(OwnData, {"name": "mine", "kind": "point", **tree}, where="task").under(root))


def every(found: Opened) -> list[npt.NDArray[Any]]:
    return list(found.inputs.each(np.arange(len(found.inputs))))


def labels(found: Opened) -> list[Any]:
    assert found.labels is not None
    return found.labels.tolist()


def save_h5(path: Path, **arrays: Any) -> None:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name.replace("__", "/")] = array


def test_npy_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y[:, None])
    found = opened(tmp_path, input="x.npy", target="y.npy")
    np.testing.assert_array_equal(np.stack(every(found)), X)
    assert labels(found) == Y.tolist()


def test_npz_keys(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=X, y=np.array(["b", "a", "c"])[Y])
    found = opened(tmp_path, input="d.npz:x", target="d.npz:y")
    np.testing.assert_array_equal(np.stack(every(found)), X)
    assert labels(found)[:3] == ["b", "a", "c"]


def test_hdf5_data_sets_and_text_labels(tmp_path: Path) -> None:
    save_h5(tmp_path / "d.h5", raw__x=X, y=[["b", "a", "c"][i].encode() for i in Y])
    found = opened(tmp_path, input="d.h5:raw/x", target="d.h5:y")
    np.testing.assert_array_equal(np.stack(every(found)), X)
    assert labels(found)[:3] == ["b", "a", "c"]


@pytest.mark.parametrize("form", ["npz", "hdf5 group", "hdf5 ragged", "parquet", "long"])
def test_series_of_different_lengths(tmp_path: Path, form: str) -> None:
    np.save(tmp_path / "y.npy", Y)
    target: Any = "y.npy"
    match form:
        case "npz":
            # Names sort as people count: x2 before x10.
            np.savez(tmp_path / "d.npz", y=Y, **{f"x{i}": s for i, s in enumerate(SERIES)})
            source: Any = "d.npz:x*"
        case "hdf5 group":
            save_h5(tmp_path / "d.h5", **{f"series__{i}": s for i, s in enumerate(SERIES)})
            source = "d.h5:series"
        case "hdf5 ragged":
            with h5py.File(tmp_path / "d.h5", "w") as file:
                data = file.create_dataset("x", (N,), h5py.vlen_dtype(np.float32))
                for i, s in enumerate(SERIES):
                    data[i] = s[0]
            source = "d.h5:x"
        case "parquet":
            pd.DataFrame({"u": [s[0] for s in SERIES], "v": [s[1] for s in SERIES]}).to_parquet(
                tmp_path / "d.parquet"
            )
            source = "d.parquet"
        case _:
            rows = [
                {"who": f"s{i}", "t": t, "u": s[0, t], "v": s[1, t], "y": int(Y[i])}
                for i, s in enumerate(SERIES)
                for t in range(s.shape[1])
            ]
            pd.DataFrame(rows).sample(frac=1, random_state=0).to_csv(tmp_path / "d.csv", index=False)
            source, target = {"file": "d.csv", "id": "who", "time": "t"}, "y"
    found = opened(tmp_path, input=source, target=target)
    wanted = [s[0] for s in SERIES] if form == "hdf5 ragged" else SERIES
    order = range(N)
    if form == "long":  # in order of first appearance
        assert found.inputs.names is not None
        order = [int(name[1:]) for name in found.inputs.names]  # type: ignore[assignment]
        assert sorted(order) == list(range(N))
    assert found.inputs.shape == ((None,) if form == "hdf5 ragged" else (2, None))
    for i, one in zip(order, every(found), strict=True):
        np.testing.assert_allclose(one, wanted[i], rtol=1e-6)
    assert labels(found) == [int(Y[i]) for i in order]


def test_a_table_gives_every_column_that_serves_for_nothing_else(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"a": X[:, 0, 0], "b": Y * 2, "label": ["no", "yes", "NA"] * 4, "who": list("abcd") * 3}
    )
    frame["fold"] = ["train"] * 8 + ["valid"] * 2 + ["test"] * 2
    frame.to_csv(tmp_path / "t.csv")  # with row numbers, as pandas does unasked
    found = opened(tmp_path, input="t.csv", target="label", split={"column": "fold", "group": "who"})
    assert found.columns == ("a", "b")
    assert found.is_table
    np.testing.assert_allclose(np.stack(every(found))[:, 1], Y * 2)
    assert labels(found)[:3] == ["no", "yes", "NA"]
    assert found.groups == list("abcd") * 3
    assert found.split is not None
    assert found.split[-4:] == ["val", "val", "test", "test"]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_csv_is_read_whatever_separates_it(tmp_path: Path, separator: str) -> None:
    pd.DataFrame({"a": Y, "b": Y, "y": Y}).to_csv(tmp_path / "t.csv", index=False, sep=separator)
    assert opened(tmp_path, input="t.csv", target="y").columns == ("a", "b")


def test_targets_go_by_id_where_one_is_named(tmp_path: Path) -> None:
    rows = [{"who": f"s{i}", "v": float(i)} for i in range(N) for _ in range(3)]
    pd.DataFrame(rows).to_csv(tmp_path / "long.csv", index=False)
    pd.DataFrame({"patient": [f"s{i}" for i in range(N)][::-1], "y": Y[::-1]}).to_csv(
        tmp_path / "y.csv", index=False
    )
    found = opened(
        tmp_path,
        input={"file": "long.csv", "id": "who"},
        target={"file": "y.csv", "id": "patient", "columns": "y"},
    )
    assert labels(found) == Y.tolist()


def save_images(root: Path, *, sizes: bool = False, mode: str = "RGB") -> None:
    for i in range(N):
        folder = root / ["ant", "bee", "cow"][i % 3]
        folder.mkdir(parents=True, exist_ok=True)
        size = (20 + i, 16) if sizes else (20, 16)
        shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
        Image.fromarray(RNG.integers(0, 255, shape).astype(np.uint8), mode=None).save(folder / f"{i}.png")


def test_images_in_folders_of_their_classes(tmp_path: Path) -> None:
    save_images(tmp_path / "images", sizes=True)
    found = opened(tmp_path, input="images")
    assert found.is_images
    assert found.inputs.shape == (16, None, 3)
    assert sorted(labels(found)) == sorted(["ant", "bee", "cow"] * 4)
    assert found.inputs.names is not None
    for name, label in zip(found.inputs.names, labels(found), strict=True):
        assert name.startswith(label)


def test_grey_images_have_no_channels(tmp_path: Path) -> None:
    save_images(tmp_path / "images", mode="L")
    assert opened(tmp_path, input="images").inputs.shape == (16, 20)


def test_sixteen_bits_of_grey_are_kept(tmp_path: Path) -> None:
    for i, name in enumerate(["a", "b", "a"]):
        (tmp_path / "images" / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), 1000 + i, np.uint16)).save(tmp_path / "images" / name / f"{i}.png")
    found = opened(tmp_path, input="images")
    assert sorted(int(one[0, 0]) for one in every(found)) == [1000, 1001, 1002]


def test_a_csv_of_files_and_labels(tmp_path: Path) -> None:
    save_images(tmp_path / "images")
    files = [f"images/{['ant', 'bee', 'cow'][i % 3]}/{i}.png" for i in range(N)]
    pd.DataFrame({"file": files, "label": Y}).to_csv(tmp_path / "list.csv", index=False)
    spec = {"name": "mine", "kind": "point", "input": "list.csv", "target": "label"}
    own = validate(OwnData, spec, where="task").under(tmp_path)
    found = open_data(own)
    assert found.is_images
    assert labels(found) == Y.tolist()
    assert sum(path.suffix == ".png" for path in files_of(own)) == N


def test_a_csv_of_labels_for_a_folder(tmp_path: Path) -> None:
    save_images(tmp_path / "images")
    files = [f"{['ant', 'bee', 'cow'][i % 3]}/{i}.png" for i in range(N)]
    pd.DataFrame({"file": files[::-1], "label": Y[::-1]}).to_csv(tmp_path / "y.csv", index=False)
    found = opened(tmp_path, input="images", target={"file": "y.csv", "id": "file", "columns": "label"})
    assert found.inputs.names is not None
    assert labels(found) == [files.index(name) % 3 for name in found.inputs.names]


def test_masks_go_by_the_names_of_their_images(tmp_path: Path) -> None:
    for i in range(N):
        for folder, suffix in (("images", "jpg"), ("masks", "png")):
            (tmp_path / folder).mkdir(exist_ok=True)
            value = np.full((8, 8), i * 10 if folder == "images" else i, np.uint8)
            Image.fromarray(value).save(tmp_path / folder / f"scan{i}.{suffix}")
    found = opened(tmp_path, kind="dense", input="images/", target="masks/")
    assert found.dense is not None
    pairs = zip(every(found), found.dense.each(np.arange(N)), strict=True)
    assert [(round(x.mean() / 10), int(y[0, 0])) for x, y in pairs] == [(i, i) for i in range(N)]
    (tmp_path / "masks" / "scan3.png").unlink()
    with pytest.raises(DataError, match=r"1 of 12 images .* have no mask .* the first is scan3\.jpg"):
        opened(tmp_path, kind="dense", input="images/", target="masks/")


def test_a_dense_target_in_the_long_table_has_a_value_each_row(tmp_path: Path) -> None:
    rows = [{"who": i, "u": t, "y": -t} for i in range(N) for t in range(3 + i)]
    pd.DataFrame(rows).to_csv(tmp_path / "long.csv", index=False)
    found = opened(tmp_path, kind="dense", input={"file": "long.csv", "id": "who"}, target="y")
    assert found.dense is not None
    assert found.columns == ("u",)
    for x, y in zip(every(found), found.dense.each(np.arange(N)), strict=True):
        np.testing.assert_array_equal(x, -y)


def test_several_label_columns_keep_their_names(tmp_path: Path) -> None:
    pd.DataFrame({"a": X[:, 0, 0], "rain": Y == 0, "snow": Y == 1}).to_csv(tmp_path / "t.csv", index=False)
    found = opened(tmp_path, kind="multilabel", input="t.csv", target={"columns": ["rain", "snow"]})
    assert found.label_names == ("rain", "snow")
    assert found.columns == ("a",)
    assert np.asarray(found.labels).tolist() == [[int(y == 0), int(y == 1)] for y in Y]


def test_splits_with_files_of_their_own(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", a=X[:8], b=X[8:], ya=Y[:8], yb=Y[8:])
    found = opened(
        tmp_path,
        train={"input": "d.npz:a", "target": "d.npz:ya"},
        test={"input": "d.npz:b", "target": "d.npz:yb"},
    )
    np.testing.assert_array_equal(np.stack(every(found)), X)
    assert found.split == [None] * 8 + ["test"] * 4
    assert labels(found) == Y.tolist()


def test_blocks_give_the_rows_that_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pare_tune.tasks.own.samples.BLOCK_BYTES", 5 * 4)
    array = np.arange(100, dtype=">i4").reshape(50, 2)
    samples = Whole(array, "x")
    rows = np.array([0, 1, 7, 8, 30, 49])
    blocks = list(samples.blocks(rows))
    assert max(map(len, blocks)) <= 2
    np.testing.assert_array_equal(np.concatenate(blocks), array[rows])
    assert all(block.dtype == np.dtype("=i4") for block in blocks)


def spoil_npy(path: Path) -> None:
    np.save(path, X)
    path.write_bytes(path.read_bytes()[:-40])


def save_objects(path: Path) -> None:
    ragged = np.empty(N, object)
    ragged[:] = SERIES
    np.save(path, ragged, allow_pickle=True)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"input": "absent.npy", "target": "y.npy"}, r"no file or folder .*absent\.npy"),
        ({"input": "x.npy", "target": "absent.npy"}, r"no file or folder .*absent\.npy"),
        ({"input": "x.npy"}, "target is missing"),
        ({"input": "short.npy", "target": "y.npy"}, "short.npy holds 5 samples and y.npy 12 targets"),
        ({"input": "torn.npy", "target": "y.npy"}, "torn.npy is cut short"),
        ({"input": "objects.npy", "target": "y.npy"}, "objects hold a pickle.*np.savez"),
        ({"input": "objects.npz:x", "target": "y.npy"}, "objects hold a pickle"),
        ({"input": "complex.npy", "target": "y.npy"}, "complex numbers; give real and imaginary"),
        ({"input": "x.npy:x", "target": "y.npy"}, "no file or folder"),
        ({"input": {"file": "x.npy", "key": "x"}, "target": "y.npy"}, "x.npy is one array"),
        ({"input": {"file": "x.npy", "columns": ["a"]}, "target": "y.npy"}, "x.npy has no columns"),
        ({"input": {"file": "x.npy", "id": "a"}, "target": "y.npy"}, "id goes with a table"),
        ({"input": "d.npz", "target": "y.npy"}, r"several arrays: say which one, as d.npz:KEY.* it has a, b"),
        ({"input": "d.npz:c", "target": "y.npy"}, "d.npz has no array 'c'; it has a, b"),
        ({"input": "d.npz:z*", "target": "y.npy"}, "has no array 'z.*it has a, b"),
        ({"input": "d.h5:c", "target": "y.npy"}, "d.h5 has no array 'c'; it has g/b, g/c"),
        ({"input": "not.h5:c", "target": "y.npy"}, "not.h5 is not a whole HDF5 file"),
        ({"input": "not.npz:c", "target": "y.npy"}, "not.npz is not a whole .npz file"),
        ({"input": "x.txt", "target": "y.npy"}, "inputs are read from .npy"),
        ({"input": "t.csv", "target": "lable"}, "t.csv has no column 'lable'; its columns: a, text, y"),
        (
            {"input": {"file": "t.csv", "id": "y", "columns": "text"}, "target": "y"},
            "input column 'text' must hold numbers, found 'u' in row 1",
        ),
        (
            {"input": {"file": "t.csv", "columns": ["a", "y"]}, "target": "y"},
            "column 'y' is among the inputs",
        ),
        ({"input": {"file": "t.csv", "id": "text"}, "target": "y"}, "y changes within sample u"),
        ({"input": "gap.csv", "target": "y"}, r"sample 1 has no target \(y\)"),
        ({"input": "x.npy", "target": "t.csv"}, "say which one is the target"),
        ({"input": "x.npy", "target": {"columns": ["a", "b"]}}, "is no table, so target needs a file"),
        (
            {"input": "x.npy", "target": "y.npy", "split": {"column": "fold.npy"}},
            "found 'tarin' for sample 1",
        ),
        ({"input": "x.npy", "target": "y.npy", "split": {"group": "who"}}, "no file or folder .*who"),
        ({"input": "x.npy", "target": "y.npy", "split": {"group": "d.npz:a"}}, "one value a sample"),
        ({"input": "empty", "target": "y.npy"}, "holds no image"),
        ({"input": "loose"}, "classes are subfolders, but a.png lies beside them"),
        (
            {"input": "splits"},
            r"subfolders test, train: give each split by itself .* train: \{input: splits/train\}",
        ),
        ({"input": "broken"}, "2.png is not a whole image"),
        ({"input": "empty.csv", "target": "y"}, "empty.csv has no row"),
    ],
)
def test_a_wrong_file_is_one_message(tmp_path: Path, tree: dict[str, Any], message: str) -> None:
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "short.npy", X[:5])
    np.save(tmp_path / "y.npy", Y)
    np.save(tmp_path / "complex.npy", X.astype(np.complex64))
    np.save(tmp_path / "fold.npy", np.array(["train", "tarin"] * 6))
    np.savez(tmp_path / "d.npz", a=X, b=X)
    save_objects(tmp_path / "objects.npy")
    np.savez(tmp_path / "objects.npz", allow_pickle=True, x=np.array([{}, {}], dtype=object))
    spoil_npy(tmp_path / "torn.npy")
    save_h5(tmp_path / "d.h5", g__b=X, g__c=X)
    for name in ("not.h5", "not.npz", "x.txt"):
        (tmp_path / name).write_text("text")
    pd.DataFrame({"a": [1, 2, 3], "text": ["u", "u", "v"], "y": [0, 1, 0]}).to_csv(
        tmp_path / "t.csv", index=False
    )
    (tmp_path / "gap.csv").write_text("a,y\n1,no\n2,\n3,yes\n")
    (tmp_path / "empty.csv").write_text("a,y\n")
    (tmp_path / "empty").mkdir()
    for path in (
        "loose/a.png",
        "loose/b/c.png",
        "splits/train/a/1.png",
        "splits/test/a/1.png",
        "broken/a/1.png",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / path)
    (tmp_path / "broken/a/2.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(DataError, match=message):
        opened(tmp_path, **tree)


def test_an_empty_series_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", **{f"x{i}": np.zeros(0 if i == 3 else 5) for i in range(N)})
    np.save(tmp_path / "y.npy", Y)
    with pytest.raises(DataError, match="sample x3 is empty"):
        opened(tmp_path, input="d.npz:*", target="y.npy")


def test_samples_have_one_number_of_axes(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", a=np.zeros((2, 5)), b=np.zeros(5), c=np.zeros((2, 5)))
    np.save(tmp_path / "y.npy", Y[:3])
    with pytest.raises(DataError, match=r"found \(2, 5\) in a and \(5,\) in b"):
        opened(tmp_path, input="d.npz:*", target="y.npy")
