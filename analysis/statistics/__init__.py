"""Means, intervals, contrasts, corrections, power and bootstrap."""
