"""Models that turn texts into sparse vectors: the encoder, its head, its settings and its folder.

Importing this package imports nothing heavy; `everglade.model.splade` and `everglade.model.head` need torch.
"""
