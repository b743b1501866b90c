"""Methods that learn without gradients, in one pass.

Papers: Mensink et al. (2013) for `ncm`, Hayes & Kanan (2020) for `slda`, McDonnell et al. (2023) for `ranpac`, Bottou &
Vapnik (1992) for `just_in_time`. Claim: each equals the regression or the classifier of all samples together. Shown by
the tests in `tests/branches/streaming/`; on drifting streams by `benchmarks/drift.py`.
"""
