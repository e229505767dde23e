"""Computes means, intervals, contrasts, corrections, power and bootstrap."""
