"""How PPO's learning rate, entropy bonus and number of epochs change over a run."""

from __future__ import annotations

from typing import NamedTuple


class Coefficients(NamedTuple):
    """What a rollout is learned from with."""

    learning_rate: float
    entropy_coefficient: float
    num_epochs: int  # passes over it, at least 1


class Schedule(NamedTuple):
    """Coefficients by agent steps.

    Attributes:
        total_steps: agent steps over which what is annealed falls to 0.
        learning_rate: Adam's, before it falls.
        warmup: share of the total over which the learning rate rises linearly from near 0 first. Adam's first steps
            have the size of the rate whatever the gradients, and can leave an encoder that says the same of every
            image.
        anneal: let the learning rate fall linearly to 0.
        entropy_coefficient: weight of the entropy bonus, before it falls.
        anneal_entropy: let it fall linearly to 0.
        num_epochs: passes over a rollout, before they become fewer.
        anneal_epochs: let them become fewer, down to 1, as what is annealed linearly would: early on an agent learns
            more from repetition than later.
    """

    total_steps: int
    learning_rate: float = 2.5e-4
    warmup: float = 0.0
    anneal: bool = True
    entropy_coefficient: float = 0.01
    anneal_entropy: bool = False
    num_epochs: int = 4
    anneal_epochs: bool = False

    def at(self, before: int, after: int) -> Coefficients:
        """What a rollout is learned from with.

        What falls is counted by ``before`` and what rises by ``after``: no rollout within ``total_steps`` is learned
        from at a rate of 0.

        Args:
            before: agent steps before the rollout.
            after: those with it.
        """
        left = max(0.0, 1.0 - before / self.total_steps)
        warmed = min(1.0, after / (self.warmup * self.total_steps)) if self.warmup else 1.0
        rate = self.learning_rate * warmed * (left if self.anneal else 1.0)
        entropy_coefficient = self.entropy_coefficient * (left if self.anneal_entropy else 1.0)
        num_epochs = max(1, round(self.num_epochs * left)) if self.anneal_epochs else self.num_epochs
        return Coefficients(rate, entropy_coefficient, num_epochs)
