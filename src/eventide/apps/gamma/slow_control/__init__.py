"""Slow control: what telescopes and the sky were like when an image was taken, joined as of its time.

Pointings, states of telescopes, weather and calibrations are streams of their own. Every image that is left out because
of them is told with its reason.
"""
