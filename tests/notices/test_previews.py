"""Every sample notice is well formed, small and readable; the preview writes them all."""

import email
import email.policy
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree, html
from mail_parts import Build, html_of, text_of
from typer.testing import CliRunner

from relocation.cli.main import app
from relocation.notices.building import Branding
from relocation.notices.kinds import NoticeKind
from relocation.notices.preview import Preview, build_previews, write_previews
from relocation.notices.rendering import Templates
from relocation.notices.samples import samples
from relocation.notices.wire import wire_bytes
from relocation.settings import Settings

CSS = (Path(__file__).parents[2] / "templates" / "notice.css").read_text()
NAMES = [sample.name for sample in samples()]


@pytest.fixture(scope="session")
def previews(templates: Templates, branding: Branding) -> dict[str, Preview]:
    """Every sample, built, by its name."""
    now = datetime(2026, 3, 19, 14, 6, tzinfo=UTC)
    built = build_previews(templates, branding, recipient="olivia@example.org", now=now)
    return {preview.name: preview for preview in built}


def _html(preview: Preview) -> str:
    return html_of(preview.message)


def _text(preview: Preview) -> str:
    return text_of(preview.message)


def test_there_is_a_sample_of_every_kind_and_no_two_share_a_name() -> None:
    assert {sample.kind for sample in samples()} == set(NoticeKind)
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("name", [kind.lower() for kind in NoticeKind if kind != "OPERATOR"])
def test_a_sample_has_the_facts_of_its_kind(name: str, facts: dict[NoticeKind, Any]) -> None:
    sample = next(one for one in samples() if one.name == name)
    assert sample.context.keys() - {"stands_in_for"} == facts[sample.kind].keys()


@pytest.mark.parametrize("name", NAMES)
def test_every_sample_is_a_message_without_defects_below_100_kb(
    name: str, previews: dict[str, Preview]
) -> None:
    wire = wire_bytes(previews[name].message)
    assert len(wire) < 100_000
    assert max(map(len, wire.split(b"\r\n"))) < 998
    received = email.message_from_bytes(wire, policy=email.policy.default)
    assert not received.defects
    assert not [part.defects for part in received.walk() if part.defects]


@pytest.mark.parametrize("name", NAMES)
def test_every_sample_names_its_time_zone_and_leaks_no_machinery(
    name: str, previews: dict[str, Preview]
) -> None:
    for part in (_text(previews[name]), _html(previews[name])):
        shown = re.sub(r"--all-failed-since \S+", "", part.replace("https://", ""))
        assert not re.search(r"\d\d:\d\d(?! UTC)", shown)
        for leak in ("Undefined", "{{", "{%", "None", "Traceback", "sentry.rule"):
            assert leak not in part


@pytest.mark.parametrize("name", NAMES)
def test_the_text_is_written_as_text(name: str, previews: dict[str, Preview]) -> None:
    text = _text(previews[name])
    assert not re.search(r"&(amp|lt|gt|quot|nbsp|#\d+);|</?(p|td|tr|table|br|div)\b", text)
    assert "\n\n\n" not in text
    if "long" not in name and "many" not in name and "evil" not in name:
        assert max(map(len, text.splitlines())) <= 180


def _luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    digits = digits if len(digits) == 6 else "".join(2 * digit for digit in digits)
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _declared(block: str) -> dict[str, str]:
    pairs = (line.split(":", 1) for line in block.split(";") if ":" in line)
    return {name.strip(): value.replace("!important", "").strip() for name, value in pairs}


DARK: dict[str, dict[str, str]] = {}
for _selectors, _block in re.findall(
    r"([^{}]+)\{([^{}]*)\}", CSS.partition("(prefers-color-scheme: dark) {")[2]
):
    for _selector in _selectors.split(","):
        DARK.setdefault(_selector.strip(" .\n"), {}).update(_declared(_block))


def _texts(
    element: html.HtmlElement, colour: str, background: str, *, dark: bool
) -> Iterator[tuple[str, str, str]]:
    """Yield each piece of text with its colour and the one behind it."""
    if not isinstance(element.tag, str):  # a comment
        return
    style = _declared(element.get("style", ""))
    if dark:
        for name in element.get("class", "").split():
            style |= DARK.get(name, {})
    if style.get("display") == "none":
        return
    colour = style.get("color", colour)
    background = style.get("background-color", background)
    if (element.text or "").strip():
        yield element.text.strip(), colour, background
    for child in element:
        yield from _texts(child, colour, background, dark=dark)
        if (child.tail or "").strip():
            yield child.tail.strip(), colour, background


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_every_text_has_the_contrast_that_wcag_aa_asks_for(
    name: str, *, dark: bool, previews: dict[str, Preview]
) -> None:
    body = html.document_fromstring(_html(previews[name])).find("body")
    texts = list(_texts(body, "#000000", "#ffffff", dark=dark))
    assert len(texts) > 5
    poor = [one for one in texts if _contrast(one[1], one[2]) < 4.5]
    assert not poor


def test_the_contrast_is_computed_as_wcag_does() -> None:
    assert round(_contrast("#000", "#ffffff"), 2) == 21
    assert round(_contrast("#777777", "#ffffff"), 2) == 4.48


@settings(max_examples=15, deadline=None)
@given(
    names=st.lists(st.text(max_size=400), min_size=20, max_size=60),
    reason=st.text(min_size=1, max_size=3000),
    number=st.integers(min_value=0, max_value=10**12),
)
def test_whatever_the_facts_are_a_mail_stays_below_100_kb(
    build: Build, names: list[str], reason: str, number: int
) -> None:
    """Clients clip what is longer. Characters of four bytes take twelve in quoted-printable."""
    wide = [name.ljust(70, "\U0001f600") for name in names]
    reason = reason.ljust(600, "\U0001f600")
    finding = {"what": "issue alert rules", "record": number, "field": reason, "reason": reason}
    moved = [{"name": one, "slug": one, "old_slug": one, "renamed": "taken"} for one in wide]
    changes: dict[NoticeKind, dict[str, Any]] = {
        NoticeKind.STARTED: {"organizations": wide, "owner": wide[0], "creator": wide[-1]},
        NoticeKind.FAILED: {
            "organizations": wide,
            "reason": reason,
            "findings": [finding] * 10,
            "more_findings": number,
        },
        NoticeKind.SUCCEEDED: {
            "organizations": moved,
            "not_moved": [{"what": "x" * 60, "count": number}] * 60,
        },
        NoticeKind.CANCELLED: {"organizations": wide},
        NoticeKind.CLAIM: {"organizations": wide, "owner": wide[0], "username": wide[-1]},
        NoticeKind.OPERATOR: {"matter": "unsettled", "organizations": wide, "why": reason},
    }
    for kind, changed in changes.items():
        stands_in = {"stands_in_for": wide[:2]}
        assert len(wire_bytes(build(kind, **changed, **stands_in))) < 100_000


def test_names_that_run_leftwards_keep_the_words_around_them_in_order(
    previews: dict[str, Preview],
) -> None:
    name = "\u05d7\u05d1\u05e8\u05ea \u05d3\u05d5\u05d2\u05de\u05d4"
    for part in (_text(previews["started-right-to-left"]), _html(previews["claim-right-to-left"])):
        assert f"\u2068{name}\u2069" in part
    assert "\u2068" not in _text(previews["started"])


def test_the_preview_writes_each_notice_three_times_and_a_page_to_look_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = CliRunner().invoke(app, ["notices", "preview", "--to", "out"])
    assert said.exit_code == 0, said.output
    assert f"Wrote {len(NAMES)} notices" in said.output
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {f"{n}.{end}" for n in NAMES for end in ("eml", "html", "txt")} | {"index.html"}
    page = html.document_fromstring((tmp_path / "out" / "index.html").read_text())
    linked = set(page.xpath("//a/@href")) | set(page.xpath("//iframe/@src"))
    assert linked == files - {"index.html"}


def test_the_preview_of_one_kind_writes_no_other(tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["notices", "preview", "claim", "--to", str(tmp_path)])
    assert said.exit_code == 0, said.output
    assert {path.name.partition(".")[0].partition("-")[0] for path in tmp_path.iterdir()} == {
        "claim",
        "index",
    }


def test_the_preview_shows_the_templates_and_the_branding_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "notice.css").write_text(CSS.replace("#1f5fbf", "#7a1fbf"))
    monkeypatch.setenv("RELOCATION_TEMPLATES", str(tmp_path / "own"))
    monkeypatch.setenv("RELOCATION_PRODUCT_NAME", "Sentinel Cloud")
    said = CliRunner().invoke(app, ["notices", "preview", "CLAIM", "--to", str(tmp_path / "out")])
    assert said.exit_code == 0, said.output
    shown = (tmp_path / "out" / "claim.html").read_text()
    assert "#7a1fbf" in shown
    assert "#1f5fbf" not in shown
    assert "Sentinel Cloud" in shown


def test_a_preview_is_well_formed_html(tmp_path: Path, previews: dict[str, Preview]) -> None:
    write_previews(tmp_path, previews.values())
    for path in tmp_path.glob("*.html"):
        parser = etree.HTMLParser(recover=False)
        etree.parse(str(path), parser)
        serious = [e for e in parser.error_log if "Tag iframe" not in e.message]
        assert not serious, path.name


def test_the_settings_that_brand_a_notice_show_in_it(
    templates: Templates,
) -> None:
    own = Branding.of(
        Settings(
            product_name="Sentinel Cloud",
            support_email="help@cloud.example.org",
            base_url="https://cloud.example.org/",
            sender_email="notices@mail.example.org",
        )
    )
    now = datetime(2026, 3, 19, 14, 6, tzinfo=UTC)
    built = build_previews(
        templates, own, recipient="o@example.org", now=now, kind=NoticeKind.SUCCEEDED
    )
    for preview in built:
        assert preview.message["From"] == "Sentinel Cloud <notices@mail.example.org>"
        assert preview.message["Reply-To"] == "help@cloud.example.org"
        assert 'href="https://cloud.example.org"' in _html(preview)
        assert "Sentinel Cloud" in _text(preview)
