"""Estimates what a benchmark will cost on this machine, measured on untrained models."""
