"""A benchmark file: read, checked, resolved into what each job needs, and where its results lie."""
