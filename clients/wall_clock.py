"""The wall clock is set under a running server: an hour on, an hour back, a second back. Limits stay exact, no token lives longer, no row goes back in time.

The server runs under libfaketime, which the machine's steady clock stays true under.
"""
import itertools
import time
from pathlib import Path

import harness
import lake
from harness import ENDPOINTS, UPSTREAM, check, finish, report
from processes import Server, scratch_folder

USAGE, AUDIT = "system/serving/endpoint_usage", "system/access/audit"
HOUR, LIFETIME = 3600, 4
# The most that a token may be accepted for after its end.
BYPASS = 60
REFUSED = (401, 403)


def library():
    return next(map(str, Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)


class Clock:
    """The file by which the server's wall clock is set."""
    def __init__(self, folder):
        self.file = Path(folder, "clock")
        # Fifty seconds past a minute and ten minutes past an hour: a minute ends soon and no hour does.
        self.start = (10 * 60 + 50 - time.time()) % HOUR
        self.set(0)

    def set(self, seconds):
        """To so many seconds from what it would be if nobody had set it."""
        beside = self.file.with_suffix(".new")
        beside.write_text(f"{self.start + seconds:+.3f}\n")
        beside.replace(self.file)

    def settings(self):
        return {"LD_PRELOAD": library(), "FAKETIME_TIMESTAMP_FILE": str(self.file), "FAKETIME_NO_CACHE": "1", "DONT_FAKE_MONOTONIC": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1", "TOLLGATE_TABLES__FLUSH_SECONDS": "1", "TOLLGATE_LOG__LEVEL": "warn"}


def call(method, path, body=None, token=None):
    return harness.call(method, path, body, token=token or server.token, base=server.url)


def endpoint(name, *limits):
    entity = {"name": "main", "external_model": {"name": "m", "provider": "openai", "task": "llm/v1/chat", "openai_config": {
        "openai_api_key_plaintext": "sk-x", "openai_api_base": UPSTREAM + "/v1"}}}
    gateway = {"rate_limits": list(limits), "usage_tracking_config": {"enabled": True}}
    call("POST", ENDPOINTS, {"name": name, "config": {"served_entities": [entity]}, "ai_gateway": gateway}).ok()


asked, numbers = [], itertools.count()


def ask(name, token=None):
    """One call; its answer, whose headers must make sense."""
    marker = f"clock-{next(numbers)}"
    asked.append(marker)
    body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 10, "client_request_id": marker}
    reply = call("POST", f"/serving-endpoints/{name}/invocations", body, token)
    left = reply.headers.get("x-ratelimit-remaining-requests")
    assert left is None or int(left) >= 0, reply.headers
    wait = reply.headers.get("retry-after")
    if reply.status in REFUSED:
        # Who is not known has no row.
        asked.remove(marker)
    assert wait is None or 1 <= int(wait) <= HOUR, reply.headers
    return reply


def statuses(name, count):
    return [ask(name).status for _ in range(count)]


def headroom(name):
    limits = call("POST", "/api/tollgate/v1/explain", {"endpoint": name}).ok()["limits"]
    assert limits and all(limit["used"] >= 0 for limit in limits), limits
    return limits


def jumps():
    """The clock on, back and a second back; each is for the caller to try something at."""
    for seconds in (HOUR, 0, -HOUR, 0, -1, 2 * HOUR, 0):
        clock.set(seconds)
        yield seconds
    clock.set(0)


def made_token(seconds):
    return call("POST", "/api/2.0/token/create", {"lifetime_seconds": seconds, "comment": "clock"}).ok()["token_value"]


if not library():
    report("FAIL", "the wall clock", "libfaketime is not installed: ./test installs it")
    finish()

with scratch_folder("clock") as folder:
    clock = Clock(folder)
    with Server(folder, UPSTREAM, clock.settings()) as server:
        @check("the server sees the clock that is set")
        def seen():
            def now():
                return call("POST", "/api/2.0/token/create", {"comment": "now"}).ok()["token_info"]["creation_time"] / 1000 - time.time() - clock.start
            assert abs(now()) < 2, now()
            clock.set(HOUR)
            assert HOUR - 2 < now(), now()
            clock.set(0)

        @check("a window of a minute ends when a minute is over, whatever the clock is set to, and the next has room for as many")
        def minute():
            endpoint("minute", {"calls": 3, "key": "endpoint", "renewal_period": "minute"})
            assert statuses("minute", 3) == [200] * 3
            refused, began = ask("minute"), time.monotonic()
            wait = int(refused.headers["retry-after"])
            assert refused.status == 429 and wait <= 15, refused.headers
            for seconds in jumps():
                again = ask("minute")
                assert again.status == 429 and int(again.headers["retry-after"]) <= wait, (seconds, str(again), again.headers)
            clock.set(-1)
            time.sleep(max(0, began + wait - time.monotonic()))
            assert statuses("minute", 4) == [200] * 3 + [429]
            clock.set(0)

        @check("of a limit of 30 an hour exactly 30 are let in through every setting of the clock")
        def hour():
            endpoint("hour", {"calls": 30, "key": "endpoint", "renewal_period": "hour"}, {"tokens": 100_000, "key": "user", "renewal_period": "hour"})
            found = []
            for _ in jumps():
                found += statuses("hour", 6)
                headroom("hour")
            assert (found.count(200), found.count(429)) == (30, 12), found
            assert found == [200] * 30 + [429] * 12, found
            used = {limit["measure"]: limit["used"] for limit in headroom("hour")}
            assert used["calls"] == 30 and 0 < used["tokens"] < 30 * 200, used

        endpoint("open")

        @check(f"a token ends with its time, and not {BYPASS} s later, when the clock is set back by an hour")
        def expiry():
            clock.set(0)
            token, began = made_token(LIFETIME), time.monotonic()
            assert ask("open", token).status == 200 and call("GET", ENDPOINTS, token=token).status == 200
            clock.set(-HOUR)
            while ask("open", token).status == 200 or call("GET", ENDPOINTS, token=token).status == 200:
                assert time.monotonic() < began + LIFETIME + BYPASS, "it is accepted still"
                time.sleep(0.5)
            assert time.monotonic() >= began + LIFETIME - 1
            clock.set(0)
            assert ask("open", token).status in REFUSED

        @check("a token made while the clock is an hour back ends with its time when it is right again")
        def made_back():
            clock.set(-HOUR)
            token = made_token(HOUR // 2)
            assert ask("open", token).status == 200
            short, began = made_token(LIFETIME), time.monotonic()
            clock.set(0)
            assert ask("open", token).status == 200, "made for half an hour, a moment ago"
            time.sleep(max(0, began + LIFETIME + 0.5 - time.monotonic()))
            assert ask("open", short).status in REFUSED

        @check("a token made while the clock is an hour on is good when it is right again, and one of hours all the while")
        def made_on():
            lasting = made_token(5 * HOUR)
            clock.set(HOUR)
            token = made_token(HOUR // 2)
            for seconds in jumps():
                assert ask("open", lasting).status == 200, seconds
            assert ask("open", token).status == 200
            clock.set(0)

        @check("rows of calls and of the audit never go back in time, and each call has one")
        def rows():
            tables, deadline = server.data / "tables", time.monotonic() + 30
            while True:
                written = (tables / USAGE / "_delta_log").exists()
                # In the order in which they were asked, one after the other.
                found = lake.rows(tables, USAGE, "client_request_id, epoch_ms(request_time)") if written else []
                if len(found) >= len(asked):
                    break
                assert time.monotonic() < deadline, set(asked) ^ {row[0] for row in found}
                time.sleep(0.5)
            at = dict(found)
            assert len(at) == len(found), "a call has two rows"
            times = [at[marker] for marker in asked]
            back = [(marker, before, after) for marker, before, after in zip(asked[1:], times, times[1:]) if after < before]
            assert not back, (len(back), back[:3])
            audit = [row[0] for row in lake.rows(tables, AUDIT, "epoch_ms(event_time)", "action_name LIKE '%oken%' ORDER BY event_id")]
            assert len(audit) > 5 and audit == sorted(audit), audit

        @check("the server did not panic and has nothing to say at level ERROR")
        def well():
            strange = [line for line in server.log().splitlines() if "panicked" in line or '"ERROR"' in line]
            assert not strange, strange[:3]

with scratch_folder("kept") as folder:
    clock = Clock(folder)
    kept = {"TOLLGATE_TABLES__USAGE_RETENTION_DAYS": "2", "TOLLGATE_TABLES__KEEP_SECONDS": "1"}
    with Server(folder, UPSTREAM, {**clock.settings(), **kept}) as server:
        @check("no row is old by a clock that is set on by a month")
        def retention():
            def counted():
                written = (server.data / "tables" / USAGE / "_delta_log").exists()
                return lake.rows(server.data / "tables", USAGE, "count(*)")[0][0] if written else 0
            endpoint("kept")
            clock.set(0)
            assert statuses("kept", 3) == [200] * 3
            deadline = time.monotonic() + 30
            while counted() < 3:
                assert time.monotonic() < deadline, counted()
                time.sleep(0.2)
            clock.set(30 * 24 * HOUR)
            # The tables are looked after each second, and after each flush.
            for _ in range(3):
                assert ask("kept").status == 200
                time.sleep(1.5)
            clock.set(0)
            while counted() < 6:
                assert time.monotonic() < deadline, counted()
                time.sleep(0.2)
            assert counted() == 6, counted()

finish()
