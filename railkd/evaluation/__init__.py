"""Scores a trained model, and measures how it agrees with its teacher."""
