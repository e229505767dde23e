"""Offers the calls for Python: models and examples in memory, no benchmark file and no results folder."""
