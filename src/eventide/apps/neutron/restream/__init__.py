"""Histograms on request: commands in, events in, histograms out, by the protocol of just-bin-it.

The protocol (JSON commands ``config``, ``stop``, ``reset_counts``; answers ACK and ERR; the JSON in the info field of
histograms) is that of https://github.com/ess-dmsc/just-bin-it (BSD-2-Clause), as its documentation describes it and as
its program behaves. Where we differ on purpose:

- all of ``data_topics`` are read, and all pulses of a message; just-bin-it takes the first of each;
- a command that is refused changes nothing; all commands that arrive are followed, in order;
- the last pixel of an image has a bin of its own, and the edges of a region are those of its pixels;
- the info has the keys ``ledger`` (where all events are that were looked at) and ``sequence`` (the number of the
  publication of this histogram: one that comes again is the same message) too;
- with a folder for its state, a stop and a kill end nothing: configuration and counts go on where they were;
- ``data_brokers`` may be ``log://FOLDER``: topics of the embedded log, of messages or of pulses;
- ``output_schema`` may be ``da00``, ``input_schema`` ``an44``; without one, every message says its own.
"""
