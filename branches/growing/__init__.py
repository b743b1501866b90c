"""Networks that grow with the stream: wider layers, further columns, new outputs that copy old ones.

Papers: Chen et al., "Net2Net" (2016) for `widen`, Gao et al. (2024) for `c_ada`. Claim: no widening and no new column
changes an answer at the step that adds it. Shown by `tests/branches/growing/test_widening.py`,
`tests/branches/growing/test_adapted.py` and `benchmarks/generative.py`.
"""
