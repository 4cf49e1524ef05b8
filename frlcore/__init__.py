"""Fair Robust Learning: attacks, models, class-wise errors and the training loop of Xu et al. (ICML 2021)."""

__version__ = "0.1.0"
