#!/usr/bin/python3
"""How fast the Python package is, beside others: a line of JSON for each competitor in each case; run.py makes tables.

    PYTHONPATH=BUILD_DIR/python python_bench.py [--sample-us N] [--rounds N] [--budget-ms N] [--only BEGINNING-OF-CASE]

Competitors take turns within each round, so that ratios within a round mean something on a disturbed machine."""
import argparse
import asyncio
import gc
import json
import statistics
import sys
import time


class Bench:
    def __init__(self, options):
        self.options, self.loop = options, asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)

    def wanted(self, name):
        return name.startswith(self.options.only)

    def sample(self, run, times):
        """Seconds for so many times; a coroutine function runs on the loop."""
        pending = run(times)
        if asyncio.iscoroutine(pending):
            begin = time.perf_counter()
            self.loop.run_until_complete(pending)
            return time.perf_counter() - begin
        return pending

    def calibrate(self, run):
        wanted, times = self.options.sample_us / 1e6, 1
        while True:
            took = min(self.sample(run, times) for _ in range(3))
            if took > wanted / 4:
                return max(1, int(times * wanted / took))
            times *= 2

    def case(self, name, sides, per=1):
        """sides: (who, run), where run(times) is a coroutine, or carries it out and returns the seconds it took; each
        time counts as `per` of what is measured."""
        times = [self.calibrate(run) for _, run in sides]
        round_ms = len(sides) * self.options.sample_us / 1000
        rounds = max(5, min(self.options.rounds, int(self.options.budget_ms / round_ms)))
        samples = [[] for _ in sides]
        gc.collect()
        gc.disable()
        for r in range(rounds):
            for k in range(len(sides)):
                i = (k + r) % len(sides)
                samples[i].append(self.sample(sides[i][1], times[i]) * 1e9 / times[i] / per)
            gc.collect(0)
        gc.enable()
        for (who, _), own, count in zip(sides, samples, times):
            q1, median, q3 = statistics.quantiles(own, n=4)
            self.report({'case': name, 'who': who, 'variant': '', 'unit': 'ns', 'median': round(median, 2),
                         'min': round(min(own), 2), 'q1': round(q1, 2), 'q3': round(q3, 2), 'rounds': rounds,
                         'times': count, 'samples': [round(s, 2) for s in own]})

    def value(self, name, who, value, unit):
        self.report({'case': name, 'who': who, 'variant': '', 'unit': unit, 'value': round(value, 2)})

    @staticmethod
    def report(record):
        print(json.dumps(record), flush=True)


def timed(function):
    """A plain function(times) as a side: it returns the seconds it took."""
    def run(times):
        begin = time.perf_counter()
        function(times)
        return time.perf_counter() - begin
    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--sample-us', type=float, default=3000)
    parser.add_argument('--rounds', type=int, default=51)
    parser.add_argument('--budget-ms', type=float, default=1000)
    parser.add_argument('--only', default='')
    bench = Bench(parser.parse_args())
    import python_channels
    import python_emitters
    python_emitters.run(bench)
    python_channels.run(bench)


if __name__ == '__main__':
    sys.exit(main())
