"""Servers for one machine, one a file: real ones, on the loopback, for tests and for trying things out.

A service is a file with ``at(folder, port=0)``, which returns an object with ``name``, ``address``, ``running``,
``start()`` and ``stop(kill=False)``. Everything that it keeps is in that folder. ``eventide services up NAME`` starts
one, the tests start theirs the same way.
"""
