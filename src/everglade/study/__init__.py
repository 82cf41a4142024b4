"""Studies: every scenario at every level of sparsity with several seeds, on one training set and many test sets."""
