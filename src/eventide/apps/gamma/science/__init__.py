"""From gamma-ray-like events to statements about the sky: counts, significance, light curves, maps and alerts."""
