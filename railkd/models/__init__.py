"""Encoders: where their weights are, whether they fit, how they are loaded, run and made cheaper."""
