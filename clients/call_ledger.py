"""What clients were told, call by call, held against the simulator's ledger and the tables; and what a process holds."""
import http.client
import itertools
import json
import os
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import harness
import lake

USAGE = "system/serving/endpoint_usage"
LEFT = 499  # the status on record of a call whose client left
_numbers = itertools.count()


@dataclass
class Told:
    """One call as its client saw it."""
    marker: str
    status: int = 0
    text: str = ""
    headers: dict = None
    seconds: float = 0.0
    began: float = 0.0
    unseen: int = 0  # attempts of it that did not reach the simulator

    @property
    def is_whole(self):
        return self.status == 200 and ("[DONE]" in self.text if self.text.startswith("data:") else '"choices"' in self.text)

    def error_event(self):
        """The error that ends a stream, which must be its last event and the only one."""
        assert self.status == 200 and "[DONE]" not in self.text, self.text[-300:]
        events = [json.loads(line[5:]) for line in self.text.split("\n") if line.startswith("data:")]
        assert [bool(event.get("error")) for event in events[-2:]] == [False, True][-len(events):], self.text[-300:]
        return events[-1]["error"]


class Calls:
    """The client's ledger of one server; each call carries a marker by which the other ledgers know it."""
    def __init__(self, server, simulator):
        self.server, self.simulator, self.told, self.lock = server, simulator, [], threading.Lock()
        address = urlsplit(server.url)
        self.address = (address.hostname, address.port)

    def connect(self):
        return http.client.HTTPConnection(*self.address, timeout=30)

    def request(self, endpoint, stream, unseen=0):
        marker = f"fault-{next(_numbers)}"
        body = {"messages": [{"role": "user", "content": marker}], "client_request_id": marker, "stream": stream, "max_tokens": 100}
        head = {"Authorization": f"Bearer {self.server.token}", "Content-Type": "application/json"}
        told = Told(marker, unseen=unseen, began=time.time())
        with self.lock:
            self.told.append(told)
        return told, f"/serving-endpoints/{endpoint}/invocations", json.dumps(body), head

    def ask(self, endpoint, stream=False, connection=None, unseen=0):
        """One call to its end; on a connection of its own unless one is given."""
        told, path, body, head = self.request(endpoint, stream, unseen)
        began, link = time.monotonic(), connection or self.connect()
        link.request("POST", path, body, head)
        answer = link.getresponse()
        told.status, told.headers = answer.status, {name.lower(): value for name, value in answer.getheaders()}
        told.text = answer.read().decode()
        told.seconds = time.monotonic() - began
        if connection is None:
            link.close()
        return told

    def ask_all(self, arguments, threads=16):
        """Several at once; `arguments` are those of `ask`, in order."""
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda given: self.ask(*given[:2], unseen=given[2] if len(given) > 2 else 0), arguments))

    def begin(self, endpoint, stream=False, unseen=0):
        """Asks and reads nothing; gives the socket, whose close is the client's leave."""
        told, path, body, head = self.request(endpoint, stream, unseen)
        told.status = LEFT
        lines = [f"POST {path} HTTP/1.1", "Host: server", *(f"{name}: {value}" for name, value in head.items()), f"Content-Length: {len(body)}"]
        link = socket.create_connection(self.address, timeout=30)
        link.sendall(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
        return told, link

    def script(self, model, text):
        """What the simulator does with calls for this model from now on."""
        harness.call("POST", "/_script", {"model": model, "script": text}, token=None, base=self.simulator.url).ok()

    def gate(self, kind):
        return harness.call("POST", "/_gate", {"gate": kind}, token=None, base=self.simulator.url).ok()["url"]

    def arrived(self, since=0):
        """The simulator's requests after the first `since`, oldest first."""
        return harness.call("GET", f"/_ledger?limit=1000000&since={since}", token=None, base=self.simulator.url).ok()["requests"]

    def arrived_for(self, told, since):
        return [request for request in self.arrived(since) if marker_of(request) == told.marker]

    def upstream(self):
        """The simulator's counts."""
        return harness.call("GET", "/_ledger/summary", token=None, base=self.simulator.url).ok()

    def rows(self):
        """By marker, the rows of the usage table, once all calls have one."""
        columns = "client_request_id, status_code, outcome, attempts, databricks_request_id, input_token_count"
        deadline = time.monotonic() + 30
        while True:
            table = self.server.data / "tables" / USAGE
            found = lake.rows(self.server.data / "tables", USAGE, columns) if (table / "_delta_log").exists() else []
            if len(found) >= len(self.told):
                return found
            assert time.monotonic() < deadline, f"{len(self.told)} calls, {len(found)} rows"
            time.sleep(0.5)

    def disagreements(self):
        """What the three ledgers do not agree upon."""
        found, wrong = self.rows(), []
        seen, swallowed = Counter(), Counter()
        for request in self.arrived():
            marker = marker_of(request)
            seen[marker] += 1
            # A connection that was there already and ends without a word may have ended before it was written to: the call is made once more, and
            # is one attempt. A reset can overtake what was said before it.
            if request["status"] is None or "fault=reset" in (request["model"] or ""):
                swallowed[marker] = 1
        count, ids = Counter(row[0] for row in found), {row[4] for row in found}
        by_marker = {row[0]: row[1:] for row in found}
        if len(ids) != len(found):
            wrong.append(f"{len(found)} rows have {len(ids)} ids")
        for told in self.told:
            if count[told.marker] != 1:
                wrong.append(f"{told.marker} has {count[told.marker]} rows")
                continue
            status, outcome, attempts, _, tokens = by_marker[told.marker]
            expected = "completed" if told.is_whole else "cancelled" if told.status == LEFT else "failed"
            if (status, outcome) != (told.status, expected):
                wrong.append(f"{told.marker}: the client has {told.status} {expected}, the table {status} {outcome}: {told.text[-200:]}")
            if attempts - seen[told.marker] not in range(-swallowed[told.marker], told.unseen + 1):
                wrong.append(f"{told.marker}: {attempts} attempts on record, {seen[told.marker]} seen, {swallowed[told.marker]} more of them in vain at most, {told.unseen} more at most")
            if status == 200 and tokens is None:
                wrong.append(f"{told.marker} has no usage")
        strangers = set(seen) - set(by_marker) - {None}
        return wrong + [f"{stranger} is in no table" for stranger in strangers]


def marker_of(request):
    """Of a request at the simulator; formats differ in where the prompt is."""
    at = json.dumps(request["body"])
    start = at.find('"fault-')
    return at[start + 1:at.index('"', start + 1)] if start >= 0 else None


class Held:
    """Open descriptors and resident memory of a process, from /proc."""
    def __init__(self, pid):
        self.folder = Path("/proc", str(pid))

    def files(self):
        return len(os.listdir(self.folder / "fd"))

    def kib(self, name="VmRSS"):
        lines = (self.folder / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))

    def forget_peak(self):
        """Makes VmHWM the memory of now."""
        (self.folder / "clear_refs").write_text("5")

    def wait_for_at_most(self, files, kib, meanwhile, seconds=15):
        """Until no more is held than this, `meanwhile` something is done now and then; gives what is held."""
        deadline = time.monotonic() + seconds
        while (now := (self.files(), self.kib()))[0] > files or now[1] > kib:
            if time.monotonic() > deadline:
                raise AssertionError(f"{now[0]} descriptors and {now[1]} KiB are held, not {files} and {kib}")
            meanwhile()
            time.sleep(0.2)
        return now
