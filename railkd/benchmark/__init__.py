"""Reads and checks a benchmark file, resolves it into what each job needs, and knows where its results lie."""
