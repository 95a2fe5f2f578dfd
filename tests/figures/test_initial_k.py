from __future__ import annotations

from pathlib import Path

import pytest

from pare_tune.config import TrialConfig, default_trial
from pare_tune.errors import ConfigError
from pare_tune.figures.initial_k import (
    STARTS,
    Cell,
    cells_of_trials,
    draw,
    gains,
    plan,
    require_both,
    seconds_of_a_training,
    train_grid,
)
from pare_tune.tasks import get_task
from pare_tune.tune.snapshot import TrialState, TrialView

from .conftest import MakeSubject

BASE = default_trial(get_task("wdbc"), preset="embedded")


def trial(number: int, score: float | None, state: TrialState = "complete", **params: object) -> TrialView:
    named = {key.replace("k_start", "k.start"): value for key, value in params.items()}
    return TrialView(
        number=number, state=state, params=named, epochs=4, best_score=score, seconds=2.0 + number
    )


def cell(way: str, start: float, score: float, seed: int = 0) -> Cell:
    return Cell(way=way, start=start, seed=seed, score=score)


def score_of(config: TrialConfig, folder: Path) -> float:
    return config.k.start + (1.0 if config.method == "random" else 0.5)


def test_the_right_trials_are_read_and_what_the_search_left_alone_is_the_runs() -> None:
    trials = [
        trial(0, 0.5),
        trial(1, 0.4, k_start=0.25),
        trial(2, 0.6, k_start=0.25, method="random"),
        trial(3, 0.3, k_start=0.75, method="pare_no_source_loss"),
        trial(4, 0.1, "pruned", k_start=0.5),
        trial(5, None, "failed", k_start=0.5),
        trial(6, 0.2, k_start=0.5, method="mixup"),
    ]
    assert cells_of_trials(trials, BASE) == [
        cell("gate", BASE.k.start, 0.5, 0),
        cell("gate", 0.25, 0.4, 1),
        cell("random", 0.25, 0.6, 2),
        cell("gate", 0.75, 0.3, 3),
    ]
    assert cells_of_trials(trials[:1], BASE.with_values({"method": "finetune"})) == []


def test_one_way_alone_cannot_be_compared() -> None:
    gate = [cell("gate", s, 1.0) for s in (0.5, 1.0)]
    with pytest.raises(ConfigError, match="choose by random .* --train"):
        require_both(gate, "runs/x")
    with pytest.raises(ConfigError, match="choose by random"):
        require_both([*gate, cell("random", 0.5, 1.0)], "runs/x")
    require_both([*gate, cell("random", 0.5, 1.0), cell("random", 0.7, 1.0)], "runs/x")


def test_the_grid_varies_the_choice_and_the_initial_k_alone() -> None:
    configs = plan(BASE.with_values({"method": "finetune", "k.kind": "constant", "k.end": 0.3, "seed": 5}), 2)
    assert len(configs) == 2 * len(STARTS) * 2
    assert {(c.method, c.k.start, c.seed) for c in configs} == {
        (m, s, seed) for m in ("pare", "random") for s in STARTS for seed in (5, 6)
    }
    assert {(c.k.end, c.k.kind) for c in configs} == {(0.0, "linear")}
    changed = ("method", "k", "seed")
    rest = [{key: v for key, v in c.to_dict().items() if key not in changed} for c in configs]
    assert all(r == rest[0] for r in rest)
    assert {c.method for c in plan(BASE.with_values({"method": "pare_no_source_loss"}), 1)} == {
        "pare_no_source_loss",
        "random",
    }


def test_an_interrupted_grid_goes_on_where_it_stopped(tmp_path: Path) -> None:
    configs, said, trained = plan(BASE, 1), [], []

    def train(config: TrialConfig, folder: Path) -> float:
        if len(trained) == 3:
            raise KeyboardInterrupt
        trained.append(config)
        folder.mkdir()
        (folder / "last.pt").write_text("half done")
        return score_of(config, folder)

    with pytest.raises(KeyboardInterrupt):
        train_grid(configs, tmp_path, seconds=60.0, notify=said.append, train=train)
    assert "8 trainings, about 8 min; 0 are done" in said[0]
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".json"] * 3, (
        "a finished cell keeps no checkpoint"
    )
    rest: list[TrialConfig] = []

    def go_on(config: TrialConfig, folder: Path) -> float:
        rest.append(config)
        return score_of(config, folder)

    cells = train_grid(configs, tmp_path, seconds=None, notify=said.append, train=go_on)
    assert "5 trainings; 3 are done" in said[1]
    assert trained + rest == configs
    assert [(c.way, c.start, c.score) for c in cells] == [
        ("random" if c.method == "random" else "gate", c.k.start, score_of(c, tmp_path)) for c in configs
    ]
    assert train_grid(configs, tmp_path, seconds=None, notify=said.append, train=go_on) == cells
    assert len(said) == 2
    assert len(rest) == 5


def test_cells_of_another_configuration_or_damaged_ones_are_trained_anew(tmp_path: Path) -> None:
    configs = plan(BASE, 1)[:2]
    train_grid(configs, tmp_path, seconds=None, notify=str, train=score_of)
    next(tmp_path.glob("pare-*.json")).write_text("{")
    calls: list[str] = []

    def train(config: TrialConfig, folder: Path) -> float:
        calls.append(config.method)
        return 0.0

    train_grid(configs, tmp_path, seconds=None, notify=str, train=train)
    assert calls == ["pare"]
    other = plan(BASE.with_values({"optimizer.lr": 0.01}), 1)[:2]
    train_grid(other, tmp_path, seconds=None, notify=str, train=train)
    assert calls == ["pare", "pare", "random"]


def test_a_cell_is_trained_for_real(tmp_path: Path) -> None:
    config = plan(BASE.with_values({"train.epochs": 1, "train.batch_size": 64}), 1)[-1]
    (found,) = train_grid([config], tmp_path, seconds=None, notify=str)
    assert (found.way, found.start) == ("random", 0.125)
    assert 0.0 < found.score < 1.0


def test_gains_are_in_percent_of_random_and_positive_where_the_gate_is_better() -> None:
    cells = [
        cell("gate", 1.0, 3.0), cell("gate", 1.0, 5.0, 1), cell("random", 1.0, 5.0), cell("random", 1.0, 5.0, 1),
        cell("gate", 0.5, 1.1), cell("random", 0.5, 1.0), cell("gate", 0.25, 1.0),
    ]  # fmt: skip
    assert gains(cells, "min") == [(0.5, pytest.approx(-10.0)), (1.0, pytest.approx(20.0))]
    assert gains(cells, "max") == [(0.5, pytest.approx(10.0)), (1.0, pytest.approx(-20.0))]


def test_a_training_takes_what_complete_trials_took_or_the_models_own(tmp_path: Path) -> None:
    class Found:
        trials = (trial(0, 1.0), trial(1, 1.0, "pruned"), trial(2, 1.0), trial(6, 1.0))

    assert seconds_of_a_training(None, tmp_path) is None
    (tmp_path / "metrics.json").write_text('{"seconds": 7.5}')
    assert seconds_of_a_training(None, tmp_path) == 7.5
    assert seconds_of_a_training(Found(), tmp_path) == 4.0  # type: ignore[arg-type]


def test_a_task_that_is_solved_by_chance_is_drawn_without_a_share_of_nothing(
    make_subject: MakeSubject,
) -> None:
    cells = [cell(way, start, 0.0) for start in STARTS for way in ("gate", "random")]
    assert gains(cells, "min") == []
    assert "random's score is 0" in draw(cells, make_subject(), trained=True).caption


@pytest.mark.parametrize("trained", [True, False])
def test_cells_are_drawn(make_subject: MakeSubject, trained: bool) -> None:
    cells = [cell(way, s, s + (way == "gate")) for s in STARTS for way in ("gate", "random")]
    drawing = draw(cells, make_subject(), trained=trained)
    assert len(drawing.rows) == len(cells)
    assert len(drawing.figure.axes) == 1 + trained
    assert drawing.figure.axes[0].get_legend_handles_labels()[1] == ["gate", "random"]
    assert ("-100.0 % at 1·N" in drawing.caption) == trained
