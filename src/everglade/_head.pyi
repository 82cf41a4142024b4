"""The SPLADE head on processors with 8-bit dot products; everglade.model.head is its face."""

from typing import Annotated

import numpy
from numpy.typing import NDArray

def is_supported() -> bool:
    """Whether this processor can run what is here."""

class PackedDecoder:
    """A decoder matrix (terms, width) rounded to 8 bits, for the screening."""

    def __init__(
        self,
        weight: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order="C", device="cpu", writable=False)],
        threads: int = 1,
    ) -> None: ...
    @property
    def is_finite(self) -> bool:
        """Whether every value of the matrix is finite."""

    def best(
        self,
        weight: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order="C", device="cpu", writable=False)],
        bias: Annotated[NDArray[numpy.float32], dict(shape=(None,), order="C", device="cpu", writable=False)] | None,
        hidden: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order="C", device="cpu", writable=False)],
        starts: Annotated[NDArray[numpy.int64], dict(shape=(None,), order="C", device="cpu", writable=False)],
        weights: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order="C", device="cpu")],
        positions: Annotated[NDArray[numpy.int32], dict(shape=(None, None), order="C", device="cpu")],
        threads: int = 1,
    ) -> None:
        """Fill in weight, log(1 + logit), and position of every active term of every text.

        Both arrays, (texts, terms), come as zeros. The hidden states of text t are rows starts[t] to starts[t + 1].
        A text with hidden states that are not finite gets NaN for all terms.
        """

    def sparse(
        self,
        weight: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order="C", device="cpu", writable=False)],
        bias: Annotated[NDArray[numpy.float32], dict(shape=(None,), order="C", device="cpu", writable=False)] | None,
        hidden: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order="C", device="cpu", writable=False)],
        starts: Annotated[NDArray[numpy.int64], dict(shape=(None,), order="C", device="cpu", writable=False)],
        threads: int = 1,
    ) -> tuple[
        Annotated[NDArray[numpy.int64], dict(shape=(None,))],
        Annotated[NDArray[numpy.int32], dict(shape=(None,))],
        Annotated[NDArray[numpy.float32], dict(shape=(None,))],
    ]:
        """The same as compressed sparse rows: indptr, terms, weights. A text that is not finite has the term -1."""

def gradients(
    slopes: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order="C", device="cpu", writable=False)],
    positions: Annotated[NDArray[numpy.int32], dict(shape=(None, None), order="C", device="cpu", writable=False)],
    weight: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order="C", device="cpu", writable=False)],
    hidden: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order="C", device="cpu", writable=False)],
    starts: Annotated[NDArray[numpy.int64], dict(shape=(None,), order="C", device="cpu", writable=False)],
    grad_hidden: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order="C", device="cpu")] | None,
    grad_weight: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order="C", device="cpu")] | None,
    threads: int = 1,
) -> None:
    """Lead slopes of the loss by each largest logit, (texts, terms), back to hidden states and decoder.

    grad_hidden comes as zeros; grad_weight is written whole. Either may be None.
    """
