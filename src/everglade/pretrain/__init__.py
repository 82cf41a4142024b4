"""Further pre-training of a masked language model on one's own collection: MLM, MLM with FLOPS, CoCondenser."""
