"""Every command, task file and snippet that the documentation shows is run here, made small, or stands in a list.

A line that is new is run as it is; what cannot be run here goes into `ELSEWHERE`, with the reason.
"""

from __future__ import annotations

import ast
import glob
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import typer
from PIL import Image

import pare_tune
from pare_tune.cli import app, main
from pare_tune.plan import setting_keys

ROOT = Path(__file__).parents[1]
RUN, OTHER = "runs/psicov-20261122-113000", "runs/psicov-finetune-20261122-120000"

ELSEWHERE = {
    "git clone": "needs the network",
    "cd pare-tune": "the folder that this test lies in",
    "source .venv/bin/activate": "of a shell",
    "python -m venv": "makes the environment that this test runs in",
    "pip install": "needs the network",
    "pytest": "would run this test again",
    "ruff": "a check of its own",
    "mypy": "a check of its own",
    ".ci/run": "runs this test, in an environment of its own",
    "tensorboard --logdir": "serves until it is stopped",
    "optuna-dashboard": "serves until it is stopped; no dependency",
    "sbatch": "wants SLURM; what it is given is read by test_jobs",
    "ray": "wants a cluster that was started by hand",
    "python tests/benchmarks/": "measures for minutes or hours",
    "python jobs/": "trains for minutes or hours; its options are read below",
}
"""Beginnings of lines that are only read: reason."""

STANDS_FOR = {
    r"runs/psicov(-2026\d+-\d+)?(-…)?(?=[/ ]|$)": RUN,
    r"runs/psicov-finetune-…": OTHER,
    r"\bRUN2\b": OTHER,
    r"\bRUN\b": RUN,
    r"/shared/runs": "runs",
    r"/data/[a-z0-9-]+": "release",
    r"\bTASK\b": "wdbc",
    r" A B$": " wdbc waves",
    r" …$": "",
}
"""What a reader puts in the place of a name."""

SMALL: dict[str, dict[str, str]] = {
    "--task": {"psicov": "wdbc", "wdbc,advection": "wdbc", "wdbc,car": "wdbc", "advection": "wdbc"},
    "--methods": dict.fromkeys(
        ("pare,orca,finetune,linear", "pare,finetune,xgboost", "pare,orca,fno,unet"), "finetune,linear"
    ),
    "--only": {"1a": "4", "1a,6": "4"},
    "--seeds": dict.fromkeys("35", "1"),
}
"""Values of options that are as good and take seconds instead of minutes."""

TYPED: list[list[str]] = []
"""What was run already: many lines are the same, made small."""
QUICK = ["--set", "train.epochs=1"]
SEARCH = [*QUICK, "--budget", "1", "--set", "search.confirm=0", "--set", "search.portfolio=false"]
MORE: dict[str, list[str]] = {
    "resume": ["--budget", "2"],
    "train": ["--epochs", "1"],
    "compare": ["--budget", "1", "--seeds", "1", *QUICK],
    "otdd": ["--samples", "20"],
    "figures": ["--samples", "20", "--grid", "3", "--batches", "1"],
}
"""Options that end a command soon; the last of several wins."""


def indented(text: str) -> Iterator[str]:
    """The blocks of Markdown that are code, each as one text."""
    block: list[str] = []
    for line in [*text.splitlines(), "end"]:
        if line.startswith("    ") or (block and not line.strip()):
            block.append(line[4:])
        elif block:
            yield "\n".join(block).strip("\n")
            block = []


def inline(text: str) -> Iterator[str]:
    """The spans of Markdown that are code."""
    for span in re.findall(r"`([^`]+)`", text):
        yield " ".join(span.split())


def helps(command: Any) -> Iterator[str]:
    for line in (command.help or "").splitlines():
        if line.strip().startswith("pare-tune "):
            yield line.strip()
    for child in getattr(command, "commands", {}).values():
        yield from helps(child)


def headers() -> Iterator[str]:
    """The commands at the heads of jobs/."""
    for path in sorted((ROOT / "jobs").iterdir()):
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".py":
            for block in indented(ast.get_docstring(ast.parse(text)) or ""):
                yield from block.splitlines()
        elif path.suffix in (".sh", ".slurm"):
            header = "\n".join(line for line in text.splitlines() if line.startswith("#"))
            yield from re.findall(r"Command: +(.*)", header)
            yield from inline(header)


PAGES = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md")]
BLOCKS = [block for page in PAGES for block in indented(page)]
SPANS = [span for page in PAGES for span in inline(page)]
IMPORT = re.compile(r"^(import pare_tune|from pare_tune )", re.MULTILINE)
SNIPPETS = [block for block in [*BLOCKS, pare_tune.__doc__ or ""] if IMPORT.search(block)]
TREES = [block for block in BLOCKS if block.startswith("runs/") and len(block.splitlines()) > 1]
TASK_FILES = [block for block in BLOCKS if block.startswith("name: ")]
STARTS = ("pare-tune ", "jobs/search.sh ", "git ", *(start for start in ELSEWHERE))


def said_lines() -> list[str]:
    shell = [block for block in BLOCKS if block not in (*SNIPPETS, *TREES, *TASK_FILES)]
    texts = [line for block in shell for line in block.splitlines()]
    texts += [span for span in [*SPANS, *headers()] if span.startswith(STARTS) or "jobs/search.sh --" in span]
    texts += helps(typer.main.get_command(app))
    whole = (part.partition(" # ")[0].strip() for text in texts for part in text.split("&&"))
    return sorted({line for line in whole if line})


LINES = said_lines()
RUNNABLE = [line for line in LINES if "pare-tune " in line or "jobs/search.sh " in line]


def call(*words: str) -> tuple[int, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["pare-tune", *words])
        with pytest.raises(SystemExit) as ended:
            main()
    return int(ended.value.code or 0), " ".join(["pare-tune", *words])


def arguments(line: str) -> list[str]:
    """What `pare-tune` is given, with names in the place of what stands for them."""
    line = re.sub(r"^.*jobs/search.sh", "pare-tune", line).replace("s3://my-bucket", Path.cwd().as_uri())
    for pattern, name in STANDS_FOR.items():
        line = re.sub(pattern, name, line)
    words = shlex.split(line)[1:]
    return [name for word in words for name in (sorted(glob.glob(word)) if "*" in word else [word])]


def made_small(words: list[str]) -> list[str]:
    for i, option in enumerate(words[:-1]):
        words[i + 1] = SMALL.get(option, {}).get(words[i + 1], words[i + 1])
    command = words[0]
    if command == "serve":
        return [command, "--help"]  # serves until it is stopped
    if words in (["compare"], ["train"]):
        return [command, "--help"]  # named, not shown
    if command.startswith("--"):
        return words if command in ("--help", "--version") else [*words, *SEARCH]
    more = MORE.get(command, [])
    if command == "train":
        several = "--ensemble" in words  # its members are trained as the search did
        more = ["--out", "ensemble"] if several else ["--out", f"model-{words.count('--num-workers')}", *more]
    return [*words, *more]


@pytest.fixture(scope="module")
def folder(in_this_process: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the documentation's commands are typed: two runs, a trained model, and data of one's own."""
    place = tmp_path_factory.mktemp("documentation")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for name in ("PARE_TUNE_DATA", "PARE_TUNE_SOURCES"):
            patch.delenv(name, raising=False)
        patch.setenv("COLUMNS", "100")
        data_of_ones_own(place)
        budget = ["--budget", "4", "--set", "search.confirm=1", "--set", "search.portfolio=false", *QUICK]
        assert call("--task", "wdbc", *budget, "--runs", "made")[0] == 0
        next(Path("made").iterdir()).rename(RUN)
        shutil.copytree(RUN, OTHER)
        assert call("train", f"{RUN}/best.yaml")[0] == 0
        Path("run.yaml").write_text(Path(RUN, "run.yaml").read_text())
        yield place


def data_of_ones_own(place: Path) -> None:
    rng = np.random.default_rng(0)
    (place / "runs").mkdir()
    (place / "release").mkdir()
    np.save("inputs.npy", rng.normal(size=(60, 1, 30)).astype(np.float32))
    np.save("series.npy", np.load("inputs.npy"))
    np.save("labels.npy", np.arange(60) % 3)
    for number in range(30):
        kind = place / "images" / ("cat", "dog")[number % 2]
        kind.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, size=(16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(kind / f"{number}.png")
    pd.DataFrame({"yield": rng.normal(size=60), "a": rng.normal(size=60), "b": rng.normal(size=60)}).to_csv(
        "table.csv", index=False
    )
    with h5py.File("vibration.h5", "w") as file:
        file["signals"] = rng.normal(size=(60, 2, 300)).astype(np.float32)
    pd.DataFrame({"fault": np.where(np.arange(60) % 2, "yes", "no"), "machine": np.arange(60) // 6}).to_csv(
        "labels.csv", index=False
    )
    (task_file,) = TASK_FILES
    Path("my-task.yaml").write_text(task_file, encoding="utf-8")


@pytest.mark.parametrize("line", [line for line in LINES if line not in RUNNABLE])
def test_a_line_that_is_not_run_says_why(line: str) -> None:
    reasons = [why for start, why in ELSEWHERE.items() if line.startswith(start)]
    assert reasons, f"{line} is neither run nor listed"
    for word in shlex.split(line):
        if word.startswith(("tests/", "jobs/")):
            assert (ROOT / word).exists(), word
        if word.startswith("--") and "/" in line and line.startswith("python "):
            script = ROOT / shlex.split(line)[1]
            assert word.strip("[]") in script.read_text(encoding="utf-8"), word


@pytest.mark.parametrize("line", RUNNABLE)
def test_a_command_can_be_typed(line: str, folder: Path) -> None:
    words = arguments(line)
    assert "…" not in " ".join(words), line
    if words[0] == "data" and "--full" in words:
        words.remove("--full")  # solves for hours
    if "release" in words and words[0].startswith("--"):
        # The release, and the weights of the paper's backbone, are not here.
        words += ["--dry-run"]
    elif words[0].startswith("--task"):
        assert call(*words, "--dry-run")[0] == 0
    if "portfolio.yaml" in words and not Path("portfolio.yaml").exists():
        assert call("portfolio", "runs", "-o", "portfolio.yaml")[0] == 0
    words = made_small(words)
    if words not in TYPED:
        TYPED.append(words)
        code, typed = call(*words)
        assert code == 0, typed


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_a_snippet_runs(snippet: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = IMPORT.search(snippet)
    assert first is not None
    code = snippet[first.start() :]
    small = code.replace("budget=50", "budget=1, settings={'train.epochs': 1}, portfolio=False, confirm=0")
    small = small.replace("(random_state=0", "(settings={'train.epochs': 1}, random_state=0")
    assert small != code
    inputs = np.load(folder / "inputs.npy")
    names = {"inputs": inputs, "X": inputs[:, 0, :4], "y": np.load(folder / "labels.npy")}
    exec(compile(small, "README.md", "exec"), names)
    assert names["outputs"].shape == (60, 2) if "outputs" in names else names["scores"].shape == (5,)


def test_the_run_folder_holds_what_is_said(folder: Path) -> None:
    (tree,) = TREES
    run = folder / RUN
    for line in tree.splitlines()[1:]:
        for name in re.findall(r"(?:^|; )\s*([a-z_.-]+(?:/\d*)?)(?=\s)", line):
            assert (run / name.replace("0007", "0000")).exists(), name


@pytest.mark.parametrize("span", sorted({s for s in SPANS if re.match(r"--[a-z]|(search|own)\.[a-z_]+=", s)}))
def test_an_option_that_is_named_exists(span: str) -> None:
    params = [param for command in commands(typer.main.get_command(app)) for param in command.params]
    options = {option for param in params for option in param.opts}
    for word in span.split():
        if word.startswith("--"):
            assert word.partition("=")[0] in options, word
        elif re.match(r"search\.[a-z_]+=", word):
            assert word.partition("=")[0] in setting_keys(), word


@pytest.mark.parametrize("link", sorted({*re.findall(r"\]\((?!https?:)([^)]+)\)", "".join(PAGES))}))
def test_what_is_linked_is_there(link: str) -> None:
    assert (ROOT / link).is_file()


def commands(command: Any) -> Iterator[Any]:
    yield command
    for child in getattr(command, "commands", {}).values():
        yield from commands(child)


def test_the_documentation_was_found() -> None:
    assert len(RUNNABLE) > 35
    assert len(SNIPPETS) == 3
    assert len(TASK_FILES) == len(TREES) == 1
