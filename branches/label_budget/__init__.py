"""Labels on request: a method asks for some labels, within a budget. It may learn the other samples without labels.

Rules: Scheffer et al. (2001), Sener & Savarese (2018); samples without labels: Lee (2013), Laine & Aila (2017). Claim:
no label is served that was not asked for and paid. Shown by `tests/branches/label_budget/test_label_requests.py`; what
a budget brings by `benchmarks/label_budget.py`.
"""
