"""From text to the ids of word pieces and back, and the training of a vocabulary."""

from __future__ import annotations

from bertmini.tokenizer.normalize import Normalizer
from bertmini.tokenizer.tokenizer import WordPieceTokenizer
from bertmini.tokenizer.train import train_wordpiece
from bertmini.tokenizer.wordpiece import split_word

__all__ = ["Normalizer", "WordPieceTokenizer", "split_word", "train_wordpiece"]
