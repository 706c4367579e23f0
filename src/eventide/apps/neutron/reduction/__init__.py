"""Live reduction: times of flight to physical units, as functions and as axes of histograms; normalisation; pulses."""
