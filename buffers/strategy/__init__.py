"""The Lightning strategy for rehearsal in data-parallel training; the only part of `redwood.buffers` on Lightning."""
