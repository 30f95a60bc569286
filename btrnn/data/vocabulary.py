"""Words and their numbers: what a caption is to a network."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from btrnn.atomic import replace_file

SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")
PAD, BOS, EOS, UNK = range(4)
_WORD = re.compile(r"[a-z0-9]+(?:['-][a-z0-9]+)*")


class VocabularyError(ValueError):
    """There is no word to learn, or a file of words is not one."""


def words_of(caption: str) -> list[str]:
    """Cut a caption into lower-case words; punctuation is dropped, hyphens and apostrophes inside of words stay."""
    return _WORD.findall(caption.lower())


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
