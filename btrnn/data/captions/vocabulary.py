"""Words and their numbers: what a caption is to a network."""

import functools
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from btrnn.storage.atomic import replace_file

SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")
PAD, BOS, EOS, UNK = range(4)
_WORD = re.compile(r"[a-z0-9]+(?:['-][a-z0-9]+)*")  # of ASCII text
_APOSTROPHES, _HYPHENS = "\u2018\u2019\u201b\u02bc\uff07\u00b4", "\u2010\u2011"
_JOINERS, _KEYCAPS = "\u200c\u200d", range(0x20D0, 0x2100)  # the first stand inside of words, the others around signs


class VocabularyError(ValueError):
    """There is no word to learn, or a file of words is not one."""


class _Characters(NamedTuple):
    """What the characters beyond ASCII are to a word: tables for `str.translate`, and the pattern of a word."""

    spelling: dict[int, str]
    no_word: dict[int, str]
    word: re.Pattern[str]


@functools.cache
def _characters() -> _Characters:
    """Sort the characters of Unicode, which takes a moment, so that only text beyond ASCII waits for it."""
    kinds = {chr(code): unicodedata.category(chr(code)) for code in range(0x80, 0x20000)}
    spelling = {c: "" for c, kind in kinds.items() if kind == "Cf" and c not in _JOINERS}  # not seen, as soft hyphens
    spelling |= {chr(code): "" for code in range(0xFE00, 0xFE10)}  # which picture is shown of a sign
    spelling |= {"\u200b": " "} | dict.fromkeys(_APOSTROPHES, "'") | dict.fromkeys(_HYPHENS, "-")
    no_word = {"_": " "} | {c: " " for c, kind in kinds.items() if kind == "No"}  # as a half and a square
    marks = _JOINERS + "".join(c for c, kind in kinds.items() if kind[0] == "M" and ord(c) not in _KEYCAPS)
    part = rf"\w[\w{marks}]*"
    word = re.compile(rf"{part}(?:['\-\u00b7]{part})*")  # Catalan has a dot in the middle of words
    return _Characters(str.maketrans(spelling), str.maketrans(no_word), word)


def plain_spelling(text: str) -> str:
    """Write what looks alike in one way: accents in one character with their letter, apostrophes and hyphens as ASCII.

    Characters that are not seen are left out. ASCII text stays as it is.
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text.translate(_characters().spelling))


def words_of(caption: str) -> list[str]:
    """Cut a caption into lower-case words of letters of any script, their marks, and digits.

    Punctuation is dropped; hyphens and apostrophes inside of words stay. Scripts without spaces between words, such as
    Chinese and Thai, are not cut: all up to the next sign or space is one word.
    """
    text = plain_spelling(caption.lower())
    if text.isascii():
        return _WORD.findall(text)
    return _characters().word.findall(text.translate(_characters().no_word))


class Vocabulary:
    """The words that a network knows, after <pad>, <bos>, <eos> and <unk>, which are 0 to 3.

    Args:
        words: In the order of their numbers, without the special ones.

    Raises:
        VocabularyError: There are no words, or one stands there twice.
    """

    def __init__(self, words: Sequence[str]) -> None:
        if not words:
            raise VocabularyError("a vocabulary without words; lower the count threshold, or give captions with words")
        self.words = [*SPECIAL, *words]
        self._numbers = {word: number for number, word in enumerate(self.words)}
        if len(self._numbers) != len(self.words):
            twice = [word for word, count in Counter(self.words).items() if count > 1]
            raise VocabularyError(f"a vocabulary has each word once; twice are {', '.join(twice[:5])}")

    @classmethod
    def from_captions(cls, captions: Iterable[str], threshold: int) -> "Vocabulary":
        """Take the words that occur at least `threshold` times, the most frequent first.

        Raises:
            VocabularyError: No word occurs so often.
        """
        counts = Counter(word for caption in captions for word in words_of(caption))
        known = [word for word, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
        kept = [word for word in known if counts[word] >= threshold]
        if not kept:
            raise VocabularyError(
                f"none of {len(known):,} words occurs {threshold} times or more; lower the count threshold"
            )
        return cls(kept)

    def __len__(self) -> int:
        """Words, the four special ones included."""
        return len(self.words)

    def encode(self, caption: str) -> list[int]:
        """Return the numbers of a caption's words, <unk> for those that are not known; without <bos> and <eos>."""
        return [self._numbers.get(word, UNK) for word in words_of(caption)]

    def decode(self, numbers: Iterable[int]) -> str:
        """Return the words up to <eos>, without <pad> and <bos>."""
        words = []
        for number in numbers:
            if number == EOS:
                break
            if number not in (PAD, BOS):
                words.append(self.words[number])
        return " ".join(words)

    def save(self, path: Path) -> None:
        """Write the words as JSON."""
        replace_file(path, json.dumps(self.words[len(SPECIAL) :], indent=0) + "\n")

    @classmethod
    def parse(cls, text: str, place: Path) -> "Vocabulary":
        """Read what stands in a file that `save` wrote.

        Args:
            text: Its content.
            place: Where it stood, for errors.

        Raises:
            VocabularyError: It is not a list of words.
        """
        try:
            words = json.loads(text)
        except ValueError as error:
            raise VocabularyError(f"{place} is not a vocabulary ({error})") from None
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise VocabularyError(f"{place} is not a vocabulary: it must hold a JSON list of words")
        return cls(words)
