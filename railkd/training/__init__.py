"""Trains a model with a method: the loop, one step of it, and the state from which a stopped run goes on."""
