"""Parameters of cleaned images, one group a file; names and formulas are those of ctapipe 0.28 (BSD 3-Clause).

Each group has a function over the chosen pixels of many images (`chosen`) with numpy, and a compiled twin over those of
one image in ``<group>_loops``: both do the same additions in the same order, so they give the same bits. `measure`
joins them.
"""
