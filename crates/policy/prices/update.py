#!/usr/bin/env python3
"""Writes `prices.json` from the data of the PyPI package `genai-prices` (MIT), which must be installed:

    python3 -m venv /tmp/prices && /tmp/prices/bin/pip install genai-prices
    /tmp/prices/bin/python crates/policy/prices/update.py

What is kept: the prices per token of the providers that Tollgate has. What is not: prices by the hour, the page or
the call, batch and regional variants, models that cost nothing per token, and models of audio without its price.
"""

import json
import re
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

from genai_prices.data import providers

# Tollgate's provider: the package's, the first that knows a model counts.
SOURCES = {
    "openai": ["openai", "azure"],
    "anthropic": ["anthropic"],
    "amazon-bedrock": ["aws"],
    "google-cloud-vertex-ai": ["google", "anthropic", "mistral"],
    "google": ["google"],
    "cohere": ["cohere"],
    "databricks-model-serving": ["databricks"],
}

# The package's unit: Tollgate's kind of token.
KINDS = {
    "input_mtok": "input",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write_5m",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "input_audio",
    "cache_audio_read_mtok": "cache_read_audio",
    "input_image_mtok": "input_image",
    "output_mtok": "output",
    "output_reasoning_mtok": "reasoning",
    "output_audio_mtok": "output_audio",
    "output_image_mtok": "output_image",
}


NO_SPEECH = r"^(?!.*-[tT][tT][sS](?:$|-))"


def number(decimal):
    return int(decimal) if decimal == decimal.to_integral_value() else float(decimal)


def clauses(match):
    """A name is matched by one of the list; parts of one that are joined with a space must all hold."""
    kind = type(match).__name__
    if kind == "ClauseOr":
        return [one for part in match.or_ for one in clauses(part)]
    if kind == "ClauseAnd":
        parts = [clauses(part) for part in match.and_]
        assert all(len(part) == 1 for part in parts), match
        return [" ".join(part[0] for part in parts)]
    if kind == "ClauseRegex":
        return patterns(match.regex)
    signs = {
        "ClauseEquals": ("=", "equals"),
        "ClauseStartsWith": ("^", "starts_with"),
        "ClauseEndsWith": ("$", "ends_with"),
        "ClauseContains": ("*", "contains"),
    }
    sign, field = signs[kind]
    text = getattr(match, field).lower()
    assert " " not in text, match
    return [sign + text]


def patterns(regex):
    """The few forms that the package uses: digits at the end (`#` is one, `*` after them any rest), and no speech."""
    if regex == NO_SPEECH:
        return ["!-tts"]
    if "[-@]" in regex:
        return [one for sign in "-@" for one in patterns(regex.replace("[-@]", sign))]
    assert regex.startswith("^"), regex
    text = regex[1:-1] if regex.endswith("$") else regex[1:] + "*"
    text = re.sub(r"\\d(?:\{(\d)\})?", lambda digits: "#" * int(digits[1] or 1), text).replace("\\.", ".")
    assert re.fullmatch(r"[a-z0-9.@#-]+\*?", text), regex
    return ["~" + text]


def rate(price):
    """USD per million tokens; with tiers `[base, from, price, from, price ...]`, which hold for the whole call
    when its input is longer than that."""
    if not hasattr(price, "tiers"):
        return number(price)
    return [number(price.base)] + [n for tier in price.tiers for n in (tier.start, number(tier.price))]


def period(prices, since):
    rates = {ours: rate(getattr(prices, theirs)) for theirs, ours in KINDS.items() if getattr(prices, theirs) is not None}
    return ({"since": since} if since else {}) | rates


def speaks_at_no_price(model):
    """A model of audio of which the package knows the price of text alone, a fraction of what it costs."""
    named = any("audio" in pattern for pattern in model["match"])
    return named and not all("output_audio" in period for period in model["prices"])


def start(constraint):
    """Seconds since the epoch."""
    if constraint is None:
        return 0
    day = constraint.start_date
    return int(datetime(day.year, day.month, day.day, tzinfo=timezone.utc).timestamp())


def model(info):
    prices = info.prices
    if not isinstance(prices, list):
        return {"match": clauses(info.match), "prices": [period(prices, 0)]}
    dated = [p for p in prices if type(p.constraint).__name__ in ("NoneType", "StartDateConstraint")]
    periods = sorted(((start(p.constraint), p.prices) for p in dated), key=lambda pair: pair[0])
    return {"match": clauses(info.match), "prices": [period(prices, since) for since, prices in periods]}


def main():
    known = {provider.id: provider for provider in providers}
    sections = []
    for name, sources in SOURCES.items():
        models = (model(info) for source in sources for info in known[source].models)
        priced = [m for m in models if any("input" in p or "output" in p for p in m["prices"])]
        priced = [m for m in priced if not speaks_at_no_price(m)]
        lines = ",\n".join(json.dumps(m, separators=(",", ":")) for m in priced)
        sections.append(f"{json.dumps(name)}: [\n{lines}\n]")
    head = f'{{"version": {json.dumps("genai-prices " + version("genai-prices"))}, "providers": {{\n'
    text = head + ",\n".join(sections) + "\n}}\n"
    json.loads(text)
    (Path(__file__).parent / "prices.json").write_text(text)


if __name__ == "__main__":
    main()
