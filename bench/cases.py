"""cases: the rows of ./run bench.

A case says what is sent, through which servers, and how it is measured:

    batch    so many messages from the first to the last delivery (closed loop: as fast as it goes)
    window   a stream of `rate` messages a second (or as fast as it goes); counted is what happens
             between `settle_s` after its start and `window_s` later
    queue    a deferred queue of `rows` rows is started over and drained (rows.py)
    parts    where the CPU time of one message goes (parts.py)
    idle     connections that do nothing, and the memory they cost
    micro    parts of the daemon by themselves

`quick` says whether --quick has it, too. Sizes are 1, 10 and 100 KB: 1024, 10240, 102400 octets."""

import resource

# Descriptors bound how many connections there can be.
MOST = min(20_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 500)

BASE = {"kind": "batch", "size": 10240, "recipients": 1, "connections": 20, "per_connection": 1000,
        "pipelining": "classic", "messages": 20000, "systems": ["ringpost"], "quick": False}

FLOORS = ["floor segment", "floor record", "floor none"]


def case(name, **settings):
    return {**BASE, "name": name, **settings}


RELAY = [
    case("relay 1 KB", size=1024, messages=24000, systems=["ringpost", *FLOORS], quick=True),
    case("relay 10 KB", systems=["ringpost", *FLOORS], quick=True),
    case("relay 100 KB", size=102400, messages=5000, systems=["ringpost", *FLOORS], quick=True),
    case("10 recipients", recipients=10, messages=12000, systems=["ringpost", "floor segment"]),
    case("100 recipients", recipients=100, messages=3000, systems=["ringpost", "floor segment"]),
    case("1 message a connection", per_connection=1, messages=6000,
         systems=["ringpost", "floor segment"]),
    case("20 messages a connection", per_connection=20, systems=["ringpost", "floor segment"]),
    case("no pipelining", pipelining="none"),
    case("pipelined behind the dot", pipelining="behind", quick=True),
    case("BDAT", pipelining="bdat"),
    case("TLS in", tls_in=True, load=["--tls", "starttls"], quick=True),
    case("TLS in and out", tls_in=True, tls_out=True, load=["--tls", "starttls"]),
    case("TLS, 1 message a connection", tls_in=True, load=["--tls", "starttls"], per_connection=1,
         messages=4000),
    case("DKIM, RSA 2048", dkim=["--bits", "2048"], messages=6000),
    case("DKIM, Ed25519", dkim=["--type", "ed25519"]),
    case("one worker", workers=1, quick=True),
    case("receivers take 50 ms", sink=["--delay-ms", "50"], connections_out=1000),
    case("receivers take 1 s", sink=["--delay-ms", "1000"], connections_out=10000, messages=20000),
]

SCALE = [
    case("1,000 destinations", domains=1000),
    case("100,000 destinations", domains=100_000),
    case("beside 1,000 queued", rows=1_000),
    case("beside 100,000 queued", rows=100_000, messages=20000),
    case("beside 1,000,000 queued", rows=1_000_000, messages=20000, rounds=3),
    *[case(f"{count:,} connection{'s' * (count > 1)}", kind="window", connections=count,
           rate=0 if count == 1 else 4000, settle_s=settle_s, window_s=4)
      for count, settle_s in ((1, 1), (20, 1), (1_000, 2), (MOST, 8))],
    *[case(f"{in_flight:,} in flight", kind="window", rate=4000, connections=100,
           sink=["--delay-ms", str(in_flight // 4)], connections_out=min(in_flight * 6 // 5, MOST),
           settle_s=settle_s, window_s=6)
      for in_flight, settle_s in ((200, 2), (MOST - 1500, 12))],
]


def queue_of(rows, **settings):
    return case(f"queue of {rows:,}", kind="queue", rows=rows, **{"rounds": 1, **settings})


QUEUE = [queue_of(10_000, quick=True), queue_of(100_000, rounds=3), queue_of(1_000_000)]

OTHERS = [
    case("parts of 10 KB", kind="parts", messages=40000, rounds=1, quick=True),
    case("idle", kind="idle", rounds=1, quick=True),
    case("micro", kind="micro", rounds=1, quick=True),
]

# Only when asked for by name: they take minutes and tens of gigabytes.
BY_HAND = [
    case("10,000,000 rows in 1,000,000 queues", kind="queue", rows=10_000_000, queues=1_000_000,
         row_bytes=64, rounds=1),
    queue_of(10_000_000, row_bytes=64),
]


def all_cases(peers=()):
    """Peers are measured where the daemon is compared with them: at the three sizes."""
    cases = [dict(each) for each in RELAY + SCALE + QUEUE + OTHERS]
    for each in cases:
        if each["name"].startswith("relay "):
            each["systems"] = each["systems"] + [system for peer in peers
                                                 for system in (peer, f"{peer} tuned")]
    return cases


def peer_messages(each):
    """They take some milliseconds of CPU for each: fewer will do."""
    return max(each["messages"] // 20, 200)
