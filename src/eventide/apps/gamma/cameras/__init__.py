"""Cameras as data: `camera`; read from JSON by `definitions`, made for simulators by `made`."""
