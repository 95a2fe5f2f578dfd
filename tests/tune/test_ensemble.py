"""Which models of a run join its ensemble."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pare_tune.config import TrialConfig, default_trial
from pare_tune.data.files import write_text
from pare_tune.errors import ConfigError
from pare_tune.tasks import get_task
from pare_tune.train.held_out import HELD_OUT, HeldOut
from pare_tune.train.simple.measure import simple_file
from pare_tune.train.simple.scores import SimpleScore, write_simple
from pare_tune.tune.ensemble import choose_members
from pare_tune.tune.folder import RunFolder
from pare_tune.tune.snapshot import Snapshot, TrialState, TrialView

WDBC = get_task("wdbc")
CONFIG = default_trial(WDBC, preset="embedded")
Y = torch.arange(80) % 2


def keep(path: Path, seed: int, *, shuffled: bool = False, first: int = 0) -> None:
    """Outputs that are right to a degree."""
    logits = torch.randn(80, 2, generator=torch.Generator().manual_seed(seed))
    logits[torch.arange(80), Y] += 1.0
    order = (
        torch.randperm(80, generator=torch.Generator().manual_seed(seed)) if shuffled else torch.arange(80)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    HeldOut.of(order.numpy() + first, logits[order], {"y": Y[order]}, epoch=seed + 1).write(path)


def trial(number: int, state: TrialState = "complete", repeats: int | None = None) -> TrialView:
    return TrialView(number=number, state=state, params={}, epochs=9, best_score=0.1, repeats=repeats)


@pytest.fixture
def state(tmp_path: Path) -> Snapshot:
    """Trials 0 to 2 are candidates; 3 repeats one, 4 was stopped, 5 was judged by other samples."""
    folder = RunFolder(tmp_path)
    for number in range(6):
        keep(folder.trial(number) / HELD_OUT, number, shuffled=number == 1, first=number // 5)
        settings: TrialConfig = CONFIG.with_values({"seed": number})
        write_text(folder.trial(number) / "config.yaml", settings.to_yaml())
    rows = [SimpleScore(kind=kind, title=kind, score=0.1) for kind in ("constant", "linear")]
    write_simple(tmp_path, rows)
    for row in rows:
        keep(simple_file(tmp_path, row.kind), 7)
    trials = (*(trial(n) for n in range(3)), trial(3, repeats=0), trial(4, "pruned"), trial(5))
    return Snapshot(
        run=tmp_path, task="wdbc", metric="error", unit="1", direction="min", provenance="real",
        preset="embedded", backbone="micro-roberta", budget="6 trials", spent=1.0, elapsed_s=1.0,
        remaining_s=None, trials=trials,
    )  # fmt: skip


@pytest.mark.parametrize(("peers", "candidates"), [(False, 3), (True, 4)])
def test_complete_trials_of_the_same_samples_are_candidates(
    state: Snapshot, peers: bool, candidates: int
) -> None:
    chosen = choose_members(state, WDBC, CONFIG, peers=peers)
    assert chosen.candidates == candidates
    assert set(chosen.names) <= {"trial 0", "trial 1", "trial 2", *(["linear"] if peers else [])}
    assert sum(member.weight for member in chosen.members) == pytest.approx(1.0)
    for name, member in zip(chosen.names, chosen.members, strict=True):
        if name.startswith("trial"):
            assert name == f"trial {member.config.seed}"
            assert member.epoch == member.config.seed + 1, "the one that it was kept at"
    np.testing.assert_array_equal(chosen.held_out.targets, Y.numpy()[chosen.held_out.index_N])


def test_one_model_is_no_ensemble(state: Snapshot, tmp_path: Path) -> None:
    for number in (1, 2):
        (RunFolder(tmp_path).trial(number) / HELD_OUT).unlink()
    with pytest.raises(ConfigError, match="needs two models with held-out predictions, .* has 1"):
        choose_members(state, WDBC, CONFIG, peers=False)
