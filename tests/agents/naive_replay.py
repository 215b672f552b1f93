"""A replay made of plain lists, slow and obvious, and a stream of made-up vector steps to feed it."""

from __future__ import annotations

from typing import Any

import numpy as np

from agents.replay import ReplayGeometry
from envs.types import EnvStep


class Stream:
    """N environments whose games end, time out or break off at random; observations are stacks of noise."""

    def __init__(self, geometry: ReplayGeometry, seed: int, mean_length: float) -> None:
        self.geometry = geometry
        self.rng = np.random.default_rng(seed)
        self.mean_length = mean_length
        n = geometry.num_envs
        self.stacks: list[list[np.ndarray]] = [[] for _ in range(n)]
        self.over = np.ones(n, dtype=bool)

    def step(self, *, restart: bool = False) -> tuple[EnvStep, np.ndarray, np.ndarray]:
        """A vector step, the actions that led to it and the LSTM states [2, N, D] that read it."""
        g, rng, n = self.geometry, self.rng, self.geometry.num_envs
        invented = self.over | restart
        for i in range(n):
            frame = rng.integers(0, 256, g.frame_shape, dtype=np.uint8)
            if rng.random() < 0.5:
                frame[:] = rng.integers(256)  # compresses well
            if invented[i]:
                self.stacks[i] = [frame] * g.stack
            else:
                self.stacks[i] = [*self.stacks[i][1:], frame]
        ends = ~invented & (rng.random(n) < 1 / self.mean_length)
        terminated = ends & (rng.random(n) < 0.5)
        self.over = ends
        step = EnvStep(
            observation=np.stack([np.concatenate(stack) for stack in self.stacks]),
            reward=np.where(invented, 0, rng.normal(size=n)).astype(np.float32),
            terminated=terminated,
            truncated=ends & ~terminated,
            lives=np.zeros(n, dtype=np.int32),
            invented=invented,
            episode_return=np.full(n, np.nan, dtype=np.float32),
            episode_length=np.zeros(n, dtype=np.int64),
        )
        state = rng.normal(size=(2, n, g.state_size)).astype(np.float32)
        return step, rng.integers(0, 5, n), state


class NaiveReplay:
    """Keeps everything for ever, and finds sequences by searching."""

    def __init__(self, geometry: ReplayGeometry, alpha: float = 0.9, beta: float = 0.6) -> None:
        self.geometry = geometry
        self.alpha, self.beta = alpha, beta
        self.rows: list[list[dict[str, Any]]] = [[] for _ in range(geometry.num_envs)]
        self.priority: dict[tuple[int, int], float] = {}  # (env, start) -> priority, for sequences ever seen
        self.largest = 1.0

    @property
    def position(self) -> int:
        return len(self.rows[0])

    def add(self, step: EnvStep, action: np.ndarray, state: np.ndarray, ends_return: np.ndarray) -> None:
        for i, rows in enumerate(self.rows):
            first = bool(step.invented[i])
            if first and rows:
                rows[-1]["last"] = True
            rows.append(
                {
                    "observation": step.observation[i].copy(),
                    "action": -1 if first else int(action[i]),
                    "reward": float(step.reward[i]),
                    "ends_return": bool(ends_return[i]),
                    "last": bool(step.terminated[i] | step.truncated[i]),
                    "first": first,
                    "state": np.zeros_like(state[:, i]) if first else state[:, i].copy(),
                }
            )
        for key in self.complete():
            self.priority.setdefault(key, self.largest)

    def episodes(self, env: int) -> list[tuple[int, int, bool]]:
        """First row, last row, ended; the newest episodes only, as many as a small replay holds."""
        rows, found, last = self.rows[env], [], self.position - 1
        for t in range(last, max(-1, last - 200), -1):
            if rows[t]["first"]:
                found.append((t, last, rows[last]["last"]))
                last = t - 1
        return found[::-1]

    def complete(self) -> set[tuple[int, int]]:
        """(env, start) of all complete sequences ever."""
        layout, found = self.geometry.layout, set()
        for env in range(self.geometry.num_envs):
            for begin, last, ended in self.episodes(env)[-3:]:
                covered = begin
                for start in range(begin, last, layout.stride):
                    whole = start + layout.length + layout.n_step - 1 <= last
                    if not (ended or whole):
                        break
                    end = min(start + layout.length, last)  # one past the last transition trained on
                    if end > covered:
                        found.add((env, start))
                        covered = end
        return found

    def alive(self, oldest: int) -> set[tuple[int, int]]:
        """Sequences whose rows are all there and will be at the next step."""
        horizon = oldest + self.geometry.margin if oldest else 0
        return {key for key in self.priority if key[1] >= horizon}

    def sequence(self, env: int, start: int) -> dict[str, np.ndarray]:
        """What a batch must hold for it, row by row."""
        layout, rows = self.geometry.layout, self.rows[env]
        begin, last, _ = next(e for e in self.episodes(env) if e[0] <= start <= e[1])
        out: dict[str, list[Any]] = {
            name: [] for name in ("observation", "action", "reward", "ends_return", "last", "valid")
        }
        for t in range(start - layout.burn_in, start + layout.length + layout.n_step):
            inside = begin <= t <= last
            row = rows[min(max(t, begin), last)]
            for name in ("action", "reward", "ends_return", "last"):
                out[name].append(row[name])
            out["observation"].append(row["observation"] if inside else None)
            out["valid"].append(inside)
        burn = max(begin, start - layout.burn_in)
        return out | {
            "episode": begin * len(self.rows) + env,
            "begin": burn - (start - layout.burn_in),
            "state": rows[burn]["state"],
        }
