"""Rehearsal of samples that a generator draws, where no sample may be stored.

Paper: Zeng et al., "Dirichlet Continual Learning" (2023), on images and vectors instead of sentences. Claim: it ends
above fine-tuning without a stored sample. Shown by `benchmarks/generative.py`.
"""
