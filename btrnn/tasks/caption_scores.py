"""Scores of captions against references, and of what they must be read against: a constant caption, and people's own.

The scores are those of COCO's own evaluation, called one by one: `COCOEvalCap.evaluate` would add SPICE, which it
downloads first. The tokeniser and METEOR are Java programs that pycocoevalcap ships. Where they do not run, captions
are cut by `words_of` instead and METEOR is left out. They are run in one locale, whatever the user's: METEOR cannot
read the decimal comma that it writes itself in some.
"""

import logging
import math
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
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
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import normalize

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
_NUM_TRIED = 10  # of the candidates that are likely to be best, whose CIDEr is computed
_LONGEST = 4  # n-grams of CIDEr
_SIGMA = 6.0  # of CIDEr's penalty of another length
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
    """Return whether pycocoevalcap's Java programs can run: some have a `java` that only says how to get one."""
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
    """Return captions and references as the scorers take them, by number; both are cut in one call."""
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


def constant_cider(
    candidates: Sequence[str], judges: Sequence[Sequence[str]], references: Sequence[Sequence[str]]
) -> float:
    """Return the CIDEr of one caption said of every image, which a model must beat that sees anything.

    It is the candidate with the highest CIDEr on the judges.

    Args:
        candidates: Captions of training images.
        judges: References of validation images.
        references: Of the images on which the chosen caption is scored.
    """
    said, known = tokenized(list(dict.fromkeys(candidates)), judges)
    texts = [text for [text] in said.values()]
    likeness = _likeness(texts, known)
    tried = [texts[place] for place in np.argsort(-likeness, kind="stable")[:_NUM_TRIED]]
    best = max(tried, key=lambda text: _score(text, known))
    return _score(best, tokenized([], references)[1])


def true_cider(references: Sequence[Sequence[str]]) -> float:
    """Return the CIDEr of each image's first reference against its others; not a number without others."""
    known = tokenized([], references)[1]
    if any(len(some) < 2 for some in known.values()):
        return math.nan
    first = {number: some[:1] for number, some in known.items()}
    return float(Cider().compute_score({number: some[1:] for number, some in known.items()}, first)[0])


def _score(caption: str, known: dict[int, list[str]]) -> float:
    return float(Cider().compute_score(known, {image: [caption] for image in known})[0])


def _likeness(texts: Sequence[str], known: Mapping[int, Sequence[str]]) -> np.ndarray:
    """Return about the CIDEr of each text said of all images, of many texts fast.

    An n-gram that is more often in the text than in a reference counts as often as it is in the text, where CIDEr
    counts it as often as in the reference. So all references of a length can be added up before the product.

    Returns:
        (texts,) at most 10 each.
    """
    references = [reference for some in known.values() for reference in some]
    per_image = [len(some) for some in known.values()]
    image = np.repeat(np.arange(len(known)), per_image)
    images = sparse.csr_array((np.ones(len(image)), (image, np.arange(len(image)))))
    weights = np.repeat([1 / (len(known) * number) for number in per_image], per_image)
    words = np.array([len(text.split()) for text in (*texts, *references)])
    own, theirs = words[: len(texts)], words[len(texts) :]
    likeness = np.zeros(len(texts))
    for n in range(1, min(_LONGEST, words.max()) + 1):
        counts = CountVectorizer(ngram_range=(n, n), token_pattern=r"\S+", lowercase=False).fit_transform(
            [*texts, *references]
        )
        frequency = np.asarray(((images @ counts[len(texts) :]) > 0).sum(axis=0)).ravel()
        rarity = math.log(len(known)) - np.log(np.maximum(frequency, 1))
        vectors = normalize(counts @ sparse.diags_array(rarity))
        for length in np.unique(theirs):
            chosen = theirs == length
            centre = weights[chosen] @ vectors[len(texts) :][chosen]
            likeness += np.exp(-((own - length) ** 2) / (2 * _SIGMA**2)) * (vectors[: len(texts)] @ centre)
    return 10 / _LONGEST * likeness
