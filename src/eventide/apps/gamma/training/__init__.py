"""Models of our own: forests trained on tables of parameters, and tables of a toy to train them on."""
