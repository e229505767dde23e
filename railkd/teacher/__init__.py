"""A frozen teacher as a source of signals: cached once for all students, or run live in every step."""
