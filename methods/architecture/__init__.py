"""Parts of networks that are frozen, added or widened."""
