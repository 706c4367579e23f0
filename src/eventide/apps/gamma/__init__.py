"""Gamma-ray telescopes: camera images to gamma-ray alerts."""
