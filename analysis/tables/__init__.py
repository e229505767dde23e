"""Builds Tables 1 to 6 of the paper, their cells and captions, and writes them in their formats."""
