"""A worker for ``benchmarks/ppo.py``: stable-baselines3's PPO in the classical Atari setting, in its own environment.

    python -m venv /tmp/sb3
    /tmp/sb3/bin/pip install torch==2.13.0 stable-baselines3==2.9.2 ale-py opencv-python-headless

Reads a line, trains as many iterations as it was told to (each 8 environments x 128 steps, 4 epochs of 4 minibatches of
256, Nature encoder, sticky actions), answers with the seconds it took and the agent steps.
Nothing of this project is imported.
"""

import sys
import time

import ale_py
import gymnasium
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_atari_env
from stable_baselines3.common.vec_env import VecFrameStack


def main() -> None:
    gymnasium.register_envs(ale_py)
    game, iterations = sys.argv[1], int(sys.argv[2])
    # Frame skip and the maximum over frames are the wrapper's; life loss and the start are as in `v5`.
    env = make_atari_env(
        f"ALE/{game}-v5",
        n_envs=8,
        seed=0,
        env_kwargs={"frameskip": 1, "repeat_action_probability": 0.25},
        wrapper_kwargs={"terminal_on_life_loss": False, "noop_max": 0, "clip_reward": True},
    )
    model = PPO(
        "CnnPolicy",
        VecFrameStack(env, n_stack=4),
        n_steps=128,
        n_epochs=4,
        batch_size=256,
        learning_rate=2.5e-4,
        clip_range=0.1,
        ent_coef=0.01,
        device="cpu",
        verbose=0,
    )
    for _ in sys.stdin:
        start = time.perf_counter()
        model.learn(total_timesteps=iterations * 8 * 128, reset_num_timesteps=False)
        print(time.perf_counter() - start, iterations * 8 * 128, flush=True)


if __name__ == "__main__":
    main()
