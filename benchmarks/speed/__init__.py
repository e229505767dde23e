"""What a step of every method costs, measured: ``python -m benchmarks.speed --help``."""
