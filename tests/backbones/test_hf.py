from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import BertConfig, BertModel, RobertaConfig, RobertaModel, RobertaTokenizerFast

from pare_tune.backbones import load_backbone
from pare_tune.errors import BackboneUnavailable, ConfigError

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.fixture
def roberta(tmp_path: Path) -> tuple[RobertaModel, Path]:
    """A small RoBERTa as `save_pretrained` leaves it, with a vocabulary."""
    torch.manual_seed(0)
    config = RobertaConfig(vocab_size=300, max_position_embeddings=66, type_vocab_size=1, **SMALL)
    model = RobertaModel(config, add_pooling_layer=False).eval()
    folder = tmp_path / "roberta"
    model.save_pretrained(folder)
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        ["the quick brown fox " * 20],
        vocab_size=290,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
    )
    bpe.save(str(folder / "tokenizer.json"))
    bpe.save_model(str(folder))
    RobertaTokenizerFast.from_pretrained(folder).save_pretrained(folder)
    return model, folder


def test_roberta_in_two_parts_equals_the_librarys_forward(roberta: tuple[RobertaModel, Path]) -> None:
    model, folder = roberta
    backbone = load_backbone(f"hf:{folder}").eval()
    ids = torch.randint(5, 300, (3, 17))
    with torch.no_grad():
        expected = model(input_ids=ids).last_hidden_state
        tokens = backbone.embed_source(ids, "text")
        torch.testing.assert_close(backbone.encode(tokens), expected)
    assert tokens.shape == (3, 17, 32)
    assert backbone.spec.max_tokens == 64
    torch.testing.assert_close(backbone.positions, model.embeddings.position_embeddings.weight[2:].detach())


def test_added_positions_are_what_a_place_adds_to_the_tokens_of_text(
    roberta: tuple[RobertaModel, Path],
) -> None:
    backbone = load_backbone(f"hf:{roberta[1]}")
    words = torch.arange(5, 300)[:, None].expand(-1, 64)
    of_place_ND = backbone.embed_source(words, "text").mean(0)
    added_ND = backbone.added_positions
    expected, got = (x - x.mean(0) for x in (of_place_ND, added_ND))
    assert float((got - expected).std()) < 0.1 * float(expected.std())
    assert float(backbone.positions.std()) < 0.1 * float(expected.std())  # behind the norm they would be lost


def test_a_new_embedder_takes_the_norm_of_the_embedding_layer(roberta: tuple[RobertaModel, Path]) -> None:
    start = load_backbone(f"hf:{roberta[1]}").patch_start(1, steps=20)
    assert start.weight is None
    assert torch.equal(start.norm_weight, roberta[0].embeddings.LayerNorm.weight)


def test_bert_in_two_parts_equals_the_librarys_forward(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = BertModel(
        BertConfig(vocab_size=300, max_position_embeddings=64, **SMALL), add_pooling_layer=False
    ).eval()
    model.save_pretrained(tmp_path)
    backbone = load_backbone(f"hf:{tmp_path}").eval()
    ids = torch.randint(5, 300, (3, 17))
    with torch.no_grad():
        expected = model(input_ids=ids).last_hidden_state
        torch.testing.assert_close(backbone.encode(backbone.embed_source(ids, "text")), expected)
    torch.testing.assert_close(backbone.positions, model.embeddings.position_embeddings.weight.detach())


def test_a_padding_id_inside_a_window_does_not_shift_the_positions(
    roberta: tuple[RobertaModel, Path],
) -> None:
    backbone = load_backbone(f"hf:{roberta[1]}")
    ids = torch.full((1, 6), 9)
    other = ids.clone()
    other[0, 2] = 1
    a, b = backbone.embed_source(ids, "text"), backbone.embed_source(other, "text")
    torch.testing.assert_close(a[0, 3:], b[0, 3:])


def test_tokens_have_no_special_ids(roberta: tuple[RobertaModel, Path]) -> None:
    backbone = load_backbone(f"hf:{roberta[1]}")
    short, long = backbone.tokenize(["the fox", "the quick brown fox " * 60])
    assert 0 < len(short) < len(long)
    assert not {0, 1, 2, 3, 4} & {*short, *long}


def test_dropout_is_off_unless_asked_for(roberta: tuple[RobertaModel, Path]) -> None:
    for rate, same in ((0.0, True), (0.5, False)):
        backbone = load_backbone(f"hf:{roberta[1]}", dropout=rate).train()
        tokens = backbone.embed_source(torch.randint(5, 300, (2, 8)), "text")
        assert torch.equal(backbone.encode(tokens), backbone.encode(tokens)) is same


def test_the_source_embedder_never_trains_and_never_leaves_evaluation_mode(
    roberta: tuple[RobertaModel, Path],
) -> None:
    backbone = load_backbone(f"hf:{roberta[1]}", dropout=0.5).train()
    backbone.freeze("none")
    ids = torch.randint(5, 300, (2, 8))
    assert torch.equal(backbone.embed_source(ids, "text"), backbone.embed_source(ids, "text"))
    assert not any(module.training for module in backbone.source_embedder.modules())
    assert not any(p.requires_grad for p in backbone.source_embedder.parameters())


def test_roberta_base_trains_one_step_at_its_real_size() -> None:
    backbone = load_backbone("roberta-base", pretrained=False)
    assert (backbone.spec.width, backbone.spec.max_tokens) == (768, 512)
    tokens = backbone.embed_source(torch.randint(4, 50000, (1, 32)), "text")
    features = backbone.encode(tokens)
    features.square().mean().backward()
    assert features.shape == (1, 32, 768)
    assert all(p.grad is not None for p in backbone.parameters() if p.requires_grad)
    assert sum(p.numel() for p in backbone.parameters()) > 120e6


def test_too_many_tokens_or_another_kind_are_refused(roberta: tuple[RobertaModel, Path]) -> None:
    backbone = load_backbone(f"hf:{roberta[1]}")
    with pytest.raises(ValueError, match="at most 64 tokens, got 65"):
        backbone.embed_source(torch.ones(1, 65, dtype=torch.long), "text")
    with pytest.raises(ValueError, match="embeds text, got 'waves'"):
        backbone.embed_source(torch.ones(1, 1, 64), "waves")


def test_pickled_weights_are_refused(roberta: tuple[RobertaModel, Path]) -> None:
    model, folder = roberta
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(BackboneUnavailable, match=r"only pickled weights \(pytorch_model.bin\)"):
        load_backbone(f"hf:{folder}")


def test_damaged_weights_and_missing_files_are_named(roberta: tuple[RobertaModel, Path]) -> None:
    folder = roberta[1]
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BackboneUnavailable, match=r"model\.safetensors is damaged"):
        load_backbone(f"hf:{folder}")
    (folder / "config.json").unlink()
    with pytest.raises(BackboneUnavailable, match=r"no config\.json in"):
        load_backbone(f"hf:{folder}")


def test_a_missing_vocabulary_is_an_error_only_when_text_is_read(tmp_path: Path) -> None:
    RobertaModel(RobertaConfig(vocab_size=300, max_position_embeddings=66, **SMALL)).save_pretrained(tmp_path)
    backbone = load_backbone(f"hf:{tmp_path}")
    with pytest.raises(BackboneUnavailable, match="no tokenizer"):
        backbone.tokenize(["x"])


def test_text_that_is_not_in_the_vocabulary_is_refused(tmp_path: Path) -> None:
    # As a model of proteins has it: letters, and one token for all else.
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"QVLESG"]))
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": False}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    config = BertConfig(vocab_size=11, max_position_embeddings=64, **SMALL)
    BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    backbone = load_backbone(f"hf:{tmp_path}")
    assert backbone.tokenize(["Q V Q the", ""]) == [[5, 6, 5, 1], []]
    with pytest.raises(ConfigError, match=r"5 of 7 are not in its vocabulary; choose a source\.name"):
        backbone.tokenize(["the quick brown fox jumps", "Q V"])


def test_a_model_of_another_family_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(ConfigError, match="gpt2"):
        load_backbone(f"hf:{tmp_path}", pretrained=False)
