"""Reads a trace of system calls and finds replies that left before the force that covers them.

`kill -9` proves nothing about forcing, since the page cache survives it. What proves it is the order
of calls: the write of a record, then a force of the same file that begins after that write ended,
then - not before this force has returned - the reply.

strace stops a thread before and after each call and handles one stop at a time, so the order of the
lines is the order of the stops: a call that was interrupted by another thread's is printed as
`<unfinished ...>` where it begins and `resumed` where it returns.
"""

import re
from dataclasses import dataclass

# What strace must show; -yy names files and the two ends of connections.
CALLS = ("write,pwrite64,writev,pwritev,pwritev2,sendto,sendmsg,sendmmsg,fdatasync,fsync,"
         "sync_file_range,msync,io_uring_enter")
LINE = re.compile(r"^(\d+)\s+(?:[\d.]+\s+)?(.*)$")
RESUMED = re.compile(r"^<\.\.\. (\w+) resumed>(.*)$")
CALL = re.compile(r"^(\w+)\((.*)$", re.S)
RESULT = re.compile(r"\)\s+= (-?\d+|\?)(?: .*)?$", re.S)
FILE = re.compile(r"^\d+<(/[^>]*)>")
STREAM = re.compile(r"^\d+<TCP(?:v6)?:\[[^\]]*->[^\]]*:(\d+)\]>")
DATAGRAM_PORT = re.compile(r"sin6?_port=htons\((\d+)\)")


@dataclass
class Call:
    """One system call; `begin` and `end` are line numbers."""

    name: str
    text: str
    begin: int
    end: int
    result: int


def command(trace_path, *more):
    """The strace command to put before the server's."""
    return ["strace", "-f", "-yy", "-s", "4000000", "-e", f"trace={CALLS}", "-e", "signal=none",
            "-o", trace_path, *more]


def read_calls(path):
    """All finished calls, in the order in which they began."""
    calls, pending = [], {}
    with open(path, errors="replace") as file:
        for number, line in enumerate(file):
            match = LINE.match(line.rstrip("\n"))
            if not match:
                continue
            thread, rest = match.groups()
            resumed = RESUMED.match(rest)
            if resumed:
                begun = pending.pop(thread, None)
                if begun is None:
                    continue
                text, begin = begun[0] + resumed.group(2), begun[1]
            elif rest.endswith("<unfinished ...>"):
                pending[thread] = (rest[: -len("<unfinished ...>")].rstrip(), number)
                continue
            else:
                text, begin = rest, number
            call, result = CALL.match(text), RESULT.search(text)
            if not call or not result:
                continue
            value = -1 if result.group(1) == "?" else int(result.group(1))
            calls.append(Call(call.group(1), call.group(2), begin, number, value))
    calls.sort(key=lambda call: call.begin)
    return calls


def replies(call):
    """The client ports and bytes that a call sends: one for a stream, several for datagrams."""
    stream = STREAM.match(call.text)
    if stream:
        return [(int(stream.group(1)), call.text)]
    if "<UDP" not in call.text[:80]:
        return []
    pieces = re.split(r"(?=sin6?_port=htons)", call.text)[1:]
    if call.name == "sendto":  # The address comes last.
        port = DATAGRAM_PORT.search(call.text)
        return [(int(port.group(1)), call.text)] if port else []
    return [(int(DATAGRAM_PORT.search(piece).group(1)), piece) for piece in pieces]


class Checker:
    """Compares a trace with what clients did.

    A client is known by its port and had one request under way at a time. `acknowledged` maps the port
    to the tokens that its changes carried, in order; each of its replies that matches `pattern`
    acknowledges the next. A reply that shows a token (a read) is held to the same rule.
    """

    def __init__(self, calls, data_directory):
        self.calls = calls
        self.data = data_directory

    def find_early_replies(self, acknowledged, pattern=r"\+OK"):
        """Sentences about replies that came before their force; and how many replies were checked."""
        tokens = [token for list_ in acknowledged.values() for token in list_]
        token_pattern = re.compile("|".join(map(re.escape, tokens))) if tokens else None
        durable = self.force_ends(tokens, token_pattern)
        waiting = {port: list(list_) for port, list_ in acknowledged.items()}
        matcher = re.compile(pattern)
        problems, checked = [], 0
        for call in self.calls:
            if call.result <= 0:
                continue
            for port, text in replies(call):
                shown = set(token_pattern.findall(text)) if token_pattern else set()
                if waiting.get(port) and matcher.search(text):
                    shown.add(waiting[port].pop(0))
                for token in shown:
                    checked += 1
                    end = durable.get(token)
                    if end is None or end > call.begin:
                        problems.append(
                            f"line {call.begin + 1}: {call.name} to port {port} tells of {token}, "
                            + ("which was never forced" if end is None
                               else f"forced at line {end + 1} only"))
        for port, rest in waiting.items():
            for token in rest:
                problems.append(f"no reply to {token} for port {port} in the trace")
        return problems, checked

    def force_ends(self, tokens, token_pattern):
        """For each token the line at which the first force that covers its record returned."""
        written = {}  # token -> (file, line at which the write had ended)
        durable = {}
        open_tokens = {}  # file -> tokens written and not yet forced
        for call in sorted(self.calls, key=lambda call: call.end):
            file = FILE.match(call.text)
            if not file or not file.group(1).startswith(self.data):
                continue
            path = file.group(1)
            if "write" in call.name and call.result > 0 and token_pattern:
                for token in token_pattern.findall(call.text):
                    if token not in written:
                        written[token] = call.end
                        open_tokens.setdefault(path, set()).add(token)
            elif call.name in ("fdatasync", "fsync") and call.result == 0:
                covered = {token for token in open_tokens.get(path, ())
                           if written[token] < call.begin}
                for token in covered:
                    durable[token] = call.end
                open_tokens.get(path, set()).difference_update(covered)
        return durable
