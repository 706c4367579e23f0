"""Gamma-ray telescopes: camera images to reconstructed events, and events to statements about the sky."""
