"""The transformers against torch's own layers, and what holds for any input: causality, padding, ReZero, positions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from playbook.models import Transformer, VisionTransformer
from playbook.models.attention import Visibility, rotary_angles, rotated
from playbook.models.transformer_blocks import TransformerBlocks
from playbook.optim import parameter_groups

torch.set_num_threads(1)

WIDTH, DEPTH, HEADS, VOCABULARY, LENGTH = 12, 3, 2, 11, 9


def decoder(*, seed=0, **keys):
    """A small transformer in float64 whose norms, biases and positions are away from their first values."""
    torch.manual_seed(seed)
    sizes = {"width": WIDTH, "depth": DEPTH, "heads": HEADS, "vocab_size": VOCABULARY, "num_outputs": VOCABULARY}
    model = Transformer(input_shape=(LENGTH,), **{**sizes, **keys}).double()
    return disturbed(model)


def disturbed(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, dtype=parameter.dtype)
    return model


def draw_tokens(num_examples=4, length=LENGTH, seed=1):
    return torch.randint(VOCABULARY, (num_examples, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("norm_placement", ["pre", "post"])
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "padded"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_blocks_are_torchs_encoder_layers(norm_placement, masked, dtype, tolerance):
    torch.manual_seed(0)
    blocks = TransformerBlocks(
        WIDTH,
        DEPTH,
        HEADS,
        mlp_ratio=2,
        activation="gelu",
        dropout=0.0,
        attention_dropout=0.0,
        norm_placement=norm_placement,
        residual_init="default",
    )
    disturbed(blocks.to(dtype))
    layers = [
        nn.TransformerEncoderLayer(
            WIDTH,
            HEADS,
            2 * WIDTH,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=norm_placement == "pre",
            dtype=dtype,
        )
        for _ in range(DEPTH)
    ]
    for ours, theirs in zip(blocks.layers, layers, strict=True):
        attention, mlp = ours["attention"], ours["mlp"]
        pairs = [
            (attention.branch.qkv.weight, theirs.self_attn.in_proj_weight),
            (attention.branch.qkv.bias, theirs.self_attn.in_proj_bias),
            *zip(attention.branch.output.parameters(), theirs.self_attn.out_proj.parameters(), strict=True),
            *zip(attention.norm.parameters(), theirs.norm1.parameters(), strict=True),
            *zip(mlp.norm.parameters(), theirs.norm2.parameters(), strict=True),
            *zip(mlp.branch[0].parameters(), theirs.linear1.parameters(), strict=True),
            *zip(mlp.branch[2].parameters(), theirs.linear2.parameters(), strict=True),
        ]
        assert sum(1 for _ in ours.parameters()) == len(pairs) == sum(1 for _ in theirs.parameters())
        with torch.no_grad():
            for source, target in pairs:
                target.copy_(source)
    inputs = torch.randn(5, LENGTH, WIDTH, dtype=dtype)
    real = torch.arange(LENGTH) < torch.tensor([[LENGTH], [1], [3], [7], [8]])
    allowed = real[:, None, None, :].expand(-1, 1, LENGTH, -1) if masked else None
    outputs = blocks(inputs, Visibility(causal=False, allowed=allowed))

    expected = blocks.first_norm(inputs)
    for layer in layers:  # in training mode: torch's fast path of evaluation zeroes what is padded
        expected = layer(expected, src_key_padding_mask=~real if masked else None)
    torch.testing.assert_close(outputs, blocks.last_norm(expected), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("positions", ["learned", "rotary"])
@pytest.mark.parametrize("norm_placement", ["pre", "post"])
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "padded"])
def test_a_later_token_changes_no_earlier_output_of_a_decoder(positions, norm_placement, masked):
    model = decoder(positions=positions, norm_placement=norm_placement)
    encoder = decoder(positions=positions, norm_placement=norm_placement, causal=False)
    tokens = draw_tokens()
    other = tokens.clone()
    other[:, 5] = (other[:, 5] + 1) % VOCABULARY
    mask = torch.ones_like(tokens, dtype=torch.bool)

    def outputs(of, tokens):
        return of({"tokens": tokens, "mask": mask} if masked else tokens)

    before, after = outputs(model, tokens), outputs(model, other)
    torch.testing.assert_close(after[:, :5], before[:, :5], rtol=0, atol=1e-14)
    assert (after[:, 5:] - before[:, 5:]).abs().amax(-1).min() > 1e-6  # all that may know of it do
    assert (outputs(encoder, other) - outputs(encoder, tokens)).abs().amax(-1).min() > 1e-6


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("pool", ["none", "mean"])
@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_padding_changes_nothing(causal, pool, positions):
    model = decoder(causal=causal, pool=pool, positions=positions)
    tokens, short = draw_tokens(), 6
    mask = torch.arange(LENGTH).expand_as(tokens) < short
    alone = model(tokens[:, :short])
    for padding in (0, 7):
        padded = model({"tokens": tokens.masked_fill(~mask, padding), "mask": mask})
        assert padded.isfinite().all()
        torch.testing.assert_close(padded if pool == "mean" else padded[:, :short], alone, rtol=1e-12, atol=1e-12)


def test_an_example_that_is_all_padding_gives_numbers_and_gradients():
    model = decoder(pool="mean", causal=False)
    tokens = draw_tokens()
    mask = torch.arange(4)[:, None] * torch.ones(LENGTH, dtype=torch.long) > 0  # the first example has no token
    model({"tokens": tokens, "mask": mask}).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("depth", [1, 8])
@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_rezero_begins_as_the_identity(depth, positions):
    torch.manual_seed(0)
    keys = {"width": WIDTH, "depth": depth, "heads": HEADS, "vocab_size": VOCABULARY, "num_outputs": VOCABULARY}
    model = Transformer(input_shape=(LENGTH,), positions=positions, residual_init="zero", **keys)
    model.blocks.last_norm = nn.Identity()
    tokens = draw_tokens()
    stream = model.token_embedding(tokens)
    if positions == "learned":
        stream = stream + model.position_embedding.weight
    assert torch.equal(model(tokens), F.linear(stream, model.token_embedding.weight))
    with torch.no_grad():  # and not because the branches are silent by themselves
        for layer in model.blocks.layers:
            layer["attention"].branch_scale.fill_(1.0)
    assert not torch.allclose(model(tokens), F.linear(stream, model.token_embedding.weight), atol=1e-4)


def test_rotary_attention_depends_on_the_distance_of_positions_alone():
    torch.manual_seed(0)
    query, key = torch.randn(2, 8, dtype=torch.float64)
    turn = rotary_angles(40, 8, query)
    queries = rotated(query.expand(1, 1, 40, 8), turn)[0, 0]
    keys = rotated(key.expand(1, 1, 40, 8), turn)[0, 0]
    products = queries @ keys.T
    for distance in (0, 1, 17):
        along = products.diagonal(-distance)
        torch.testing.assert_close(along, along[:1].expand_as(along), rtol=1e-12, atol=1e-12)
    assert products[0, 0] == pytest.approx(float(query @ key))
    assert abs(float(products[1, 0] - products[0, 0])) > 1e-3


def test_rotary_positions_are_told_apart_in_bfloat16():
    cosines, sines = rotary_angles(600, 8, torch.zeros(1, dtype=torch.bfloat16))
    angles = torch.atan2(sines[:, 0].float(), cosines[:, 0].float())
    expected = torch.arange(600).double()  # the first frequency is one turn of 2π positions
    distance = (angles - expected + math.pi) % (2 * math.pi) - math.pi
    assert distance.abs().max() < 0.01


def test_a_text_longer_than_those_of_training_has_rotary_positions():
    model = decoder(positions="rotary")
    tokens = draw_tokens(length=3 * LENGTH)
    torch.testing.assert_close(model(tokens)[:, :LENGTH], model(tokens[:, :LENGTH]), rtol=1e-12, atol=1e-12)


def test_weights_begin_as_gpt2s():
    torch.manual_seed(0)
    depth = 8
    keys = {"width": 128, "depth": depth, "heads": 4, "vocab_size": 256, "num_outputs": 256}
    model = Transformer(input_shape=(64,), positions="learned", **keys)
    last_maps = ("output.weight", "branch.2.weight")
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            std = 0.02 / math.sqrt(2 * depth) if name.endswith(last_maps) else 0.02
            assert parameter.std().item() == pytest.approx(std, rel=0.05), name
        else:
            expected = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            assert (parameter == expected).all(), name


def test_tied_embeddings_are_one_matrix_that_reads_and_writes():
    tied, apart = decoder(), decoder(tied_embeddings=False)
    matrices = [name for name, parameter in tied.named_parameters() if parameter.shape == (VOCABULARY, WIDTH)]
    assert matrices == ["token_embedding.weight"]
    assert set(dict(apart.named_parameters())) - set(dict(tied.named_parameters())) == {"head.weight", "head.bias"}
    weights = {name: value for name, value in tied.state_dict().items() if not name.startswith("head")}
    apart.load_state_dict(
        weights | {"head.weight": weights["token_embedding.weight"], "head.bias": torch.zeros(VOCABULARY)}
    )
    torch.testing.assert_close(apart(draw_tokens()), tied(draw_tokens()), rtol=1e-13, atol=1e-13)


def test_matrices_decay_and_norms_and_biases_do_not():
    model = decoder(positions="learned", tied_embeddings=False)
    names = {parameter: name for name, parameter in model.named_parameters()}
    decayed, exempt = ([names[parameter] for parameter in group["params"]] for group in parameter_groups(model))
    assert all("bias" in name or "norm" in name for name in exempt)
    roles = {name.partition(".")[0] for name in decayed}
    assert roles == {"token_embedding", "position_embedding", "blocks", "head"}


def test_dropout_is_drawn_in_training_alone():
    model = decoder(dropout=0.5, attention_dropout=0.5)
    tokens = draw_tokens()
    torch.manual_seed(0)
    first = model(tokens)
    assert not torch.equal(first, model(tokens))
    torch.manual_seed(0)
    assert torch.equal(first, model(tokens))
    model.eval()
    assert torch.equal(model(tokens), model(tokens))


def test_every_parameter_of_every_combination_is_trained():
    for positions in ("learned", "rotary"):
        for norm_placement in ("pre", "post"):
            for pool in ("none", "mean"):
                model = decoder(positions=positions, norm_placement=norm_placement, pool=pool, tied_embeddings=False)
                outputs = model(draw_tokens())
                assert outputs.shape == ((4, LENGTH, VOCABULARY) if pool == "none" else (4, VOCABULARY))
                outputs.backward(torch.randn_like(outputs))
                key_bias = slice(WIDTH, 2 * WIDTH)  # a bias of keys shifts all scores of a query alike
                for name, parameter in model.named_parameters():
                    gradient = parameter.grad
                    if name.endswith("qkv.bias") and positions == "learned":
                        gradient = torch.cat([gradient[: key_bias.start], gradient[key_bias.stop :]])
                    assert gradient.isfinite().all(), name
                    assert gradient.abs().max() > 0, name


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"vocab_size": None}, "use data=text"),
        ({"num_outputs": 3}, "model.tied_embeddings=false"),
        ({"heads": 5}, "model.heads=5"),
        ({"heads": 4}, "an even number"),
    ],
)
def test_what_does_not_go_together_is_refused_by_its_key(keys, message):
    with pytest.raises(ValueError, match=r"^model") as error:
        decoder(**keys)
    assert message in str(error.value)


def image_model(**keys):
    torch.manual_seed(0)
    sizes = {"width": WIDTH, "depth": DEPTH, "heads": HEADS, "patch_size": 4}
    return VisionTransformer(input_shape=(3, 8, 12), num_outputs=5, **{**sizes, **keys}).double()


def test_an_image_is_cut_into_patches_row_by_row():
    model = disturbed(image_model())
    images = torch.randn(2, 3, 8, 12, dtype=torch.float64)
    squares = [images[:, :, top : top + 4, left : left + 4].flatten(1) for top in (0, 4) for left in (0, 4, 8)]
    weight = model.patch_embedding.weight.flatten(1)
    tokens = torch.stack(squares, 1) @ weight.T + model.patch_embedding.bias + model.position_embedding
    expected = model.head(model.blocks(tokens, Visibility(causal=False)).mean(1))
    torch.testing.assert_close(model(images), expected, rtol=1e-12, atol=1e-12)
    assert model(images).shape == (2, 5)


@pytest.mark.parametrize(
    ("keys", "message"), [({"patch_size": 3}, "model.patch_size=3"), ({"patch_size": 16}, "model.patch_size=16")]
)
def test_patches_that_do_not_fit_the_image_are_refused(keys, message):
    with pytest.raises(ValueError, match=message):
        image_model(**keys)
