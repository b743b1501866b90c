"""Methods whose networks consist of modules, which later tasks take over.

Papers: Veniat et al. (ICLR 2021) for `mntdp`, Bornschein et al. (2023) for `finetune_from`, Gross et al. (2017) for
`hard_moe`. Claim: modules of related tasks help later ones, and no answer to an earlier task changes. Shown by
`tests/branches/modular/test_path_search.py`, `benchmarks/modular.py` and `benchmarks/hard_moe.py`.
"""
