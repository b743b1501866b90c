"""A rehearsal buffer that is spread over the workers of a data-parallel run."""
