from __future__ import annotations

import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from pare_tune.tasks.metrics import METRICS

B, K, L = 60, 4, 5


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def logits(*shape: int, seed: int = 0) -> torch.Tensor:
    # Rounded, so that ties occur and must be counted as halves.
    return torch.randn(*shape, generator=generator(seed)).mul(3).round(decimals=1)


def classes(size: int, num: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(0, num, (size,), generator=generator(seed))


def labels(size: int, num: int, seed: int = 1) -> torch.Tensor:
    return (torch.rand(size, num, generator=generator(seed)) < 0.3).float()


def auroc_by_hand(positive: list[bool], score: list[float]) -> float:
    wins = 0.0
    pairs = 0
    for (p, a), (q, b) in itertools.product(zip(positive, score, strict=True), repeat=2):
        if p and not q:
            pairs += 1
            wins += 1.0 if a > b else 0.5 if a == b else 0.0
    return wins / pairs


def softmax_by_hand(row: list[float]) -> list[float]:
    exp = [math.exp(v) for v in row]
    return [e / sum(exp) for e in exp]


def ap_by_hand(positive: list[bool], score: list[float]) -> float:
    total, last_recall = 0.0, 0.0
    for threshold in sorted(set(score), reverse=True):
        chosen = [p for p, s in zip(positive, score, strict=True) if s >= threshold]
        recall = sum(chosen) / sum(positive)
        total += (recall - last_recall) * sum(chosen) / len(chosen)
        last_recall = recall
    return total


def test_error_rate_equals_the_loop() -> None:
    prediction, y = logits(B, K), classes(B, K)
    wrong = 0
    for row, label in zip(prediction.tolist(), y.tolist(), strict=True):
        wrong += row.index(max(row)) != label
    assert METRICS["error_rate"].score(prediction, {"y": y}) == pytest.approx(100 * wrong / B)


def test_macro_f1_equals_the_loop_over_classes_that_occur() -> None:
    prediction, y = logits(B, K + 1), classes(B, K)
    prediction[:, K] = -9.0  # neither true nor predicted: does not count
    guess = prediction.argmax(1).tolist()
    scores = []
    for k in range(K):
        hits = sum(g == k == t for g, t in zip(guess, y.tolist(), strict=True))
        scores.append(2 * hits / (guess.count(k) + y.tolist().count(k)))
    assert METRICS["macro_f1_error"].score(prediction, {"y": y}) == pytest.approx(1 - sum(scores) / K)


def test_a_class_that_is_only_predicted_counts_as_zero_in_macro_f1() -> None:
    prediction = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    error = METRICS["macro_f1_error"].score(prediction, {"y": torch.tensor([0, 0])})
    assert error == pytest.approx(1 - (2 / 3 + 0.0) / 2)


def test_binary_auroc_equals_counting_pairs() -> None:
    prediction, y = logits(B, 2), classes(B, 2)
    expected = auroc_by_hand(
        (y == 1).tolist(), (prediction.double()[:, 1] - prediction.double()[:, 0]).tolist()
    )
    assert METRICS["auroc_error"].score(prediction, {"y": y}) == pytest.approx(1 - expected)


def test_one_vs_one_auroc_equals_counting_pairs_and_scikit_learn() -> None:
    prediction, y = logits(B, K), classes(B, K)
    probability = [softmax_by_hand(row) for row in prediction.double().tolist()]
    pairs = []
    for a, b in itertools.combinations(range(K), 2):
        rows = [i for i, label in enumerate(y.tolist()) if label in (a, b)]
        for k in (a, b):
            pairs.append(auroc_by_hand([y[i].item() == k for i in rows], [probability[i][k] for i in rows]))
    error = METRICS["auroc_error"].score(prediction, {"y": y})
    assert error == pytest.approx(1 - sum(pairs) / len(pairs))
    sklearn = roc_auc_score(
        y.numpy(), prediction.double().softmax(1).numpy(), multi_class="ovo", average="macro"
    )
    assert error == pytest.approx(1 - sklearn)


def test_auroc_scores_the_classes_that_occur() -> None:
    prediction, y = logits(B, K), classes(B, K - 1)
    assert 0.0 < METRICS["auroc_error"].score(prediction, {"y": y}) < 1.0


@pytest.mark.parametrize("num_classes", [2, 3])
def test_auroc_of_one_class_is_nan(num_classes: int) -> None:
    score = METRICS["auroc_error"].score(logits(6, num_classes), {"y": torch.zeros(6, dtype=torch.long)})
    assert math.isnan(score)


def test_confident_logits_do_not_tie() -> None:
    # In float32 all of these probabilities are 1.0.
    prediction = torch.tensor([[0.0, 40.0], [0.0, 50.0], [0.0, 60.0]])
    assert METRICS["auroc_error"].score(prediction, {"y": torch.tensor([0, 1, 1])}) == 0.0


def test_multilabel_scores_equal_the_loops_and_skip_labels_without_positives() -> None:
    prediction, y = logits(B, L), labels(B, L)
    y[:, 2] = 0.0
    positive, score = (y > 0).T.tolist(), prediction.double().T.tolist()
    counted = [i for i in range(L) if i != 2]
    auroc = sum(auroc_by_hand(positive[i], score[i]) for i in counted) / len(counted)
    ap = sum(ap_by_hand(positive[i], score[i]) for i in counted) / len(counted)
    assert METRICS["multilabel_auroc_error"].score(prediction, {"y": y}) == pytest.approx(1 - auroc)
    assert METRICS["multilabel_map_error"].score(prediction, {"y": y}) == pytest.approx(1 - ap)


def test_multilabel_scores_without_any_positive_are_nan() -> None:
    batch = {"y": torch.zeros(4, L)}
    assert math.isnan(METRICS["multilabel_auroc_error"].score(logits(4, L), batch))
    assert math.isnan(METRICS["multilabel_map_error"].score(logits(4, L), batch))


def test_clips_are_scored_by_the_mean_logits_of_their_chunks() -> None:
    prediction, num_clips = logits(B, L), 23
    clip = torch.cat([torch.arange(num_clips), classes(B - num_clips, num_clips)])[
        torch.randperm(B, generator=generator(3))
    ]
    y_of_clip = labels(num_clips, L)
    y_of_clip[:, 2] = 0.0
    scores = []
    for c in range(num_clips):
        chunks = [prediction.double()[i] for i in range(B) if clip[i] == c]
        scores.append([sum(float(chunk[label]) for chunk in chunks) / len(chunks) for label in range(L)])
    counted = [i for i in range(L) if i != 2]
    ap = [ap_by_hand((y_of_clip[:, i] > 0).tolist(), [row[i] for row in scores]) for i in counted]
    batch = {"y": y_of_clip[clip], "clip": 1000 + 7 * clip}
    error = METRICS["clip_map_error"].score(prediction, batch)
    assert error == pytest.approx(1 - sum(ap) / len(counted))
    assert error != pytest.approx(METRICS["multilabel_map_error"].score(prediction, batch), abs=1e-3)


def test_clips_of_one_chunk_are_scored_as_samples() -> None:
    batch = {"y": labels(B, L), "clip": torch.randperm(B, generator=generator(3))}
    scores = [METRICS[name].score(logits(B, L), batch) for name in ("clip_map_error", "multilabel_map_error")]
    assert scores[0] == pytest.approx(scores[1])
    assert math.isnan(METRICS["clip_map_error"].score(logits(B, L), {**batch, "y": torch.zeros(B, L)}))


@pytest.mark.parametrize("shape", [(7,), (3, 5)])
def test_dense_scores_equal_the_loops(shape: tuple[int, ...]) -> None:
    prediction, y = logits(B, *shape), logits(B, *shape, seed=2) + 0.1
    root, relative = [], []
    for p, t in zip(prediction.double().flatten(1).tolist(), y.double().flatten(1).tolist(), strict=True):
        error = math.sqrt(sum((a - b) ** 2 for a, b in zip(p, t, strict=True)) / len(t))
        root.append(error)
        relative.append(error / math.sqrt(sum(b * b for b in t) / len(t)))
    assert METRICS["rmse"].score(prediction, {"y": y}) == pytest.approx(sum(root) / B)
    assert METRICS["nrmse"].score(prediction, {"y": y}) == pytest.approx(sum(relative) / B)
    assert METRICS["relative_l2"].score(prediction, {"y": y}) == pytest.approx(sum(relative) / B)


@pytest.mark.parametrize("name", ["rmse", "nrmse", "relative_l2"])
def test_shapes_that_would_broadcast_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"\(4, 1, 8\) and y \(4, 8\)"):
        METRICS[name].score(logits(4, 1, 8), {"y": logits(4, 8)})


@pytest.mark.parametrize("name", sorted(METRICS))
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_prediction_that_is_not_finite_scores_nan(name: str, bad: float) -> None:
    y = {"error_rate": classes(B, K), "macro_f1_error": classes(B, K), "auroc_error": classes(B, K)}
    prediction = logits(B, K)
    prediction[3, 1] = bad
    assert math.isnan(METRICS[name].score(prediction, {"y": y.get(name, labels(B, K))}))


def test_scores_are_of_the_whole_split_and_not_means_of_chunks() -> None:
    prediction, y = logits(B, K), classes(B, K)
    score = METRICS["macro_f1_error"].score
    chunks = [score(prediction[i : i + 10], {"y": y[i : i + 10]}) for i in range(0, B, 10)]
    assert score(prediction, {"y": y}) != pytest.approx(np.mean(chunks), abs=1e-3)


def test_every_metric_is_named_cited_and_travels_to_other_processes() -> None:
    assert METRICS
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.unit
        assert "https://" in metric.citation
        assert metric.direction == "min"
        assert pickle.loads(pickle.dumps(metric)) == metric


def test_half_precision_predictions_are_scored() -> None:
    prediction, y = logits(B, K).bfloat16(), classes(B, K)
    for name in ("error_rate", "macro_f1_error", "auroc_error"):
        assert math.isfinite(METRICS[name].score(prediction, {"y": y}))


def pixels(seed: int = 0) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Logits of 4 maps of 5×6 with ties, masks, and pixels to ignore."""
    y = (torch.rand(4, 5, 6, generator=generator(seed + 1)) < 0.3).float()
    ignore = (torch.rand(4, 5, 6, generator=generator(seed + 2)) < 0.2).to(torch.uint8)
    return logits(4, 5, 6, seed=seed), {"y": y, "ignore": ignore}


def test_pixel_auroc_equals_counting_pairs_of_pixels_that_count() -> None:
    prediction, batch = pixels()
    kept = [i for i, out in enumerate(batch["ignore"].flatten().tolist()) if not out]
    positive, score = batch["y"].flatten().tolist(), prediction.flatten().tolist()
    expected = auroc_by_hand([positive[i] == 1 for i in kept], [score[i] for i in kept])
    error = METRICS["pixel_auroc_error"].score
    assert error(prediction, batch) == pytest.approx(1 - expected)
    wild = torch.where(batch["ignore"] == 1, 1e6 * (1 - 2 * batch["y"]), prediction)
    assert error(wild, batch) == pytest.approx(1 - expected)
    everywhere = auroc_by_hand([p == 1 for p in positive], score)
    assert error(prediction, {"y": batch["y"]}) == pytest.approx(1 - everywhere)
    assert everywhere != pytest.approx(expected)


def test_balanced_error_equals_the_loop() -> None:
    prediction, batch = pixels()
    right, count = {0: 0, 1: 0}, {0: 0, 1: 0}
    for z, t, out in zip(
        prediction.flatten().tolist(),
        batch["y"].flatten().tolist(),
        batch["ignore"].flatten().tolist(),
        strict=True,
    ):
        if not out:
            count[int(t)] += 1
            right[int(t)] += (z > 0) == (t == 1)
    expected = 1 - (right[0] / count[0] + right[1] / count[1]) / 2
    assert METRICS["balanced_error"].score(prediction, batch) == pytest.approx(expected)
    hard = (prediction > 0).float() - 0.5  # what the published AUROC is computed from
    assert METRICS["pixel_auroc_error"].score(hard, batch) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["pixel_auroc_error", "balanced_error"])
def test_pixels_of_one_class_have_no_score(name: str) -> None:
    prediction, batch = pixels()
    assert math.isnan(METRICS[name].score(prediction, {"y": torch.zeros(4, 5, 6)}))
    assert math.isnan(METRICS[name].score(prediction, {**batch, "ignore": batch["y"]}))
    with pytest.raises(ValueError, match=r"\(4, 30\) and y \(4, 5, 6\)"):
        METRICS[name].score(prediction.flatten(1), batch)
