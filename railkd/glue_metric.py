"""Offers GLUE's metrics as an `evaluate` module that needs no network:
``evaluate.load("railkd/glue_metric.py", "mrpc")``."""

import datasets
import evaluate
import numpy as np

from railkd.metrics import score
from railkd.tasks import TASKS

_DESCRIPTION = "The GLUE metrics of one task; the configuration name is the task (cola, sst2, mrpc, ...)."
_INPUTS = "predictions, references: lists of classes, or of scores for stsb. Returns a dict of fractions."
_CITATION = "Wang et al. 2019, GLUE: A Multi-Task Benchmark and Analysis Platform for Natural Language Understanding"


class GlueMetric(evaluate.Metric):
    """The metrics of ``railkd.tasks.TASKS[config_name]``, and the one a table shows."""

    def _info(self) -> evaluate.MetricInfo:
        if self.config_name not in TASKS:
            raise ValueError(f"unknown task '{self.config_name}'; available: {', '.join(TASKS)}")
        kind = datasets.Value("float32" if TASKS[self.config_name].regression else "int64")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": kind, "references": kind}),
        )

    def _compute(self, predictions: list[float], references: list[float]) -> dict[str, float]:
        task = TASKS[self.config_name]
        names = tuple(dict.fromkeys((*task.metrics, task.shown)))
        return score(names, np.asarray(predictions), np.asarray(references))
