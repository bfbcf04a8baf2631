"""Documents: the same text from a file, a folder and an archive, and nothing held out slips in."""

import tarfile

from memollm.reference.corpus import (
    Document,
    detokenise,
    documents,
    reflow,
    split_held_out,
)


def test_a_folder_and_an_archive_hold_the_same_documents(tmp_path):
    folder = tmp_path / "novels"
    folder.mkdir()
    (folder / "b.txt").write_text("Second.\n")
    (folder / "a.txt").write_text("First\nline.\n")
    with tarfile.open(tmp_path / "novels.tar.xz", "w:xz") as archive:
        archive.add(folder / "b.txt", "b.txt")
        archive.add(folder / "a.txt", "a.txt")
    expected = [Document("a.txt", "First line."), Document("b.txt", "Second.")]
    assert list(documents(str(folder))) == expected
    assert list(documents(str(tmp_path / "novels.tar.xz"))) == expected


def test_hard_line_breaks_are_undone_and_paragraphs_kept():
    assert reflow("One\nparagraph.\n Another\none.\n\nA third.") == (
        "One paragraph.\nAnother one.\nA third."
    )


def test_wikitext_reads_as_english():
    spaced = 'The well @-@ known " Cat " ( 1 @,@ 200 ) , he said .'
    assert detokenise(spaced) == 'The well-known "Cat" (1,200), he said.'


def test_an_article_of_wikitext_is_a_document(tmp_path):
    body = "Some words of an article. " * 10
    (tmp_path / "wiki.tokens").write_text(f" = One = \n \n {body} \n = Two = \n \n {body} \n")
    found = list(documents(str(tmp_path / "wiki.tokens")))
    assert [document.text.split("\n")[0] for document in found] == ["= One =", "= Two ="]


def test_held_out_documents_are_told_by_name():
    both = [Document("Doyle_Hound.txt", "x"), Document("Doyle_Lost.txt", "y")]
    train, kept = split_held_out(both, ["*_Hound*"])
    assert (train, kept) == (both[1:], both[:1])
