"""OSAKA: a few samples of a context at a time, predicted before their labels come; contexts come back.

Paper: Caccia et al., "Online Fast Adaptation and Knowledge Accumulation" (NeurIPS 2020), with MAML (Finn et al., 2017)
and ANIL (Raghu et al., 2020). Claim: meta-learned weights adapt where contexts switch, and Continual-MAML goes on
learning. Shown by `benchmarks/osaka.py`.
"""
