"""Whether runs can decide a claim at all, judged from their records before any verdict (docs/validity.md)."""
