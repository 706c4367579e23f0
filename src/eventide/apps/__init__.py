"""Applications, one a folder: the folder name is the name everywhere, `eventide run <name>`, `eventide <name> ...`."""
