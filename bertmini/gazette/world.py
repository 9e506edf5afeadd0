"""The world that the Gazette writes about: hidden variables, slots, templates, roles and stories."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from itertools import accumulate

import numpy as np

from bertmini.errors import InputError

WORD = re.compile(r"\w+|[^\w\s]")
WORD_START, WORD_END = re.compile(r"\w"), re.compile(r"\w$")
PRONOUNS = {"he": ("him", "his", "himself"), "she": ("her", "her", "herself"),
            "it": ("it", "its", "itself"), "they": ("them", "their", "themselves")}


def words_of(text: str) -> tuple[str, ...]:
    """Lower-cased words and punctuation marks, split as BERT's pre-tokenizer splits them."""
    return tuple(WORD.findall(text.lower()))


@dataclass(frozen=True)
class Choice:
    """Strings to draw from, with whole-number weights; `bounds` are the running sums."""

    strings: tuple[str, ...]
    bounds: tuple[int, ...]

    @classmethod
    def read(cls, cell: str, separator: str = " / ") -> Choice:
        strings, bounds, total = [], [], 0
        for part in cell.split(separator):
            string, _, weight = part.partition("*")
            total += int(weight or 1)
            strings.append(string)
            bounds.append(total)
        return cls(tuple(strings), tuple(bounds))

    def items(self) -> list[tuple[str, float]]:
        before = (0, *self.bounds)
        return [(string, (bound - low) / self.bounds[-1])
                for string, bound, low in zip(self.strings, self.bounds, before, strict=False)]


@dataclass(frozen=True)
class Slot:
    """A gap in a template: given the value of `variable` (or nothing), one string is drawn."""

    variable: str | None
    choices: tuple[Choice, ...]                       # one for each value; a single one without a variable
    facet: str = ""                                   # of the variable; the list's name without one

    @property
    def source(self) -> str:
        """The variable or the list that it is filled from."""
        return self.variable or self.facet

    @cached_property
    def likelihood(self) -> dict[tuple[str, ...], np.ndarray]:
        """P(words | value) for all values at once: words -> [values]."""
        table: dict[tuple[str, ...], np.ndarray] = {}
        for value, choice in enumerate(self.choices):
            for string, probability in choice.items():
                table.setdefault(words_of(string), np.zeros(len(self.choices)))[value] += probability
        return table

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        return tuple(sorted({len(words) for words in self.likelihood}))


def strings_of(piece: str | Slot) -> list[str]:
    """All that can stand in this place."""
    return [piece] if isinstance(piece, str) else [s for choice in piece.choices for s in choice.strings]


def read_tables(*names: str) -> dict[str, dict]:
    """Tables of this folder; those of one name are put together."""
    tables: dict[str, dict] = {}
    for name in names:
        for section, table in tomllib.loads((files("bertmini.gazette") / name).read_text("utf-8")).items():
            tables[section] = tables.get(section, {}) | table
    return tables


def check_seams(text: str, pieces: Sequence[str | Slot]) -> None:
    """A word must not run from one piece into the next, or the pieces could not be read one by one."""
    letters_left = False
    for piece in pieces:
        strings = strings_of(piece)
        if letters_left and any(WORD_START.match(string) for string in strings):
            raise InputError(f"gazette: in {text!r} a word runs across a seam; leave a space there")
        letters_left = any(WORD_END.search(string) for string in strings) or (letters_left and "" in strings)


@dataclass(frozen=True)
class Variable:
    """One hidden choice of a plan, drawn given the value of its parent (or of nothing)."""

    name: str
    values: tuple[str, ...]
    parent: str | None
    weights: np.ndarray                               # whole numbers, [parent's values or 1, values]
    facets: Mapping[str, tuple[Choice, ...]]          # what can be said of it: facet -> one choice a value

    def index(self, value: str) -> int:
        if value not in self.values:
            raise InputError(f"gazette: {self.name} has no value {value!r}; it has {', '.join(self.values)}")
        return self.values.index(value)


@dataclass(frozen=True)
class Template:
    """A sentence with gaps: literal strings and slots in order.

    `names` are the stretches of pieces that are one name: (first, end, kind).
    """

    pieces: tuple[str | Slot, ...]
    names: tuple[tuple[int, int, str], ...] = ()


@dataclass(frozen=True)
class Sentence:
    """A template and what fills it, piece by piece; only the first letter of the text may differ."""

    template: Template
    strings: tuple[str, ...]

    @cached_property
    def text(self) -> str:
        text = "".join(self.strings)
        first = 1 if text[0] == '"' else 0
        return text[:first] + text[first].upper() + text[first + 1:]

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """Where each piece ends, in characters of the text; one more number than pieces, the first is 0."""
        return (0, *accumulate(map(len, self.strings)))

    def slots(self) -> Iterator[tuple[Slot, str, int]]:
        """Its gaps in order, what fills each, and where in the text that begins."""
        for piece, string, start in zip(self.template.pieces, self.strings, self.ends, strict=False):
            if isinstance(piece, Slot):
                yield piece, string, start


@dataclass(frozen=True)
class Role:
    """What a sentence does in its document; its templates may depend on one variable."""

    variable: str | None
    templates: tuple[tuple[Template, ...], ...]       # one row for each value, or a single row
    bounds: tuple[tuple[int, ...], ...]               # running sums of their weights


@dataclass(frozen=True)
class Story:
    """A kind of document: its shapes (the roles of its sentences, in order) and its own priors."""

    name: str
    kind: str
    weight: int
    shapes: tuple[tuple[str, ...], ...]
    bounds: tuple[int, ...]
    priors: Mapping[str, np.ndarray]                  # replaces a variable's weights, whatever its parent
    variables: frozenset[str]                         # those that its sentences speak of


class World:
    """Everything the Gazette can say, read from tables.

    Args:
        tables: parsed TOML with `agreement`, `lists`, `variables`, `roles` and `stories`;
            the head of lexicon.toml explains the notation. A test passes a tiny one.
    """

    def __init__(self, tables: Mapping):
        self.agreement: Mapping[str, str] = tables.get("agreement", {})
        self.lists = {name: Choice.read(cell) for name, cell in tables.get("lists", {}).items()}
        self.variables: dict[str, Variable] = {}
        for name, table in tables["variables"].items():
            self.variables[name] = self._variable(name, table)
        self._slots: dict[str, Slot] = {}
        self.roles = {name: self._role(table) for name, table in tables["roles"].items()}
        self.stories = tuple(self._story(name, table) for name, table in tables["stories"].items())

    @classmethod
    def port_quill(cls) -> World:
        """The town of the package: its words from lexicon.toml, its sentences from stories.toml."""
        return cls(read_tables("lexicon.toml", "stories.toml"))

    @classmethod
    @cache
    def of_tasks(cls) -> World:
        """The same town, and the sentences that only tasks need, from tasks.toml. The plans are the same."""
        return cls(read_tables("lexicon.toml", "stories.toml", "tasks.toml"))

    def _variable(self, name: str, table: Mapping) -> Variable:
        if "unlike" in table:                         # the same values, but never the parent's
            twin = self.variables[table["unlike"]]
            others = 1 - np.eye(len(twin.values), dtype=np.int64)
            return Variable(name, twin.values, twin.name, others, twin.facets)
        columns = [column.strip() for column in table["columns"].split("|")]
        rows = [[cell.strip() for cell in row.split("|")] for row in table["rows"].strip().splitlines()]
        for row in rows:
            if len(row) != len(columns):
                raise InputError(f"gazette: {name}: row {row[0]!r} has {len(row)} cells, "
                                 f"expected {len(columns)}: {table['columns']}")
        cells = {column: [row[place] for row in rows] for place, column in enumerate(columns)}
        values = tuple(Choice.read(cell).strings[0] for cell in cells[columns[0]])
        parent = table.get("parent")
        given = cells.pop("given", None)              # how often, for each value of the parent
        weights = np.ones((len(self.variables[parent].values) if parent else 1, len(values)), dtype=np.int64)
        if given:
            for place, cell in enumerate(given):
                weights[:, place] = [int(weight) for weight in cell.split()]
        if "trade" in cells:
            cells["job"] = [cell.removeprefix("the ") for cell in cells["trade"]]
        if "pronoun" in cells:
            cells |= self._agree(cells.pop("pronoun"))
        facets = {column: tuple(map(Choice.read, column_cells)) for column, column_cells in cells.items()}
        return Variable(name, values, parent, weights, {"": facets[columns[0]], **facets})

    def _agree(self, pronouns: list[str]) -> dict[str, list[str]]:
        """The pronoun's forms, and for each verb of [agreement] the form that goes with the noun."""
        forms = {"he": pronouns}
        for place, name in enumerate(("him", "his", "himself")):
            forms[name] = [PRONOUNS[pronoun][place] for pronoun in pronouns]
        for singular, plural in self.agreement.items():
            forms[singular] = [plural if pronoun == "they" else singular for pronoun in pronouns]
        return forms

    def slot(self, name: str) -> Slot:
        """The slot written `{list}`, `{variable}` or `{variable.facet}`."""
        if name not in self._slots:
            variable, _, facet = name.partition(".")
            if variable in self.variables and facet in self.variables[variable].facets:
                self._slots[name] = Slot(variable, self.variables[variable].facets[facet], facet)
            elif name in self.lists:
                self._slots[name] = Slot(None, (self.lists[name],), name)
            else:
                raise InputError(f"gazette: no list, variable or facet is called {{{name}}}")
        return self._slots[name]

    def template(self, text: str) -> Template:
        """`{slot}` is filled from the plan or a list, `[one|other]` from the words between the bars.

        `<kind:...>` marks a name that is another kind of name than its words would be by themselves.
        """
        pieces: list[str | Slot] = []
        names: list[tuple[int, int, str]] = []
        for part in re.findall(r"\{[^}]*\}|\[[^]]*\]|<\w+:|>|[^{\[<>]+", text):
            if part[0] == "<":
                start, kind = len(pieces), part[1:-1]
            elif part == ">":
                names.append((start, len(pieces), kind))
            elif part[0] == "{":
                pieces.append(self.slot(part[1:-1]))
            elif part[0] == "[" and "{" in part:
                raise InputError(f"gazette: {part} in {text!r}: no slots inside a choice of words")
            elif part[0] == "[":
                pieces.append(Slot(None, (Choice.read(part[1:-1], "|"),)))
            else:
                pieces.append(part)
        check_seams(text, pieces)
        return Template(tuple(pieces), tuple(names))

    def _role(self, table: Mapping | list[str]) -> Role:
        variable = None if isinstance(table, list) else table["by"]
        rows = [table] if isinstance(table, list) else [table[v] for v in self.variables[table["by"]].values]
        templates, bounds = [], []
        for row in rows:
            weights = [re.match(r"(\d+): ", text) for text in row]
            templates.append(tuple(self.template(text[m.end() if m else 0:])
                                   for text, m in zip(row, weights, strict=True)))
            bounds.append(tuple(np.cumsum([int(m[1]) if m else 1 for m in weights]).tolist()))
        return Role(variable, tuple(templates), tuple(bounds))

    def _story(self, name: str, table: Mapping) -> Story:
        shapes = Choice.read("|".join(table["shapes"]), "|")
        priors = {}
        for variable, cell in table.get("prior", {}).items():
            priors[variable] = np.zeros_like(self.variables[variable].weights)
            for value, weight in (part.rsplit("*", 1) for part in cell.split(" / ")):
                priors[variable][:, self.variables[variable].index(value)] = int(weight)
        roles = tuple(tuple(shape.split()) for shape in shapes.strings)
        for role in {role for shape in roles for role in shape}:
            if role not in self.roles:
                raise InputError(f"gazette: story {name} names the role {role}, which has no templates")
        spoken = {variable for shape in roles for role in shape for variable in self._speaks_of(role)}
        return Story(name, table["kind"], table.get("weight", 1), roles, shapes.bounds, priors,
                     frozenset(spoken))

    def _speaks_of(self, role: str) -> set[str]:
        table = self.roles[role]
        slots = {piece.variable for row in table.templates for template in row for piece in template.pieces
                 if isinstance(piece, Slot)}
        return (slots | {table.variable}) - {None}    # type: ignore[return-value]

    @cached_property
    def word_forms(self) -> frozenset[str]:
        """Every lower-cased word that some text can hold, punctuation left out."""
        found: set[str] = set()
        for role in self.roles.values():
            for template in (template for row in role.templates for template in row):
                for piece in template.pieces:
                    for string in strings_of(piece):
                        found.update(words_of(string))
        return frozenset(word for word in found if word[0].isalnum())
