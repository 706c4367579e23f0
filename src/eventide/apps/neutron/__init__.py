"""Neutron, muon and X-ray facilities: pulses of events to live histograms, from messages, files or a simulator."""
