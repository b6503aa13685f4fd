"""The pages of docs/clients: each set-up line on one of them is a line that a suite runs, and the suite says so here."""
from pathlib import Path

PAGES = Path(__file__).resolve().parents[1] / "docs" / "clients"


def page_has(page, *lines, host, endpoint="", token=""):
    """Checks that the page shows these lines, with the words HOST, TOKEN and ENDPOINT for what they are in the suite."""
    shown = [line.strip() for line in (PAGES / f"{page}.md").read_text().splitlines()]
    for line in lines:
        for value, word in ((host, "https://HOST"), (token, "TOKEN"), (endpoint, "ENDPOINT")):
            line = line.replace(value, word) if value else line
        assert line in shown, f"docs/clients/{page}.md does not show the line {line!r}"
