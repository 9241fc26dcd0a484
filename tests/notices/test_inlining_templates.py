"""CSS is inlined once, before rendering, and the result is the same as after it."""

import re
import socket
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import css_inline
import pytest
from lxml import etree, html
from mail_parts import Build

from relocation.errors import ConfigurationError
from relocation.notices.building import Branding
from relocation.notices.inlining import (
    CONTENT,
    TemplateInliningError,
    flatten,
    inline_css,
    premailed,
)
from relocation.notices.kinds import NoticeKind
from relocation.notices.rendering import Templates, Trusted, load_templates
from relocation.notices.samples import Sample, samples

TEMPLATES = Path(__file__).parents[2] / "templates"
LAYOUT = f"<html><head><title>t</title></head><body>{CONTENT}</body></html>"

ORGANIZATION = {"name": "A < B & C", "slug": "a", "old_slug": "b", "renamed": "taken"}
CASES: list[tuple[NoticeKind, dict[str, Any]]] = [
    (NoticeKind.STARTED, {}),
    (NoticeKind.STARTED, {"creator": "olivia"}),
    *[
        (NoticeKind.FAILED, {"destination_state": state, "organizations": ["a"] * n, "round": n})
        for state in ("unchanged", "hidden", "visible")
        for n in (0, 1, 5)
    ],
    *[
        (
            NoticeKind.SUCCEEDED,
            {
                "organizations": [ORGANIZATION] * n,
                "not_moved": [{"what": "m", "count": n}] * n,
                "claims": n,
            },
        )
        for n in (0, 1, 2, 40)
    ],
    (NoticeKind.CLAIM, {"claim_url": Trusted("https://cloud.example.org/claim/7/s3cr3t/")}),
]


def _canonical(source: str) -> bytes:
    """Return a form in which two documents are equal that differ in white space alone."""
    tree = html.document_fromstring(source)
    for element in tree.iter():
        element.text = " ".join((element.text or "").split())
        element.tail = " ".join((element.tail or "").split())
    return bytes(etree.tostring(tree, method="c14n"))


@pytest.mark.parametrize(("kind", "changes"), CASES)
def test_inlining_before_rendering_equals_inlining_after_it(
    kind: NoticeKind,
    changes: dict[str, Any],
    templates: Templates,
    branding: Branding,
    facts: dict[NoticeKind, dict[str, Any]],
) -> None:
    values = {**facts[kind], "relocation_id": "r-1", "branding": branding, **changes}
    values |= {"kind": kind, "stands_in_for": []}
    values |= {"subject": "S & T", "preheader": "<p>"}
    source = flatten(
        (TEMPLATES / "layout.html").read_text(),
        (TEMPLATES / kind.lower() / "body.html").read_text(),
    )
    plain = templates[kind].html.environment.from_string(source).render(values)
    after = premailed(plain, (TEMPLATES / "notice.css").read_text())
    before = templates[kind].html.render(values)
    assert _canonical(before) == _canonical(after)
    assert before.count("style=") > 10


def _styles(source: str) -> list[tuple[str, dict[str, str]]]:
    """Return each element of the body with its declarations, whatever their order and notation."""
    body = html.document_fromstring(source).find("body")
    return [(element.tag, _declarations(element)) for element in body.iter(etree.Element)]


def _declarations(element: html.HtmlElement) -> dict[str, str]:
    pairs = (one.split(":", 1) for one in element.get("style", "").split(";") if ":" in one)
    short = re.compile(r"#([0-9a-f])\1([0-9a-f])\2([0-9a-f])\3", re.IGNORECASE)
    return {
        name.strip(): short.sub(r"#\1\2\3", " ".join(value.split())).replace("'", '"')
        for name, value in pairs
    }


@pytest.mark.parametrize("sample", samples(), ids=lambda sample: sample.name)
def test_inlined_styles_are_those_that_another_inliner_finds(
    sample: Sample, templates: Templates, branding: Branding
) -> None:
    """The oracle is css-inline, which shares no code with premailer."""
    values = {"stands_in_for": [], **sample.context, "relocation_id": "r-1", "branding": branding}
    if "claim_url" in values:
        values["claim_url"] = Trusted(values["claim_url"])
    values |= {"kind": sample.kind, "subject": "S", "preheader": "P"}
    source = flatten(
        (TEMPLATES / "layout.html").read_text(),
        (TEMPLATES / sample.kind.lower() / "body.html").read_text(),
    )
    plain = templates[sample.kind].html.environment.from_string(source).render(values)
    rules = (TEMPLATES / "notice.css").read_text().partition("@media")[0]
    other = css_inline.inline(plain, extra_css=rules, load_remote_stylesheets=False)
    expected = [one for one in _styles(other) if one[0] != "tbody"]
    assert _styles(templates[sample.kind].html.render(values)) == expected
    assert sum(len(styles) for _, styles in expected) > 40


@pytest.mark.parametrize("kind", NoticeKind)
def test_media_queries_stay_and_win_over_inlined_styles(
    kind: NoticeKind, templates: Templates, build: Build, html_of: Callable[[EmailMessage], str]
) -> None:
    """A-140: narrow screens and dark mode."""
    source = html_of(build(kind))
    style = source.partition("<style")[2].partition("</style>")[0]
    for query in ("(max-width: 480px)", "(prefers-color-scheme: dark)"):
        assert query in style
    declarations = [line for line in style.splitlines() if ":" in line and "@media" not in line]
    assert declarations
    assert all("!important" in line for line in declarations)


def test_every_class_of_a_template_is_in_the_stylesheet() -> None:
    css = (TEMPLATES / "notice.css").read_text()
    for path in TEMPLATES.rglob("*.html"):
        names = html.fromstring(f"<div>{path.read_text()}</div>").xpath("//@class")
        for name in " ".join(names).split():
            assert f".{name} " in css, f"{path.name}: {name}"


@pytest.mark.parametrize(
    "body",
    [
        '<p class="{{ kind }}">x</p>',  # premailer cannot know the class
        "<p class='a <!--{% if b %}--> b <!--{% endif %}-->'>x</p>",
        '<p style="color: {{ colour }}">x</p>',
        '<p id="{{ kind }}">x</p>',
        "<p <!--{% if a %}-->lang='de'<!--{% endif %}-->>x</p>",  # no place for a comment
        "{{ a < b }}",  # the parser would escape it
        '<a href="{{ url }}">x</a>',  # and would escape the blanks here
        "<style>@import url(http://127.0.0.1/x.css);</style>",
    ],
)
def test_a_template_that_cannot_be_inlined_is_refused(body: str) -> None:
    with pytest.raises(TemplateInliningError):
        inline_css(flatten(LAYOUT, body), "p { color: red }")


def test_a_layout_must_have_one_place_for_the_body() -> None:
    with pytest.raises(TemplateInliningError):
        flatten("<html></html>", "<p>x</p>")


def test_loading_opens_no_connection(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a template made a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    link = '<link rel="stylesheet" href="http://127.0.0.1:9/x.css">'
    (tmp_path / "layout.html").write_text(LAYOUT.replace("<title>", f"{link}<title>"))
    assert link in load_templates(tmp_path)[NoticeKind.CLAIM].html.render(
        username="u",
        organizations=[],
        owner="o",
        claim_url="",
        valid_until="2026-01-01",
        branding={"product_name": "P"},
    )


OVERRIDABLE = sorted(
    str(path.relative_to(TEMPLATES))
    for path in TEMPLATES.rglob("*")
    if path.suffix in {".txt", ".html", ".css"}
)


@pytest.mark.parametrize("name", OVERRIDABLE)
def test_every_template_can_be_replaced_by_a_file_of_the_same_name(
    name: str, tmp_path: Path, build: Build, branding: Branding
) -> None:
    changed = {".txt": "Grüße", ".html": "<p>Grüße</p>", ".css": ".page { color: #abcdef; }"}
    own = tmp_path / name
    own.parent.mkdir(exist_ok=True)
    content = (TEMPLATES / name).read_text(encoding="utf-8").replace(CONTENT, f"Grüße{CONTENT}")
    own.write_text(f"{changed[own.suffix]}{content}", encoding="utf-8")
    folder, mark = load_templates(tmp_path), "#abcdef" if own.suffix == ".css" else "Grüße"
    for kind in NoticeKind:
        mine = own.parent == tmp_path or own.parent.name == kind.lower()
        rendered = build(kind, templates=folder)
        parts = [str(rendered["Subject"]), *(p.get_content() for p in rendered.iter_parts())]
        assert any(mark in part for part in parts) == mine


def test_a_folder_replaces_single_templates(
    tmp_path: Path, templates: Templates, facts: dict[NoticeKind, dict[str, Any]]
) -> None:
    (tmp_path / "started").mkdir()
    (tmp_path / "started" / "subject.txt").write_text("Los: {{ organizations|listed }}")
    own = load_templates(tmp_path)
    assert own[NoticeKind.STARTED].subject.render(facts[NoticeKind.STARTED]) == "Los: acme, globex"
    failed = {"stands_in_for": [], **facts[NoticeKind.FAILED]}
    assert own[NoticeKind.FAILED].subject.render(failed) == templates[
        NoticeKind.FAILED
    ].subject.render(failed)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("claim/body.html", "<!--{% if x %}-->"),
        ("claim/body.txt", "{% if %}"),
        ("layout.html", "<html></html>"),
    ],
)
def test_a_broken_template_is_named_when_it_is_loaded(
    name: str, source: str, tmp_path: Path
) -> None:
    (tmp_path / "claim").mkdir()
    (tmp_path / name).write_text(source)
    own = load_templates(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        own[NoticeKind.CLAIM]
    assert str(tmp_path) in caught.value.internal
    assert str(tmp_path) not in caught.value.reason


def test_a_broken_template_keeps_no_other_kind_from_being_told(tmp_path: Path) -> None:
    (tmp_path / "failed").mkdir()
    (tmp_path / "failed" / "body.html").write_text("<!--{% if x %}-->")
    own = load_templates(tmp_path)
    assert own[NoticeKind.STARTED]
    with pytest.raises(ConfigurationError):
        own[NoticeKind.FAILED]


def test_a_broken_operator_template_is_replaced_by_the_built_in_one(
    tmp_path: Path, templates: Templates, facts: dict[NoticeKind, dict[str, Any]]
) -> None:
    """It is the notice that has to tell of a broken template."""
    (tmp_path / "operator").mkdir()
    (tmp_path / "operator" / "subject.txt").write_text("{% if %}")
    own, kind = load_templates(tmp_path), NoticeKind.OPERATOR
    assert own[kind].subject.render(facts[kind]) == templates[kind].subject.render(facts[kind])


def test_a_templates_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        load_templates(tmp_path / "nowhere")


def test_templates_are_found_from_any_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert set(load_templates()) == set(NoticeKind)
