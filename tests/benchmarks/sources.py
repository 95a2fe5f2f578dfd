"""From how many tokens on do a 1D source's windows hold a label that can be learned?

    python tests/benchmarks/sources.py [--sources docs waves] [--tokens 4 8 …] [--samples 1500]

Accuracy of a linear probe (logistic regression, three folds) on the mean and the spread over a window's raw tokens, as
the frozen source embedder of micro-roberta gives them, beside the share of the largest class.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pare_tune.backbones import load_backbone
from pare_tune.train.batches import fetch, stack
from pare_tune.train.build import source_for


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sources", nargs="+", default=["docs", "waves"])
    parser.add_argument("--tokens", nargs="+", type=int, default=[4, 6, 9, 12, 16, 24, 32, 64])
    parser.add_argument("--samples", type=int, default=1500)
    options = parser.parse_args()
    backbone = load_backbone("micro-roberta")
    print(f"| tokens | {' | '.join(options.sources)} |\n|---:|{'---:|' * len(options.sources)}")
    for num_tokens in options.tokens:
        cells = []
        for name in options.sources:
            source = source_for(backbone, name, num_tokens=num_tokens)
            rows = np.random.default_rng(0).permutation(len(source.dataset))[: options.samples]
            batch = stack(fetch(source.dataset, rows.tolist()))
            with torch.no_grad():
                tokens_BND = backbone.embed_source(batch["x"], source.kind.value).float()
            x, y = torch.cat([tokens_BND.mean(1), tokens_BND.std(1)], dim=1).numpy(), batch["y"].numpy()
            probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=100))
            read = cross_val_score(probe, x, y, cv=3).mean()
            cells.append(f"{read:.1%} ({np.bincount(y).max() / len(y):.1%})")
        print(f"| {num_tokens} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
