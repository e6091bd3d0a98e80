from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hideseek.report.cells import cell_text
from hideseek.report.chapter import Card, Chapter, Picture, Table
from hideseek.report.page import build_page
from hideseek.report.page_parts import LARGEST_DRAWING
from tests.report.sample_chapters import ATTACK, ATTRIBUTE_ATTACK, sample_chapters

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAADCAAAAACxwXQWAAAADklEQVR42mNgAAIGEAIAABUAAYMTOi8AAAAASUVORK5CYII="
)
"""A PNG file of 2 x 3 pixels."""

VOID = {"meta", "img", "br", "input", "link"}


class Read(HTMLParser):
    """Elements of a page: (tag, attributes, text directly and deeper)."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.open: list[tuple[str, list[str]]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        text: list[str] = []
        self.elements.append((tag, dict(attrs), text))
        if tag not in VOID:
            self.open.append((tag, text))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        for _, text in self.open:
            text.append(data)

    def all(self, wanted: str) -> list[tuple[dict[str, str | None], str]]:
        return [(given, "".join(text)) for tag, given, text in self.elements if tag == wanted]


def page_of(*tables: Table, **more: object) -> str:
    return build_page([Chapter("one", "One", tables=tables, **more)], "a title")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "n/a"), (float("nan"), "n/a"), (True, "yes"), (0.91666, "0.917"), (7, "7"),
        (0.0, "0.000"), (-0.0, "0.000"), (0.0004, "<0.001"), (-0.0004, ">-0.001"),
        (0.0005, "0.001"), (float("inf"), "inf"), (float("-inf"), "-inf"), (["a", 0.5], "a, 0.500"),
        ("a\n b", "a b"),
    ],
)  # fmt: skip
def test_a_value_is_written_as_people_read_it(value, text):
    assert cell_text(value) == text


text = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), max_size=40)


@settings(deadline=None, max_examples=60)
@given(text)
def test_any_text_comes_out_as_it_went_in(start):
    name = f"{start}x"  # the page has empty texts of its own
    shown = " ".join(name.split())
    frame = pl.DataFrame({"model": [name], "roi": ["x"], "value": [1.0]})
    page = build_page(
        [
            Chapter(
                "one",
                name,
                (name,),
                (Table(name, name, frame, {"value": name}),),
                (Picture(name, name, name, PIXEL, "", name, name),),
                cards=(Card(name, name, name, 3, (name,)),),
            ),
            Chapter("two", "Two", absent=name),
        ],
        name,
        [name],
    )
    read = Read(page)
    assert read.open == []
    assert read.all("h1") == [({}, name)]
    assert read.all("title")[0][1] == name
    assert [text for _, text in read.all("p")].count(name) == 2  # sentence, and of the card
    assert read.all("img")[0][0]["alt"] == name
    row = read.all("tr")[1][0]
    assert row.get("data-model", "") == name
    assert read.all("th")[3][1] == shown
    assert read.all("h3")[0][1] == name
    assert {tag for tag, _, _ in read.elements} <= KNOWN
    for _, given_, _ in read.elements:
        assert not any(key.startswith("on") or key == "style" for key in given_)


KNOWN = {
    "html", "head", "meta", "title", "style", "body", "a", "header", "h1", "p", "span", "div",
    "nav", "ol", "li", "form", "label", "select", "option", "button", "main", "section", "h2",
    "h3", "article", "strong", "ul", "figure", "img", "figcaption", "table", "thead", "tbody", "tr",
    "th", "td", "footer", "dialog", "script",
}  # fmt: skip
"""Elements of the templates: a text must add no other."""


def test_a_name_is_never_markup():
    page = build_page(sample_chapters(), ATTACK, [ATTACK, ATTRIBUTE_ATTACK])
    assert "alert(1)" in page
    assert ATTACK not in page
    assert "<img src=x" not in page
    assert page.count("<script>") == 1


def test_the_policy_names_the_one_script_and_the_one_style():
    read = Read(build_page(sample_chapters(), "a title"))
    policy = next(given["content"] for given, _ in read.all("meta") if "http-equiv" in given)
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert "unsafe" not in policy
    assert "http" not in policy
    for tag in ("script", "style"):
        (inside,) = [text for _, text in read.all(tag)]
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_nothing_is_fetched():
    read = Read(build_page(sample_chapters(), "a title"))
    addresses = [
        value
        for _, given, _ in read.elements
        for key, value in given.items()
        if key in ("src", "href", "srcset", "action", "data")
    ]
    assert all(re.match(r"#|data:image/|tables/|figures/", address) for address in addresses)
    assert not [tag for tag, _, _ in read.elements if tag in ("link", "iframe", "object", "base")]
    styles = read.all("style")[0][1]
    assert "url(" not in styles
    assert "@import" not in styles


def test_numbers_are_rounded_for_people_and_whole_for_sorting():
    frame = pl.DataFrame({"name": ["a", "b"], "x": [-0.123456789, None], "n": [1000, 2]})
    read = Read(page_of(Table("t", "c", frame, decimals={"x": 2})))
    assert read.all("td") == [
        ({"class": "n", "data-value": "-0.123456789"}, "−0.12"),  # noqa: RUF001
        ({"class": "n", "data-value": "1000"}, "1000"),
        ({"class": "n none"}, "n/a"),
        ({"class": "n", "data-value": "2"}, "2"),
    ]


def test_texts_say_where_they_may_break():
    frame = pl.DataFrame({"n": [1, 2, 3, 4], "t": ["a b", "ab", "x" * 29, "a b" * 20]})
    cells = [given.get("class") for given, _ in Read(page_of(Table("t", "c", frame))).all("td")]
    assert cells[1::2] == ["short", None, "long", None]


def test_a_table_that_paper_has_no_room_for_goes_across():
    narrow = pl.DataFrame({f"c{number}": [0.5] for number in range(12)})
    wide = pl.DataFrame({f"c{number}": [0.5, 100000.0] for number in range(12)})
    figures = Read(page_of(Table("a", "c", narrow), Table("b", "c", wide))).all("figure")
    assert [given["class"] for given, _ in figures] == ["sheet", "sheet wide"]


def test_rows_and_pictures_say_what_the_filter_asks():
    frame = pl.DataFrame({"model": ["m"], "roi": ["r"]})
    picture = Picture("p", "c", "a", PIXEL, "", "m", "other")
    read = Read(page_of(Table("t", "c", frame), pictures=(picture,)))
    row = read.all("tr")[1][0]
    assert row == {"data-model": "m", "data-representation": "r"}
    figure = read.all("figure")[0][0]
    assert figure == {"class": "plate", "data-model": "m", "data-representation": "other"}
    assert [text for _, text in read.all("option")] == ["all", "other", "r"]  # one model: no choice


def test_a_drawing_is_an_image_and_a_huge_one_is_the_png():
    small, huge = "<svg/>", "<svg>" + "x" * LARGEST_DRAWING + "</svg>"
    pictures = [Picture(name, "c", "a", PIXEL, svg) for name, svg in (("a", small), ("b", huge))]
    images = [given for given, _ in Read(page_of(pictures=tuple(pictures))).all("img")]
    encoded = base64.b64encode(small.encode()).decode()
    assert images[0] == {"src": f"data:image/svg+xml;base64,{encoded}", "alt": "a"}
    assert images[1]["src"] == f"data:image/png;base64,{base64.b64encode(PIXEL).decode()}"
    assert (images[1]["width"], images[1]["height"]) == ("2", "3")


def test_headings_go_down_by_one_and_ids_are_unique():
    read = Read(build_page(sample_chapters(), "a title"))
    levels = [int(tag[1]) for tag, _, _ in read.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= level + 1 for level, later in pairwise(levels))
    ids = [given["id"] for _, given, _ in read.elements if "id" in given]
    assert len(ids) == len(set(ids))
    links = [given["href"][1:] for given, _ in read.all("a") if given["href"].startswith("#")]
    assert set(links) <= set(ids)


def test_an_absent_chapter_says_how_to_make_it():
    page = build_page([Chapter("x", "X", absent="Run hideseek audit.")], "a title")
    assert "Not in this report." in page
    assert "Run hideseek audit." in page


def test_a_verdict_has_a_sign_and_words_and_an_unknown_status_is_unsure():
    cards = tuple(Card("m", "v", "s.", status) for status in (0, 3, 4, 99))
    page = page_of(cards=cards)
    for words, count in (("reads the lungs", 1), ("shortcut", 1), ("cannot be told", 2)):
        assert page.count(f'<span class="words">{words}</span>') == count


def test_a_table_without_rows_or_columns_is_shown():
    assert "<table" in page_of(Table("t", "c", pl.DataFrame()))
    assert "<table" in page_of(Table("t", "c", pl.DataFrame({"model": []})))
