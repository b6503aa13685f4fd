"""Markdown out of the measurements, ready for docs/performance.md."""

from statistics import median

NOISY = 0.05
HEAD = ["target", "CPU µs / request", "÷ nginx", "÷ hyper-features", "÷ tollgate", "requests/s on one core", "core busy",
        "added p50 / p99 ms", "CPU µs / chunk", "÷ nginx", "÷ hyper-features", "RSS idle / held MiB", "other"]


def per(part, cpu_over):
    """Processor microseconds per request or chunk in one round."""
    def figure(rounds, i):
        run = rounds[i].get(part, {})
        count = run.get(cpu_over)
        return run["gateway_cpu_s"] * 1e6 / count if count and run["gateway_cpu_s"] else None
    return figure


PER_REQUEST = per("saturation", "total")
PER_CHUNK = per("stream", "chunks")


def middle(values):
    known = [value for value in values if value is not None]
    return median(known) if known else None


def figure(rounds, get):
    return middle(get(rounds, i) for i in range(len(rounds)))


def ratio(rounds, base, get):
    """The median of each round's ratio: within a round the machine is the same for both."""
    pairs = [(get(rounds, i), get(base, i)) for i in range(min(len(rounds), len(base)))]
    return middle(a / b if a and b else None for a, b in pairs)


def added_ms(rounds, direct, quantile):
    def get(of, i):
        return of[i].get("latency", {}).get("latency_us", {}).get(quantile)
    pairs = [(get(rounds, i), get(direct, i)) for i in range(min(len(rounds), len(direct)))]
    return middle((a - b) / 1e3 if a and b else None for a, b in pairs)


def other(rounds):
    return max((run["other"] for each in rounds for run in each.values() if isinstance(run, dict)), default=0.0)


def show(value, form):
    return "–" if value is None else format(value, form)


def row(name, results):
    rounds = results[name]
    nginx, features, tollgate, direct = (results.get(base, []) for base in ("nginx", "hyper-features", "tollgate", "direct"))
    gateway = name != "direct"
    p50, p99 = (added_ms(rounds, direct, q) if gateway else None for q in ("p50", "p99"))
    first = rounds[0]
    return [
        name,
        show(figure(rounds, PER_REQUEST), ".1f"),
        show(ratio(rounds, nginx, PER_REQUEST), ".2f"),
        show(ratio(rounds, features, PER_REQUEST), ".2f"),
        show(ratio(rounds, tollgate, PER_REQUEST) if name.startswith("tollgate") else None, ".2f"),
        show(figure(rounds, lambda r, i: r[i]["saturation"].get("per_s")), ".0f"),
        show(figure(rounds, lambda r, i: r[i]["saturation"]["core_busy"]) if gateway else None, ".2f"),
        f"{show(p50, '.2f')} / {show(p99, '.2f')}",
        show(figure(rounds, PER_CHUNK), ".1f"),
        show(ratio(rounds, nginx, PER_CHUNK), ".2f"),
        show(ratio(rounds, features, PER_CHUNK), ".2f"),
        f"{show(first.get('idle_rss_mib'), '.1f')} / {show(first.get('hold', {}).get('peak_rss_mib'), '.1f')}",
        show(other(rounds), ".2f"),
    ]


def markdown(run):
    about, settings, results = run["about"], run["settings"], run["results"]
    measured = [name for name in results if results[name]]
    lines = [
        f"{about['cores']} cores ({about['cpu']}), {about['memory_gib']} GiB, Linux {about['kernel']}, "
        f"{about['nginx']}; commit {about['commit']}, profile {about['profile']}, {about['rustc']}; {run['when']}.",
        f"{settings['rounds']} rounds, medians; {settings['connections']} connections, 1 KiB body; latency at "
        f"{settings['rate']:.0f} requests/s; {settings['streams']} streams × {settings['chunks']} chunks, one every "
        f"{settings['pace_us'] / 1e3:.0f} ms; {settings['held']} streams held.",
        "",
        "| " + " | ".join(HEAD) + " |",
        "|---|" + "---:|" * (len(HEAD) - 1),
    ]
    lines += ["| " + " | ".join(row(name, results)) + " |" for name in measured]
    noise = max((other(results[name]) for name in measured), default=0.0)
    if noise > NOISY:
        lines += ["", f"**noisy, repeat**: others used up to {noise:.2f} of the machine (above {NOISY})."]
    if run["errors"]:
        lines += ["", "**not valid**: " + "; ".join(run["errors"]).replace("\n", " ")]
    return "\n".join(lines)
