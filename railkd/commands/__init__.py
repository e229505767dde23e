"""Defines the commands, one file for each group of them; ``railkd/cli.py`` puts them together."""
