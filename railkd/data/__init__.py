"""From a task's files to token ids and length-bucketed batches."""
