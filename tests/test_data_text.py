"""Running text: files, documents, sentences."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bertmini.data.text
from bertmini import InputError
from bertmini.data.task_files import read_task
from bertmini.data.text import cut_documents, hold_out, read_documents, read_files, split_sentences, walk
from bertmini.tasks.pretrain import hub_documents, read_corpus


@pytest.mark.parametrize(
    "sentences",
    [
        ["Mr. and Mrs. Dashwood met Dr. Grey in St. James Street.", "It rained."],
        ["J. R. Smith came from the U.S. Embassy, i.e. Paris.", "So did I.", "We left."],
        ["'Are you mad?' said he.", '"Stop!"', "He ran?!", '"Why not?"', "(Nobody knew.)", "The end"],
        ["It cost 3.50 at No. 7, Vol. II.", "Well...", "Yes."],
        ["The harbour is open .", "It may grow to 60 cm ( 24 in ) ."],
        ["Sie rief.", "„Geh!“", "Er ging.", "‚Ja.‘", "»Nein.«", "Das Ende"],  # noqa: RUF001
        ["Llegó.", "¿Quién?", "¡Ella!", "«Sí.»", "Fin"],
        ["他来了。", "你好吗？", "“好！”", "他说完就走了"],  # noqa: RUF001
    ],
)
def test_sentences_end_where_a_reader_ends_them(sentences):
    assert split_sentences("".join(sentences) if "。" in sentences[0] else " ".join(sentences)) == sentences


def test_broken_lines_are_joined_and_blank_lines_part():
    assert split_sentences("The ship\n  came\r\nhome. A man\nsang\n\nA title\n \nThe end.") == [
        "The ship came home.", "A man sang", "A title", "The end.",
    ]  # fmt: skip


@given(st.text(alphabet="aB .!?\n\"'1。M", max_size=60))
def test_splitting_loses_nothing_but_white_space(text):
    sentences = split_sentences(text)
    assert "".join("".join(sentences).split()) == "".join(text.split())
    assert all(sentence == " ".join(sentence.split()) != "" for sentence in sentences)


class Watched:
    """A pattern that notes how many characters it is given to search."""

    def __init__(self, pattern):
        self.pattern, self.searched = pattern, []

    def search(self, line, start, end):
        self.searched.append(end - start)
        return self.pattern.search(line, start, end)


def test_a_full_stop_has_one_word_searched_for_an_abbreviation(monkeypatch):
    """From the sentence's start at each full stop, an index of 90 kB took half a minute."""
    pattern = Watched(bertmini.data.text._ABBREVIATION)
    monkeypatch.setattr(bertmini.data.text, "_ABBREVIATION", pattern)
    index = "see p. 12, " * 500
    assert split_sentences(f"{index}(Mr. Grey) by A.B.C.D.E.F.G.H.I.J.K.L. Zander. 1 End。No. 7") == [
        f"{index}(Mr. Grey) by A.B.C.D.E.F.G.H.I.J.K.L. Zander.", "1 End。", "No. 7",
    ]  # fmt: skip
    assert sum(pattern.searched) < 600


def test_a_long_row_of_full_stops_is_read_once():
    """Read again from each of its full stops, this took minutes."""
    assert split_sentences("." * 100_000 + "x") == ["." * 100_000 + "x"]


def test_a_long_block_of_capitals_is_read_once(tmp_path):
    """Read again from each of its letters, this took minutes."""
    (tmp_path / "a").write_text(f"One. Two.\n\n\n{'A' * 200_000}a\n\n\nThree. Four.\n")
    assert len(read_documents(tmp_path)[0]) == 5


@pytest.mark.parametrize(
    ("line", "is_title"),
    [("THE TULIP", True), ("1. ÉTÉ OF '98", True), ("A", False), ("A B", False), ("THE Tulip", False)],
)
def test_a_title_has_two_capitals_together_and_no_small_letter(tmp_path, line, is_title):
    (tmp_path / "a").write_text(f"One. Two.\n\n\n{line}\n\nThree. Four.\n")
    assert (len(read_documents(tmp_path)) == 2) == is_title


def test_headings_part_documents_and_are_no_text(tmp_path):
    file = tmp_path / "book.txt"
    parts = [
        "[A Book]", "VOLUME I", "CHAPTER I", "One. Two.", "Three.", "CHAPTER II. On", "Four. Five.",
        "", "Six. Seven.", "III. A Title", "Eight.", "I went. Ten.\n", "THE TULIP", "A. Bulb grew. It died.",
        "", "END",
    ]  # fmt: skip
    file.write_bytes("\n\n".join(parts).replace("\n", "\r\n").encode())
    assert read_documents(file) == [
        ["[A Book]", "One.", "Two.", "Three."],
        ["Four.", "Five."],
        ["Six.", "Seven."],
        ["Eight.", "I went.", "Ten."],
        ["A. Bulb grew.", "It died."],
    ]


@pytest.mark.parametrize(
    ("heading", "is_heading"),
    [
        ("Actus Primus. Scoena Prima.", True),
        ("Scena Secunda.", True),
        ("Book XII", True),
        ("[BOOK IV.  CHILDREN OF ADAM]", True),
        ("Chapter 3", True),
        ("XIX. THE LAST PARLEY", True),
        ("IV", True),
        (" = Du Fu = ", True),
        (" = = Early life = = ", False),
        ("Part of the crew slept.", False),
        ("CIVIL", False),
        ("Book me a room.", False),
    ],
)
def test_headings_are_told_from_text(tmp_path, heading, is_heading):
    (tmp_path / "a").write_text(f"One. Two.\n\n{heading}\n\nThree. Four.\n")
    assert (len(read_documents(tmp_path)) == 2) == is_heading


FRAGMENTS = [
    *("\n", "\n\n", "\n\n\n", "\n\n\n\n\n", " \n", "\r\n", "\f", "\t", " ", "***", "x", "= A =", "= = B = ="),
    *("One. Two.", "One.", "CHAPTER I", "TITLE HERE", "IV.", "long and longer " * 3),
]
texts = st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join)


@settings(max_examples=300, deadline=None)
@given(texts, st.integers(1, 9), st.sampled_from([None, "***", ""]), st.sampled_from([10, 50, 10_000]))
def test_a_file_read_in_pieces_gives_the_documents_of_the_whole(text, size, separator, longest):
    text = text.replace("\r\n", "\n")
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bertmini.data.text, "LONGEST_PARAGRAPH", longest)
        patch.setattr(bertmini.data.text, "LONGEST_DOCUMENT", 2 * longest)
        whole = list(cut_documents([text], separator))
        assert list(cut_documents(pieces, separator)) == whole
    words = [word for word in text.split() if word != separator] if separator else []
    assert all(word in " ".join(whole) for word in words)


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet="a\r\né", min_size=1), st.integers(1, 5))
def test_a_file_is_read_in_pieces_as_at_once(text, size):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        (file := Path(folder) / "a").write_bytes(b"x" + text.encode())
        patch.setattr(bertmini.data.text, "AT_ONCE", size)
        assert list(read_files([file])) == [(file, "x" + text.replace("\r\n", "\n").replace("\r", "\n"))]


def test_a_fault_is_found_wherever_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(bertmini.data.text, "AT_ONCE", 4)
    (file := tmp_path / "a").write_bytes("é\né\n".encode() * 3 + b"a\n\xe9")
    with pytest.raises(InputError, match="a:8 is not UTF-8"):
        list(read_files([file], strict=True))
    file.write_bytes(b"caf\xe9 and later\0")
    with pytest.raises(InputError, match="byte 14 is zero"):
        list(read_files([file]))


def test_text_without_an_end_is_cut_at_the_end_of_a_paragraph(monkeypatch):
    monkeypatch.setattr(bertmini.data.text, "LONGEST_DOCUMENT", 60)
    monkeypatch.setattr(bertmini.data.text, "LONGEST_PARAGRAPH", 20)
    documents = list(cut_documents(["One two three.\n\n" * 9]))
    assert [document.count("three") for document in documents] == [5, 4]
    (line,) = cut_documents(["word " * 12])
    assert line == "\n\n".join(["word " * 5, "word " * 5, "word " * 2])


def test_a_separator_replaces_the_rules(tmp_path):
    (tmp_path / "a").write_text("CHAPTER I\n\nOne.\n***\nTwo.\n\nThree.\n ***\n")
    assert read_documents([tmp_path / "a"], separator="***") == [["CHAPTER I", "One."], ["Two.", "Three."]]
    assert len(read_documents([tmp_path / "a"], separator="")) == 3


def test_a_folder_is_read_by_name_without_hidden_files(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / ".git" / "refs").mkdir(parents=True)
    for name in ["b/2", "a", ".hidden", "c", "b/.git/HEAD", "b/.git/refs/main"]:
        (tmp_path / name).write_text(f"{name}.")
    assert [path.name for path, _ in read_files([tmp_path])] == ["a", "2", "c"]
    assert [path.name for path, _ in read_files([tmp_path / "b" / ".git"])] == ["HEAD", "main"]


def test_other_encodings_are_read_with_one_counted_warning(tmp_path):
    for name in "abcde":
        (tmp_path / name).write_bytes("Café. Olé.\n".encode("latin-1" if name != "a" else "utf-8"))
    with pytest.warns(
        UserWarning, match=r"^4 files not in UTF-8, read as Latin-1: .*b, .*c, .*d, …$"
    ) as warnings:
        documents = read_documents(tmp_path)
    assert documents == [["Café.", "Olé."]] * 5
    assert len(warnings) == 1
    assert read_documents(tmp_path / "b", encoding="latin-1") == [["Café.", "Olé."]]
    with pytest.raises(InputError, match="b:1 is not UTF-8"):
        read_documents(tmp_path, strict=True)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (None, {}, "does not exist; expected"),
        (b"", {}, "is empty"),
        (b" \n\n", {}, "is empty"),
        (b"\xef\xbb\xbf", {}, "is empty"),
        ("\xa0\n\u3000".encode(), {}, "is empty"),
        (b"\xa0", {}, "is empty"),
        (b"text\x00\x01", {}, r"is binary \(byte 4 is zero\)"),
        (b"one\ncaf\xe9", {"encoding": "utf-8"}, "file:2 is not utf-8"),
        (b"text", {"encoding": "utf-9"}, "'utf-9' is unknown"),
        (b"CHAPTER I\n", {}, "no sentence in it"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path, content, options, message):
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_documents(tmp_path / "file", **options)
    assert "\n" not in str(error.value)


def test_a_folder_without_files_is_refused(tmp_path):
    with pytest.raises(InputError, match="folder without files"):
        read_documents(tmp_path)


@given(st.integers(2, 90), st.integers(2, 30))
def test_holding_out_parts_the_documents(count, one_in):
    documents = [[str(i)] for i in range(count)]
    rest, held_out = hold_out(documents, one_in)
    assert sorted(rest + held_out) == sorted(documents)
    assert len(held_out) == max(1, count // one_in)


def test_one_document_cannot_be_held_out():
    with pytest.raises(InputError, match="one document"):
        hold_out([["a"]])


@pytest.mark.parametrize("data", [["hf:a", "hf:b"], ["gazette", "hf:a"], ["book.txt", "gazette"], []])
def test_gazette_and_sets_of_the_hub_stand_alone(data):
    with pytest.raises(InputError, match="as data; expected gazette, one hf:NAME, task:DATA or prepared"):
        read_corpus(data)


@pytest.mark.parametrize("documents", [0, -1])
def test_less_than_one_document_is_refused(documents):
    with pytest.raises(InputError, match=f"documents is {documents}; expected 1 or more"):
        read_corpus(["gazette"], documents)


@pytest.mark.parametrize("held_out", [1, -2])
def test_holding_out_every_document_is_refused(held_out):
    with pytest.raises(InputError, match=f"held_out is {held_out}; expected 2 or more, or 0"):
        read_corpus(["gazette"], held_out=held_out)


@pytest.fixture
def hub_rows(monkeypatch):
    """The rows that the hub's library gives for every set, one by one; an exception is raised in its turn."""
    datasets, rows = pytest.importorskip("datasets"), []

    def stream(*name, split, streaming):
        for row in rows:
            if isinstance(row, Exception):
                raise row
            yield row

    monkeypatch.setattr(datasets, "load_dataset", stream)
    return rows


def test_a_set_of_the_hub_is_a_document_a_row(hub_rows):
    hub_rows += [{"text": "One. Two."}, {"text": None}, {"text": ""}, {"text": "Three."}, RuntimeError()]
    assert hub_documents("hf:set", 2) == [["One.", "Two."], ["Three."]]


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("hf:", [], "hf: names no data set; expected hf:NAME or hf:NAME:CONFIGURATION"),
        ("hf:a:b:c", [], "hf:a:b:c names no data set"),
        ("hf:a:", [], "hf:a: names no data set"),
        ("hf:a", [ArithmeticError("no\nJSON")], "hf:a cannot be loaded: no$"),
        ("hf:a", [{"text": "One."}, KeyError()], "hf:a cannot be loaded: KeyError$"),
        ("hf:a", [{"line": "One."}], "hf:a: columns are line; expected one named text"),
        ("hf:a", [{"text": "One."}, {"text": 7}], "hf:a train:2: text is 7; expected a string"),
        ("hf:a", [{"text": None}], "hf:a: no sentence found"),
    ],
)
def test_a_set_of_the_hub_that_is_no_text_is_refused_in_one_line(hub_rows, name, rows, message):
    hub_rows += rows
    with pytest.raises(InputError, match=message) as error:
        hub_documents(name, None)
    assert "\n" not in str(error.value)


@pytest.mark.filterwarnings("ignore:.*Latin-1")
@pytest.mark.parametrize(
    ("book", "documents"),
    [
        ("gutenberg/austen-emma.txt", 55),
        ("gutenberg/austen-persuasion.txt", 24),
        ("gutenberg/austen-sense.txt", 50),
        ("gutenberg/carroll-alice.txt", 12),
        ("gutenberg/burgess-busterbrown.txt", 23),
        ("gutenberg/milton-paradise.txt", 12),
        ("gutenberg/shakespeare-caesar.txt", 5),
        ("wikitext-2/wiki.test.tokens", 60),
        ("wikitext-2/wiki.valid.tokens", 60),
    ],
)
def test_documents_of_real_books_are_their_chapters(data_directory, book, documents):
    assert len(read_documents(data_directory / book)) == documents


def test_a_pipe_is_told_that_it_cannot_be_read_twice(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="read twice"):
        list(walk([tmp_path / "pipe"]))


def test_the_marks_of_windows_are_marks(tmp_path):
    (tmp_path / "a").write_bytes("I don’t know—it’s late. Yes.\n".encode("cp1252"))
    with pytest.warns(UserWarning, match="1 file not in UTF-8, read as Windows-1252"):
        assert read_documents(tmp_path / "a") == [["I don’t know—it’s late.", "Yes."]]


def test_one_bad_byte_does_not_turn_the_others_into_something_else(tmp_path):
    (tmp_path / "a").write_bytes("Café.\n".encode() * 3 + b"caf\xe9\n")
    with pytest.raises(InputError, match=r"a:4 is not UTF-8, and what stands before it is; correct it"):
        read_documents(tmp_path / "a")


def test_a_mark_of_the_encoding_is_no_text_in_whichever_way_it_is_named(tmp_path):
    (tmp_path / "a").write_bytes("\ufeffOne. Two.\n".encode())
    for encoding in (None, "utf-8", "UTF8"):
        assert read_documents(tmp_path / "a", encoding=encoding) == [["One.", "Two."]]


def test_lines_may_end_as_on_old_machines(tmp_path):
    (tmp_path / "train.txt").write_bytes(b"a;joy\rb;fear\rc;joy\r")
    assert [each.label for each in read_task(tmp_path)["train"]] == ["joy", "fear", "joy"]


def test_a_link_to_a_folder_is_not_passed_over(tmp_path):
    (tmp_path / "books").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("One. Two.")
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "books")
    with pytest.raises(InputError, match="linked is a link to a folder; name that folder, too"):
        read_documents(tmp_path / "data")


def test_utf_16_is_named_and_a_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "a").write_bytes("One. Two.".encode("utf-16"))
    with pytest.raises(InputError, match="a is UTF-16; give that as its encoding"):
        read_documents(tmp_path / "a")
    assert read_documents(tmp_path / "a", encoding="utf-16") == [["One.", "Two."]]
    (tmp_path / "a").write_bytes(b"One. Two.")
    with pytest.raises(InputError, match="a:1 is not utf-16"):
        read_documents(tmp_path / "a", encoding="utf-16")
