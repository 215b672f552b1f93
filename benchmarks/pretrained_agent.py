"""Does pretraining on Atari frames help an agent? Pretrains an encoder on eight games, trains agents with and without.

    python benchmarks/pretrained_agent.py OUT [--games RoadRunner,Breakout] [--seeds 3] [--steps 100000] [--threads 1]

The encoder (Nature) learns by RELIC on 40,000 frames of random play of eight games, the agents' among them (the preset
atari-frames). Then PPO plays each game from fresh weights, from the pretrained encoder, and from the pretrained encoder
left as it is; no auxiliary loss in any, all else the small preset's and equal. OUT/summary.md holds the table and OUT
the curves. Agent steps are counted from the agent's first: pretraining's frames come on top. Runs that are done are not
done again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import learning

FRAMES_OF = "pong,breakout,boxing,ms_pacman,seaquest,space_invaders,road_runner,assault"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--games", default="RoadRunner,Breakout")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    threads = ["--threads", str(args.threads)]
    pretrained = args.out / "pretrained"
    if not (pretrained / "result.json").is_file():
        command = [sys.executable, "-m", "relic_rl.pretrain", "--data", "atari", "--games", FRAMES_OF, *threads]
        subprocess.run([*command, "--run-dir", str(pretrained), "--resume", "auto"], check=True)
    weights = ["--encoder-weights", str(pretrained / "encoder.safetensors")]
    arms = {"pretrained": weights, "pretrained, frozen": [*weights, "--freeze-encoder"], "from scratch": []}
    options = ["--objective", "none", "--total-steps", str(args.steps), "--eval-episodes", "30", *threads]
    learning.compare(args.out, arms, args.seeds, {f"ALE/{game}-v5": options for game in args.games.split(",")})


if __name__ == "__main__":
    main()
