"""What the search may know: never the test split."""

from __future__ import annotations

import ast
from pathlib import Path

from pare_tune.tune import run

FILES = sorted(Path(run.__file__).parent.rglob("*.py"))


def test_no_module_of_the_search_mentions_the_test_split() -> None:
    assert len(FILES) > 8
    found = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_split = isinstance(node, ast.Constant) and node.value == "test"
            name = (
                node.id
                if isinstance(node, ast.Name)
                else node.attr
                if isinstance(node, ast.Attribute)
                else ""
            )
            if is_split or name in ("test", "open_test"):
                found.append(f"{path.name}:{node.lineno}")
            if isinstance(node, ast.ImportFrom) and any(alias.name == "open_test" for alias in node.names):
                found.append(f"{path.name}:{node.lineno}")
    assert not found


def test_only_the_search_and_its_callers_know_optuna() -> None:
    package = FILES[0].parents[1]
    knowing = {
        path.relative_to(package).parts[0]
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Import) and any(a.name.split(".")[0] == "optuna" for a in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "optuna")
    }
    assert knowing <= {"tune", "report", "compare"}
