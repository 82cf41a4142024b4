import json
import random

import numpy as np
import pytest
import torch

from everglade.errors import CheckpointError
from everglade.train import checkpoint


class Tied(torch.nn.Module):
    def __init__(self, size=3):
        super().__init__()
        self.table = torch.nn.Embedding(size, 2)
        self.out = torch.nn.Linear(2, size)
        self.out.weight = self.table.weight


def trained(size=3, steps=2, learning_rate=0.1):
    torch.manual_seed(0)
    model = Tied(size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    for _ in range(steps):
        optimizer.zero_grad()
        model.out(model.table(torch.tensor([0, 1]))).square().sum().backward()
        optimizer.step()
    return model, optimizer


def test_a_checkpoint_gives_back_weights_moments_and_state(tmp_path):
    model, optimizer = trained()
    path = checkpoint.save_checkpoint(tmp_path, 7, model, optimizer, {"a/b": torch.arange(3)}, {"note": "x"})
    assert path.name == "step-00000007"
    assert sorted(file.name for file in path.iterdir()) == sorted(
        ["SHA256SUMS", "optimizer.safetensors", "sparsity.safetensors", "state.json", "weights.safetensors"]
    )
    state = checkpoint.read_state(path)
    assert (state["step"], state["note"]) == (7, "x")

    other, others = Tied(), None
    others = torch.optim.AdamW(other.parameters(), lr=0.1)
    arrays = checkpoint.load_checkpoint(path, other, others)
    assert list(arrays) == ["a/b"]
    assert arrays["a/b"].equal(torch.arange(3))
    assert other.out.weight is other.table.weight
    for _ in range(2):
        for one, two in ((model, optimizer), (other, others)):
            two.zero_grad()
            one.out(one.table(torch.tensor([0, 1]))).square().sum().backward()
            two.step()
    assert checkpoint.weights_sha256(model) == checkpoint.weights_sha256(other)


def test_nothing_in_it_needs_pickle(tmp_path):
    path = checkpoint.save_checkpoint(tmp_path, 1, *trained(), {}, {})
    for file in path.glob("*.safetensors"):
        content = file.read_bytes()
        json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    json.loads((path / "state.json").read_text())


def test_generators_go_on_where_they_were():
    saved = json.loads(json.dumps(checkpoint.capture_generators()))

    def draw():
        return random.random(), np.random.random(3).tolist(), torch.rand(3).tolist(), random.gauss(0, 1)  # noqa: NPY002

    first = draw()
    checkpoint.restore_generators(saved)
    assert draw() == first


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "sparsity.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damage_is_seen_and_named(tmp_path, name, damage):
    path = checkpoint.save_checkpoint(tmp_path, 1, *trained(), {}, {})
    content = bytearray((path / name).read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "remove":
        (path / name).unlink()
    else:
        (path / name).write_bytes(content if damage == "flip" else content[:-1])
    with pytest.raises(CheckpointError, match=rf"step-00000001 is damaged: .*{name}"):
        checkpoint.read_state(path)


def test_a_missing_list_of_sums_and_a_foreign_format_are_refused(tmp_path):
    path = checkpoint.save_checkpoint(tmp_path, 1, *trained(), {}, {})
    (path / "SHA256SUMS").unlink()
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.read_state(path)
    newer = checkpoint.save_checkpoint(tmp_path, 2, *trained(), {}, {"version": 99})
    with pytest.raises(CheckpointError, match="not a checkpoint of version 4.* Train into a new folder"):
        checkpoint.read_state(newer)


def test_a_model_of_another_shape_is_refused(tmp_path):
    path = checkpoint.save_checkpoint(tmp_path, 1, *trained(), {}, {})
    with pytest.raises(CheckpointError, match=r"out\.bias, table\.weight do not fit"):
        checkpoint.load_checkpoint(path, *trained(size=4))


def test_the_last_ones_are_kept_and_unfinished_ones_do_not_count(tmp_path):
    for step in (1, 2, 10):
        checkpoint.save_checkpoint(tmp_path, step, *trained(steps=1), {}, {})
    (tmp_path / "step-00000099.partial").mkdir()
    assert checkpoint.latest_checkpoint(tmp_path).name == "step-00000010"
    checkpoint.prune_checkpoints(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.glob("step-????????")) == ["step-00000002", "step-00000010"]
    assert checkpoint.latest_checkpoint(tmp_path / "none") is None


def save_as(content):
    def save(path):
        path.mkdir()
        (path / "model").write_text(content)

    return save


def test_a_model_folder_is_replaced_whole(tmp_path, monkeypatch):
    best = tmp_path / "best"
    checkpoint.publish_model(save_as("old"), best)
    checkpoint.publish_model(save_as("new"), best)
    assert (best / "model").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["best"]

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.durable, "publish_folder", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.publish_model(save_as("newest"), best)
    assert not best.exists()
    checkpoint.clear_partial(tmp_path)
    assert (best / "model").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["best"]
