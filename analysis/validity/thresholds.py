"""Holds the thresholds of validity and their reasons; ``docs/validity.md`` explains them, and a test compares both.

None was chosen on the results of a method: they follow from what a standard error means and from the paper's claims.
"""

LAST_SHARE = 1 / 3
"""A group of runs has not converged when more than this share of them end at their best epoch (and dev still rises).
A converged run ends there by chance, once in a few runs; one unlucky seed of three is not more than this share."""

GROUP_ERRORS = 1.0
"""Standard errors by which the dev score of a group (a method's runs, over the tasks of a claim) has to rise over the
last quarter of the epochs: more budget would then move its average by more than its error, which is what convergence
must exclude."""

CELL_ERRORS = 3.0
"""The same for one cell alone (a method on one task). A benchmark has a hundred cells: by two standard errors chance
would make two of them fail, by three none in seven benchmarks of eight."""

NEGLIGIBLE_RISE = 0.1
"""Points. A smaller rise never counts, however small its error: a third of the least gain that the paper claims
(0.3 points), so that many seeds do not make a matter of nothing."""

PRIOR_RUNS = 2
"""The noise of a rise is that of the runs at hand and, with the weight of so many degrees of freedom, the sampling
error of the dev examples: a single seed has a noise, and three seeds that agree by luck do not have none."""

GAP_ERRORS = 2.0
"""Standard errors by which the teacher has to lie above the student without KD on a task: less is no gap to gain."""

MOST_TASKS = 1 / 2
"""There is something to gain when the teacher lies so far above on more than this share of a claim's tasks."""

BASELINE_SHARE = 1 / 3
"""A method does not clear the majority-class baseline when this is so on more than this share of a claim's tasks: on
one task of many it is a result, on many tasks the training has failed."""

COLLAPSED_RANK = 1.1
"""Effective rank of the projected vectors at the best epoch: 1 when all examples share one direction. Below this about
one hundredth of the squared length of a unit vector is left to tell examples apart."""

COLLAPSED_SHARE = 1 / 3
"""A cell has collapsed when more than this share of its runs have, and a method when more than this share of its cells
have."""

MORE_EPOCHS = 2
"""Factor by which to raise a number of epochs that was too low. The runs have to be judged again after it."""
