"""report: tables out of results."""

import json
import os
import re
import shutil
import statistics

FOLDER = os.path.dirname(os.path.abspath(__file__))
README = os.path.join(FOLDER, "README.md")
LAST = os.path.join(FOLDER, "results", "last.jsonl")
BEGIN, END = "<!-- results: ./run bench --report writes this -->\n", "<!-- end of results -->\n"
FLOOR = "floor segment"

# name in the results, heading, decimals
COLUMNS = [("cpu_us", "CPU us", 1), ("rate", "msg/s", 0), ("p50_us", "p50 us", 0),
           ("p99_us", "p99 us", 0), ("memory_mb", "MB", 0), ("syncs", "syncs", 4),
           ("written_bytes", "bytes written", 0)]


class Results:
    """Medians, by (row, system), in the order in which they were measured."""

    def __init__(self, path):
        with open(path) as file:
            self.machine = json.loads(file.readline())
            lines = [json.loads(line) for line in file]
        gathered = {}
        for line in lines:
            facts = gathered.setdefault((line["row"], line["system"]), {})
            for name, value in line.items():
                if isinstance(value, (int, float)) and name != "round":
                    facts.setdefault(name, []).append(value)
        self.facts = {key: {name: statistics.median(values) for name, values in facts.items()}
                      for key, facts in gathered.items()}
        self.rounds = {key: max(len(values) for values in facts.values())
                       for key, facts in gathered.items()}
        self.spread = {key: spread_of(facts.get("cpu_us", [])) for key, facts in gathered.items()}

    def rows(self, *names):
        """Those with all these facts."""
        return [key for key, facts in self.facts.items() if all(name in facts for name in names)]

    def ratio(self, row, system, base):
        mine = self.facts.get((row, system), {}).get("cpu_us")
        other = self.facts.get((row, base), {}).get("cpu_us")
        return mine / other if mine and other else None


def spread_of(values):
    """How far the rounds lie apart, as a share of their median."""
    return (max(values) - min(values)) / statistics.median(values) if len(values) > 1 else 0


def number(value, decimals):
    return "" if value is None else f"{value:,.{decimals}f}"


def table(heads, lines):
    """A table that reads well as it is and as Markdown."""
    lines = [[str(cell) for cell in line] for line in lines]
    widths = [max(len(line[i]) for line in [heads, *lines]) for i in range(len(heads))]

    def join(cells):
        return "| " + " | ".join(cell.ljust(width) if i < 2 else cell.rjust(width) for
                                 i, (cell, width) in enumerate(zip(cells, widths))) + " |"

    rule = "|" + "|".join("-" * (width + 1) + ("-" if i < 2 else ":")
                          for i, width in enumerate(widths)) + "|"
    return "\n".join([join(heads), rule, *map(join, lines)]) + "\n"


def relay_table(results):
    lines = []
    for row, system in results.rows("cpu_us", "rate", "p50_us"):
        facts = results.facts[row, system]
        floor = results.ratio(row, system, FLOOR)
        lines.append([row, system, *(number(facts.get(name), decimals)
                                     for name, _, decimals in COLUMNS),
                      "" if floor is None or system == FLOOR else f"{floor:.2f}",
                      f"{results.spread[row, system] * 100:.0f} %"])
    return table(["row", "system", *(head for _, head, _ in COLUMNS), "x floor", "spread"], lines)


def refusal_lines(results):
    for row, system in results.rows("not_taken"):
        share = results.facts[row, system]["not_taken"]
        if share > 0:
            yield f"{row}, {system}: {share * 100:.2g} % of the messages were told to come again"


def peer_lines(results):
    """Their CPU, as a multiple of ours."""
    for row, system in results.rows("cpu_us", "rate"):
        if system.split()[0] in ("postfix", "exim"):
            ratio = results.ratio(row, system, "ringpost")
            if ratio:
                yield f"{row}: Ringpost uses 1/{ratio:.0f} of the CPU of {system}"


def queue_table(results):
    heads = ["row", "system", "listening s", "first delivery s", "listening again s",
             "RSS MB at start", "peak MB", "drain rows/s", "CPU us a row"]
    return table(heads, [
        [row, system, *(number(results.facts[row, system].get(name), decimals) for name, decimals
                        in (("listening_s", 2), ("first_s", 2), ("again_listening_s", 2), ("start_rss_mb", 0), ("rss_mb", 0),
                            ("rows_per_s", 0), ("cpu_us", 1)))]
        for row, system in results.rows("listening_s")])


def memory_table(results):
    return table(["connections", "system", "each, user KB", "each, kernel KB (both ends)"], [
        [row, system, number(results.facts[row, system]["user_kb"], 2),
         number(results.facts[row, system].get("kernel_kb"), 2)]
        for row, system in results.rows("user_kb")])


def parts_table(results):
    return table(["part", "of", "share", "us a message"], [
        [row.partition(": ")[2], row.partition(": ")[0].removeprefix("parts of "),
         f"{results.facts[row, system]['share'] * 100:.0f} %",
         number(results.facts[row, system]["part_us"], 1)]
        for row, system in results.rows("share")])


def micro_table(results):
    return table(["part", "of", "ns", "MB/s"], [
        [row, system, number(results.facts[row, system]["ns"], 1),
         number(results.facts[row, system].get("mb_per_s"), 0)]
        for row, system in results.rows("ns")])


def sections(results):
    """(title, text), those that have something."""
    if results.rows("cpu_us", "rate", "p50_us"):
        refused = [f"- {line}\n" for line in refusal_lines(results)]
        yield "Relaying", relay_table(results) + "".join(["\n", *refused] if refused else [])
    peers = list(peer_lines(results))
    if peers:
        yield "Beside others", "\n".join(f"- {line}" for line in peers) + "\n"
    if results.rows("share"):
        yield "The cost of one message, by part", parts_table(results)
    if results.rows("listening_s"):
        yield "A deferred queue, drained with a restart in the middle", queue_table(results)
    if results.rows("user_kb"):
        yield "Idle connections", memory_table(results)
    if results.rows("ns"):
        yield "Parts", micro_table(results)


def head(results):
    machine = results.machine
    journal = {True: "with a journal", False: "without a journal", None: "journal unknown"}
    return (f"Commit {machine['commit']}, {machine['date']}; {machine['processors']} x "
            f"{machine['processor']}, {machine['memory_gb']} GB, Linux {machine['kernel']}; file "
            f"system {journal[machine['journal']]}"
            f"{' (loop image)' if machine['image'] else ''}; load average at the start "
            f"{machine['load_average']}; up to {machine['rounds']} rounds"
            f"{', quick' if machine['quick'] else ''}.\n")


def show(path):
    results = Results(path)
    print(head(results))
    for title, text in sections(results):
        print(f"{title}\n\n{text}")


def compare(old_path, new_path):
    """What moved by more than 5 % and by more than the rounds themselves lie apart."""
    old, new = Results(old_path), Results(new_path)
    lines = []
    for key, facts in new.facts.items():
        for name in ("cpu_us", "rate", "p99_us", "memory_mb", "ns", "user_kb", "rss_mb"):
            before, after = old.facts.get(key, {}).get(name), facts.get(name)
            if not before or after is None:
                continue
            change = after / before - 1
            noise = max(old.spread[key], new.spread[key]) / 2 if name == "cpu_us" else 0.05
            if abs(change) > max(0.05, noise):
                lines.append([key[0], key[1], name, number(before, 1), number(after, 1),
                              f"{change * 100:+.0f} %"])
    print(f"\nWhat moved, from {old.machine['commit']} ({old.machine['date']}) to "
          f"{new.machine['commit']} ({new.machine['date']}):\n")
    print(table(["row", "system", "what", "before", "after", "change"], lines) if lines
          else "nothing beyond the noise\n")


def write_readme(path):
    """Puts the results between the marks in README.md, and keeps them as last.jsonl."""
    results = Results(path)
    text = BEGIN + "\n" + head(results) + "\n" + "\n".join(
        f"### {title}\n\n{body}" for title, body in sections(results)) + "\n" + END
    with open(README) as file:
        readme = file.read()
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    if not pattern.search(readme):
        raise SystemExit(f"{README} has lost its marks")
    with open(README, "w") as file:
        file.write(pattern.sub(lambda _: text, readme))
    if os.path.abspath(path) != LAST:
        shutil.copy(path, LAST)
    print(f"{os.path.relpath(README)} has the results of {os.path.relpath(path)}")
    return 0
