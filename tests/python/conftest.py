"""What the tests of the Python package share.

A test that is an `async def` runs on every kind of event loop that is there, each time on a fresh loop and within a
time limit. With --tap each case becomes one line of the Test Anything Protocol, so that tools/check counts it."""
import asyncio
import gc
import inspect
import sys

import pytest

TIME_LIMIT = 90   # seconds: for what hangs, however busy the machine is


def loop_kinds():
    kinds = {'asyncio': asyncio.new_event_loop}
    try:
        import uvloop
    except ImportError:   # Debian has it for its own Python alone
        return kinds
    return {**kinds, 'uvloop': uvloop.new_event_loop}


LOOPS = loop_kinds()


def run_on(new_loop, main):
    """What asyncio.run does, on a loop of the given kind."""
    loop = new_loop()
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(asyncio.wait_for(main, TIME_LIMIT))
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()


def pytest_addoption(parser):
    parser.addoption('--tap', action='store_true', help='report in the Test Anything Protocol')


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    if config.getoption('tap'):
        config.pluginmanager.unregister(name='terminalreporter')
        config.pluginmanager.register(Tap(), 'tap')


def pytest_collection_finish():
    """What pytest itself made is of no interest to the collections that the tests ask for."""
    gc.collect()
    gc.freeze()


def pytest_generate_tests(metafunc):
    if inspect.iscoroutinefunction(metafunc.function):
        metafunc.fixturenames.append('new_loop')
        metafunc.parametrize('new_loop', LOOPS.values(), ids=LOOPS.keys())
    elif 'new_loop' in metafunc.fixturenames:
        metafunc.parametrize('new_loop', LOOPS.values(), ids=LOOPS.keys())


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if not inspect.iscoroutinefunction(pyfuncitem.function):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    run_on(pyfuncitem.callspec.params['new_loop'], pyfuncitem.obj(**arguments))
    return True


@pytest.fixture
def run(new_loop):
    """Runs a coroutine to its end, for tests that are no coroutines themselves."""
    return lambda main: run_on(new_loop, main)


@pytest.fixture
def emitter():
    from mtaio.events import EventEmitter
    return EventEmitter()


@pytest.fixture
def collected():
    """Collects garbage, several times over: what a cycle held may be a cycle's again."""
    def collect():
        for _ in range(4):
            gc.collect()
    return collect


class Tap:
    """One line for each case; what a failure has to say follows it as a comment."""

    def __init__(self):
        self.count = 0

    def line(self, good, name, more=''):
        self.count += 1
        print('ok' if good else 'not ok', self.count, '-', name.replace('#', ''), more, file=sys.__stdout__, flush=True)

    def comment(self, text):
        for line in str(text).splitlines():
            print('#', line, file=sys.__stdout__)

    def failure(self, report):
        self.line(False, report.nodeid if report.outcome == 'failed' else f'{report.nodeid} in {report.when}')
        self.comment(report.longreprtext)
        for title, text in report.sections:
            self.comment(f'{title}\n{text}')

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.failure(report)
        elif report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ''
            self.line(True, report.nodeid, f'# SKIP {reason}')
        elif report.when == 'call':
            self.line(True, report.nodeid)

    def pytest_collectreport(self, report):
        if report.failed:
            self.failure(report)

    def pytest_internalerror(self, excrepr):
        self.comment(excrepr)
        print('Bail out!', file=sys.__stdout__, flush=True)

    def pytest_sessionfinish(self):
        print(f'1..{self.count}', file=sys.__stdout__, flush=True)
