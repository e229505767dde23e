"""Turns a task's files into token ids and length-bucketed batches."""
