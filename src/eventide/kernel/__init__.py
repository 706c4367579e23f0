"""What computes: the machines of the stateful nodes and their kernels. Engines run them; they know no engine."""
