"""Draws the paper's figures, the ablation, the survey of layer maps and the report's plots, in one style."""
