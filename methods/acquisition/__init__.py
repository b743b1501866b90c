"""Methods that decide of which slice to buy more samples."""
