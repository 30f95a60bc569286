"""The captioner: padding, packing, learning by heart; greedy and beam search against an exhaustive one."""

import itertools
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from btrnn import BTLSTM, GRU, LSTM, TTLSTM
from btrnn.data.captions.vocabulary import BOS, EOS, PAD, UNK, Vocabulary, VocabularyError, words_of
from btrnn.models.captioner import Captioner, beam_search, caption_loss, greedy
from btrnn.nn.recurrent import Recurrent


def captioner(vocabulary_size: int = 7, seed: int = 0, cell: type[Recurrent] = LSTM, **options) -> Captioner:
    torch.manual_seed(seed)
    network = Captioner(cell(8, 8, batch_first=True), vocabulary_size=vocabulary_size, num_channels=5, **options)
    with torch.no_grad():
        network.output.weight.mul_(6)  # so that words differ in probability
    return network.eval()


def test_words_after_a_captions_end_change_nothing():
    network = captioner()
    features = torch.randn(3, 2, 5)
    tokens = torch.tensor([[BOS, 4, 5, 6, EOS], [BOS, 5, EOS, PAD, PAD], [BOS, EOS, PAD, PAD, PAD]])
    lengths = torch.tensor([5, 3, 2])
    scores = network(features, tokens, lengths)
    assert scores.shape == (4 + 2 + 1, 7)
    for row, (length, own) in enumerate(zip(lengths.tolist(), scores.split([4, 2, 1]), strict=True)):
        alone = network(features[row : row + 1], tokens[row : row + 1, :length], lengths[row : row + 1])
        torch.testing.assert_close(own, alone)
    targets = torch.tensor([4, 5, 6, EOS, 5, EOS, EOS])
    torch.testing.assert_close(caption_loss(scores, tokens), F.cross_entropy(scores, targets))


@pytest.mark.parametrize("cell", [LSTM, GRU])
def test_steps_give_what_the_whole_sequence_gives(cell):
    network = captioner(cell=cell)
    features, tokens = torch.randn(2, 2, 5), torch.tensor([[BOS, 4, 5, EOS], [BOS, 6, 6, EOS]])
    scores = network(features, tokens, torch.tensor([4, 4])).view(2, 3, -1)
    state = network.start(features)
    for t in range(3):
        log_probability, state = network.step(tokens[:, t], state)
        torch.testing.assert_close(log_probability, scores[:, t].log_softmax(-1))


def test_what_the_decoder_sees_is_a_map_of_the_mean_of_standardised_cells():
    network = captioner()
    features = (3 + 2 * torch.randn(4, 6, 5)).half()
    features[:, :, 2] = 7.0  # a channel that never changes
    mean, sd = features.float().mean((0, 1)), features.float().std((0, 1), correction=0)
    network.standardise(mean, sd)
    weight, bias = network.feature_map.weight, network.feature_map.bias
    scaled = (features.float() - mean) / torch.where(sd > 0, sd, 1.0)
    expected = torch.stack([scaled[:, cell] @ weight.T + bias for cell in range(6)]).mean(dim=0)
    torch.testing.assert_close(network.encode(features), expected)
    torch.testing.assert_close(network.encode(features[:, torch.randperm(6)]), network.encode(features))
    again = captioner(seed=1)
    again.load_state_dict(network.state_dict())
    assert torch.equal(again.encode(features), network.encode(features))


def every_caption(network: Captioner, feature: torch.Tensor, max_length: int, penalty: float) -> dict:
    """Score all captions that can be said."""
    scored = {}
    said = range(4, network.output.out_features)
    for length in range(max_length + 1):
        for words in itertools.product(said, repeat=length):
            tokens = torch.tensor([[BOS, *words, EOS]])
            log_probability = network(feature[None], tokens, torch.tensor([length + 2])).log_softmax(-1)
            total = log_probability[torch.arange(length + 1), tokens[0, 1:]].sum().item()
            scored[words] = total / (length + 1) ** penalty
    return scored


@settings(max_examples=8)
@given(seed=st.integers(0, 10_000), penalty=st.sampled_from([0.0, 0.7, 1.0]), cell=st.sampled_from([LSTM, GRU]))
def test_a_wide_beam_finds_the_best_of_all_captions(seed, penalty, cell):
    network = captioner(seed=seed, cell=cell)
    features = torch.randn(2, 2, 5)
    with torch.no_grad():
        found = beam_search(network, features, beam_size=27, max_length=3, length_penalty=penalty)
        for feature, caption in zip(features, found, strict=True):
            scored = every_caption(network, feature, 3, penalty)
            assert caption.score == pytest.approx(max(scored.values()), abs=1e-5)
            assert scored[tuple(caption.words)] == pytest.approx(caption.score, abs=1e-5)


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), beam=st.integers(1, 4), penalty=st.sampled_from([0.0, 0.7, 1.0, 2.0]))
def test_a_beam_is_never_worse_than_greedy_and_scores_what_it_says(seed, beam, penalty):
    network = captioner(seed=seed, vocabulary_size=9)
    features = torch.randn(3, 2, 5)
    plain = greedy(network, features, max_length=4, length_penalty=penalty)
    found = beam_search(network, features, beam_size=beam, max_length=4, length_penalty=penalty)
    for feature, one, other in zip(features, plain, found, strict=True):
        assert other.score >= one.score
        for caption in (one, other):
            assert len(caption.words) <= 4
            assert not {PAD, BOS, EOS, UNK} & set(caption.words)
            tokens = torch.tensor([[BOS, *caption.words, EOS]])
            with torch.no_grad():
                scores = network(feature[None], tokens, torch.tensor([tokens.shape[1]])).log_softmax(-1)
            total = scores[torch.arange(tokens.shape[1] - 1), tokens[0, 1:]].sum().item()
            assert caption.score == pytest.approx(total / (len(caption.words) + 1) ** penalty, abs=1e-5)


def test_a_batch_is_searched_as_its_images_alone():
    network, features = captioner(vocabulary_size=12), torch.randn(6, 2, 5)
    together = beam_search(network, features, beam_size=3, max_length=6)
    for feature, caption in zip(features, together, strict=True):
        (alone,) = beam_search(network, feature[None], beam_size=3, max_length=6)
        assert alone.words == caption.words


@pytest.mark.parametrize("cell", [LSTM, GRU])
def test_a_batch_of_no_images_gives_no_captions(cell):
    network, features = captioner(cell=cell), torch.randn(0, 2, 5)
    assert greedy(network, features, max_length=6) == beam_search(network, features, beam_size=3, max_length=6) == []


@pytest.mark.parametrize("kind", ["lstm", "tt", "bt", "gru"])
def test_eight_captions_are_learnt_by_heart(kind):
    torch.manual_seed(0)
    layer = {
        "lstm": lambda: LSTM(64, 64, batch_first=True),
        "gru": lambda: GRU(64, 64, batch_first=True),
        "tt": lambda: TTLSTM((4, 4, 4), (4, 4, 4), tt_rank=3, batch_first=True),
        "bt": lambda: BTLSTM((4, 4, 4), (4, 4, 4), tucker_rank=2, num_blocks=2, batch_first=True),
    }[kind]()
    captions = [
        *("a red cube", "two blue balls on sand", "a green ring left of a red ball", "the sky"),
        *("one small cone", "a ball behind a large blue cube", "three rings", "a red cube under a cone"),
    ]
    vocabulary = Vocabulary.from_captions(captions, 1)
    rows = [[BOS, *vocabulary.encode(caption), EOS] for caption in captions]
    lengths = torch.tensor([len(row) for row in rows])
    tokens = torch.tensor([row + [PAD] * (int(lengths.max()) - len(row)) for row in rows])
    features = torch.randn(8, 2, 16)
    network = Captioner(layer, vocabulary_size=len(vocabulary), num_channels=16)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(150):
        loss = caption_loss(network(features, tokens, lengths), tokens)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    for found in (greedy(network, features, max_length=10), beam_search(network, features, beam_size=3, max_length=10)):
        assert [vocabulary.decode(caption.words) for caption in found] == captions


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="one direction, and batch_first=True"):
        Captioner(LSTM(4, 4), vocabulary_size=5, num_channels=2)
    with pytest.raises(ValueError, match="got 0, 3 and 0"):
        beam_search(captioner(), torch.randn(1, 2, 5), beam_size=0, max_length=3)


def test_words_and_numbers():
    captions = ["A red-hot ball, isn't it?", "a ball.", "A BALL"]
    assert words_of(captions[0]) == ["a", "red-hot", "ball", "isn't", "it"]
    vocabulary = Vocabulary.from_captions(captions, 2)
    assert vocabulary.words == ["<pad>", "<bos>", "<eos>", "<unk>", "a", "ball"]
    assert vocabulary.encode("a red ball") == [4, UNK, 5]
    assert vocabulary.decode([BOS, 4, 5, EOS, 4, PAD]) == "a ball"


@given(text=st.text(st.characters(max_codepoint=127)))
def test_words_of_ascii_text_are_of_a_to_z_and_digits(text):
    assert words_of(text) == re.findall(r"[a-z0-9]+(?:['-][a-z0-9]+)*", text.lower())
    assert words_of(f"{text} \u2014") == words_of(text)  # what is beyond ASCII changes no other word


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Un CAFÉ brûlé", ["un", "café", "brûlé"]),
        ("cafe\u0301 caf\u00e9", ["caf\u00e9", "caf\u00e9"]),
        ("мальчик, бежит!", ["мальчик", "бежит"]),
        ("हिन्दी क्या है", ["हिन्दी", "क्या", "है"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),  # noqa: RUF001
        ("une col·lecció", ["une", "col·lecció"]),
        ("a man\u2019s \u2018red\u2010hot\u2019 ball", ["a", "man's", "red-hot", "ball"]),
        ("м\u02bcясо м\u2019ясо", ["м'ясо", "м'ясо"]),  # noqa: RUF001
        ("so\u00adft\u200bly \ufeffdone", ["soft", "ly", "done"]),
        ("1\u00bd m\u00b2 of a_b \u2764\ufe0f", ["1", "m", "of", "a", "b"]),
        ("dog\u2014cat \u201cbird\u201d\u2026", ["dog", "cat", "bird"]),
    ],
)
def test_words_are_of_letters_of_any_script(text, words):
    assert words_of(text) == words


def test_a_vocabulary_is_saved_whole_and_a_bad_file_is_named(tmp_path):
    vocabulary = Vocabulary(["ball", "cube"])
    vocabulary.save(tmp_path / "words.json")
    path = tmp_path / "words.json"
    assert Vocabulary.parse(path.read_text(), path).words == vocabulary.words
    for content, problem in (
        ("", "is not a"),
        ("{}", "JSON list"),
        ("[1]", "JSON list"),
        ('["a", "a"]', "twice are a"),
    ):
        with pytest.raises(VocabularyError, match=problem):
            Vocabulary.parse(content, path)
    with pytest.raises(VocabularyError, match="none of 2 words occurs 5 times"):
        Vocabulary.from_captions(["a ball"], 5)


def test_a_caption_ends_where_that_is_among_the_likeliest_next_words():
    network = captioner(vocabulary_size=9)
    with torch.no_grad():  # each of five words has probability .19 and the end .05, whatever was said
        network.output.weight.zero_()
        network.output.bias.copy_(torch.tensor([1e-9, 1e-9, 0.05, 1e-9, *[0.19] * 5]).log())
    for beam_size, length in ((3, 4), (5, 4), (6, 0)):  # with six, <eos> is among them: the likeliest of all is empty
        found = beam_search(network, torch.randn(2, 2, 5), beam_size=beam_size, max_length=4, length_penalty=0.0)
        assert [len(caption.words) for caption in found] == [length] * 2
