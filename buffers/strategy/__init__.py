"""The Lightning strategy for rehearsal in data-parallel training; only this part of the buffers needs Lightning."""
