"""What an auxiliary objective adds to an agent's wall-clock, by frames per evaluation and by how often it is evaluated.

    python benchmarks/auxiliary.py [--agent ppo] [--env ALE/Pong-v5] [--turns 6] [--objectives relic,infonce,...]

For each setting the agent with the objective is trained next to one without, in turns and in one process, so that
whatever else the machine does falls on both; a turn is four whole PPO iterations (collecting a rollout and learning
from it), or so many updates of R2D2 with the acting between them that the schedule of the objective comes round.
Printed is the share added: (median with - median without) / median without. The default preset is used; the first
row is its own setting.
"""

import argparse
import math
import statistics
from dataclasses import replace

from trainer import Trainer, options

SETTINGS = ((32, 4), (64, 8), (64, 4), (64, 2), (64, 1), (128, 4), (256, 4), (256, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", choices=["ppo", "r2d2"], default="ppo")
    parser.add_argument("--env", default="ALE/Pong-v5")
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--objectives", default="relic")
    parser.add_argument("--settings", type=int, default=len(SETTINGS), help="how many rows beyond the default's")
    arguments = parser.parse_args()

    common = ["--env", arguments.env, "--agent", arguments.agent]
    default = options(*common)
    without = Trainer(replace(default, objective="none"))
    per_turn = 4 * default.num_epochs * default.num_minibatches if arguments.agent == "ppo" else 8
    print(f"{arguments.env}, {arguments.agent}, {default.num_envs} environments, precision {without.precision}")
    print("| objective | frames | every | steps/s without | steps/s with | share added |")
    print("|---|---|---|---|---|---|")
    own = (default.aux_batch_size, default.aux_every)
    for objective in arguments.objectives.split(","):
        for frames, every in (own, *[s for s in SETTINGS if s != own][: arguments.settings]):
            added = Trainer(
                replace(
                    default,
                    objective=objective,
                    aux_batch_size=frames,
                    aux_every=every,
                    precision=without.precision,
                )
            )
            updates = math.lcm(per_turn, every)
            times: tuple[list[float], list[float]] = ([], [])
            rates: tuple[list[float], list[float]] = ([], [])
            for turn in range(arguments.turns + 1):
                for i, trainer in enumerate((without, added)):
                    seconds, steps = trainer.iterate(updates)
                    if turn:  # the first one warms up
                        times[i].append(seconds)
                        rates[i].append(steps / seconds)
            base, extended = map(statistics.median, times)
            print(
                f"| {objective} | {frames} | {every} | {statistics.median(rates[0]):.0f} "
                f"| {statistics.median(rates[1]):.0f} | {extended / base - 1:.1%} |",
                flush=True,
            )
            added.close()


if __name__ == "__main__":
    main()
