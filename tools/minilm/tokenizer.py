"""The encoder's tokenizer: lower-cased, accents stripped, WordPiece over the model's own vocabulary."""

import unicodedata

_CJK = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip
_MAX_WORD = 100


def _is_punctuation(c):
    return (c.isascii() and c.isprintable() and not c.isalnum() and c != " ") or unicodedata.category(c)[0] == "P"


def words(text):
    """The text's words and punctuation marks, normalised."""
    clean = []
    for c in text:
        if c in "\t\n\r" or unicodedata.category(c) == "Zs":
            clean.append(" ")
        elif c == "\0" or c == "\ufffd" or unicodedata.category(c) in ("Cc", "Cf", "Co", "Cs"):
            continue
        elif any(low <= ord(c) <= high for low, high in _CJK):
            clean.append(f" {c} ")
        else:
            clean.append(c)
    plain = (c for c in unicodedata.normalize("NFD", "".join(clean)) if unicodedata.category(c) != "Mn")
    lower = "".join(c.lower() for c in plain)
    return "".join(f" {c} " if _is_punctuation(c) else c for c in lower).split()


class Tokenizer:
    def __init__(self, vocabulary):
        with open(vocabulary, encoding="utf-8") as f:
            self.ids = {line.rstrip("\n"): i for i, line in enumerate(f)}
        for special in ("[CLS]", "[SEP]", "[UNK]"):
            if special not in self.ids:
                raise ValueError(f"{vocabulary}: no {special} in the vocabulary")

    def pieces(self, word):
        """Ids of the longest pieces from the left, or the unknown word's."""
        unknown = [self.ids["[UNK]"]]
        if len(word) > _MAX_WORD:
            return unknown
        found, begin = [], 0
        while begin < len(word):
            for end in range(len(word), begin, -1):
                piece = self.ids.get(("##" if begin else "") + word[begin:end])
                if piece is not None:
                    break
            else:
                return unknown
            found.append(piece)
            begin = end
        return found

    def plain(self, text):
        """Ids of the text alone."""
        return [i for word in words(text) for i in self.pieces(word)]

    def encode(self, text, limit=256):
        """Ids of the text between the start and end marks, cut to `limit` in all."""
        return [self.ids["[CLS]"], *self.plain(text)[: limit - 2], self.ids["[SEP]"]]
