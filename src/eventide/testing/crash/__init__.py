"""Crash suites: a pipeline is killed, starved of disk and paused, and must still write what an undisturbed run writes.

`kill` ends it by SIGKILL at random instants and at chosen points, `syscalls` at every n-th write, sync and rename,
`soak` disturbs it in many ways for a long time. On the command line: ``eventide torture``.
"""
