"""Configurations of other programs as pipelines of this one, with a table of what became of every step."""
