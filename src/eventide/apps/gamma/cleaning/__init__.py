"""Cleanings, one a file: which pixels of camera images hold light of a shower and not of the night sky.

The file name is the name of the cleaning and of its function, ``name(camera, images, peak_times, **options)``: images
as rows of float32 in photo-electrons, peak times as rows of float32 in ns (or None where a cleaning needs none), out
come masks of the same shape. Every image is judged by itself: no result depends on what else is in the batch. Masks are
those of ctapipe 0.28 (BSD 3-Clause), whose rules these are, except for `compat`.
"""
