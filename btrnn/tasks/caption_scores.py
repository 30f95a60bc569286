"""Scores of captions against references: those of COCO's own evaluation, called one by one.

`COCOEvalCap.evaluate` would add SPICE, which it downloads first. The tokeniser and METEOR are Java programs that
pycocoevalcap ships. Where they do not run, captions are cut by `words_of` instead and METEOR is left out. They are run
in one locale, whatever the user's: METEOR cannot read the decimal comma that it writes itself in some.
"""

import logging
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer import ptbtokenizer

from btrnn.data.captions.vocabulary import plain_spelling, words_of

log = logging.getLogger(__name__)
_JAVA_VARIABLE = "_JAVA_OPTIONS"  # which overrules JAVA_TOOL_OPTIONS, and also a command line
_JAVA_OPTIONS = " ".join(
    [
        *(f"-Duser.{name}=en" for name in ("language", "language.format")),
        *(f"-Duser.{name}=US" for name in ("country", "country.format")),
        *(f"-D{name}=UTF-8" for name in ("file.encoding", "stdout.encoding", "sun.stdout.encoding")),
    ]
)
_END = "end"  # cut as the last caption: if it does not come back as the last, lines were lost or torn


class ScorerError(RuntimeError):
    """A Java program of pycocoevalcap did not answer as it should."""


class Scores(NamedTuple):
    """How good captions are.

    corpus: bleu_1 to bleu_4, rouge_l, cider and, where it runs, meteor, of all captions together. CIDEr is at most 10,
        the others 1; they are usually written times 100.
    cider: (n,) CIDEr of each caption; their mean is that of the corpus.
    """

    corpus: dict[str, float]
    cider: np.ndarray


@cache
def has_java() -> bool:
    """Say whether pycocoevalcap's Java programs can run: some systems have a `java` that only says how to get one."""
    if shutil.which("java") is None or not os.access(Path(ptbtokenizer.__file__).parent, os.W_OK):
        return False  # the tokeniser writes its input beside itself
    return subprocess.run(["java", "-version"], capture_output=True, check=False).returncode == 0


@contextmanager
def _java_environment() -> Iterator[None]:
    """Set the environment of Java programs, which pycocoevalcap takes from this process, and put it back."""
    before = {name: os.environ.get(name) for name in ("LC_ALL", _JAVA_VARIABLE)}
    os.environ |= {"LC_ALL": "C", _JAVA_VARIABLE: f"{before[_JAVA_VARIABLE] or ''} {_JAVA_OPTIONS}"}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def tokenizer_name() -> str:
    """Return how captions are cut here: "ptb" with Java, else "plain"."""
    return "ptb" if has_java() else "plain"


def tokenize(captions: Sequence[str]) -> list[str]:
    """Cut captions into lower-case tokens with one space between, without punctuation.

    Raises:
        ScorerError: There is Java, but the tokeniser does not give a line for each caption.
    """
    if not has_java():
        return [" ".join(words_of(caption)) for caption in captions]
    lines = [" ".join(plain_spelling(caption).split()) for caption in captions]  # it works line by line
    full = [line for line in lines if line]
    with _java_environment():
        cut = ptbtokenizer.PTBTokenizer().tokenize({0: [{"caption": line} for line in (*full, _END)]})[0]
    if len(cut) != len(full) + 1 or cut[-1] != _END:
        raise ScorerError(f"the Java tokeniser of pycocoevalcap does not give a line for each of {len(full)} captions")
    tokens = iter(cut)
    return [next(tokens) if line else "" for line in lines]


def tokenized(
    captions: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """Give captions and references as the scorers take them, by number; both are cut in one call."""
    tokens = iter(tokenize([*captions, *(text for some in references for text in some)]))
    said = {number: [next(tokens)] for number in range(len(captions))}
    known = {number: [next(tokens) for _ in some] for number, some in enumerate(references)}
    return said, known


def score_captions(captions: Sequence[str], references: Sequence[Sequence[str]]) -> Scores:
    """Score one caption an image against the references of that image.

    METEOR is left out, with a warning, where it fails: a run that is trained must not lose its other scores.

    Args:
        captions: One for each image.
        references: At least one for each image.

    Raises:
        ValueError: The two differ in length, are empty, or an image has no reference.
        ScorerError: There is Java, but the tokeniser of pycocoevalcap fails.
    """
    if not len(captions) == len(references) > 0 or not all(references):
        raise ValueError(
            f"each caption needs at least one reference; got {len(captions)} captions, {len(references)} lists of "
            f"references, of which {sum(not some for some in references)} are empty"
        )
    said, known = tokenized(captions, references)
    bleu, _ = Bleu(4).compute_score(known, said, verbose=0)
    cider, of_each = Cider().compute_score(known, said)
    corpus = {f"bleu_{n}": float(score) for n, score in enumerate(bleu, start=1)}
    corpus |= {"rouge_l": float(Rouge().compute_score(known, said)[0]), "cider": float(cider)}
    if has_java():
        try:
            corpus["meteor"] = _meteor_score(said, known)
        except (ScorerError, OSError) as error:
            log.warning("METEOR failed: %s; it is left out, as without Java", error)
    return Scores(corpus, np.asarray(of_each, dtype=np.float64))


def _meteor_score(said: dict[int, list[str]], known: dict[int, list[str]]) -> float:
    """Ask METEOR, and end its process in any case: interrupted while it holds its lock, it would wait for ever."""
    with _java_environment():
        scorer = Meteor()
    try:
        return float(scorer.compute_score(known, said)[0])
    except (ValueError, OSError) as error:  # no answer, or it has gone
        scorer.meteor_p.kill()
        complaints = scorer.meteor_p.stderr.read().decode(errors="replace").splitlines()
        reason = " ".join(line.strip() for line in complaints if not line.startswith("Picked up ")) or str(error)
        raise ScorerError(reason) from error
    finally:
        scorer.meteor_p.kill()
        with suppress(OSError):
            scorer.meteor_p.communicate()
        if scorer.lock.locked():
            scorer.lock.release()
