"""What a page holds, for tests."""

from __future__ import annotations

from html.parser import HTMLParser

HOSTILE = "<script>alert(1)</script><img src='http://example.com/x'>\"&"
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010800000000"
    "3a7e9b550000000a49444154789c6360000000020001e221bc330000000049454e44ae426082"
)


class Page(HTMLParser):
    """Collects what a page would load, run or link to, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.rows, self.said, self.in_cell = [], [], [], [], False
        self.feed(text)
        self.text = " ".join(" ".join(self.said).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "srcset", "data")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag):
        self.in_cell &= tag not in ("td", "th")

    def handle_data(self, data):
        if self.tags[-1:] != ["style"]:
            self.said.append(data)
        if self.in_cell:
            self.rows[-1][-1] = f"{self.rows[-1][-1]} {data}".strip()

    def row(self, *start):
        return [row for row in self.rows if tuple(row[: len(start)]) == start]
