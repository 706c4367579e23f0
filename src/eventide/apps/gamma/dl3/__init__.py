"""Event lists on disk: GADF files (FITS binary tables) read and written, and Parquet beside them."""
