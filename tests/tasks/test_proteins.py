"""Simulated proteins look like proteins, their features like those of alignments, and their files like the release."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pare_tune.data.arrays import load_npy
from pare_tune.data.pickles import load_pickle
from pare_tune.tasks import psicov
from pare_tune.tasks.samples import proteins
from pare_tune.tasks.samples.proteins import COIL, HELIX, LONGEST, PADDING, SHORTEST, STRAND, Folds

COUNT = 40


@pytest.fixture(scope="module")
def folds() -> Folds:
    return proteins.simulate_folds(np.random.default_rng(0), COUNT)


@pytest.fixture(scope="module")
def features(folds: Folds) -> list[dict[str, Any]]:
    return proteins.simulate_features(np.random.default_rng(1), folds)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("release")
    proteins.write_sample(root, 3, num_deepcov=8, num_psicov=3)
    return root


def chains(folds: Folds) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(Cα (l, 3), Cβ (l, 3), kinds (l,)) of each protein."""
    return [
        (ca[:n].astype(np.float64), cb[:n].astype(np.float64), kind[:n])
        for ca, cb, kind, n in zip(folds.ca_PL3, folds.cb_PL3, folds.kind_PL, folds.length_P, strict=True)
    ]


def apart(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - points, axis=-1)


def runs(kinds: np.ndarray, kind: int, size: int) -> list[int]:
    return [i for i in range(len(kinds) - size + 1) if (kinds[i : i + size] == kind).all()]


class TestFolds:
    def test_lengths_fit_the_small_canvas(self, folds: Folds) -> None:
        assert SHORTEST <= folds.length_P.min() < folds.length_P.max() <= LONGEST
        assert psicov.PSICOV.canvas["embedded"] >= LONGEST + 2 * psicov.BORDER  # type: ignore[operator]
        inside = np.arange(LONGEST) < folds.length_P[:, None]
        np.testing.assert_array_equal(folds.kind_PL != PADDING, inside)

    def test_all_kinds_of_structure_occur(self, folds: Folds) -> None:
        shares = np.bincount(folds.kind_PL[folds.kind_PL != PADDING], minlength=3) / folds.length_P.sum()
        assert all(0.15 < shares[kind] < 0.6 for kind in (COIL, HELIX, STRAND))

    def test_neighbours_are_a_bond_apart(self, folds: Folds) -> None:
        bonds = np.concatenate([np.diagonal(apart(ca), 1) for ca, _, _ in chains(folds)])
        assert abs(np.median(bonds) - 3.8) < 0.05
        assert bonds.min() > 3.1
        assert bonds.max() < 4.6
        steps = np.concatenate([np.diagonal(apart(cb), 1) for _, cb, _ in chains(folds)])
        assert ((steps > 3.8) & (steps < 7)).mean() > 0.98
        assert steps.min() > 3.4

    def test_no_two_residues_overlap(self, folds: Folds) -> None:
        for _, cb, _ in chains(folds):
            assert apart(cb)[np.triu_indices(len(cb), 1)].min() > 3.4

    def test_chains_are_as_compact_as_proteins(self, folds: Folds) -> None:
        for _, cb, _ in chains(folds):
            radius = np.sqrt(((cb - cb.mean(axis=0)) ** 2).sum(axis=1).mean())
            assert radius == pytest.approx(2.2 * len(cb) ** 0.38, rel=0.25)

    def test_contacts_are_as_many_as_in_proteins(self, folds: Folds) -> None:
        far_contacts = []
        for _, cb, _ in chains(folds):
            contact = apart(cb) <= 8
            assert 0.7 < contact[np.triu_indices(len(cb), 6)].sum() / len(cb) < 4
            far_contacts.append(contact[np.triu_indices(len(cb), 24)].sum())
        assert min(far_contacts) >= 5, "each protein is scored"
        assert np.mean(far_contacts) > 15

    def test_helices_are_helices(self, folds: Folds) -> None:
        turns, hands = [], []
        for ca, cb, kinds in chains(folds):
            turns += [np.linalg.norm(cb[i + 4] - cb[i]) for i in runs(kinds, HELIX, 5)]
            hands += [np.linalg.det(np.diff(ca[i : i + 4], axis=0)) for i in runs(kinds, HELIX, 4)]
        assert abs(np.median(turns) - 6.5) < 0.4  # 6.49 Å in an ideal α-helix
        assert np.std(turns) < 1.2
        assert (np.array(hands) > 0).mean() > 0.98, "right-handed"

    def test_strands_are_extended_and_pair(self, folds: Folds) -> None:
        rises, paired = [], []
        for ca, _, kinds in chains(folds):
            rises += [np.linalg.norm(ca[i + 4] - ca[i]) for i in runs(kinds, STRAND, 5)]
            edges = np.flatnonzero(np.diff(np.concatenate([[0], kinds == STRAND, [0]])))
            strands = [slice(a, b) for a, b in edges.reshape(-1, 2)]
            for one, two in pairwise(strands):
                paired.append(np.median(apart(ca)[one, two].min(axis=1)))
        assert np.median(rises) > 11.5
        assert np.median(paired) < 6.5  # 4.4 and 5.5 Å by turns in real sheets

    def test_the_same_seed_gives_the_same_folds(self, folds: Folds) -> None:
        again = proteins.simulate_folds(np.random.default_rng(0), COUNT)
        np.testing.assert_array_equal(again.cb_PL3, folds.cb_PL3)

    def test_folds_differ(self, folds: Folds) -> None:
        maps = np.stack([apart(cb)[:SHORTEST, :SHORTEST] for _, cb, _ in chains(folds)])
        differences = np.abs(maps[:, None] - maps).mean(axis=(2, 3))[np.triu_indices(COUNT, 1)]
        assert differences.min() > 1.0  # Å


class TestFeatures:
    def test_they_have_the_release_s_shapes_and_kinds(
        self, folds: Folds, features: list[dict[str, Any]]
    ) -> None:
        for made, length in zip(features, folds.length_P.tolist(), strict=True):
            shapes = {"ss": (3, length), "pssm": (length, 22), "sa": (length,), "entropy": (length,)}
            shapes |= dict.fromkeys(("ccmpred", "freecon", "potential"), (length, length))
            assert made.keys() == {"seq", *shapes}
            assert len(made["seq"]) == length
            for name, shape in shapes.items():
                assert made[name].shape == shape
                assert made[name].dtype == np.float16
                assert np.isfinite(made[name]).all()

    def test_profiles_are_frequencies_and_their_entropy(self, features: list[dict[str, Any]]) -> None:
        for made in features:
            frequencies = made["pssm"][:, :21].astype(np.float64)
            np.testing.assert_allclose(frequencies.sum(axis=1), 1, atol=5e-3)
            positive = np.where(frequencies > 0, frequencies, 1)
            np.testing.assert_allclose(
                made["pssm"][:, 21], -(positive * np.log(positive)).sum(axis=1), atol=2e-2
            )
            assert (made["entropy"] >= 0).all()
            assert (made["entropy"] <= 1).all()

    def test_a_protein_belongs_to_its_family(self, features: list[dict[str, Any]]) -> None:
        shares = [
            made["pssm"][i, proteins.ALPHABET.index(letter)]
            for made in features
            for i, letter in enumerate(made["seq"])
        ]
        assert np.mean(shares) > 0.1  # by chance 0.05

    def test_sequences_are_composed_as_proteins_are(self, features: list[dict[str, Any]]) -> None:
        text = "".join(made["seq"] for made in features)
        shares = np.array([text.count(letter) for letter in proteins.ALPHABET[:20]]) / len(text)
        assert shares.min() > 0
        assert shares.max() < 0.2

    def test_the_core_is_hydrophobic(self, folds: Folds, features: list[dict[str, Any]]) -> None:
        core, rest = [], []
        for (_, cb, _), made in zip(chains(folds), features, strict=True):
            buried = (apart(cb) < 10).sum(axis=1)
            for i, letter in enumerate(made["seq"]):
                (core if buried[i] > np.median(buried) else rest).append(letter in "AVILMFWC")
        assert np.mean(core) > np.mean(rest) + 0.1

    def test_predicted_structure_is_mostly_right(self, folds: Folds, features: list[dict[str, Any]]) -> None:
        right = []
        for (_, _, kinds), made in zip(chains(folds), features, strict=True):
            np.testing.assert_allclose(made["ss"].astype(np.float64).sum(axis=0), 1, atol=3e-3)
            right.append((made["ss"].argmax(axis=0) == kinds).mean())  # coil, helix, strand
        assert 0.75 < np.mean(right) < 0.9

    def test_accessibility_follows_burial_with_noise(
        self, folds: Folds, features: list[dict[str, Any]]
    ) -> None:
        buried = np.concatenate([(apart(cb) < 10).sum(axis=1) for _, cb, _ in chains(folds)])
        exposed = np.concatenate([made["sa"] for made in features]).astype(np.float64)
        assert -0.95 < np.corrcoef(buried, exposed)[0, 1] < -0.6

    @pytest.mark.parametrize(("name", "sign"), [("ccmpred", 1), ("freecon", 1), ("potential", -1)])
    def test_couplings_show_part_of_the_contacts(
        self, folds: Folds, features: list[dict[str, Any]], name: str, sign: int
    ) -> None:
        precision, chance = [], []
        for (_, cb, _), made in zip(chains(folds), features, strict=True):
            scores = sign * made[name].astype(np.float64)
            np.testing.assert_array_equal(scores, scores.T)
            assert not np.diagonal(scores).any()
            far = np.triu_indices(len(cb), 6)
            contact = apart(cb)[far] <= 8
            best = np.argsort(-scores[far])[: len(cb) // 2]
            precision.append(contact[best].mean())
            chance.append(contact.mean())
        assert 3 * np.mean(chance) < np.mean(precision) < 0.9

    def test_one_pixel_does_not_tell_a_distance_and_its_surroundings_tell_more(
        self, folds: Folds, features: list[dict[str, Any]]
    ) -> None:
        alone, around = [], []
        for (_, cb, _), made in zip(chains(folds), features, strict=True):
            record = {k: v for k, v in made.items() if k != "seq"} | {"dist": apart(cb).astype(np.float16)}
            item = psicov.item(record, None, np.random.default_rng(0))
            x, y = item["x"].astype(np.float64), item["y"]
            padded = np.pad(x[54:56], ((0, 0), (3, 3), (3, 3)))
            size = len(y)
            shifted = [padded[:, i : i + size, j : j + size] for i in range(7) for j in range(7)]
            rows, columns = (n + 5 for n in np.triu_indices(size - 10, 6))
            alone.append((np.vstack([x, np.ones((1, size, size))])[:, rows, columns], y[rows, columns]))
            around.append(
                (np.concatenate([alone[-1][0], np.concatenate(shifted)[:, rows, columns]]), y[rows, columns])
            )
        one, many = unexplained(alone), unexplained(around)
        assert one > 0.4, "a linear probe of single pixels leaves most of the work"
        assert many < 0.9 * one


def unexplained(proteins_xy: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Share of the variance of y that a linear fit on three quarters of the proteins leaves on the others."""
    cut = len(proteins_xy) * 3 // 4
    x, y = (np.concatenate(part, axis=-1) for part in zip(*proteins_xy[:cut], strict=True))
    unseen_x, unseen_y = (np.concatenate(part, axis=-1) for part in zip(*proteins_xy[cut:], strict=True))
    weights = np.linalg.solve(x @ x.T + 0.1 * np.eye(len(x)), x @ y)
    return float(np.mean((weights @ unseen_x - unseen_y) ** 2) / unseen_y.var())


class TestRelease:
    def test_it_has_the_files_of_the_release(self, release: Path) -> None:
        for part, count in (("deepcov", 8), ("psicov", 3)):
            names = [line.split()[0] for line in (release / f"protein/{part}.lst").read_text().splitlines()]
            assert len(set(names)) == count
            for folder, suffix in (("features", ".pkl"), ("distance", "-cb.npy")):
                files = {path.name for path in (release / "protein" / part / folder).iterdir()}
                assert files == {name + suffix for name in names}

    def test_a_map_is_a_triple_of_length_sequence_and_distances(self, release: Path) -> None:
        path = next((release / "protein/psicov/distance").iterdir())
        length, sequence, dist = load_npy(path, shape=(3,), kinds="O")
        features = load_pickle(path.parents[1] / "features" / path.name.replace("-cb.npy", ".pkl"))
        assert isinstance(features, dict)
        assert sequence == features["seq"]
        assert dist.shape == (length, length)
        assert dist.dtype == np.float16
        np.testing.assert_array_equal(dist, dist.T)
        assert not np.diagonal(dist).any()

    def test_the_loader_reads_it(self, release: Path) -> None:
        splits = {split: list(records) for split, records in psicov.read(release, 0).items()}
        assert {split: len(records) for split, records in splits.items()} == {"train": 7, "val": 1, "test": 3}

    def test_the_full_sample_splits_192_48_48(self) -> None:
        num_val = min(100, proteins.NUM_DEEPCOV // 5)
        assert (proteins.NUM_DEEPCOV - num_val, num_val, proteins.NUM_PSICOV) == (192, 48, 48)

    def test_made_twice_it_is_the_same_to_the_byte(self, release: Path, tmp_path: Path) -> None:
        proteins.write_sample(tmp_path, 3, num_deepcov=8, num_psicov=3)
        assert contents(tmp_path) == contents(release)

    def test_another_seed_gives_other_proteins(self, release: Path, tmp_path: Path) -> None:
        proteins.write_sample(tmp_path, 4, num_deepcov=8, num_psicov=3)
        assert contents(tmp_path)["protein/deepcov.lst"] != contents(release)["protein/deepcov.lst"]


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
