"""What selecting K of N tokens costs, forward and backward: `topk` against the paper's `iterative`.

    python tests/benchmarks/selection.py                  # B 16, N 3136, k 2000: Swin-B at 224 × 224
    python tests/benchmarks/selection.py --k 500

Every method runs in a process of its own. Two measures of memory:

- saved: bytes of the distinct tensors that autograd keeps from forward to backward (saved-tensor hooks). Exact.
- peak: growth of the process's largest resident set (`ru_maxrss`) over what it was after a warm-up at a tiny size,
  so that torch's own code and pools are not counted. What the machine really needs, in whole pages.

Seconds are the median of the repeats. Targets: at least 100 times faster, at most a tenth of the memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import torch
from torch import Tensor

from pare_tune.method import gumbel_like, select_iterative, select_topk
from step import wait

METHODS = {"topk": select_topk, "iterative": select_iterative}
TAU = 0.9


def one_pass(method: str, b: int, n: int, k: int) -> tuple[float, int]:
    """Seconds of forward and backward, and bytes kept between the two, on torch's default device."""
    generator = torch.Generator(torch.get_default_device()).manual_seed(0)
    logits_BN = torch.randn(b, n, generator=generator).requires_grad_()
    noise_BN = gumbel_like(logits_BN.detach(), generator)
    upstream_BN = torch.randn(b, n, generator=generator)
    saved: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    started = time.perf_counter()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        mask_BN = METHODS[method](logits_BN + noise_BN, k, TAU)
    mask_BN.backward(upstream_BN)
    wait()
    return time.perf_counter() - started, sum(saved.values())


def peak_bytes() -> int:
    """Largest resident set of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def measure(method: str, b: int, n: int, k: int, repeats: int) -> dict[str, float]:
    """One method, in this process."""
    one_pass(method, 2, 16, 8)
    before = peak_bytes()
    passes = [one_pass(method, b, n, k) for _ in range(repeats)]
    return {
        "seconds": statistics.median(seconds for seconds, _ in passes),
        "saved": passes[0][1],
        "peak": peak_bytes() - before,
    }


def measure_apart(method: str, args: argparse.Namespace) -> dict[str, float]:
    """One method, in a process of its own."""
    command = [sys.executable, __file__, "--only", method]
    for name in ("b", "n", "k", "repeats"):
        command += [f"--{name}", str(getattr(args, name))]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--b", type=int, default=16, help="batch")
    parser.add_argument("--n", type=int, default=3136, help="tokens")
    parser.add_argument("--k", type=int, default=2000, help="tokens selected")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=METHODS, help="measure one method here and print JSON")
    args = parser.parse_args()
    if args.only:
        print(json.dumps(measure(args.only, args.b, args.n, args.k, args.repeats)))
        return
    results = {method: measure_apart(method, args) for method in METHODS}
    print(
        f"B {args.b}, N {args.n}, k {args.k}, torch {torch.__version__}, {torch.get_num_threads()} CPU threads\n"
    )
    print("| selection | seconds | saved, MB | peak, MB |")
    print("|---|---:|---:|---:|")
    for method, r in results.items():
        print(f"| {method} | {r['seconds']:.4f} | {r['saved'] / 1e6:.2f} | {r['peak'] / 1e6:.1f} |")
    ratios = {name: results["iterative"][name] / max(results["topk"][name], 1) for name in ("saved", "peak")}
    faster = results["iterative"]["seconds"] / results["topk"]["seconds"]
    print(f"| ratio | {faster:.0f} × | {ratios['saved']:.0f} × | {ratios['peak']:.0f} × |")


if __name__ == "__main__":
    main()
