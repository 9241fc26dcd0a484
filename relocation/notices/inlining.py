"""Inline a template's CSS once, before any notice is rendered from it.

HTML templates write Jinja statements inside HTML comments, as in `<!--{% if reason %}-->`, so that
to an HTML parser they are comments in any place, even between the rows of a table. Values stand in
double braces; inside an attribute without blanks, as in `href="{{claim_url}}"`.
"""

import logging
import re
import threading

from jinja2 import Environment, StrictUndefined, TemplateSyntaxError
from premailer import Premailer

CONTENT = "<!-- content -->"
"""Where the layout takes the body of a notice."""

_DYNAMIC_STYLE = re.compile(r"""\s(class|id|style)\s*=\s*(["'])(?:(?!\2).)*\{[{%]""", re.DOTALL)
_MISPLACED = "HTML has no place for these Jinja constructs where they stand"
_ONE_AT_A_TIME = threading.Lock()  # premailer's CSS parser keeps global state


class TemplateInliningError(ValueError):
    """A template cannot be inlined; the message says which of its constructs is at fault."""


def html_environment() -> Environment:
    """Return the Jinja environment of HTML templates: escaping, strict, statements in comments."""
    return Environment(
        block_start_string="<!--{%",
        block_end_string="%}-->",
        comment_start_string="<!--{#",
        comment_end_string="#}-->",
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )


def flatten(layout: str, body: str) -> str:
    """Put the body of a notice into the layout; raises TemplateInliningError without one place."""
    if layout.count(CONTENT) != 1:
        raise TemplateInliningError(f"the layout must hold {CONTENT} once")
    return layout.replace(CONTENT, body)


def inline_css(source: str, css: str) -> str:
    """Return the template with its CSS in style attributes; what cannot be there stays in <style>.

    Media queries keep their !important, without which inlined styles would win over them. Raises
    TemplateInliningError where a Jinja construct would be lost, or where a style depends on data.
    In place of the reference's `inline_css`, once a template and not once a mail.
    """
    if "@import" in css or "@import" in source:
        raise TemplateInliningError("@import would be fetched from the network; copy the CSS in")
    if dynamic := _DYNAMIC_STYLE.search(source):
        raise TemplateInliningError(
            f"a {dynamic[1]} cannot depend on data: {dynamic[0].strip()}; write one branch for each"
        )
    wanted = _constructs(source)
    html = premailed(source, css)
    try:
        kept = _constructs(html)
    except TemplateSyntaxError as err:
        raise TemplateInliningError(f"{_MISPLACED}: {err}") from err
    if kept != wanted:
        lost = sorted(set(wanted) - set(kept)) or wanted
        raise TemplateInliningError(f"{_MISPLACED}: {', '.join(lost)}")
    return html


def premailed(html: str, css: str) -> str:
    """Run premailer with the options that keep a notice right in mail clients; opens no network."""
    with _ONE_AT_A_TIME:
        inlined: str = Premailer(
            html,
            css_text=css,
            strip_important=False,
            disable_link_rewrites=True,
            disable_basic_attributes=["align", "bgcolor", "height", "valign", "width"],
            disable_validation=True,  # it knows no property of the last ten years
            cache_css_parsing=False,  # its cache confuses selectors with declarations
            cssutils_logging_level=logging.CRITICAL,
            allow_network=False,
        ).transform(pretty_print=False)
    return inlined


def _constructs(source: str) -> list[str]:
    """Return the text of each Jinja statement and expression, in order."""
    constructs: list[str] = []
    for _, kind, text in html_environment().lex(source):
        if kind in {"block_begin", "variable_begin"}:
            constructs.append("")
        elif kind not in {"data", "block_end", "variable_end", "whitespace"} and constructs:
            constructs[-1] += text + " "
    return constructs
