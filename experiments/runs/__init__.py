"""One run: started, read back, and gone on from."""
