"""Holds the paper's claims against run records: a ledger, comparisons, verdicts, and an audit of printed numbers."""

UNASKED = "The paper claims nothing about these tasks, so no claim is evaluated."
