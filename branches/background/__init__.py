"""A negative class: samples of other data, which a method learns and never predicts.

After Hendrycks et al., "Deep Anomaly Detection with Outlier Exposure" (2019). Claim: samples of no class get lower
scores. Shown by `tests/branches/background/test_method.py` and `benchmarks/label_budget.py`.
"""
