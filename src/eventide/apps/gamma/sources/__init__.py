"""Files of others as rows of this application's streams: one form of file in each module."""
