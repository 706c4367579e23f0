"""Suites that ship with eventide: what an implementation must do to be one."""
