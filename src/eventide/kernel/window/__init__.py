"""Windows: the machines that group events in time and emit panes."""
