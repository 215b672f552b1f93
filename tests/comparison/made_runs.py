"""Run directories as ``train`` leaves them, without training."""

import json
from pathlib import Path
from typing import Any

import yaml

OPTIONS = {"agent": "ppo", "total_steps": 1000, "protocol": "v5", "learning_rate": 1e-3, "eval_episodes": 2}
AUXILIARY = {"aux_weight": 1.0, "augmentation": "shift", "temperature": 0.1, "target": "ema", "target_decay": 0.99}
PENALTY = {"alpha": 1.0, "divergence": "kl"}


def config_of(env: str, objective: str, seed: int, **more: Any) -> dict[str, Any]:
    config = {"env": env, "objective": objective, "seed": seed} | OPTIONS
    if objective in ("relic", "infonce"):
        config |= AUXILIARY
    if objective == "relic":
        config |= PENALTY
    return config | more


def make_run(
    path: Path, objective: str, seed: int, scores: list[float] | None, env: str = "ALE/Pong-v5", **more: Any
) -> Path:
    """A run; without scores it is not finished."""
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(yaml.safe_dump(config_of(env, objective, seed, **more)))
    (path / "versions.json").write_text(json.dumps({"commit": "abc"}))
    rows = ["step,seconds,mean_return", "10,1,nan", "500,2,1", f"1000,3,{seed + 2}"]
    (path / "progress.csv").write_text("\n".join(rows) + "\n")
    if scores is not None:
        evaluation = {"rule": "sampled", "protocol": "v5", "num_games": len(scores), "returns": scores}
        result = {"agent_steps": 1000, "frames": 4000, "updates": 50, "evaluation": evaluation}
        (path / "result.json").write_text(json.dumps(result | {"steps_per_second": 100.0}))
    return path


def make_styles(path: Path, scores: dict[tuple[str, int], list[float]]) -> None:
    """What ``evaluate play --style`` leaves."""
    (path / "style-shift").mkdir()
    lines = ["game,seed,steps,frames,protocol,objective,agent,style,severity,episode,score"]
    for (style, severity), of_style in scores.items():
        lines += [f"pong,0,1000,4000,v5,relic,ppo,{style},{severity},{i},{s}" for i, s in enumerate(of_style)]
    (path / "style-shift" / "scores.csv").write_text("\n".join(lines) + "\n")
