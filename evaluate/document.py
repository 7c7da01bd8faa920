"""A report, written as Markdown with its figures beside it, and as one HTML file with its figures inside."""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ max-width: 54rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.55 system-ui, sans-serif; color: #22262b; }}
h1 {{ font-size: 1.7rem; }}
h2 {{ font-size: 1.2rem; margin: 2.4rem 0 0.6rem; border-top: 1px solid #e1e4e8; padding-top: 1.2rem; }}
div {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.92rem; }}
th, td {{ padding: 0.3rem 0.6rem; border-bottom: 1px solid #e1e4e8; text-align: right; white-space: nowrap; }}
th:first-child, td:first-child {{ text-align: left; padding-left: 0; white-space: normal; }}
img {{ max-width: 100%; height: auto; margin: 0.6rem 0; }}
</style>
<h1>{title}</h1>
{body}
</html>
"""

# Rows of cells, the first of which is the heading.
Table = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """A part of the report: a text, tables, and figures, each description with a file name and the bytes of a PNG."""

    title: str
    text: str
    tables: Sequence[Table] = ()
    figures: dict[str, tuple[str, bytes]] = field(default_factory=dict)


def write_report(folder: Path, title: str, sections: Sequence[Section]) -> None:
    """Write report.md, its figures and report.html into an existing folder. Raises OSError."""
    for section in sections:
        for name, figure in section.figures.values():
            (folder / name).write_bytes(figure)
    (folder / "report.md").write_text(f"# {title}\n\n" + "\n".join(to_markdown(section) for section in sections))
    body = "\n".join(to_html(section) for section in sections)
    (folder / "report.html").write_text(PAGE.format(title=html.escape(title), body=body))


def to_markdown(section: Section) -> str:
    """Return a section in Markdown."""
    parts = [f"## {section.title}", section.text]
    for head, *rows in section.tables:
        ruler = ["---", *["--:"] * (len(head) - 1)]
        parts.append("\n".join(f"| {' | '.join(cells)} |" for cells in (head, ruler, *rows)))
    parts += [f"![{description}]({name})" for description, (name, _) in section.figures.items()]
    return "\n\n".join(parts) + "\n"


def to_html(section: Section) -> str:
    """Return a section in HTML, its figures inlined."""
    parts = [f"<h2>{html.escape(section.title)}</h2>", f"<p>{html.escape(section.text)}</p>"]
    for head, *rows in section.tables:
        lines = [to_row(head, "th"), *(to_row(row, "td") for row in rows)]
        parts.append("<div><table>\n" + "\n".join(lines) + "\n</table></div>")
    for description, (_, figure) in section.figures.items():
        data = base64.b64encode(figure).decode()
        parts.append(f'<img alt="{html.escape(description)}" src="data:image/png;base64,{data}">')
    return "\n".join(parts)


def to_row(cells: Sequence[str], tag: str) -> str:
    """Return a row of a table in HTML."""
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def align(table: Table) -> str:
    """Return a table as plain text, its first column aligned left and the others right."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return "\n".join(
        "  ".join(cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in table)
    )
