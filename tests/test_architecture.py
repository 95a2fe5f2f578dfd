"""The layout and the one-way imports of the design, held by reading the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import pare_tune

PACKAGE = Path(pare_tune.__file__).parent

ALLOWED: dict[str, set[str]] = {
    "data": {"data", "errors"},
    "method": {"method", "errors"},
    "distance": {"distance", "errors"},
    "backbones": {"backbones", "errors"},
    "tasks": {"tasks", "data", "errors", "steps"},
    "sources": {"sources", "data", "errors", "steps"},
    "yaml": {"errors"},
    "budget": {"errors"},
    "config": {"config", "budget", "yaml", "data", "errors", "method", "sources", "tasks"},
    "fitting": {"config", "errors", "method", "sources", "tasks"},
    "train": {
        "train",
        "config",
        "yaml",
        "errors",
        "distance",
        "method",
        "tasks",
        "sources",
        "backbones",
        "data",
        "steps",
    },
    "tune": {
        "tune",
        "shell",
        "signals",
        "recorded",
        "train",
        "fitting",
        "config",
        "yaml",
        "errors",
        "method",
        "tasks",
        "sources",
        "backbones",
        "data",
        "steps",
    },
    "report": {"report", "shell", "tune", "train", "config", "yaml", "data", "errors", "tasks", "steps"},
    "shell": {"shell", "data"},
    "signals": {"signals"},
    "inspect": {"inspect", "report", "train", "config", "data", "errors", "tasks", "sources"},
    "plan": {"fitting", "inspect", "method", "config", "yaml", "errors", "tasks"},
    "apply": {"tune", "train", "tasks", "errors", "steps"},
    "final": {"report", "tune", "train", "config", "data", "errors", "tasks"},
    "recorded": {"recorded", "config", "yaml", "errors", "tasks"},
    "serving": {"serving", "__version__", "tune", "train", "data", "errors", "tasks", "steps"},
    "estimators": {"api", "train", "method", "config", "errors", "tasks"},
    "figures": {
        "figures",
        "shell",
        "data",
        "report",
        "tune",
        "train",
        "config",
        "distance",
        "errors",
        "method",
        "tasks",
        "sources",
        "backbones",
        "steps",
    },
    "compare": {
        "compare",
        "data",
        "figures",
        "report",
        "tune",
        "train",
        "config",
        "yaml",
        "errors",
        "method",
        "tasks",
        "steps",
    },
}
LIBRARIES_ABOVE = {"ray", "optuna", "typer", "rich", "plotly"}


def modules(package: str) -> list[Path]:
    folder = PACKAGE / package
    found = sorted(folder.rglob("*.py")) if folder.is_dir() else [PACKAGE / f"{package}.py"]
    assert found
    return found


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module or ""


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_imports_go_one_way(package: str) -> None:
    for path in modules(package):
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "pare_tune" and len(parts) > 1:
                assert parts[1] in ALLOWED[package], f"{path} imports {name}"


@pytest.mark.parametrize("package", ["data", "distance", "method", "backbones", "tasks", "sources"])
def test_the_lower_packages_know_no_engine(package: str) -> None:
    for path in modules(package):
        assert not {n.split(".")[0] for n in imports(path)} & LIBRARIES_ABOVE, path


def test_only_the_worker_and_the_way_to_its_files_import_ray() -> None:
    for path in modules("train"):
        if path.name not in {"worker.py", "keeper.py"}:
            assert "ray" not in {n.split(".")[0] for n in imports(path)}, path


def test_nothing_that_tunes_can_reach_the_test_split() -> None:
    train = [PACKAGE / "train" / f"{name}.py" for name in ("trial", "opened", "loop", "evaluation", "report")]
    for path in [*modules("tune"), *train]:
        tree = parsed(path)
        names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
        names |= {a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names}
        strings = {
            n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)
        }
        assert "open_test" not in names, path
        assert "test" not in strings, path


def test_no_pickle_is_trusted() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(parsed(path)):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
            assert called not in {"pickle.load", "pickle.loads", "joblib.load", "pd.read_pickle"}, path
            # A sample is written as the release is, which may hold pickled arrays; reading them is another matter.
            if called != "np.save":
                assert keywords.get("allow_pickle", "False") == "False", path
            if called == "torch.load":
                assert keywords.get("weights_only") == "True", path


def test_only_data_files_locks_and_renames() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path == PACKAGE / "data" / "files.py":
            continue
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in {
                    "os.replace",
                    "os.rename",
                    "shutil.move",
                    "FileLock",
                    "filelock.FileLock",
                }, path
                assert not called.endswith(".rename") or node.keywords, path  # a data frame's takes keywords


def test_only_the_journal_touches_private_parts_of_optuna() -> None:
    private = {
        "_storage",
        "_study_id",
        "_trial_id",
        "_cached_frozen_trial",
        "_replay_result",
        "_thread_local",
    }
    for path in PACKAGE.rglob("*.py"):
        if path == PACKAGE / "tune" / "journal.py":
            continue
        tree = parsed(path)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "optuna":
                names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
                assert not [name for name in names if name.startswith("_")], path
            if isinstance(node, ast.Attribute) and node.attr in private:
                owner = ast.unparse(node.value)
                assert owner == "self", f"{path}:{node.lineno}: {owner}.{node.attr}"
            if isinstance(node, ast.ClassDef):
                bases = {ast.unparse(base).split(".")[-1] for base in node.bases}
                assert not bases & {"TPESampler", "JournalStorage", "BaseJournalBackend"}, (
                    f"{path}: {node.name}"
                )


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, pare_tune.cli; print([m for m in ('torch', 'ray', 'optuna', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_functions_of_the_package_stay_functions_whatever_is_imported() -> None:
    code = (
        "import pare_tune, types; first = pare_tune.tune; import pare_tune.tune.run, pare_tune.train.loop;"
        "from pare_tune import train, tune; from pare_tune.tune.run import search;"
        "assert first is tune is pare_tune.tune and isinstance(tune, types.FunctionType), tune;"
        "assert isinstance(pare_tune.train, types.FunctionType) and pare_tune.predict and pare_tune.load_task"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
