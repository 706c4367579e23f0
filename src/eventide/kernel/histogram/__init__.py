"""Histograms of events: axes and products as data, bins found exactly, many products filled in one pass."""
