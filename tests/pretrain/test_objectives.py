"""Losses against transformers' own and against the formulas, written out; the head that Condenser adds."""

import math
from dataclasses import replace

import pytest
import torch

from everglade.errors import ConfigError, InputError, ModelError
from everglade.model.head import splade_head_naive
from everglade.pretrain.condenser import CondenserHead, contrast, skipped_layer
from everglade.pretrain.config import PretrainConfig
from everglade.pretrain.objectives import Pretrainer
from everglade.pretrain.rows import RowReader, Texts
from everglade.pretrain.start import load_start
from everglade.pretrain.states import decoder_input, encoder_states, open_encoder
from everglade.train.batches import visits_at
from everglade.train.regularizers import flops

MLM = PretrainConfig(batch_size=8, max_length=24, min_span=4, held_out=0.0)
SPARSE = replace(MLM, objective="flops-mlm")
COCONDENSER = replace(MLM, objective="cocondenser")


def opened(folder, config, documents):
    """The start, what is trained, and the rows of step 1."""
    start = load_start(folder, config.seed)
    open_encoder(start.mlm)
    torch.manual_seed(0)
    trainer = Pretrainer(start.mlm, config, "tiny").eval()
    rows = RowReader(start, config).batch(Texts(documents, config), 1, range(config.batch_size))
    return start, trainer, rows


def labels_of(rows):
    """The labels as transformers wants them: (R, L), -100 where nothing is hidden."""
    labels = torch.full(rows.input_ids.shape, -100)
    labels.view(-1)[rows.places] = rows.labels
    return labels


@pytest.mark.parametrize("config", [MLM, SPARSE])
def test_the_masked_lm_loss_and_its_gradient_are_those_of_transformers(folder, documents, config):
    start, trainer, rows = opened(folder, config, documents)
    outcome = trainer(*rows[:4])
    (outcome.mlm / len(rows.labels)).backward()
    ours = {name: parameter.grad.clone() for name, parameter in start.mlm.named_parameters()}
    start.mlm.zero_grad()
    theirs = start.mlm(input_ids=rows.input_ids, attention_mask=rows.attention_mask, labels=labels_of(rows)).loss
    theirs.backward()
    torch.testing.assert_close(outcome.mlm / len(rows.labels), theirs)
    for name, parameter in start.mlm.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad, msg=name)


def test_the_vectors_of_flops_mlm_are_the_splade_activation_of_the_logits(folder, documents):
    start, trainer, rows = opened(folder, SPARSE, documents)
    vectors = trainer(*rows[:4]).vectors
    logits = start.mlm(input_ids=rows.input_ids, attention_mask=rows.attention_mask).logits
    activation = torch.log1p(torch.relu(logits)) * rows.attention_mask.unsqueeze(-1)
    torch.testing.assert_close(vectors, activation.amax(dim=1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(flops(vectors), activation.amax(dim=1).mean(dim=0).square().sum(), rtol=1e-3, atol=1e-4)


def test_the_head_sees_late_cls_and_early_tokens_through_berts_own_arithmetic(folder, documents):
    """The loss of the Condenser head, step by step from the states that transformers gives out."""
    start, trainer, rows = opened(folder, COCONDENSER, documents)
    outcome = trainer(*rows[:4])
    mlm, tokens = start.mlm, {"input_ids": rows.input_ids, "attention_mask": rows.attention_mask}
    found = mlm.base_model(**tokens, output_hidden_states=True)
    assert len(found.hidden_states) == 3  # embeddings and two layers: the first is half way up
    torch.testing.assert_close(outcome.vectors, found.last_hidden_state[:, 0])
    states = torch.cat([found.last_hidden_state[:, :1], found.hidden_states[1][:, 1:]], dim=1)
    for layer in trainer.head.layers:
        states = post_norm_layer(layer, states, rows.attention_mask)
    chosen = states.flatten(0, 1)[rows.places]
    decoder = mlm.get_output_embeddings()
    logits = decoder(decoder_input(mlm, chosen))
    wanted = torch.nn.functional.cross_entropy(logits, rows.labels, reduction="sum")
    torch.testing.assert_close(outcome.head_mlm, wanted, rtol=1e-4, atol=1e-3)
    own = mlm(**tokens, labels=labels_of(rows)).loss * len(rows.labels)
    torch.testing.assert_close(outcome.mlm, own, rtol=1e-4, atol=1e-3)


def post_norm_layer(layer, states, attention_mask):
    """A transformer layer with the norm after each part, as BERT's (arXiv 1706.03762), from the layer's weights."""
    n, length, width = states.shape
    heads = layer.self_attn.num_heads
    query, key, value = (
        part.view(n, length, heads, width // heads).transpose(1, 2)
        for part in (states @ layer.self_attn.in_proj_weight.T + layer.self_attn.in_proj_bias).chunk(3, dim=-1)
    )
    scores = query @ key.transpose(-1, -2) / math.sqrt(width // heads)
    scores = scores.masked_fill(attention_mask[:, None, None, :] == 0, -torch.inf)
    mixed = (scores.softmax(dim=-1) @ value).transpose(1, 2).reshape(n, length, width)
    states = layer.norm1(states + layer.self_attn.out_proj(mixed))
    inner = torch.nn.functional.gelu(layer.linear1(states))
    return layer.norm2(states + layer.linear2(inner))


def test_nothing_but_cls_leads_from_the_late_layers_to_the_head(bert_folder, documents):
    """The early states stop being changed at the layer they are taken from; [CLS] alone carries the rest."""
    start, trainer, rows = opened(bert_folder, replace(COCONDENSER, late_mlm=False), documents)
    late, early = encoder_states(start.mlm, rows.input_ids, rows.attention_mask, 1)
    late.retain_grad()
    trainer.head(late, early, rows.attention_mask).sum().backward()
    assert late.grad[:, 0].abs().sum() > 0
    assert late.grad[:, 1:].abs().sum() == 0
    assert trainer(*rows[:4]).mlm == 0


def test_states_of_any_shape_go_into_the_decoder_as_the_models_own_do(folder, documents):
    start, _, rows = opened(folder, MLM, documents)
    late = encoder_states(start.mlm, rows.input_ids, rows.attention_mask).late
    decoder = start.mlm.get_output_embeddings()
    whole = start.mlm(input_ids=rows.input_ids, attention_mask=rows.attention_mask).logits
    torch.testing.assert_close(decoder(decoder_input(start.mlm, late)), whole)
    torch.testing.assert_close(decoder(decoder_input(start.mlm, late[1, 2])), whole[1, 2])
    # Nothing is left behind in the model.
    torch.testing.assert_close(
        start.mlm(input_ids=rows.input_ids, attention_mask=rows.attention_mask).logits, whole, rtol=0, atol=0
    )
    assert "forward" not in vars(start.mlm.base_model)


def test_the_contrastive_loss_is_the_formula():
    draw = torch.Generator().manual_seed(1)
    vectors = torch.randn(8, 5, generator=draw, dtype=torch.float64)
    documents = torch.tensor([0, 0, 1, 1, 2, 2, 0, 0])  # the batch sees document 0 twice
    losses, right = [], 0
    for i in range(8):
        partner = i + 1 if i % 2 == 0 else i - 1
        others = [j for j in range(8) if j != i and (j == partner or documents[j] != documents[i])]
        scores = {j: float(vectors[i] @ vectors[j]) / 2.0 for j in others}
        losses.append(-math.log(math.exp(scores[partner]) / sum(map(math.exp, scores.values()))))
        right += max(scores, key=scores.get) == partner
    found = contrast(vectors, documents, temperature=2.0)
    assert found.loss.item() == pytest.approx(sum(losses) / 8)
    assert found.accuracy.item() == pytest.approx(right / 8)


def test_the_head_has_the_sizes_of_its_backbone_and_berts_first_weights(folder):
    mlm = load_start(folder, 0).mlm
    torch.manual_seed(0)
    head = CondenserHead(mlm.config, 2)
    (first, _) = head.layers
    assert (first.self_attn.embed_dim, first.self_attn.num_heads, first.linear1.out_features) == (24, 2, 48)
    assert first.linear1.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert first.self_attn.in_proj_weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert all(p.abs().max() == 0 for name, p in head.named_parameters() if name.endswith("bias"))
    assert first.norm1.weight.equal(torch.ones(24))


def test_the_head_drops_where_bert_drops(bert_folder):
    """States before each norm and shares of attention, each at its own rate; nothing inside the feed-forward part."""
    config = load_start(bert_folder, 0).mlm.config
    draw = torch.Generator().manual_seed(0)
    late, early = torch.randn(2, 2, 6, 24, generator=draw)
    mask = torch.ones(2, 6, dtype=torch.int64)

    def changes(hidden, attention):
        config.hidden_dropout_prob, config.attention_probs_dropout_prob = hidden, attention
        torch.manual_seed(1)
        head = CondenserHead(config, 1)
        quiet, seen = head.eval()(late, early, mask), {}
        layer = head.train().layers[0]
        layer.linear1.register_forward_hook(lambda *call: seen.update(out=call[2]))
        layer.linear2.register_forward_hook(lambda *call: seen.update(into=call[1][0]))
        loud = head(late, early, mask)
        torch.testing.assert_close(seen["into"], torch.nn.functional.gelu(seen["out"]))
        return not torch.allclose(quiet, loud, atol=1e-5)

    assert not changes(0.0, 0.0)
    assert changes(0.5, 0.0)
    assert changes(0.0, 0.5)


def test_the_layer_that_is_skipped_from(bert_folder):
    mlm = load_start(bert_folder, 0).mlm
    assert skipped_layer(COCONDENSER, mlm) == 1
    assert skipped_layer(replace(COCONDENSER, skip_from=0), mlm) == 0
    with pytest.raises(ConfigError, match="skip_from is 2, but the model has 2 layers"):
        skipped_layer(replace(COCONDENSER, skip_from=2), mlm)


def test_a_head_that_mixes_positions_is_refused(bert_folder):
    mlm = load_start(bert_folder, 0).mlm
    transform = mlm.cls.predictions.transform
    forward = transform.forward
    transform.forward = lambda states: forward(states + states.mean(dim=1, keepdim=True))
    with pytest.raises(ModelError, match="reads each of its states alone"):
        open_encoder(mlm)


# --- rows -------------------------------------------------------------------------------------------------------------


def test_rows_are_windows_with_their_frame_and_labels_give_the_text_back(bert_folder, documents):
    start, _, rows = opened(bert_folder, MLM, documents)
    restored = rows.input_ids.clone()
    restored.view(-1)[rows.places] = rows.labels
    names = list(documents)
    for row, mask, document in zip(restored.tolist(), rows.attention_mask.tolist(), rows.documents, strict=True):
        ids = [token for token, kept in zip(row, mask, strict=True) if kept]
        assert (ids[0], ids[-1], len(ids)) == (2, 3, min(24, 2 + len(documents[names[document]].split())))
        assert start.tokenizer.decode(ids[1:-1]) in documents[names[document]]
        assert row[len(ids) :] == [0] * (len(row) - len(ids))
    assert len(rows.labels) == sum(max(1, round(0.15 * (sum(mask) - 2))) for mask in rows.attention_mask.tolist())


def test_pairs_of_spans_are_of_one_document(bert_folder, documents):
    start, _, rows = opened(bert_folder, COCONDENSER, documents)
    restored = rows.input_ids.clone()
    restored.view(-1)[rows.places] = rows.labels
    assert rows.documents[::2].equal(rows.documents[1::2])
    for row, mask, document in zip(restored, rows.attention_mask, rows.documents, strict=True):
        text = start.tokenizer.decode(row[mask == 1][1:-1])
        assert text in list(documents.values())[document]


@pytest.mark.parametrize("config", [MLM, COCONDENSER])
def test_pieces_read_the_rows_of_the_whole_batch(bert_folder, documents, config):
    start = load_start(bert_folder, 0)
    reader, texts = RowReader(start, config), Texts(documents, config)
    whole = reader.batch(texts, 3, range(8))
    n = config.rows_per_document
    for slots in (range(4), range(4, 8)):
        piece = reader.batch(texts, 3, slots)
        rows = slice(slots.start * n, slots.stop * n)
        width = piece.input_ids.shape[1]
        assert piece.input_ids.equal(whole.input_ids[rows, :width])
        assert piece.documents.equal(whole.documents[rows])
    again = reader.batch(texts, 3, range(8))
    assert all(a.equal(b) for a, b in zip(whole, again, strict=True))
    other = reader.batch(texts, 4, range(8))
    assert not other.documents.equal(whole.documents)


def test_short_documents_leave_their_slot_to_the_next_long_enough(bert_folder):
    start = load_start(bert_folder, 0)
    texts = Texts(["", "sun", "moss and", "fern " * 8, " \n", "rain " * 9], COCONDENSER)
    rows = RowReader(start, COCONDENSER).batch(texts, 1, range(8))
    assert set(rows.documents.tolist()) == {3, 5}
    with pytest.raises(InputError, match="no text to train on has 8 tokens"):
        RowReader(start, COCONDENSER).batch(Texts(["sun", "", "moss"], COCONDENSER), 1, range(8))


class Counted(list):
    """Texts that count how often one is read."""

    read = 0

    def __getitem__(self, place):
        self.read += 1
        return super().__getitem__(place)


def test_the_search_for_long_documents_reads_each_text_once(bert_folder):
    """One text in fifty is long enough; each slot leads to the next of these, as a slow twin finds it."""
    listed = ["fern " * 9 if place % 50 == 49 else "sun" for place in range(400)]
    counted = Counted(listed)
    texts = Texts(counted, COCONDENSER)
    reader = RowReader(load_start(bert_folder, 0), COCONDENSER)
    found = [place for step in range(1, 51) for place in reader.batch(texts, step, range(8)).documents[::2].tolist()]
    visited = [visit.example for step in range(1, 51) for visit in visits_at(step, 400, 8, COCONDENSER.seed)]
    assert found == [place // 50 * 50 + 49 for place in visited]
    # 400 slots and what each leads to, and each text once in search of a long one, some of them read ahead for nothing.
    assert counted.read < 2 * 400 + 2 * 400


def test_every_document_is_visited_once_an_epoch_and_held_out_ones_never(bert_folder, documents):
    config = replace(MLM, held_out=0.2)
    start, texts = load_start(bert_folder, 0), Texts(documents, config)
    assert 4 <= len(texts.held) <= 20
    assert sorted([*texts.trained, *texts.held]) == list(range(60))
    reader = RowReader(start, config)
    seen = [place for step in range(1, 20) for place in reader.batch(texts, step, range(8)).documents.tolist()]
    assert sorted(seen[: len(texts.trained)]) == texts.trained.tolist()
    assert not set(seen) & set(texts.held.tolist())
    # A text is held out by its id: the others do not move when one goes.
    fewer = {name: text for name, text in documents.items() if name != "d00"}
    names = {list(documents)[place] for place in texts.held}
    assert {list(fewer)[place] for place in Texts(fewer, config).held} == names - {"d00"}


def test_whole_words_are_those_of_the_tokenizer(bert_folder):
    config = replace(MLM, whole_words=True, mask_share=0.3)
    start = load_start(bert_folder, 0)
    words = "naive warmth swimmer otters oval"
    rows = RowReader(start, config).batch(Texts([words] * 8, config), 1, range(8))
    word_of = start.tokenizer.backend_tokenizer.encode(words).word_ids
    for row in range(8):
        chosen = {place - row * rows.input_ids.shape[1] for place in rows.places.tolist()} & set(range(len(word_of)))
        hidden = {word_of[place] for place in chosen}
        assert chosen == {place for place, word in enumerate(word_of) if word in hidden}


def test_texts_and_lengths_that_cannot_be_are_refused(bert_folder, documents):
    start = load_start(bert_folder, 0)
    with pytest.raises(InputError, match="one string"):
        Texts("a text", MLM)
    with pytest.raises(InputError, match="there is no text"):
        Texts([], MLM)
    with pytest.raises(InputError, match="not a string"):
        RowReader(start, MLM).batch(Texts([3], MLM), 1, range(8))
    with pytest.raises(InputError, match="Unicode"):
        RowReader(start, MLM).batch(Texts(["\ud800"], MLM), 1, range(8))
    with pytest.raises(ConfigError, match="max_length is 41, but .* has positions for 40"):
        RowReader(start, replace(MLM, max_length=41))
    with pytest.raises(ConfigError, match="leaves 3 tokens beside the 2 special ones, and a row needs 4"):
        RowReader(start, replace(COCONDENSER, max_length=5))


def test_the_naive_head_is_what_the_vectors_are(bert_folder, documents):
    start, trainer, rows = opened(bert_folder, SPARSE, documents)
    hidden = decoder_input(start.mlm, encoder_states(start.mlm, rows.input_ids, rows.attention_mask).late)
    decoder = start.mlm.get_output_embeddings()
    twin = splade_head_naive(hidden, decoder.weight, decoder.bias, rows.attention_mask)
    torch.testing.assert_close(trainer(*rows[:4]).vectors, twin, rtol=1e-4, atol=1e-4)
