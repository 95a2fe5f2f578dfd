"""`--max-disk`: what goes, what never goes, and what is said when it is not enough."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pare_tune.config import RunConfig, SearchConfig, TrialConfig, parse_size, show_size
from pare_tune.errors import ConfigError, StorageError
from pare_tune.train.loop import Context, FitResult
from pare_tune.tune.disk import DiskCap, usage
from pare_tune.tune.folder import RunFolder
from pare_tune.tune.run import SessionOptions, resume, search, snapshot

KIB = 1024


def write(path: Path, kib: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(kib * KIB))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """Trials 0, 1 and 2 have ended, 2 is the best; 3 runs."""
    folder = RunFolder.create(tmp_path / "runs", "wdbc")
    for number in range(4):
        trial = folder.trial(number)
        write(trial / "best.safetensors", 40)
        write(trial / "held_out.safetensors", 4)
        write(trial / "log.txt", 8)
        write(folder.tensorboard / f"trial-{number:04d}" / "events", 20)
    write(folder.trial(1) / "patches" / "p.npz", 24)
    write(folder.trial(1) / ".last.pt.12.partial", 24)
    write(folder.trial(3) / "last.pt", 40)
    write(folder.journal, 30)
    folder.best.mkdir()
    os.link(folder.trial(2) / "best.safetensors", folder.best / "model.safetensors")
    return folder


def files(folder: RunFolder) -> set[str]:
    return {str(p.relative_to(folder.path)) for p in folder.path.rglob("*") if p.is_file()}


def test_a_file_of_two_names_counts_once(folder: RunFolder) -> None:
    before = usage(folder.path)
    os.link(folder.journal, folder.path / "other")
    assert abs(usage(folder.path) - before) <= 8 * KIB


def test_the_least_wanted_goes_first_and_only_as_much_as_needed(folder: RunFolder) -> None:
    everything = files(folder)
    assert DiskCap(folder, usage(folder.path)).hold([1, 0, 2], 2, {2}, set()) == 0
    assert files(folder) == everything

    def gone(less_kib: int) -> set[str]:
        cap = DiskCap(folder, usage(folder.path) - less_kib * KIB)
        assert cap.hold([1, 0, 2], 2, {2}, set()) == 0
        return everything - files(folder)

    assert gone(1) == {"trials/0001/.last.pt.12.partial"}
    first = {"trials/0001/.last.pt.12.partial", "trials/0001/patches/p.npz"}
    assert gone(1) == first
    assert gone(1) == first | {"tensorboard/trial-0001/events"}
    first |= {"tensorboard/trial-0001/events", "tensorboard/trial-0000/events"}
    assert gone(1) == first
    assert gone(1) == first | {"trials/0001/best.safetensors"}, "trial 0 after the others"
    first |= {"trials/0001/best.safetensors", "trials/0000/best.safetensors"}
    assert gone(1) == first
    assert gone(1) == first | {"trials/0001/held_out.safetensors"}


def test_the_best_the_record_running_trials_and_weights_still_wanted_are_never_touched(
    folder: RunFolder,
) -> None:
    lacking = DiskCap(folder, 1).hold([1, 0, 2], 2, {0, 2}, {3})
    kept = {
        "trials/0000/best.safetensors",
        "trials/0000/held_out.safetensors",
        "best/model.safetensors",
        "study.journal",
        "tensorboard/trial-0002/events",
        "tensorboard/trial-0003/events",
        "trials/0002/best.safetensors",
        "trials/0002/held_out.safetensors",
        "trials/0002/log.txt",
        "trials/0003/best.safetensors",
        "trials/0003/held_out.safetensors",
        "trials/0003/last.pt",
        "trials/0003/log.txt",
    }
    assert files(folder) == kept
    assert lacking == pytest.approx(usage(folder.path), rel=0.1)


def test_room_for_a_new_trial_is_what_the_others_took(folder: RunFolder) -> None:
    cap = DiskCap(folder, usage(folder.path) + 60 * KIB)
    assert cap.hold([1, 0, 2], 2, {2}, {3}) == 0
    cap.require([1, 0, 2], 2, {2}, {3})
    assert "trials/0001/patches/p.npz" not in files(folder), "a new trial takes some 90 KiB, 60 were free"
    tight = DiskCap(folder, 190 * KIB)
    with pytest.raises(StorageError, match=r"cannot be held.* --max-disk '[\d.]+ kB'"):
        tight.require([1, 0, 2], 2, {2}, {3})


def test_what_it_says_to_type_can_be_typed(tmp_path: Path) -> None:
    path = RunFolder.create(tmp_path / "my $runs", "wdbc").path
    words = shlex.split(DiskCap(RunFolder(path), 10**6).problem(1).split("go on with: ")[1])
    assert words[:4] == ["pare-tune", "resume", str(path), "--max-disk"]


@pytest.mark.parametrize(
    ("text", "size", "shown"),
    [
        ("5GB", 5 * 10**9, "5 GB"),
        ("5g", 5 * 10**9, "5 GB"),
        ("1.5 GiB", 3 * 2**29, "1.5 GiB"),
        ("800MB", 8 * 10**8, "800 MB"),
        ("1234567 B", 1234567, "1234567 B"),
        ("0.25TB", 25 * 10**10, "250 GB"),
    ],
)
def test_sizes_are_read_and_shown_without_loss(text: str, size: int, shown: str) -> None:
    assert parse_size(text) == size
    assert show_size(size) == shown
    assert parse_size(show_size(size)) == size
    config = SearchConfig(max_disk=text)
    assert SearchConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize("text", ["5", "GB", "-5GB", "0GB", "5 parsecs", "5GBs", "1e9B"])
def test_sizes_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"positive number with its unit \(5GB"):
        SearchConfig(max_disk=text)


def big(train: Any, config: TrialConfig, context: Context) -> FitResult:
    """Every trial's weights are 4 MB, its patches 1 MB."""
    assert context.folder is not None
    folder, report = context.folder, context.report

    def tell(epoch: Any) -> None:
        (folder / "best.safetensors").write_bytes(bytes([epoch.epoch]) * 4_000_000)
        (folder / "patches").mkdir(exist_ok=True)
        (folder / "patches" / "p.npz").write_bytes(bytes(1_000_000))
        report(epoch)

    return train(config, Context(report=tell, folder=folder, device=context.device))


def test_a_search_stays_below_its_cap_or_says_what_it_needs(
    make_config: Callable[..., RunConfig], fakes: ModuleType, without_ray: Callable[[], Any]
) -> None:
    runner = partial(big, fakes.train)
    told: list[str] = []
    with without_ray():
        # A budget that is confirmed keeps the weights of the best two and of trial 0: 12 MB, and 5 for a running one.
        free = search(make_config("12", confirm=1, pruning=False), SessionOptions(runner=runner))
        capped = search(
            make_config("12", confirm=1, pruning=False, max_disk="19MB"), SessionOptions(runner=runner)
        )
        patches = [len(list(result.path.glob("trials/*/patches"))) for result in (free, capped)]
        assert patches[0] > patches[1], "dropped for the running one"
        assert usage(capped.path) <= 19_000_000
        assert capped.snapshot.choice == free.snapshot.choice
        assert (RunFolder(capped.path).best / "model.safetensors").stat().st_size == 4_000_000
        with pytest.raises(StorageError, match=r"--max-disk 7 MB cannot be held") as refused:
            search(
                make_config("12", confirm=1, pruning=False, max_disk="7MB"),
                SessionOptions(runner=runner, notify=told.append),
            )
        [run] = set(capped.path.parent.iterdir()) - {free.path, capped.path}
        before = snapshot(run)
        assert before.count("complete") >= 1
        assert before.count("failed") == 0
        needed = parse_size(str(refused.value).split("'")[1])
        assert str(run) in str(refused.value)
        after = resume(run, max_disk=needed, options=SessionOptions(runner=runner))
    assert after.snapshot.finished, "what it said was enough"
    assert [t.params for t in after.snapshot.trials] == [t.params for t in free.snapshot.trials]
    assert usage(run) <= needed
    assert after.snapshot.choice == free.snapshot.choice
    candidates = {0} | {t.repeats for t in after.snapshot.trials if t.repeats is not None}
    kept = {int(p.parent.name) for p in run.glob("trials/*/best.safetensors")}
    assert kept == candidates, "any of them could have been chosen"
