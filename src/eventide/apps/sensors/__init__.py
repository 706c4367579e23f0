"""Sensor networks: decode, check, find anomalies, group incidents; the Array of Things chapter as a running job."""
