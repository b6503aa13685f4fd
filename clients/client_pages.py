"""The pages of docs/clients: their set-up lines are run by the suites, or are those that the suites use."""
import re
from pathlib import Path

PAGES = Path(__file__).resolve().parents[1] / "docs" / "clients"


def page_has(page, *lines, host, endpoint="", token=""):
    """Checks that the page shows these lines, with the words HOST, TOKEN and ENDPOINT for what they are in the suite."""
    shown = [line.strip() for line in (PAGES / f"{page}.md").read_text().splitlines()]
    for line in lines:
        for value, word in ((host, "https://HOST"), (token, "TOKEN"), (endpoint, "ENDPOINT")):
            line = line.replace(value, word) if value else line
        assert line in shown, f"docs/clients/{page}.md does not show the line {line!r}"


def code_of(page, *, host, token, endpoint):
    """The indented lines of the page, the words replaced."""
    code = [line.strip() for line in (PAGES / f"{page}.md").read_text().splitlines() if line.startswith("    ")]
    assert code, f"docs/clients/{page}.md has no code"
    words = {"https://HOST": host, "TOKEN": token, "ENDPOINT": endpoint}
    return [re.sub(r"https://HOST|\bTOKEN\b|\bENDPOINT\b", lambda word: words[word[0]], line) for line in code]


def run_page(page, **words):
    """Runs the Python of the page; gives what its last line gives."""
    *lines, last = code_of(page, **words)
    names = {}
    exec("\n".join(lines), names)
    return eval(last, names)
