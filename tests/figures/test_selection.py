from __future__ import annotations

import numpy as np
import pytest

from pare_tune.errors import ConfigError
from pare_tune.figures.selection import by_number, make_choices, over_epochs
from pare_tune.train.patches import record_patches
from pare_tune.tune.folder import RunFolder

from .conftest import MakeSubject


@pytest.mark.parametrize("modality", ["sequence_1d", "grid_2d"])
def test_as_many_patches_as_k_and_the_gates_are_the_worst_and_the_best(
    make_subject: MakeSubject, modality: str
) -> None:
    found = make_choices(make_subject(modality), samples=3, shares=(0.25, 0.5), seed=0)
    assert [c.way for c in found.choices] == ["gate", "gate", "random", "random"]
    assert found.target_score_SN is not None
    assert found.source_score_SN is not None
    for choice in found.choices:
        assert choice.target_SN.sum(1).tolist() == choice.source_SN.sum(1).tolist() == [choice.k] * 3
        if choice.way == "gate":
            for row, score in zip(choice.target_SN, found.target_score_SN, strict=True):
                assert score[row == 1].max() <= score[row == 0].min()
            for row, score in zip(choice.source_SN, found.source_score_SN, strict=True):
                assert score[row == 1].min() >= score[row == 0].max()
    again = make_choices(make_subject(modality), samples=3, shares=(0.25, 0.5), seed=0)
    assert all(
        np.array_equal(a.source_SN, b.source_SN) for a, b in zip(found.choices, again.choices, strict=True)
    )


@pytest.mark.parametrize("modality", ["sequence_1d", "grid_2d"])
def test_numbers_of_patches_are_drawn_with_a_row_a_patch(make_subject: MakeSubject, modality: str) -> None:
    subject = make_subject(modality)
    n = subject.num_tokens
    numbers = by_number(subject, seed=0)
    assert len(numbers.rows) == 2 * 3 * 2 * n  # ways, numbers, sides
    chosen = [row for row in numbers.rows if row[5] == 1 and row[:4] == (*numbers.rows[0][:4],)]
    assert len(chosen) == numbers.rows[0][1], "k of them are chosen"
    assert [a.get_title() for a in numbers.figure.axes[:3]] == [
        f"k = {n // 8}",
        f"k = {n // 4}",
        f"k = {n // 2}",
    ]


def test_random_choice_has_no_scores(make_subject: MakeSubject) -> None:
    drawing = by_number(make_subject(method="random"), seed=0)
    assert {row[0] for row in drawing.rows} == {"random"}
    assert {row[6] for row in drawing.rows} == {""}


@pytest.mark.parametrize(("method", "part"), [("mixup", "chooses none"), ("finetune", "mixes none in")])
def test_a_method_that_chooses_nothing_is_told(make_subject: MakeSubject, method: str, part: str) -> None:
    with pytest.raises(ConfigError, match=f"method {method} .* {part}"):
        by_number(make_subject(method=method), seed=0)


def test_the_records_of_the_best_trial_are_drawn_by_epoch(make_subject: MakeSubject) -> None:
    subject = make_subject("grid_2d")
    with pytest.raises(ConfigError, match="holds no search"):
        over_epochs(subject)
    run = RunFolder(subject.run)
    run.best.mkdir()
    (run.best / "metrics.json").write_text('{"trial": 7}')
    for text in (run.best / "config.yaml", run.best_yaml):
        text.write_text("")
    with pytest.raises(ConfigError, match="0007 has none"):
        over_epochs(subject)
    assert subject.source is not None
    for epoch, k in ((1, 8), (2, 5), (4, 1)):
        record_patches(
            run.trial(7), subject.model, subject.data.train, subject.source.dataset, source_kind="masked_images", k=k,
            epoch=epoch, grid=subject.backbone.spec.token_grid,
        )  # fmt: skip
    drawing = over_epochs(subject)
    chosen: dict[tuple[object, ...], int] = {}
    for epoch, k, side, sample, _, mark, _ in drawing.rows:
        chosen[epoch, k, side, sample] = chosen.get((epoch, k, side, sample), 0) + int(str(mark))
    assert {key[:2] for key in chosen} == {(1, 8), (2, 5), (4, 1)}
    assert all(count == key[1] for key, count in chosen.items())
    assert [a.get_title().split("\n")[0] for a in drawing.figure.axes[:3]] == [
        "epoch 1",
        "epoch 2",
        "epoch 4",
    ]
