"""Judges whether runs can decide a claim at all, from their records and before any verdict (docs/validity.md)."""
