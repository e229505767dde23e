"""Run records and the files that hold them: written whole or not at all, with the digests of their content."""
