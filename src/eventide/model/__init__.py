"""What a stream is: batches, event time, windows, triggers, state, the closed graph. No I/O, no threads, no clock."""
