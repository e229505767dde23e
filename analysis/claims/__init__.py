"""Holds the paper's claims against run records: a ledger, comparisons, verdicts, and an audit of printed numbers."""

UNASKED = "The paper claims nothing of these tasks, so none of its claims is asked here."
