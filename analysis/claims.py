"""The claims ledger: ``benchmarks/claims.yaml`` against run records, with an estimate and a verdict for each claim.

Writes ``claims.json`` and, for reading, ``claims.md``. Shape of ``claims.json`` (every number may be null):

    benchmark, title   of the benchmark file
    synthetic          true when the records are of generated text; then ``warning`` says what that means, else ""
    level              of the intervals, 0.95
    seeds              planned seeds
    draws, draw_seed   of the bootstrap
    counts             verdict -> number of claims
    claims             in the order of the ledger, each:
        id, words, section, table | figure     as in the ledger: the paper's words and where they stand
        reading        what is compared, and every margin
        measure        score | sd | train_seconds | step_seconds | similarity | top_attention
        unit           points (percentage points) | ratio | cosine | share: of all the numbers below
        relation       above | same | at_most
        lower, upper   the claim holds where the estimate lies between them; null: no such bound
        verdict        reproduced | contradicted | undecided | not run
        why            one sentence
        estimate, low, high, paper     of the part that the claim hangs on: the one with the least evidence for it
        label          that part's, such as "RAIL-KD^l − PKD"
        seeds_needed   undecided only: seeds that would decide it if the estimate is right (power 0.8); null: none would
        missing        what has to be run, in words; empty unless not run
        parts          every comparison that must hold:
            label, methods, pairs, columns   what is compared; methods: the two sides; columns: tasks or sets averaged
            estimate, low, high      and 95 % interval, of seeds and examples together (of seeds alone without predictions)
            se_seeds, se_examples    standard errors (log scale for a ratio): of having run these seeds, of having these
                                     examples; null where predictions are not at hand or play no role
            df, n                    degrees of freedom (Satterthwaite); seeds in the smallest cell
            p, p_holm                one-sided, that the claim's side is chance; Holm-corrected over the table or figure
            p_against, p_against_holm   that the other side is
            verdict                  reproduced | contradicted | undecided
            paper                    the paper's figure from its printed averages; over the same columns as here
            paper_columns            the same from the means of the printed columns
            detectable               the least true difference from the bound (a factor for ratios) that these seeds find in
                                     4 of 5 repetitions
            seeds_needed             as above
            bootstrap                {"seeds": [low, high], "examples": [low, high] | null, "both": [low, high] | null}
            improvement              probability that a run of the first side beats one of the second, mean over columns
    errors             dev-set (and test-set) sampling error beside seed error, for each cell of scores:
                       pair, block, method, column, n, sd, se_seeds, se_examples, in percentage points
    selection          what choosing the best epoch on dev flatters, for each pair and method, in percentage points:
                       pair, method, runs, dev_minus_test, low, high, optimism, optimism_low, optimism_high, halves
                       (runs whose record keeps the two halves of dev)
    budget             expected best dev score against tuning budget, where a search ran, for each pair and method:
                       pair, method, tasks, points, expected (list: budget 1, 2, ...), in percent

``audit.json`` is described in ``analysis/audit.py``.
"""
