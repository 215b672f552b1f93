"""What does each objective know of a game's state? Pretraining on Atari frames, then probes of annotated memory.

    python benchmarks/atari_state.py OUT [--games Pong,Boxing,MsPacman,Seaquest] [--seeds 3] [--epochs 10]

Arms: an untrained encoder, RELIC, InfoNCE, SimCLR, BYOL and AMDIM; the same frames of random play, encoder (Nature),
critic, views, optimiser and number of updates in each (the preset atari-frames). One encoder sees all games. Judged by
linear probes of every annotated variable on frames of other episodes, macro F1 (`relic_rl.evaluate state`). OUT/state
holds the table: mean and 95 % interval over seeds. What is done is not done again, so the script can be broken off and
started anew.
"""

from __future__ import annotations

import arms


def main() -> None:
    parser = arms.parser(__doc__)
    parser.add_argument("--games", default="Pong,Boxing,MsPacman,Seaquest")
    parser.add_argument("--frames", type=int, default=20_000, help="training frames of all games together")
    parser.add_argument("--test-frames", type=int, default=8_000)
    args = parser.parse_args()
    common = ["--data", "atari", "--games", args.games, "--threads", str(args.threads)]
    common += ["--num-images", str(args.frames), "--num-test-images", str(args.test_frames)]
    arms.pretrain(args.out, arms.OBJECTIVES, args.seeds, [*common, "--epochs", str(args.epochs), "--knn-every", "0"])
    untrained = ["--architecture", "nature", "--image-size", "84"]
    arms.evaluate(args.out, arms.OBJECTIVES, args.seeds, "state", common, untrained)
    text = arms.summary(args.out, arms.OBJECTIVES, args.seeds, ["state"], dict)
    (args.out / "summary.md").write_text(text)
    print(f"short table: {args.out / 'summary.md'}")


if __name__ == "__main__":
    main()
