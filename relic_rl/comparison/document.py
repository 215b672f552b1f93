"""A report as blocks, and its forms: Markdown, one self-contained HTML page, a CSV file for each table."""

from __future__ import annotations

import base64
import csv
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Heading:
    """A section's title."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """Plain text."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of plain texts."""

    items: Sequence[str]


@dataclass(frozen=True)
class Table:
    """A table of texts, and its numbers.

    Attributes:
        name: of its CSV file, without the suffix.
        header: names of columns.
        rows: cells as a reader sees them.
        data_header: names of the columns of the CSV file; empty for those of the reader's.
        data: its rows, unrounded; empty for those of the reader's.
    """

    name: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    data_header: Sequence[str] = field(default=())
    data: Sequence[Sequence[object]] = field(default=())


@dataclass(frozen=True)
class Picture:
    """A PNG.

    Attributes:
        name: of its file, without the suffix.
        caption: what it shows.
        png: the file's bytes.
    """

    name: str
    caption: str
    png: bytes


Block = Heading | Paragraph | Bullets | Table | Picture


def to_markdown(title: str, blocks: Sequence[Block]) -> str:
    """The report; pictures are linked as files beside it."""
    parts = [f"# {title}"]
    for block in blocks:
        match block:
            case Heading(text):
                parts.append(f"## {text}")
            case Paragraph(text):
                parts.append(text)
            case Bullets(items):
                parts.append("\n".join(f"- {item}" for item in items))
            case Table():
                lines = [block.header, ["---"] * len(block.header), *block.rows]
                parts.append("\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines))
            case Picture():
                parts.append(f"![{block.caption}]({block.name}.png)\n\n{block.caption}")
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #ccc;padding:.25em .6em;text-align:right}"
    "td:first-child,th:first-child{text-align:left}th{background:#f3f3f3}img{max-width:100%}"
    "figure{margin:1em 0}figcaption{color:#555;font-size:90%}div{overflow-x:auto}"
)


def to_html(title: str, blocks: Sequence[Block]) -> str:
    """The report as one page that needs no other file."""
    parts = []
    for block in blocks:
        match block:
            case Heading(text):
                parts.append(f"<h2>{html.escape(text)}</h2>")
            case Paragraph(text):
                parts.append(f"<p>{html.escape(text)}</p>")
            case Bullets(items):
                parts.append("<ul>" + "".join(f"<li>{html.escape(item)}</li>" for item in items) + "</ul>")
            case Table():
                head = "".join(f"<th>{html.escape(cell)}</th>" for cell in block.header)
                rows = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in block.rows)
                body = "".join(f"<tr>{row}</tr>" for row in rows)
                parts.append(f"<div><table><tr>{head}</tr>{body}</table></div>")
            case Picture():
                data = base64.b64encode(block.png).decode()
                caption = html.escape(block.caption)
                parts.append(
                    f'<figure><img alt="{caption}" src="data:image/png;base64,{data}">'
                    f"<figcaption>{caption}</figcaption></figure>"
                )
    title = html.escape(title)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>{''.join(parts)}</body></html>\n"
    )


def to_csv(table: Table) -> str:
    """A table's numbers."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.data_header or table.header)
    writer.writerows(table.data or table.rows)
    return text.getvalue()
