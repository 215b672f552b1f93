"""Comparisons of runs: plan, launch, statistics, report."""
