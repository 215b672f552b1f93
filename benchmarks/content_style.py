"""What does each objective know of content and style? Pretraining and evaluation of every arm on generated images.

    python benchmarks/content_style.py OUT [--seeds 3] [--epochs 10] [--threads 1]

Arms: an untrained encoder, RELIC with several weights alpha of its penalty (0 is InfoNCE), SimCLR, BYOL, AMDIM; the
same data, encoder, critic, views, optimiser and number of updates in each (the preset content-style). Judged by linear
probes of content (member, family) and of every factor of style, on the styles of training, on unseen values of every
factor at once and of each alone; and by the linear discriminant ratio. OUT/linear and OUT/ldr hold the tables: mean
and 95 % interval over seeds. What is done is not done again, so the script can be broken off and started anew.
"""

from __future__ import annotations

import math

import arms

from relic_rl.images.styles import SPLITS, STYLES

ARMS = {**arms.OBJECTIVES} | {
    f"relic, alpha {alpha}": ["--objective", "relic", "--alpha", alpha] for alpha in ("3", "0.3", "10")
}


def columns(linear: arms.Metrics, ldr: arms.Metrics) -> arms.Metrics:
    """An encoder's row of the short table."""

    def accuracy(*names: str) -> float:
        return sum(linear.get(f"{name}/top1", math.nan) for name in names) / len(names)

    return {
        "member": accuracy("member/test"),
        "family": accuracy("family/test"),
        "member, one factor unseen": accuracy(*(f"member/ood-{factor}" for factor in STYLES)),
        "member, all unseen": accuracy("member/ood"),
        "family, all unseen": accuracy("family/ood"),
        "style (mean of 8 factors)": accuracy(*(f"{factor}/test" for factor in STYLES)),
        "LDR of members, median": ldr.get("member/test/median", math.nan),
    }


def main() -> None:
    args = arms.parser(__doc__).parse_args()
    common = ["--data", "content-style", "--threads", str(args.threads)]
    arms.pretrain(args.out, ARMS, args.seeds, [*common, "--epochs", str(args.epochs)])
    untrained = ["--architecture", "nature", "--image-size", "64"]
    kinds = {"linear": ["--label", "all", "--epochs", "20", "--ood", *SPLITS[2:]], "ldr": []}
    for kind, options in kinds.items():
        arms.evaluate(args.out, ARMS, args.seeds, kind, [*common, *options], untrained)
    (args.out / "summary.md").write_text(arms.summary(args.out, ARMS, args.seeds, list(kinds), columns))
    print(f"short table: {args.out / 'summary.md'}")


if __name__ == "__main__":
    main()
