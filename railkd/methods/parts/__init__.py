"""Holds what several distillation methods share."""
