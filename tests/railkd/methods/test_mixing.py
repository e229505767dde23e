"""Mixed inputs and means over tokens, by hand."""

import pytest
import torch

from railkd.methods.parts.mixing import draw_mix
from railkd.methods.parts.tokens import token_mean
from railkd.models.mixing import mixed_inputs


def test_a_mix_is_a_permutation_and_a_beta_draw():
    g = torch.Generator().manual_seed(0)
    draws = [draw_mix(5, 0.4, g) for _ in range(2000)]
    assert all(sorted(partner.tolist()) == [0, 1, 2, 3, 4] for partner, _ in draws)
    shares = torch.tensor([share for _, share in draws])
    assert shares.mean().item() == pytest.approx(0.5, abs=0.03)
    assert shares.var().item() == pytest.approx(1 / (4 * (2 * 0.4 + 1)), abs=0.01)  # of Beta(.4, .4)
    g.manual_seed(0)
    partner, share = draw_mix(5, 0.4, g)
    assert partner.tolist() == draws[0][0].tolist() and share == draws[0][1]


def test_mixed_inputs_by_hand():
    embedding = torch.nn.Embedding(9, 2)
    inputs = {
        "input_ids": torch.tensor([[1, 2, 3], [4, 0, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1], [1, 0, 0]]),
        "token_type_ids": torch.tensor([[0, 1, 1], [0, 0, 0]]),
    }
    mixed = mixed_inputs(embedding, inputs, torch.tensor([1, 0]), 0.75)
    assert set(mixed) == {"inputs_embeds", "attention_mask", "token_type_ids"}
    e = embedding.weight
    torch.testing.assert_close(mixed["inputs_embeds"][1, 0], 0.75 * e[4] + 0.25 * e[1])
    torch.testing.assert_close(mixed["inputs_embeds"][0, 2], 0.75 * e[3] + 0.25 * e[0])
    assert mixed["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 1]]  # the union
    assert mixed["token_type_ids"].tolist() == [[0, 1, 1], [0, 1, 1]]  # the partner's past the end
    for share, expected in ((1.0, inputs["attention_mask"]), (0.0, inputs["attention_mask"].flip(0))):
        assert torch.equal(mixed_inputs(embedding, inputs, torch.tensor([1, 0]), share)["attention_mask"], expected)


def test_token_mean_leaves_padding_out_whatever_it_is():
    value = torch.tensor([[1.0, 3.0, float("inf")], [5.0, float("nan"), 7.0]], requires_grad=True)
    mean = token_mean(value, torch.tensor([[1, 1, 0], [1, 0, 0]]))
    assert mean.item() == (2 + 5) / 2
    mean.backward()
    assert value.grad.tolist() == [[0.25, 0.25, 0], [0.5, 0, 0]]
