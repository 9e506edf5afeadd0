"""bertmini: BERT, small, exact and readable.

The names below are loaded when first used, so that `import bertmini` costs what `import torch` costs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch  # noqa: F401  (the one import that everything here rests on)

from bertmini.version import __version__

_HOME = {
    "BertConfig": "bertmini.config",
    "Bert": "bertmini.model.bert",
    "BertForPreTraining": "bertmini.model.bert",
    "BertForMaskedLM": "bertmini.model.bert",
    "BertForSequenceClassification": "bertmini.model.bert",
    "BertForSequenceToSequence": "bertmini.model.seq2seq",
    "BertForQuestionAnswering": "bertmini.model.questions",
    "BertForMultipleChoice": "bertmini.model.choice",
    "BertForTokenClassification": "bertmini.model.tagging",
    "WordPieceTokenizer": "bertmini.tokenizer",
    "ByteLevelBPETokenizer": "bertmini.tokenizer",
    "UnigramTokenizer": "bertmini.tokenizer",
    "load_tokenizer": "bertmini.tokenizer",
    "Gazette": "bertmini.gazette",
    "Predictor": "bertmini.predict",
    "Embedder": "bertmini.embed",
    "InputError": "bertmini.errors",
}

if TYPE_CHECKING:
    from bertmini.config import BertConfig as BertConfig
    from bertmini.embed import Embedder as Embedder
    from bertmini.errors import InputError as InputError
    from bertmini.gazette import Gazette as Gazette
    from bertmini.model.bert import Bert as Bert
    from bertmini.model.bert import BertForMaskedLM as BertForMaskedLM
    from bertmini.model.bert import BertForPreTraining as BertForPreTraining
    from bertmini.model.bert import BertForSequenceClassification as BertForSequenceClassification
    from bertmini.model.choice import BertForMultipleChoice as BertForMultipleChoice
    from bertmini.model.questions import BertForQuestionAnswering as BertForQuestionAnswering
    from bertmini.model.seq2seq import BertForSequenceToSequence as BertForSequenceToSequence
    from bertmini.model.tagging import BertForTokenClassification as BertForTokenClassification
    from bertmini.predict import Predictor as Predictor
    from bertmini.tokenizer import ByteLevelBPETokenizer as ByteLevelBPETokenizer
    from bertmini.tokenizer import UnigramTokenizer as UnigramTokenizer
    from bertmini.tokenizer import WordPieceTokenizer as WordPieceTokenizer
    from bertmini.tokenizer import load_tokenizer as load_tokenizer

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'bertmini' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
