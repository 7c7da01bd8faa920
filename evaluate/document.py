"""A report in Markdown with its figures beside it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

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
    """Write report.md and its figures into an existing folder. Raises OSError."""
    for section in sections:
        for name, figure in section.figures.values():
            (folder / name).write_bytes(figure)
    (folder / "report.md").write_text(f"# {title}\n\n" + "\n".join(to_markdown(section) for section in sections))


def to_markdown(section: Section) -> str:
    """Return a section in Markdown."""
    parts = [f"## {section.title}", section.text]
    for head, *rows in section.tables:
        ruler = "|---" + "|--:" * (len(head) - 1) + "|"
        lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
        parts.append("\n".join([lines[0], ruler, *lines[1:]]))
    parts += [f"![{description}]({name})" for description, (name, _) in section.figures.items()]
    return "\n\n".join(parts) + "\n"


def align(table: Table) -> str:
    """Return a table as plain text, its first column aligned left and the others right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join([first.ljust(widths[0]), *map(str.rjust, others, widths[1:])]) for first, *others in table
    )
