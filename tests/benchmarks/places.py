"""Does a pretrained text encoder see where in a series something is? A linear probe of its frozen features.

    python tests/benchmarks/places.py --backbones OUT --packages PACKAGES

OUT and PACKAGES as in real.py. A new series embedder, of random projection, adds its places either as the table of the
checkpoint has them or as the checkpoint's own norm scales them (`Backbone.added_positions`); features are averaged over
tokens. 300 series to fit the probe, 300 to score it; error in %, mean ± standard deviation over seeds.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pare_tune.backbones import Backbone, load_backbone
from pare_tune.method import SequenceEmbedder, start_from
from real import read
from trainings import spread

HALF, BATCH = 300, 50
TOKENS = {"power": 24, "digits-series": 32}


@torch.no_grad()
def features(
    backbone: Backbone, x_NCL: torch.Tensor, num_tokens: int, *, scaled: bool
) -> npt.NDArray[np.float32]:
    """(N, F)."""
    spec, length = backbone.spec, x_NCL.shape[-1]
    embedder = SequenceEmbedder(
        1, length, num_tokens, spec.width, norm_eps=spec.norm_eps, bias=True,
        positions=backbone.added_positions if scaled else backbone.positions,
    )  # fmt: skip
    start = backbone.patch_start(1, length // num_tokens)
    start_from(embedder, norm_weight=start.norm_weight, norm_bias=start.norm_bias)
    return torch.cat([backbone.encode(embedder(x)).mean(dim=1) for x in x_NCL.split(BATCH)]).numpy()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--backbones", type=Path, required=True)
    parser.add_argument("--packages", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| encoder, data | table of the checkpoint | as its norm scales it |\n|---|---:|---:|")
    for name, data in product(("minilm", "antiberty"), TOKENS):
        backbone = load_backbone(f"hf:{options.backbones / name}").eval()
        _, x, y = read(data, options.backbones, options.packages)
        shown = []
        for scaled in (False, True):
            errors = []
            for seed in range(options.seeds):
                rows = np.random.default_rng(seed).permutation(len(y))[: 2 * HALF]
                torch.manual_seed(seed)
                white = torch.from_numpy((x[rows] - x.mean()) / x.std()).float()
                seen = features(backbone, white, TOKENS[data], scaled=scaled)
                probe = make_pipeline(
                    StandardScaler(), LogisticRegressionCV(Cs=[1e-3, 1e-2, 0.1], cv=3, max_iter=200)
                )
                probe.fit(seen[:HALF], y[rows[:HALF]])
                errors.append(100 * (1 - probe.score(seen[HALF:], y[rows[HALF:]])))
            shown.append(spread(errors))
        print(f"| {name}, {data} | {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    main()
