"""What goes wrong with a replay, told in one line."""


class ReplayError(ValueError):
    """The replay cannot be built, filled, sampled or restored; the message says why and how to mend it."""
