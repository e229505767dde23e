"""The paper's claims against run records: a ledger, comparisons, verdicts, and an audit of the printed numbers."""
