"""Texts of items as vectors: by a tiny random BERT against plain PyTorch, kept on disk, and by the real MiniLM."""

import importlib.metadata
import json
import shutil

import numpy as np
import pytest
import torch
import transformers

from avrec.core.dataset import Dataset
from avrec.core.errors import ArtefactError, ConfigError
from avrec.core.ids import IdMap
from avrec.core.interactions import Interactions
from avrec.models.encoders import text as text_module
from avrec.models.encoders import wheels
from avrec.models.encoders.text import TextEncoder, mean_pooled
from avrec.training.text_vectors import TextVectors

WORDS = "the quick brown fox jumps over a lazy dog sings loud song in rain".split()
LETTERS = [*"abcdefghijklmnopqrstuvwxyz"]
BERT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "hidden_dropout_prob": 0.5,
}


def save_bert(folder, seed=0, **changes):
    """A tiny BERT with a tokenizer of some words, as `save_pretrained` leaves it."""
    vocabulary = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *WORDS,
        *LETTERS,
        *(f"##{letter}" for letter in LETTERS),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    settings = {**BERT, "vocab_size": len(vocabulary), "max_position_embeddings": 40, **changes}
    transformers.BertModel(transformers.BertConfig(**settings)).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return save_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def encoded(monkeypatch):
    """The texts that were encoded since."""
    seen = []
    real = TextEncoder.encode
    monkeypatch.setattr(TextEncoder, "encode", lambda self, texts: seen.extend(texts) or real(self, texts))
    return seen


def with_texts(**columns):
    """Six items that everybody had."""
    part = Interactions.from_events(np.repeat([0, 1], 6), np.tile(np.arange(6), 2), 2, 6)
    return Dataset("random", "random", IdMap(["u", "v"]), IdMap([*"abcdef"]), part, part, part, texts=columns)


TITLES = ("the fox", "a lazy dog sings", None, "the fox", "rain", None)
CAPTIONS = ("song in rain", None, None, "quick quick quick", "brown dog", "loud")


def test_a_batch_is_each_text_alone_and_the_mean_of_its_tokens(bert):
    encoder = TextEncoder(bert, max_tokens=12)
    texts = ["the fox", "a lazy dog sings loud in the rain", "x"]
    together = encoder.encode(texts)
    assert together.shape == (3, 16) and together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-6)
    model = transformers.BertModel.from_pretrained(bert).eval()
    for text, vector in zip(texts, together, strict=True):
        np.testing.assert_allclose(encoder.encode([text])[0], vector, atol=1e-6)
        ids = encoder.tokenizer(text)["input_ids"]
        tokens = model(torch.tensor([ids])).last_hidden_state[0].detach().numpy()
        mean = sum(tokens) / len(ids)
        np.testing.assert_allclose(vector, mean / np.sqrt((mean**2).sum()), atol=1e-6)
    assert not encoder.model.training and not any(value.requires_grad for value in encoder.model.parameters())


def test_padding_is_no_part_of_the_mean():
    tokens = torch.tensor([[[3.0, 0.0], [0.0, 4.0], [100.0, 100.0]]])
    torch.testing.assert_close(mean_pooled(tokens, torch.tensor([[1, 1, 0]])), torch.tensor([[0.6, 0.8]]))


def test_long_texts_are_cut_and_counted(bert, tmp_path, capsys):
    encoder = TextEncoder(bert, max_tokens=5)
    assert encoder.token_counts(["the fox", "the fox jumps over the dog"]).tolist() == [4, 8]
    np.testing.assert_array_equal(encoder.encode(["the fox jumps over"]), encoder.encode(["the fox jumps a dog"]))
    data = with_texts(title=("the fox jumps over the dog", "rain", None, None, None, None))
    maker = TextVectors(tmp_path, "cpu", bert, max_tokens=5)
    maker.feature(data, maker.fit(data))
    assert "title: 1 of 2 texts are longer than 5 tokens and are cut" in capsys.readouterr().out


def test_the_texts_of_an_item_are_averaged(bert, tmp_path):
    data = with_texts(title=TITLES, caption=CAPTIONS)
    maker = TextVectors(tmp_path, "cpu", bert, max_tokens=20, batch_texts=2)
    state = maker.fit(data)
    assert state["columns"] == ["caption", "title"]
    found = maker.feature(data, state)
    encoder = TextEncoder(bert, 20)
    for row, texts in enumerate(zip(TITLES, CAPTIONS, strict=True)):
        given = [encoder.encode([text])[0] for text in texts if text]
        assert found.present[row] == bool(given)
        mean = sum(given) if given else np.zeros(16)
        np.testing.assert_allclose(found.values[row], mean / (np.linalg.norm(mean) or 1), atol=1e-6)
    alone = TextVectors(tmp_path, "cpu", bert, ["title"], max_tokens=20)
    titles = alone.feature(data, alone.fit(data))
    assert titles.present.tolist() == [text is not None for text in TITLES]
    np.testing.assert_array_equal(titles.values[0], titles.values[3])


def test_a_text_is_encoded_once(bert, tmp_path, encoded):
    data = with_texts(title=TITLES)
    maker = TextVectors(tmp_path, "cpu", bert, max_tokens=20)
    first = maker.feature(data, maker.fit(data))
    assert sorted(encoded) == ["a lazy dog sings", "rain", "the fox"]
    encoded.clear()
    again = TextVectors(tmp_path, "cpu", bert, max_tokens=20)
    second = again.feature(data, again.fit(data))
    np.testing.assert_array_equal(first.values, second.values)
    assert encoded == [] and "model" not in vars(again._encoder), "the weights were not even loaded"
    more = with_texts(title=("dog", *TITLES[1:]))
    again.feature(more, again.fit(more))
    assert encoded == ["dog"]


def test_other_weights_or_lengths_are_other_vectors(bert, tmp_path, encoded):
    data = with_texts(title=TITLES)
    other = save_bert(tmp_path / "other", seed=1)
    found = {}
    for name, pretrained, length in (("a", bert, 20), ("b", other, 20), ("c", bert, 3)):
        maker = TextVectors(tmp_path / "cache", "cpu", pretrained, max_tokens=length)
        found[name] = maker.feature(data, maker.fit(data)).values
    assert len(encoded) == 9
    assert not np.allclose(found["a"], found["b"]) and not np.allclose(found["a"], found["c"])
    moved = shutil.copytree(bert, tmp_path / "moved")
    maker = TextVectors(tmp_path / "cache", "cpu", str(moved), max_tokens=20)
    np.testing.assert_array_equal(maker.feature(data, maker.fit(data)).values, found["a"])
    assert len(encoded) == 9, "equal content is found again wherever it lies"


def test_damage_on_disk_is_mended(bert, tmp_path, encoded):
    data = with_texts(title=TITLES)
    maker = TextVectors(tmp_path, "cpu", bert, max_tokens=20)
    first = maker.feature(data, maker.fit(data)).values
    (records,) = [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size == 3 * 16 * 4]
    whole = records.read_bytes()
    records.write_bytes(bytes(reversed(whole)))
    encoded.clear()
    np.testing.assert_array_equal(maker.feature(data, maker.fit(data)).values, first)
    assert len(encoded) == 3


def test_a_model_is_given_the_encoder_it_was_trained_with(bert, tmp_path):
    data = with_texts(title=TITLES)
    state = TextVectors(tmp_path, "cpu", bert, max_tokens=20).fit(data)
    other = save_bert(tmp_path / "other", seed=1)
    with pytest.raises(ArtefactError, match=r"is not the text encoder that the model was trained with: its digest is"):
        TextVectors(tmp_path, "cpu", other, max_tokens=20).feature(data, state)
    with pytest.raises(
        ArtefactError, match=r"the model reads the texts \['title'\], and the data set 'random' has none"
    ):
        TextVectors(tmp_path, "cpu", bert, max_tokens=20).feature(with_texts(caption=CAPTIONS), state)


def test_nothing_to_read(tmp_path):
    assert TextVectors(tmp_path, "cpu", "no such thing").fit(with_texts()) is None
    assert TextVectors(tmp_path, "cpu", "no such thing").fit(with_texts(title=(None,) * 6)) is None
    with pytest.raises(ConfigError, match=r"no texts \['plot'\]; it has \['title'\]"):
        TextVectors(tmp_path, "cpu", "no such thing", ["plot"]).fit(with_texts(title=TITLES))


def test_what_is_no_text_encoder(bert, tmp_path):
    with pytest.raises(ConfigError, match=r"max_tokens is 41; .* reads 3 to 40 tokens"):
        TextEncoder(bert, 41)
    with pytest.raises(ConfigError, match=r"all-minilm-l6-v2"):
        TextEncoder("wheel:none")
    bare = shutil.copytree(bert, tmp_path / "bare")
    (bare / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match=r"holds no tokenizer.json. Save it with tokenizer.save_pretrained"):
        TextEncoder(str(bare), 20)
    config = json.loads((bare / "config.json").read_text())
    (bare / "config.json").write_text(json.dumps({**config, "model_type": "gpt2"}))
    with pytest.raises(ConfigError, match=r"is of the type 'gpt2'; texts are read by albert, bert"):
        TextEncoder(str(bare), 20)


# --- the real weights

PACKAGE = wheels.WHEELS["all-minilm-l6-v2"].package


@pytest.fixture(scope="module")
def minilm():
    try:
        importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"the package {PACKAGE} with the weights of MiniLM is not installed; pip install 'avrec[texts]'")
    return TextEncoder("wheel:all-minilm-l6-v2")


def test_sentences_that_mean_the_same_are_near(minilm):
    groups = [
        ("A man is playing a guitar.", "Somebody plays guitar music."),
        ("How to bake bread at home", "A recipe for a homemade loaf"),
        ("The team won the football match", "Soccer: victory for our side"),
        ("Funny kittens falling asleep", "Sleepy little cats, a comedy"),
    ]
    vectors = minilm.encode([text for pair in groups for text in pair])
    similar = vectors @ vectors.T
    np.fill_diagonal(similar, -1)
    assert (similar.argmax(axis=1) == np.arange(8) ^ 1).all(), similar.round(2)
    assert similar[::2, 1::2].diagonal().min() > 0.4


def test_minilm_is_what_its_package_holds(minilm):
    """The parameters of the checkpoint, and no network: every file lies in the cache."""
    assert minilm.hidden_dim == 384
    assert sum(value.numel() for value in minilm.model.parameters()) == 22_713_216
    folder, revision = wheels.folder_of("all-minilm-l6-v2")
    assert revision.startswith("sha256:53aa51172d14")
    assert {path.name for path in folder.iterdir()} >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert minilm.tokenizer.tokenize("Whoopi Goldberg sings") == minilm.tokenizer.tokenize("whoopi goldberg SINGS")


def test_files_of_the_package_that_differ_are_not_used(tmp_path, monkeypatch):
    from avrec.models.encoders import minilm as converter

    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "config.json").write_bytes(b"{}")
    with pytest.raises(ArtefactError, match=r"all-MiniLM-L6-v2: config.json has the SHA-256 44136fa.*It is not used"):
        converter.convert(tmp_path / "model.safetensors", tmp_path / "out")
    digest = {"config.json": text_module.sha256_file(tmp_path / "config.json")}
    monkeypatch.setattr(converter, "FILES", {**digest, "tokenizer.json": "0"})
    (tmp_path / "out").mkdir()
    with pytest.raises(ArtefactError, match=r"tokenizer.json has the SHA-256 none; expected 0"):
        converter.convert(tmp_path / "model.safetensors", tmp_path / "out")
