"""The rules under which Atari games are played. Scores under different rules cannot be compared.

Both protocols: the game's minimal action set, frame skip 4, maximum over the last two frames, grey scale,
84 x 84, stack of 4 frames with the first one repeated after a reset, games of at most 108,000 frames, no fire
on reset, rewards raw, a lost life ends nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class AtariProtocol:
    """How an Atari game is started, played and cut off.

    Attributes:
        name: what results are filed under.
        sticky: probability that the emulator repeats the previous action for a frame, 0 to 1.
        max_noops: most emulator frames without action that precede a game, drawn uniformly from 1 to
            ``max_noops`` (envpool) or 0 to ``max_noops`` (ALE's engine); 0 = as few as the engine allows,
            which is one frame on envpool and none on ALE's engine.
        fire_reset: press FIRE once at the start of a game that has a FIRE action.
        frame_skip: emulator frames per agent step.
        max_frames: time limit of a game in emulator frames, start-up no-ops not counted.
        stack: frames per observation, oldest first.
        size: height and width of a frame in pixels.
    """

    name: str
    sticky: float
    max_noops: int
    fire_reset: bool = False
    frame_skip: int = 4
    max_frames: int = 108_000
    stack: int = 4
    size: int = 84

    @property
    def max_episode_steps(self) -> int:
        """Time limit in agent steps, rounded up."""
        return -(-self.max_frames // self.frame_skip)

    def with_limit(self, max_episode_steps: int) -> AtariProtocol:
        """The same rules with another time limit, in agent steps."""
        return replace(self, max_frames=max_episode_steps * self.frame_skip)


V5 = AtariProtocol(name="v5", sticky=0.25, max_noops=0)
"""What gymnasium means by ``ALE/<Game>-v5``. Source: Machado et al., 2018, https://arxiv.org/abs/1709.06009."""

NOOP = AtariProtocol(name="noop", sticky=0.0, max_noops=30)
"""Random no-op starts, no sticky actions, as the RELIC and R2D2 papers play. Source: Mnih et al., 2015."""

PROTOCOLS = (V5, NOOP)


def get_protocol(name: str) -> AtariProtocol:
    """The protocol of that name.

    Raises:
        ValueError: there is none.
    """
    for protocol in PROTOCOLS:
        if protocol.name == name:
            return protocol
    raise ValueError(f"unknown protocol {name!r}: choose {' or '.join(p.name for p in PROTOCOLS)}")
