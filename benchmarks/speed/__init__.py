"""Measures what a step of every method costs: ``python -m benchmarks.speed --help``."""
