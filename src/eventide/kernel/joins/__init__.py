"""Joins of two keyed streams: in windows, within an interval of time, and as of a time.

`eventide.kernel.joins.build.join_machine` makes the machine of a `Join` node. One file is one join
(`window`, `interval`, `asof`); the others hold what they share: `side` takes in the rows of one input,
`runs` keeps rows sorted by key and time, `pairs` and `order` are the compiled loops, `output` makes the result.
"""
