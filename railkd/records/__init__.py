"""Keeps run records and the files that hold them: written whole or not at all, with digests of their content."""
