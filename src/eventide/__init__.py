"""Event-time stream analysis for science."""
