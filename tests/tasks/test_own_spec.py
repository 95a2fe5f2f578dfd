from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pare_tune.config import TrialConfig, default_trial, load_own, load_trial, own_of
from pare_tune.errors import ConfigError
from pare_tune.tasks import get_task
from pare_tune.tasks.own.spec import At, OwnData, name_of
from pare_tune.yaml import validate

WHOLE = {"name": "mine", "kind": "point", "input": "x.npy", "target": "y.npy"}


def spec(**changes: Any) -> OwnData:
    return validate(
        OwnData, {k: v for k, v in {**WHOLE, **changes}.items() if v is not None}, where="task.yaml"
    )


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("x.npy", {"file": "x.npy"}),
        ("a/data.npz:x", {"file": "a/data.npz", "key": "x"}),
        ("data.npz:x_*", {"file": "data.npz", "key": "x_*"}),
        ("data.h5:group/signals", {"file": "data.h5", "key": "group/signals"}),
        ("images", {"file": "images"}),
        ({"file": "t.csv", "columns": "a"}, {"file": "t.csv", "columns": ["a"]}),
    ],
)
def test_inputs_are_a_file_however_they_are_written(written: Any, meant: dict[str, Any]) -> None:
    assert spec(input=written).input == At.model_validate(meant)


def test_a_lone_name_is_a_column_of_a_table_and_a_file_elsewhere(tmp_path: Path) -> None:
    of_table = spec(input="t.csv", target="label", split={"group": "patient"}).under(tmp_path)
    assert of_table.target == At(columns=("label",))
    assert of_table.split.group == At(columns=("patient",))
    of_folder = spec(kind="dense", input="images/", target="masks").under(tmp_path)
    assert of_folder.target == At(file=tmp_path / "masks")


def test_paths_start_from_the_task_files_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    path = tmp_path / "task.yaml"
    path.write_text(
        "name: mine\nkind: point\ntrain: {input: a.npy, target: b.npy}\ntest: {input: /data/c.npy, target: d.npy}\n"
    )
    own = load_own(path)
    assert own.train is not None
    assert own.test is not None
    assert own.test.target is not None
    assert (own.train.input.file, own.test.input.file) == (tmp_path / "a.npy", Path("/data/c.npy"))
    assert own.test.target.file == tmp_path / "d.npy"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "ranking"}, "kind"),
        ({"kind": "regression", "classes": ["a"]}, "numbers are called as their columns are"),
        ({"kind": "regression", "class_weights": "balanced"}, "class_weights go with"),
        ({"kind": "regression", "modality": "dense_1d"}, "modality of kind regression is grid_2d"),
        ({"colour": "red"}, "unknown key 'colour'"),
        ({"input": {"file": "x.npz", "kye": "a"}}, "unknown key 'input.kye'"),
        ({"input": {"columns": ["a"]}}, "inputs are in a file or folder"),
        ({"target": {"key": "y"}}, "say `file: PATH`"),
        ({"name": "psicov"}, "the name of a benchmark task"),
        ({"name": "my data"}, "name"),
        ({"input": None}, "input is missing"),
        ({"train": {"input": "a.npy"}}, "either input and target, or train and test"),
        ({"input": None, "target": None, "train": {"input": "a.npy"}}, "test is missing beside train"),
        (
            {"input": None, "test": {"input": "a"}, "train": {"input": "a"}},
            "target and group are said in train",
        ),
        ({"split": {"fractions": [0.8, 0.1, 0.2]}}, "add up to 1"),
        ({"split": {"fractions": [1.0, 0.0, 0.0]}}, "above 0"),
        ({"modality": "dense_1d"}, "modality of kind point is grid_2d, sequence_1d or table"),
        ({"kind": "dense", "modality": "table"}, "modality of kind dense is dense_1d or dense_2d"),
        ({"kind": "dense", "classes": ["a", "b"]}, "classes go with kind point"),
        ({"classes": ["a", "a"]}, "each class once"),
        ({"class_weights": "inverse"}, "`balanced` or a list"),
        ({"class_weights": [1, -1]}, "`balanced` or a list"),
        ({"kind": "multilabel", "class_weights": "balanced"}, "class_weights go with"),
        ({"length": 0}, "length"),
        ({"normalise": "whiten"}, "normalise"),
    ],
)
def test_a_wrong_task_is_one_message_about_what_is_wrong(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        spec(**changes)


def test_a_mistake_in_a_file_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "task.yaml"
    path.write_text(
        "name: mine\nkind: point\ninput: x.npy\ntarget: y.npy\nsplit:\n  fractions: [0.5, 0.4, 0.2]\n"
    )
    with pytest.raises(ConfigError, match=r"task\.yaml:6: split\.fractions: .* add up to 1"):
        load_own(path)


def test_a_trial_of_own_data_is_whole_in_its_yaml(tmp_path: Path) -> None:
    own = spec(split={"group": "g.npy"}, class_weights=[1, 2.5], metric="error_rate").under(tmp_path)
    base = default_trial(get_task("ecg"), preset="embedded")
    trial = base.model_copy(update={"task": "mine", "own": own})
    path = tmp_path / "best.yaml"
    path.write_text(trial.to_yaml())
    assert load_trial(path) == trial
    assert load_trial(path).to_yaml() == path.read_text()
    assert trial.with_values({"own.normalise": "sample"}).own.normalise == "sample"  # type: ignore[union-attr]


def test_a_benchmarks_yaml_says_nothing_of_own_data() -> None:
    assert "own" not in default_trial(get_task("ecg"), preset="embedded").to_dict()


@pytest.mark.parametrize("changes", [{"task": "other"}, {"data": "/data"}])
def test_own_data_and_the_rest_of_a_trial_must_agree(changes: dict[str, Any], tmp_path: Path) -> None:
    tree = default_trial(get_task("ecg"), preset="embedded").to_dict()
    tree |= {"task": "mine", "own": spec().under(tmp_path).model_dump(mode="json"), **changes}
    with pytest.raises(ConfigError, match=r"task must be own\.name"):
        validate(TrialConfig, tree, where="best.yaml")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/My Data (2).npz:x", "my-data-2"),
        ("ecg.h5", "own-ecg"),
        ("images/", "images"),
        ("_.npy", "own"),
        ("Größe.npy", "gr-e"),
    ],
)
def test_a_name_is_made_of_the_file(path: str, name: str) -> None:
    assert name_of(path) == name
    assert spec(name=name_of(path)).name == name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "a.yaml", "data": Path("x.npy")}, "a.yaml says all of its data; leave out --data"),
        ({"task": "a.yaml", "kind": "point"}, "leave out --kind"),
        ({"task": "ecg", "target": "y.npy"}, "--target is for data of your own, --task ecg has its own"),
        ({"target": "y.npy"}, "needs --data FILE beside --target"),
        ({"data": Path("x.npy"), "target": "y.npy"}, "needs --kind point, multilabel, regression or dense"),
        ({"data": Path("x.npy"), "kind": "points"}, "options: kind"),
    ],
)
def test_options_that_do_not_name_a_task_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        own_of(options.pop("task", None), **options)


def test_a_benchmarks_options_name_no_own_data() -> None:
    assert own_of("ecg", data=Path("/data")) is None
    assert own_of(None) is None
