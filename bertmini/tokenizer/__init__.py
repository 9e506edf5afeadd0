"""From text to the ids of pieces and back, and the training of a vocabulary."""

from __future__ import annotations

from bertmini.tokenizer.base import Tokenizer
from bertmini.tokenizer.bpe import train_byte_level_bpe
from bertmini.tokenizer.byte_level import ByteLevelBPETokenizer
from bertmini.tokenizer.load import load_tokenizer
from bertmini.tokenizer.normalize import Normalizer
from bertmini.tokenizer.tokenizer import WordPieceTokenizer
from bertmini.tokenizer.train import train_wordpiece
from bertmini.tokenizer.unigram import UnigramTokenizer
from bertmini.tokenizer.wordpiece import split_word

__all__ = [
    "ByteLevelBPETokenizer",
    "Normalizer",
    "Tokenizer",
    "UnigramTokenizer",
    "WordPieceTokenizer",
    "load_tokenizer",
    "split_word",
    "train_byte_level_bpe",
    "train_wordpiece",
]
