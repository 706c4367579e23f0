"""Forests of decision trees: imported, applied without the library that trained them, and changed at a time."""
