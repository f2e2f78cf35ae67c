"""Every table that the experiment shows on a terminal or writes for a page is made here."""

from dataclasses import dataclass, field

from rich import table
from rich.text import Text


@dataclass
class Table:
    """Rows of cells below a heading. The first `texts` columns are words; the others are figures, on the right."""

    heading: list[str]
    rows: list[list[str]] = field(default_factory=list)
    texts: int = 1
    caption: str = ""

    def terminal(self) -> table.Table:
        shown = table.Table(box=None, pad_edge=False, caption=self.caption or None, caption_justify="left")
        for index, name in enumerate(self.heading):
            if index < self.texts:
                shown.add_column(Text(name), overflow="fold")
            else:
                shown.add_column(Text(name), justify="right")
        for row in self.rows:
            shown.add_row(*map(Text, row))
        return shown

    def markdown(self) -> str:
        rule = ["---"] * self.texts + ["--:"] * (len(self.heading) - self.texts)
        rows = [self.heading, rule, *self.rows]
        lines = [" | ".join(["", *(cell.replace("|", "\\|") for cell in row), ""]).strip() for row in rows]
        return "\n".join(lines + (["", self.caption] if self.caption else []))
