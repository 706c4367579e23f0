"""Connectors: the source and the sink of one system each; the file name is the URI scheme.

A connector has ``source(uri, options)``, ``sink(uri, options)`` or both; what they return does what
`eventide.model.protocols` says of a source and a sink. The address comes without its query, whose
options are merged into `options`; an option that the connector does not have is an error
(`eventide.model.protocols.Options`).
"""
