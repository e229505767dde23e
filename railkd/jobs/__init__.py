"""Runs the jobs of the workflow: each module prepares, trains or records something, and is called by a command."""
