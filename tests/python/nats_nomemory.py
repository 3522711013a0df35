"""Runs each call of mtaio._nats again and again, each time with another allocation of Python failing: that one, or ten in a
row.
Usage: nats_nomemory.py URL. Exit status 0: each call either did its work, or raised MemoryError, or refused a message and
counted it; afterwards all of it works, and nothing is lost."""
import select
import sys
import time

import _testcapi

from mtaio import _nats
from mtaio.events import Channel

POSITIONS_AT_MOST = 400
OPTIONS = (None,) * 8 + (0, 0, 0, True)


class Codec:
    """One that makes no functions, as json does: some versions of the interpreter do not survive that."""

    def encode(self, data):
        return b'%d' % data

    def decode(self, data):
        return int(data)


class Side:
    def __init__(self, url):
        self.connection = _nats.Connection(url, *OPTIONS)
        self.channel = Channel()
        self.subscriber = self.channel.subscribe_nowait()
        self.binding = self.bind()

    def bind(self):
        return _nats.Binding(self.connection, self.channel, 1, 'shop', ('*',), ('*',), Codec(), 100, 1, False, None)

    def wait(self, source):
        assert select.select([source], [], [], 10)[0], 'nothing came'

    def receive(self):
        """What comes next, taken with all the memory that it needs."""
        self.wait(self.binding)
        self.binding.take(1)
        return self.subscriber.receive_blocking(10)


def attempt(call, start, stop):
    """Whether it was carried out; what it returned."""
    _testcapi.set_nomemory(start, stop)
    try:
        result = call()
    except MemoryError:
        return False, None
    finally:
        _testcapi.remove_mem_hooks()
    return True, result


def sweep(name, call, check):
    """check(done, result) after each attempt tells whether all was done. Until it was for ten positions in a row."""
    for failing in 1, 10:
        succeeded = 0
        for start in range(1, POSITIONS_AT_MOST):
            done, result = attempt(call, start, start + failing)
            succeeded = succeeded + 1 if check(done, result) else 0
            if succeeded > 10:
                print(f'{name}: {start} positions, {failing} failing')
                break
        else:
            raise SystemExit(f'{name}: no end')


def sweep_publish(a, b):
    def check(done, reached):
        time.sleep(0.001)
        refused = a.binding.stats()[5]
        good = done and refused == check.refused
        if good:
            assert b.receive().data == 10001
        check.refused = refused
        while a.subscriber.stats.waiting:
            a.subscriber.receive_nowait()
        return good

    check.refused = 0
    data, metadata = 10001, {'key': 'value'}
    sweep('publish', lambda: a.channel.publish_nowait(data, 'x', metadata), check)


def sweep_take(a, b):
    def check(done, taken):
        refused = b.binding.stats()[5]
        good = done and taken == 1 and refused == check.refused
        if good:
            assert b.subscriber.receive_blocking(10).data == 10002
        else:   # no memory to decode it: it is counted as refused
            assert refused == check.refused + 1, (done, taken)
        check.refused = refused
        a.channel.publish_nowait(10002, 'x', {'key': 'value'})
        while a.subscriber.stats.waiting:
            a.subscriber.receive_nowait()
        b.wait(b.binding)
        return good

    check.refused = b.binding.stats()[5]
    a.channel.publish_nowait(10002, 'x', {'key': 'value'})
    b.wait(b.binding)
    sweep('take', lambda: b.binding.take(1), check)
    b.receive()


def sweep_read(a, b):
    """What was told is told, by this call or a later one."""
    def check(done, mails):
        mails = mails or []
        while not any(kind == 'state' and fields[0] == 'nats.refused' for kind, *fields in mails):
            mails = a.connection.read()
        a.binding.refuse('again')
        return done

    a.connection.read()
    a.binding.refuse('again')
    sweep('read', a.connection.read, check)


def sweep_ask(a, b):
    b.binding.serve(7, 'double', None)

    def check(done, ticket):
        if not done:
            return False
        b.wait(b.connection)
        for _, _, request in [mail for mail in b.connection.read() if mail[0] == 'request']:
            topic, data = request.read(b.binding)
            request.answer(b.binding, data * 2)
        while True:
            a.wait(a.connection)
            answers = [mail for mail in a.connection.read() if mail[0] == 'answer']
            if answers:
                break
        assert a.binding.decode(answers[0][2]) == 10
        return True

    b.connection.read()
    sweep('ask', lambda: a.binding.ask(3, 'double', 5, -1), check)


def sweep_bind(a):
    """Each binding that was made ends with its last reference."""
    def bind():
        a.bind()

    def check(done, result):
        assert a.channel.subscriber_count == 2, a.channel.subscriber_count
        return done

    sweep('bind', bind, check)


def main():
    a, b = Side(sys.argv[1]), Side(sys.argv[1])
    sweep_publish(a, b)
    sweep_take(a, b)
    sweep_read(a, b)
    sweep_ask(a, b)
    sweep_bind(a)
    sweep('stats', a.binding.stats, lambda done, stats: done)
    for side in a, b:
        assert side.connection.close(10 * 10**9)


if __name__ == '__main__':
    main()
