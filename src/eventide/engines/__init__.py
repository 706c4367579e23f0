"""Engines: graph to execution, one a file (`local` is a package), named as ``--engine`` names them.

An engine has ``run(pipeline, **options)``. It executes the node kinds of `eventide.model.graph` and builds
the machines of stateful nodes with `eventide.kernel.build.build_machine`.
"""
