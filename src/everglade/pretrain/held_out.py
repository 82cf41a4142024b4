"""How well a model reads documents that it is not trained on: always the same rows with the same tokens hidden."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from everglade.pretrain.condenser import contrast
from everglade.pretrain.objectives import decode, splade_vectors
from everglade.pretrain.rows import RowReader, Rows, Texts
from everglade.pretrain.states import decoder_input, encoder_states

if TYPE_CHECKING:
    from accelerate import Accelerator

    from everglade.pretrain.config import PretrainConfig
    from everglade.pretrain.objectives import Pretrainer

__all__ = ["read_held_out"]


@torch.no_grad()
def read_held_out(
    accelerator: Accelerator, trainer: Pretrainer, reader: RowReader, texts: Texts, config: PretrainConfig
) -> dict[str, float]:
    """Give what the backbone makes of the held-out documents, or {} if there are none long enough.

    `mlm`: the masked-LM loss, a mean over hidden tokens. `mlm_accuracy`: share of them that are guessed. `flops`: the
    FLOPS penalty of the SPLADE vectors of all rows together, `active_terms`: terms of a mean row. With CoCondenser,
    `contrastive` and `contrastive_accuracy`: among the spans of all held-out documents, if there are several.
    """
    was_training = trainer.training
    trainer.eval()
    sums = torch.zeros(4, dtype=torch.float64)  # loss, tokens guessed, tokens hidden, active terms
    mass, states, documents = torch.zeros(0, dtype=torch.float64), [], []
    size = max(1, config.batch_size // (config.accumulation_steps * accelerator.num_processes))  # a piece in training
    for start in range(0, len(texts.held), size):
        rows = reader.held_out(texts, texts.held[start : start + size])
        if not len(rows.documents):
            continue
        with accelerator.autocast():
            seen, weights, starts = _read(trainer, Rows(*(part.to(accelerator.device) for part in rows)))
        sums += torch.tensor([*seen, float((weights > 0).sum())], dtype=torch.float64)
        mass = weights.double().sum(dim=0).cpu() + (mass if len(mass) else 0.0)
        states.append(starts)
        documents.append(rows.documents)
    trainer.train(was_training)
    if not states:
        return {}
    n_rows = sum(len(part) for part in documents)
    loss, guessed, hidden, active = sums.tolist()
    found = {"mlm": loss / max(hidden, 1.0), "mlm_accuracy": guessed / max(hidden, 1.0)}
    found |= {"flops": float((mass / n_rows).square().sum()), "active_terms": active / n_rows}
    spans_of = torch.cat(documents)
    if config.objective == "cocondenser" and bool((spans_of != spans_of[0]).any()):
        spans = contrast(torch.cat(states), spans_of, config.temperature)
        found |= {"contrastive": spans.loss.item(), "contrastive_accuracy": spans.accuracy.item()}
    return {name: round(value, 6) for name, value in found.items()}


def _read(trainer: Pretrainer, rows: Rows) -> tuple[tuple[float, float, float], torch.Tensor, torch.Tensor]:
    """Give (loss, tokens guessed, tokens hidden), the SPLADE vectors (R, V), and the first states (R, d) on the CPU."""
    mlm = trainer.mlm
    late = encoder_states(mlm, rows.input_ids, rows.attention_mask).late
    hidden = decoder_input(mlm, late)
    logits = decode(mlm, hidden.flatten(0, 1).index_select(0, rows.places))
    counts = (
        F.cross_entropy(logits, rows.labels, reduction="sum").item(),
        float((logits.argmax(dim=-1) == rows.labels).sum()),
        float(len(rows.labels)),
    )
    return counts, splade_vectors(mlm, hidden, rows.attention_mask), late[:, 0].float().cpu()
