"""Gives a frozen teacher's signals: cached once for all students, or from the teacher run in every step."""
