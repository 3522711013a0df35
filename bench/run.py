#!/usr/bin/python3
"""Runs the benchmarks, prints the tables, and writes results/DATE-REVISION.json and .svg.

    bench/run.py BUILD_DIR [--quick] [--only BEGINNING-OF-CASE] [--out DIR]

Ratios are taken within each round and the median of all rounds counts; "best" compares the fastest samples, which a
disturbed machine changes least. A missed target is no error; a wrong number of handler calls is.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
PACKAGES = ["gcc", "g++", "libc6", "libglib2.0-dev", "libwayland-dev", "libsigc++-2.0-dev", "libboost-dev",
            "liburcu-dev", "libck-dev", "libzmq3-dev",
            "libnng-dev", "libnats-dev", "nats-server", "python3", "python3-pyee", "python3-blinker", "python3-aiosignal", "python3-janus"]
MEMORY_PEERS = ["mtaio", "GSignal", "wl_signal", "libsigc++", "Boost.Signals2"]


class Results:
    """What was measured, by case, competitor and variant."""

    def __init__(self):
        self.records = []
        self.program = {}

    def find(self, case, who="mtaio", variant=""):
        for record in self.records:
            if (record["case"], record["who"], record["variant"]) == (case, who, variant):
                return record
        return None

    def whos(self, *cases):
        seen = {}
        for record in self.records:
            if record["case"].startswith(cases):
                seen[record["who"]] = True
        return list(seen)

    def median(self, *key):
        record = self.find(*key)
        return record and record.get("median", record.get("value"))


class Measure:
    """One number: of the median round, and of the fastest samples."""

    def __init__(self, value=None, best=None):
        self.value, self.best = value, best


def combine(formula, *records):
    """formula of the samples of each round."""
    if None in records:
        return Measure()
    rounds = zip(*(record["samples"] for record in records))
    return Measure(statistics.median(formula(*samples) for samples in rounds),
                   formula(*(record["min"] for record in records)))


def ratio(results, over, under):
    return combine(lambda a, b: a / b, results.find(*over), results.find(*under))


def scaling(results, case, who):
    """How much two threads do, of what one thread does."""
    return combine(lambda one, two: one / two, results.find(case, who, "1 thread"),
                   results.find(case, who, "2 threads"))


def relative_scaling(results, case, who):
    return combine(lambda m1, m2, b1, b2: (m1 / m2) / (b1 / b2), results.find(case, who, "1 thread"),
                   results.find(case, who, "2 threads"), results.find(case, "bare", "1 thread"),
                   results.find(case, "bare", "2 threads"))


def undisturbed(results, who):
    return ratio(results, ("churn/10", who, "quiet"), ("churn/10", who, "disturbed"))


def plain(results, *key):
    record = results.find(*key)
    if record is None:
        return Measure()
    return Measure(record["value"]) if "value" in record else Measure(record["median"], record["min"])


class Row:
    """A target: its text, what was measured, the limit (None: for orientation), and the times behind a ratio."""

    def __init__(self, text, measure, sign, limit, unit, mtaio=None, bare=None):
        self.text, self.measure, self.sign, self.limit, self.unit = text, measure, sign, limit, unit
        self.mtaio, self.bare = mtaio, bare

    def met(self):
        if self.measure.value is None or self.limit is None:
            return None
        return self.measure.value <= self.limit if self.sign == "<=" else self.measure.value >= self.limit

    def target(self):
        return "-" if self.limit is None else f"{self.sign} {self.limit:g}{self.unit}"

    def strain(self):
        """Above 1: missed, by that factor."""
        share = self.measure.value / self.limit if self.limit else 1 + self.measure.value
        return share if self.sign == "<=" else 1 / share


def against_bare(results, text, limit, case, variant="", bare="bare", bare_variant="", who="mtaio"):
    return Row(text, ratio(results, (case, who, variant), (case, bare, bare_variant)), "<=", limit, "x",
               results.median(case, who, variant), results.median(case, bare, bare_variant))


def absolute(results, text, limit, unit, *key):
    return Row(text, plain(results, *key), "<=", limit, unit)


def target_rows(results):
    rows = []
    for n, limit in ((1, 3), (10, 1.4), (100, 1.2)):
        rows.append(against_bare(results, f"resolved name, {n} handler{'s' * (n > 1)}", limit, f"emit/{n}"))
        rows.append(against_bare(results, "  from libmtaio.so", None, f"shared emit/{n}"))
        rows.append(against_bare(results, "  a bare loop from a .so does", None, f"emit/{n}", who="bare, from a .so"))
    rows.append(against_bare(results, "by name among 1,000, random", 8, "names/1000"))
    rows.append(against_bare(results, "  a bare hash table does", None, "names/1000", who="bare hash table"))
    for variant in ("resolved", "by name, no handlers at all", "by name, 1000 other names have handlers",
                    "by name, handler removed"):
        rows.append(absolute(results, f"no handler: {variant}", 5, "ns", "none", "mtaio", variant))
    for n in (1, 10):
        rows.append(Row(f"two threads, {n} handler{'s' * (n > 1)}, of what bare scales to",
                        relative_scaling(results, f"threads/{n}", "mtaio"), ">=", 0.95, "x",
                        scaling(results, f"threads/{n}", "mtaio").value,
                        scaling(results, f"threads/{n}", "bare").value))
    rows.append(Row("emitting beside adding and removing, of undisturbed", undisturbed(results, "mtaio"), ">=", 0.5,
                    "x", undisturbed(results, "mtaio").value, undisturbed(results, "bare").value))
    for who, how in (("mtaio", "by listener"), ("mtaio_off", "by function")):
        rows.append(against_bare(results, f"100,000 added, removed at random {how}, of 1,000", 3, f"fill/{how}",
                                 "100000", who, "1000", who))
    for others, limit in ((0, 100), (1000, 120)):
        for who, how in (("mtaio", "by listener"), ("mtaio_off", "by function")):
            rows.append(absolute(results, f"add + remove beside {others:,}, {how}", limit, "ns",
                                 f"add+remove/{others}", who))
    for case, limit in (("one name", 64), ("many names", 160)):
        for variant in ("asked for", "resident"):
            rows.append(absolute(results, f"memory per handler, {case}, {variant}", limit, "B", f"memory/{case}",
                                 "mtaio", variant))
    for n in (1, 10):
        for how in ("resolved", "by name"):
            rows.append(against_bare(results, f"100,000 patterns, {n} handler{'s' * (n > 1)}, {how}, of exact", 1.2,
                                     f"patterns/{n}", f"patterns, {how}", "mtaio", f"exact, {how}"))
    rows.append(against_bare(results, "filter, map, filter, 1 handler", 10, "chain/3"))
    rows.append(absolute(results, "deferral completed at once", 100, "ns", "deferral", "mtaio", "completed at once"))
    for record in results.records:
        if record["case"] == "allocations":
            rows.append(absolute(results, f"allocations per emission: {record['variant']}", 0, "", "allocations",
                                 "mtaio", record["variant"]))
    return rows + channel_rows(results) + nats_rows(results) + python_rows(results)


def channel_rows(results):
    """Those of channels: messages and names per second, of which there are 1e3 / ns million."""
    rows = []

    def rate(text, limit, case, reference, who="mtaio"):
        measure = plain(results, case, who, "")
        if measure.value is not None:
            measure = Measure(1e3 / measure.value, 1e3 / measure.best)
        rows.append(Row(f"channel: {text}", measure, ">=", limit, "M/s", results.median(case, who),
                        results.median(case, reference)))

    for n, alone, passed, bulk in ((1, 50, 20, 40), (3, 25, 11, 20)):
        plural = "s" * (n > 1)
        rate(f"publish + receive, {n} subscriber{plural}", alone, f"channel alone/{n}", "bare ring")
        rate(f"thread to thread, {n} subscriber{plural}", passed, f"channel threads/{n}", "bare ring")
        rate(f"  in bulk, {n} subscriber{plural}", bulk, f"channel bulk/{n}", "bare ring")
    rate("publish + receive with a topic, 1,000 patterns elsewhere", 20, "channel topic", "bare ring")
    rate("two publishers, one receiver", 15, "channel two publishers", "mutex ring")
    rows.append(absolute(results, "channel: round trip, both awake", 1000, "ns", "channel trip awake", "mtaio"))
    naps = 2 * 100e3   # CHANNEL_NAP_NS, one before each of the two messages
    trip, reference = results.find("channel trip asleep"), results.find("channel trip asleep", "futex ring")
    rows.append(Row("channel: round trip, both asleep, of a futex ring",
                    combine(lambda a, b: (a - naps) / (b - naps), trip, reference), "<=", 1, "x",
                    trip and trip["median"] - naps, reference and reference["median"] - naps))
    rate("1,000,000 subscriptions, names matched, uniform", 2.5, "match uniform", "-")
    rate("  names never asked for before", None, "match once", "-")
    rate("  1,000 hot names", 25, "match hot", "-")
    rows.append(Row("  hot names from two threads, of what bare scales to",
                    relative_scaling(results, "match threads", "mtaio"), ">=", 0.95, "x",
                    scaling(results, "match threads", "mtaio").value, scaling(results, "match threads", "bare").value))
    rows.append(Row("  hot names beside removing and inserting, of undisturbed",
                    ratio(results, ("match changing", "mtaio", "quiet"), ("match changing", "mtaio", "disturbed")), ">=",
                    0.5, "x"))
    rows.append(absolute(results, "  remove + insert meanwhile", 2000, "ns", "match changing", "mtaio", "beside"))
    rows.append(absolute(results, "  remove + insert alone", None, "ns", "match remove+insert", "mtaio"))
    rows.append(absolute(results, "  insert", 1000, "ns", "match insert", "mtaio"))
    rows.append(absolute(results, "  memory per subscription", 200, "B", "match bytes", "mtaio"))
    rows.append(absolute(results, "    with what is remembered of the uniform names", 200, "B", "match bytes", "mtaio",
                         "remembering"))
    rows.append(absolute(results, "channel: memory of an idle subscriber", 512, "B", "channel memory", "mtaio",
                         "idle subscriber"))
    for record in results.records:
        if record["case"] == "channel allocations":
            rows.append(absolute(results, f"channel: allocations per message: {record['variant']}", 0, "",
                                 "channel allocations", "mtaio", record["variant"]))
    return rows


def nats_rows(results):
    """Those over a server: what a program gets that uses the client library itself is the measure."""
    rows = []
    for n in (16, 128, 1024):
        case, raw = f"nats one to one/{n}", ("nats.c", "")
        for text, variant, limit in ((f"one to one, {n} bytes, of nats.c", "packs", 0.9),
                                     ("  each message by itself", "", None)):
            rows.append(Row(f"NATS: {text}", ratio(results, (case, *raw), (case, "mtaio", variant)), ">=", limit, "x",
                            results.median(case, "mtaio", variant), results.median(case, *raw)))
    rows.append(Row("NATS: a request and its answer, of nats.c", quotient(results, "nats request", "p50"), "<=", 1.1, "x",
                    results.median("nats request", "mtaio", "p50"), results.median("nats request", "nats.c", "p50")))
    return rows


def quotient(results, case, variant):
    """Of two values that were measured in turn."""
    mtaio, raw = results.median(case, "mtaio", variant), results.median(case, "nats.c", variant)
    return Measure(mtaio / raw) if mtaio and raw else Measure()


def python_rows(results):
    """Those of the Python package."""
    rows = []

    def add(text, limit, case, other):
        rows.append(Row(f"Python: {text}", ratio(results, (f"python {case}", "mtaio", ""), (f"python {case}", other, "")),
                        "<=", limit, "x", results.median(f"python {case}", "mtaio"),
                        results.median(f"python {case}", other)))

    for kind, limit in (("async", 1), ("plain", 0.9)):
        for n in (1, 10, 100):
            add(f"{n} {kind} handler{'s' * (n > 1)}, of by hand", limit, f"{kind}/{n}", "by hand")
    for who in ("mtaio", "mtaio, others listened to"):
        rows.append(absolute(results, f"Python: no handler{who[5:]}", 60, "ns", "python none", who))
    add("a handler that suspends once, of by hand", 1.05, "suspending", "by hand")
    for case in ("wait_for", "once", "filter", "map", "pattern", "batch"):
        add(f"{case}, of plain Python", 0.2, case, "plain Python")
    for n, limit in ((1, 0.5), (3, 0.35)):
        add(f"publish + receive, {n} subscriber{'s' * (n > 1)}, of asyncio.Queue", limit, f"channel/{n}", "asyncio.Queue")
    add("a message from a thread to asyncio, of by hand", 1.5, "thread", "by hand")
    for case in ("one name", "many names"):
        rows.append(absolute(results, f"Python: memory per listener, {case}", 200, "B", f"python memory/{case}", "mtaio"))
    return rows


# --- Tables -------------------------------------------------------------------------------------------------


def number(value, unit=""):
    if value is None:
        return "-"
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2
    return f"{value:,.{digits}f}" + (" " + unit if unit and unit != "x" else unit)


def print_table(title, heads, lines):
    lines = [line for line in lines if any(cell != "-" for cell in line[1:])]
    if not lines:
        return
    widths = [max(len(line[i]) for line in [heads] + lines) for i in range(len(heads))]
    print(f"\n{title}\n")
    for line in [heads, ["-" * width for width in widths]] + lines:
        print("  ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                        for i, (cell, width) in enumerate(zip(line, widths))).rstrip())


def print_targets(rows):
    lines = []
    for row in (row for row in rows if row.measure.value is not None):
        met = {None: "-", True: "yes", False: "NO"}[row.met()]
        lines.append([row.text, number(row.bare), number(row.mtaio), number(row.measure.value, row.unit),
                      number(row.measure.best, row.unit), row.target(), met])
    print_table("Targets (times in ns; two threads: how many times one thread's work)",
                ["case", "reference", "mtaio", "measured", "best", "target", "met"], lines)
    judged = [row for row in rows if row.met() is not None]
    print(f"\n{sum(row.met() for row in judged)} of {len(judged)} met")


def print_peers(results):
    memory = ("one name", "many names")
    lines = []
    for who in results.whos("emit/", "add+remove/"):
        lines.append([who] + [number(results.median(f"emit/{n}", who)) for n in (0, 1, 10, 100)]
                     + [number(scaling(results, f"threads/{n}", who).value, "x") for n in (1, 10)]
                     + [number(undisturbed(results, who).value, "x"), number(results.median("churn/10", who, "beside"))]
                     + [number(results.median(f"add+remove/{n}", who)) for n in (0, 1000)]
                     + [number(results.median(f"fill/by {'function' if who == 'mtaio_off' else 'listener'}", who, n))
                        for n in ("1000", "100000")]
                     + [number(results.median(f"memory/{case}", who, "resident")) for case in memory])
    print_table("Beside others: emit to n handlers, ns; two threads, times one thread; emit beside a writer, of "
                "undisturbed, and ns\nof the writer's add + remove; add + remove beside n, ns; fill and empty, ns for "
                "each handler; resident bytes for each\nhandler of 1,000,000 on one signal, on as many",
                ["", "emit 0", "1", "10", "100", "2 thr. 1", "10", "churn", "writer", "add 0", "1000", "fill 1000",
                 "100000", "bytes", "many"], lines)


def print_schemes(results):
    lines = []
    for who in results.whos("scheme"):
        lines.append([who] + [number(results.median(f"scheme/{n}", who)) for n in (1, 10, 100)]
                     + [number(results.median(f"scheme threads/{n}", who, "2 threads")) for n in (1, 10, 100)]
                     + [number(scaling(results, f"scheme threads/{n}", who).value, "x") for n in (1, 10, 100)])
    print_table("Protecting a snapshot of n handlers while it is walked, ns per emission; two threads, and times one "
                "thread", ["", "1", "10", "100", "2 thr. 1", "10", "100", "scaling 1", "10", "100"], lines)


def print_channels(results):
    cases = ["alone/1", "alone/3", "threads/1", "threads/3", "bulk/1", "bulk/3", "two publishers", "trip awake",
             "trip asleep"]
    lines = [[who] + [number(results.median(f"channel {case}", who)) for case in cases] for who in
             results.whos("channel alone", "channel threads", "channel trip")]
    print_table("Channels beside others, ns per message of 16 bytes, with 1 or 3 receivers: in one thread, and thread to "
                "thread;\ntwo publishing; there and back between two threads that look, and that sleep (with 200 us in "
                "which they fall asleep)", ["", *cases], lines)


def print_nats(results):
    cases = ["one to one/16", "one to one/128", "one to one/1024"]
    lines = [[f"{who} {variant}".strip()] + [number(results.median(f"nats {case}", who, variant)) for case in cases]
             + [number(results.median("nats request", who, p)) for p in ("p50", "p99") if not variant]
             for who, variant in (("nats.c", ""), ("mtaio", ""), ("mtaio", "packs"))]
    print_table("Over a NATS server on the same processors, ns: a message of so many bytes from one connection to "
                "another;\na request and its answer, the middle one and the 99th of 100",
                ["", *cases, "p50", "p99"], [line + ["-"] * (6 - len(line)) for line in lines])


def print_python(results):
    cases = ["async/1", "async/10", "async/100", "plain/1", "plain/10", "plain/100", "channel/1", "channel/3", "thread"]
    lines = [[who] + [number(results.median(f"python {case}", who)) for case in cases] for who in
             results.whos("python async", "python plain", "python channel", "python thread")]
    print_table("In Python: awaiting an emission to n handlers; publish + receive with n subscribers; a message from a "
                "thread\nto a loop; ns", ["", *cases], lines)


def print_rest(results):
    shown = ("channel alone", "channel threads", "channel bulk", "channel two", "channel trip", "python async",
             "python plain", "python channel", "python thread", "nats", "emit/", "shared ", "threads/", "churn/",
             "add+remove/", "fill", "scheme", "allocations", "none")
    lines = []
    for record in results.records:
        if not record["case"].startswith(shown):
            spread = f"{number(record['q1'])} .. {number(record['q3'])}" if "q1" in record else "-"
            lines.append([record["case"], record["who"], record["variant"], number(results.median(
                record["case"], record["who"], record["variant"])), number(record.get("min")), spread, record["unit"]])
    print_table("Everything else", ["case", "", "", "median", "best", "quartiles", "unit"], lines)


# --- The plot -------------------------------------------------------------------------------------------------


def block(name, lines):
    return "\n".join([f"${name} << EOD"] + [" ".join(f'"{cell}"' if isinstance(cell, str) else f"{cell:g}"
                                                     for cell in line) for line in lines] + ["EOD", ""])


def plot_script(results, rows, svg):
    """Three panels: time by number of handlers, two threads, and how near each target is."""
    whos = [who for who in results.whos("emit/") if results.find("emit/100", who)]
    curves = "".join(block(f"c{i}", [(n, results.median(f"emit/{n}", who)) for n in (1, 10, 100)])
                     for i, who in enumerate(whos))
    threads = [(who, scaling(results, "threads/10", who).value) for who in results.whos("threads/")]
    strains = [(row.text.replace("_", " "), row.strain()) for row in rows if row.met() is not None]
    lines = ", ".join(f"$c{i} using 1:2 with linespoints lw 2 title '{who}'" for i, who in enumerate(whos))
    return (curves + block("threads", threads) + block("strains", strains[::-1]) + f"""
set terminal svg size 1000,1500 font 'sans,12' background 'white' noenhanced
set output '{svg}'
set multiplot
set style fill solid 0.7
set size 1,0.33
set origin 0,0.67
set title 'ns per emission, by number of handlers'
set logscale xy
set xrange [0.8:125]
set key outside right
plot {lines}
unset logscale
unset key
set size 1,0.22
set origin 0,0.45
set title 'two threads emit the same event to 10 handlers: times what one does'
set xrange [-0.6:{len(threads) - 0.4}]
set yrange [0:*]
set boxwidth 0.6
plot $threads using 0:2:xtic(1) with boxes lc rgb '#4878a8'
set size 1,0.45
set origin 0,0
set lmargin 50
set title 'measured / target: up to 1 is met'
set xrange [0:2]
set yrange [-0.6:{len(strains) - 0.4}]
set arrow from 1,-0.6 to 1,{len(strains) - 0.4} nohead lw 2
plot $strains using ($2/2):0:($2/2):(0.3):($2 > 1 ? 0xc04040 : 0x40a060):ytic(1) with boxxyerror lc rgb variable
unset multiplot
""")


def plot(results, rows, svg):
    if not shutil.which("gnuplot"):
        print("no plot: gnuplot is not installed (Debian: gnuplot-nox)", file=sys.stderr)
    elif not results.find("emit/100") or not results.find("threads/10", "mtaio", "1 thread"):
        print("no plot: not all cases were measured", file=sys.stderr)
    else:
        subprocess.run(["gnuplot"], input=plot_script(results, rows, svg), text=True, check=True)
        print(f"wrote {svg}")


# --- Running --------------------------------------------------------------------------------------------------


def run(results, command, prefix="", **env):
    """Adds the program's lines to results, with prefix before the case; its exit status."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **env}) as program:
        last = None
        for line in program.stdout:
            record = json.loads(line)
            if record["case"] == "machine":
                results.program = record
                continue
            record["case"] = prefix + record["case"]
            results.records.append(record)
            if record["case"] != last:
                last = record["case"]
                print(f"  {last}", file=sys.stderr)
    return program.returncode


def output_of(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def machine(build, now):
    packages = output_of("dpkg-query", "-W", "-f", "${Package} ${Version}\n", *PACKAGES)
    options = json.loads(output_of("/usr/bin/meson", "introspect", "--buildoptions", str(build)) or "[]")
    return {"date": now.isoformat(timespec="seconds"), "processor": processor(), "processors": os.cpu_count(),
            "kernel": platform.release(), "load": os.getloadavg(),
            "revision": output_of("git", "-C", str(HERE), "describe", "--always", "--dirty") or "none",
            "build": {o["name"]: o["value"] for o in options if o["name"] in ("buildtype", "optimization", "b_lto")},
            "packages": dict(line.split(" ", 1) for line in packages.splitlines() if " " in line)}


def measure(program, python, args):
    results, only, status = Results(), args.only or "", 0
    options = ["--rounds", "11", "--sample-us", "300", "--budget-ms", "500"] if args.quick else []
    if only and only != "channel":   # which are all that the second program measures, matching too
        options += ["--only", only]
    channels, nats = only.startswith(("channel", "match")), only.startswith("nats")
    if not only.startswith("python") and not channels and not nats:
        status = run(results, [program, *options])
    if not only or channels:
        status = run(results, [program + "-channel", *options]) or status
    if (not only or nats) and os.path.exists(program + "-nats"):
        # Long samples: how messages gather on their way is part of it.
        sample = ["--sample-us", "50000"] if args.quick else ["--sample-us", "200000", "--budget-ms", "10000"]
        status = run(results, [program + "-nats", *options, *sample]) or status
    if not only:
        status = run(results, [program + "-shared", *options, "--only", "emit/"], "shared ") or status
    count = "100000" if args.quick else "1000000"
    for who in MEMORY_PEERS:
        for what in ("one", "many"):
            if not only or "memory".startswith(only):
                run(results, [program, "--memory", what, who, count])
    if not only or "allocations".startswith(only):
        status = run(results, [program, "--memory", "emit"]) or status
    if python.is_dir() and (not only or "python".startswith(only[:6])):
        command = ["/usr/bin/python3", str(HERE / "python_bench.py"), *options]
        status = run(results, command, PYTHONPATH=str(python), PYTHONDONTWRITEBYTECODE="1") or status
    return results, status


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--quick", action="store_true", help="a few seconds: to see that all works")
    parser.add_argument("--only")
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "results")
    args = parser.parse_args()
    now = datetime.datetime.now(datetime.timezone.utc)
    info = machine(args.build, now)
    results, status = measure(str(args.build / "bench" / "mtaio-bench"), args.build / "python", args)
    rows = target_rows(results)
    print(f"{info['processor']}, {info['processors']} processors, Linux {info['kernel']}, compiler "
          f"{results.program.get('compiler')}, revision {info['revision']}, {info['date']}")
    print_targets(rows)
    print_peers(results)
    print_schemes(results)
    print_channels(results)
    print_nats(results)
    print_python(results)
    print_rest(results)
    args.out.mkdir(parents=True, exist_ok=True)
    name = args.out / f"{now:%Y-%m-%dT%H%M%S}-{info['revision']}"
    judged = [{"case": row.text, "measured": row.measure.value, "best": row.measure.best,
               "target": row.target(), "met": row.met()} for row in rows]
    with open(f"{name}.json", "w") as file:
        json.dump({"machine": info | results.program, "targets": judged, "results": results.records}, file, indent=1)
    print(f"\nwrote {name}.json")
    plot(results, rows, f"{name}.svg")
    return 1 if status else 0


if __name__ == "__main__":
    sys.exit(main())
