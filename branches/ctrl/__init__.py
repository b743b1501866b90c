"""The streams of the CTrL benchmark.

Paper: Veniat, Denoyer & Ranzato, "Efficient Continual Learning with Modular Networks and Task-Driven Priors" (ICLR
2021), section 3. Claim: each stream shows what the paper's table says, over any pool of concepts. Shown by
`tests/branches/ctrl/test_pools.py`.
"""
