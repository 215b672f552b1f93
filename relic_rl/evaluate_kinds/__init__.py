"""The kinds of evaluation behind ``relic_rl.evaluate``, and what they share.

A kind is two modules: ``KIND_options``, with a frozen dataclass `Options` and without torch, and ``KIND``, with
``run(options) -> int`` and, if it draws comparisons of its own, ``compare_figures(results)``. They assemble; what is
measured lies in `relic_rl.evaluation`.
"""
