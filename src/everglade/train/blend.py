"""Between the model a run began with and the one it has come to: their weights, interpolated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["Blend"]


class Blend:
    """Mixes trained weights with those at the start: share * trained + (1 - share) * start.

    It takes back much of what a short fine-tuning forgets, at no cost in training. Source: Wortsman et al., WiSE-FT
    (arXiv 2109.01903). The weights at the start are those at the time this is made.

    Args:
        model: the model, before it is trained.
        share: how much of the trained weights; 1 keeps nothing of the start and costs nothing.
    """

    def __init__(self, model: nn.Module, share: float) -> None:
        self._model = model
        self._share = share
        self._start = {} if share == 1 else {name: p.detach().clone() for name, p in self._trained()}

    def apply(self) -> None:
        """Put the mixed weights into the model, for good."""
        with torch.no_grad():
            for name, parameter in self._trained() if self._share < 1 else ():
                parameter.copy_(self._share * parameter + (1 - self._share) * self._start[name].to(parameter.device))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Have the mixed weights in the model for a while; afterwards the trained ones are there again, bit for bit."""
        trained = {} if self._share == 1 else {name: p.detach().clone() for name, p in self._trained()}
        self.apply()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in self._trained() if trained else ():
                    parameter.copy_(trained[name])

    def _trained(self) -> list[tuple[str, nn.Parameter]]:
        return [(name, parameter) for name, parameter in self._model.named_parameters() if parameter.requires_grad]
