"""The paper's audit: averages and statements recomputed from its printed tables (``benchmarks/reference/*.csv``).

Writes ``audit.json`` and ``audit.md``. Shape of ``audit.json``:

    source      the paper
    counts      {"checks": n, "findings": n}
    checks      every check made, findings first, each:
        id          such as "average-2-test-pkd", or the id of a statement of ``benchmarks/claims.yaml``
        kind        average | order | repeat | step | gap | best | wins | above | timing
        holds       false: a finding
        where       "Table 2, TEST, PKD", or "Section 5"
        words       the paper's words; "" where a number is checked and no sentence
        printed     what the paper prints or states, as text
        recomputed  what follows from its printed numbers, as text
        difference  printed − recomputed where that is one number, else null
        detail      one sentence for a reader

Nothing here reads a run record. A printed number stands for all that round to it: a check fails only if no choice of
unrounded numbers makes it hold.
"""
