"""Neutron, muon and X-ray facilities: event streams to live histograms in physical units."""
