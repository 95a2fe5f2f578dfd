from __future__ import annotations

import numpy as np
import pytest

from pare_tune.errors import ConfigError
from pare_tune.figures.clusters import _labelled, modalities, neighbour_accuracy, source_knowledge, tsne
from pare_tune.figures.subject import names_of

from .conftest import MakeSubject


def test_two_far_clusters_stay_apart_and_one_seed_is_one_picture() -> None:
    draw = np.random.default_rng(0)
    points = np.concatenate([draw.normal(size=(40, 8)), draw.normal(size=(40, 8)) + 50.0])
    picture = tsne(points, seed=0)
    left, right = picture[:40], picture[40:]
    gap = np.linalg.norm(left.mean(0) - right.mean(0))
    assert gap > 2 * max(np.linalg.norm(part - part.mean(0), axis=1).max() for part in (left, right))
    np.testing.assert_array_equal(picture, tsne(points, seed=0))


def test_neighbours_tell_the_class_of_separate_clusters_and_not_of_mixed_ones() -> None:
    draw = np.random.default_rng(0)
    points = draw.normal(size=(60, 3))
    labels = np.repeat([0, 1], 30)
    mixed = neighbour_accuracy(points, labels)
    points[30:] += 20.0
    assert neighbour_accuracy(points, labels) == 1.0
    assert 0.2 < mixed < 0.8


def test_the_vote_is_counted_by_hand_on_a_line() -> None:
    # Every point's five nearest are itself left out: the lone 1 is outvoted, and votes against nobody else.
    points = np.arange(7.0)[:, None]
    labels = np.array([0, 0, 0, 1, 0, 0, 0])
    assert neighbour_accuracy(points, labels) == pytest.approx(6 / 7)


def test_the_modalities_are_drawn_as_embeddings_and_as_features(make_subject: MakeSubject) -> None:
    drawing = modalities(make_subject("sequence_1d"), samples=12, seed=0)
    sets = list(dict.fromkeys(row[1] for row in drawing.rows))
    assert sets[0] == "target"
    assert sets[-1] == "source"
    assert len(sets) == 5
    assert len(drawing.rows) == 2 * 5 * 12
    assert {row[0] for row in drawing.rows} == {"embeddings", "encoder's features"}


def test_the_source_is_drawn_before_after_and_after_the_second_run(make_subject: MakeSubject) -> None:
    drawing = source_knowledge(make_subject(), make_subject(method="finetune"), samples=20, seed=0)
    assert list(dict.fromkeys(row[0] for row in drawing.rows)) == [
        "pretrained",
        "after pare",
        "after finetune",
    ]
    assert {row[2] for row in drawing.rows} == {"class 0", "class 1"}
    scores = [a.get_title() for a in drawing.figure.axes]
    assert len({s.split("5-NN")[1] for s in scores}) == 1, "nothing was trained, so nothing was forgotten"


def test_of_masks_one_place_an_image_is_drawn_and_bears_the_masks_class(make_subject: MakeSubject) -> None:
    subject = make_subject("grid_2d")
    assert subject.source is not None
    chosen = _labelled(subject.source, 20, seed=0)
    assert chosen.place is not None
    assert sorted(chosen.index) == list(range(20))
    for i, (down, across), found in zip(chosen.index, chosen.place, chosen.class_S, strict=True):
        assert found == int(down * 64 < 3 * i), "the upper 3·i of 64 rows are foreground"
        assert 0 < across < 1
    assert 5 <= chosen.class_S.sum() <= 15
    drawing = source_knowledge(subject, None, samples=20, seed=0)
    assert {row[2] for row in drawing.rows} == {"background", "foreground"}


def test_a_run_without_a_source_is_told(make_subject: MakeSubject) -> None:
    with pytest.raises(ConfigError, match="--against"):
        source_knowledge(make_subject(method="finetune"), None, samples=12, seed=0)


def test_runs_of_one_method_and_folder_name_are_told_apart(make_subject: MakeSubject) -> None:
    one = make_subject()
    assert names_of([one, make_subject(method="finetune")]) == ["pare", "finetune"]
    assert names_of([one, one]) == [f"{one.run.name} (1)", f"{one.run.name} (2)"]


def test_a_second_run_must_read_the_same_source_samples(make_subject: MakeSubject) -> None:
    with pytest.raises(ConfigError, match="differ in backbone, image size or number of tokens"):
        source_knowledge(make_subject("sequence_1d"), make_subject("grid_2d"), samples=20, seed=0)
