"""Anomaly detectors, one a file; the file name is the detector's name and the name of the function that makes it."""
