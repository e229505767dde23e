"""Finds the weights of encoders, checks that they fit, loads and runs the encoders, and makes them cheaper."""
