"""Scores of captions: those of pycocoevalcap's own scorers, with Java and without it."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from btrnn.data.captions.vocabulary import words_of
from btrnn.tasks import caption_scores as metrics
from btrnn.tasks.caption_scores import (
    ScorerError,
    has_java,
    score_captions,
    tokenize,
    tokenizer_name,
)

pytestmark = pytest.mark.programs  # all of them: what is computed or read without a program is another way
REFERENCES = [
    ["A red cube, on sand.", "There's a cube that isn't blue", "one Red block stands on the sand"],
    ["two green balls beside a (yellow) cone", "a pair of green spheres - and a cone!"],
    ["a purple ring behind a small grey cylinder", "Ring: purple; cylinder: grey"],
]
CAPTIONS = ["a red cube on the sand", "two green balls", "a purple ring left of a red cube"]


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "has_java", lambda: False)


@pytest.fixture
def fake_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Put a shell script in Java's place."""

    def put(script: str) -> None:
        path = tmp_path / "java"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        has_java.cache_clear()

    yield put
    has_java.cache_clear()


def directly(said: dict[int, list[str]], known: dict[int, list[str]]) -> dict[str, float]:
    """Call each scorer alone, as its authors do."""
    scores = {f"bleu_{n}": score for n, score in enumerate(Bleu(4).compute_score(known, said, verbose=0)[0], 1)}
    return scores | {"rouge_l": Rouge().compute_score(known, said)[0], "cider": Cider().compute_score(known, said)[0]}


def plainly(captions: list[str]) -> list[str]:
    return [" ".join(words_of(caption)) for caption in captions]


@settings(max_examples=40)
@given(data=st.data())
def test_without_java_each_score_is_the_scorers_own_on_plain_tokens(data: st.DataObject) -> None:
    caption = st.lists(st.sampled_from(["red", "blue", "cube", "ball", "on", "a", "the"]), min_size=1, max_size=9).map(
        " ".join
    )
    references = data.draw(st.lists(st.lists(caption, min_size=1, max_size=5), min_size=1, max_size=4))
    captions = data.draw(st.lists(caption, min_size=len(references), max_size=len(references)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "has_java", lambda: False)
        scores = score_captions(captions, references)
        assert tokenizer_name() == "plain"
    said = {k: plainly([caption]) for k, caption in enumerate(captions)}
    known = {k: plainly(some) for k, some in enumerate(references)}
    assert scores.corpus == pytest.approx(directly(said, known))
    assert scores.cider.shape == (len(captions),)
    assert scores.cider.mean() == pytest.approx(scores.corpus["cider"])


def test_with_java_each_score_is_the_scorers_own_for_captions_of_any_length(java: None) -> None:
    def cut(captions: list[str]) -> list[str]:
        return PTBTokenizer().tokenize({0: [{"caption": caption} for caption in captions]})[0]

    captions = [*CAPTIONS, "cube", "a red cube " * 67, " ... ", ""]
    references = [*REFERENCES, *REFERENCES, REFERENCES[0]]
    scores = score_captions(captions, references)
    assert tokenizer_name() == "ptb"
    said = {k: cut([caption]) for k, caption in enumerate(captions[:-1])} | {len(captions) - 1: [""]}
    known = {k: cut(some) for k, some in enumerate(references)}
    meteor = Meteor().compute_score(known, said)[0]
    assert scores.corpus == pytest.approx(directly(said, known) | {"meteor": meteor})
    assert 0 < scores.corpus["meteor"] < 1
    assert len(scores.cider) == 7


def test_captions_that_are_their_references_have_the_best_scores(no_java: None) -> None:
    references = [["a red cube on the sand"], ["two green balls beside a cone"], ["one ring and nothing else"]]
    scores = score_captions([some[0] for some in references], references)
    assert scores.corpus == pytest.approx(
        dict.fromkeys([*(f"bleu_{n}" for n in range(1, 5)), "rouge_l"], 1.0) | {"cider": 10}
    )


@pytest.mark.parametrize("separator", ["\n", "\r", "\u2028", "\x85", "\t"])
def test_a_caption_of_several_lines_stays_one(java: None, separator: str) -> None:
    assert tokenize([f"A red{separator}cube.", "", "It isn't"]) == ["a red cube", "", "it is n't"]
    assert tokenize(["", " "]) == ["", ""]


def test_java_that_is_absent_or_only_a_name_is_not_used(
    fake_java: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_java("echo 'No Java runtime present, requesting install.' >&2; exit 1")
    assert not has_java()
    assert "meteor" not in score_captions(CAPTIONS, REFERENCES).corpus
    monkeypatch.setattr(shutil, "which", lambda name: None)
    has_java.cache_clear()
    assert not has_java()


def test_a_tokeniser_that_fails_is_named(fake_java: Callable[[str], None]) -> None:
    fake_java('[ "$1" = -version ] || echo only one line')
    with pytest.raises(ScorerError, match="a line for each of 2 captions"):
        tokenize(["a cube", "a ball"])
    fake_java('[ "$1" = -version ] || { echo torn; cat "$6"; }')
    with pytest.raises(ScorerError, match="a line for each of 2 captions"):
        tokenize(["a cube", "a ball"])
    fake_java('[ "$1" = -version ] || cat "$6"')
    assert tokenize(["a cube", "a ball"]) == ["a cube", "a ball"]  # so that the script stands in for Java's program


def test_meteor_that_fails_is_named_and_left_out_and_leaves_no_process(
    fake_java: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    started = []
    monkeypatch.setattr(metrics, "Meteor", lambda: started.append(Meteor()) or started[-1])
    monkeypatch.setattr(metrics, "tokenize", plainly)
    fake_java('[ "$1" = -version ] || { echo Could not reserve enough space >&2; read line; exit 1; }')
    said = {k: plainly([caption]) for k, caption in enumerate(CAPTIONS)}
    known = {k: plainly(some) for k, some in enumerate(REFERENCES)}
    assert score_captions(CAPTIONS, REFERENCES).corpus == pytest.approx(directly(said, known))
    assert "METEOR failed: Could not reserve enough space" in caplog.text
    monkeypatch.setattr(Meteor, "_stat", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    fake_java('[ "$1" = -version ] || cat')
    with pytest.raises(KeyboardInterrupt):
        score_captions(CAPTIONS, REFERENCES)
    assert [scorer.meteor_p.poll() is not None for scorer in started] == [True, True]
    assert not any(scorer.lock.locked() for scorer in started)  # a lock that is held would stop Python's own end


def test_scores_do_not_depend_on_the_locale(java: None, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = score_captions(CAPTIONS, REFERENCES).corpus
    assert "meteor" in wanted
    for language in ("de", "ar"):  # a comma in numbers, other digits
        for name in ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"):
            monkeypatch.setenv(name, f"-Duser.language={language} -Duser.language.format={language}")
        before = dict(os.environ)
        assert score_captions(CAPTIONS, REFERENCES).corpus == wanted, language
        assert dict(os.environ) == before


def test_letters_beyond_ascii_are_kept_in_any_locale(java: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    assert tokenize(["Un cafe\u0301, brûlé", "мальчик"]) == ["un caf\u00e9 brûlé", "мальчик"]
    assert tokenize(["a man\u2019s hat"]) == tokenize(["a man's hat"])


def test_captions_without_references_are_refused() -> None:
    with pytest.raises(ValueError, match="got 2 captions, 1 lists of references, of which 0 are empty"):
        score_captions(["a", "b"], [["a"]])
    with pytest.raises(ValueError, match="got 1 captions, 1 lists of references, of which 1 are empty"):
        score_captions(["a"], [[]])
    with pytest.raises(ValueError, match="got 0 captions"):
        score_captions([], [])
