"""The embedded corpus: a generator that knows the exact probability of what it writes."""

from bertmini.gazette.gazette import GAZETTE_VERSION, Document, Gazette, collisions
from bertmini.gazette.limit import Limit, limit
from bertmini.gazette.world import World, words_of

__all__ = ["GAZETTE_VERSION", "Document", "Gazette", "Limit", "World", "collisions", "limit",
           "words_of"]
