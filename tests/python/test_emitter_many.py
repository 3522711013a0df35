"""Removing by handler where a name has very many: they are found by an index, which nobody may notice but by the time it
saves."""
import functools
import gc
import operator
import random
import types

import pytest

from mtaio.events import EventEmitter, EventPriority


class Equal:
    """All of the same number are equal, and none can be hashed."""
    __hash__ = None

    def __init__(self, number):
        self.number = number

    def __call__(self, event):
        event.data.append(self)

    def __eq__(self, other):
        return isinstance(other, Equal) and self.number == other.number


class Plain:
    """Equal only to itself; the methods of one that are got twice are equal."""

    def __call__(self, event):
        event.data.append(self)

    def method(self, event):
        event.data.append(self)

    def other(self, event):
        event.data.append(self)


class List(list):
    """Equal to others, but its methods are equal only to its own."""


def function():
    return lambda event: event.data.append(None)


def handlers_of_all_kinds(count):
    kinds = []
    for i in range(count):
        plain, equal, numbers = Plain(), Equal(i % 3), List()
        kinds += [
            lambda f=function(): f, lambda p=plain: p, lambda p=plain: p.method, lambda p=plain: p.other,
            lambda e=equal: e, lambda i=i: Equal(i % 3), lambda e=equal: e.__call__, lambda n=numbers: n.append,
            lambda n=numbers: n.__contains__, lambda f=functools.partial(operator.is_, i): f, lambda: print_nothing,
            lambda p=plain: functools.partial(p)]
    return kinds


def print_nothing(event):
    pass


class Model:
    """The emitter, and a list of (name, handler, listener or None) beside it. What is registered is kept by the list."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.emitter = EventEmitter()
        self.handlers = handlers_of_all_kinds(12)
        self.list = []

    def add(self):
        name = self.random.choice(['a', 'a', 'a', 'b', 'a.*', 'c' + str(self.random.randrange(100))])
        handler = self.random.choice(self.handlers)()
        priority = self.random.choice([EventPriority.NORMAL, EventPriority.HIGH, EventPriority.MONITOR])
        how, listener = self.random.randrange(5), None
        if how == 0:
            listener = self.emitter.add_listener(name, handler, priority)
        elif how == 1 and isinstance(handler, (types.FunctionType, types.MethodType, Plain, Equal)):
            listener = self.emitter.add_listener(name, handler, priority, weak=True)
        elif how == 2:
            self.emitter.once(name, priority, handler)
        else:
            self.emitter.on(name, priority, handler)
        self.list.append((''.join(name), handler, listener))

    def remove(self):
        name = self.random.choice(['a', 'b', 'a.*', 'd'])
        handler = self.random.choice(self.handlers)()
        expected = [entry for entry in self.list if entry[0] == name and entry[1] == handler]
        self.list = [entry for entry in self.list if entry[0] != name or not entry[1] == handler]
        assert self.emitter.off(name, handler) == len(expected)

    def cancel(self):
        found = [entry for entry in self.list if entry[2] is not None]
        if found:
            entry = self.random.choice(found)
            self.list = [other for other in self.list if other is not entry]
            assert entry[2].cancel()

    def remove_all(self):
        name = self.random.choice(['a', 'b'])
        expected = [entry for entry in self.list if entry[0] == name]
        self.list = [entry for entry in self.list if entry[0] != name]
        assert self.emitter.remove_all_listeners(name) == len(expected)

    def check(self):
        for name in 'a', 'b', 'a.*':
            assert self.emitter.listener_count(name) == sum(entry[0] == name for entry in self.list)
        assert self.emitter.listener_count() == len(self.list)


@pytest.mark.parametrize('seed', range(3))
def test_as_a_list_says(seed):
    """Handlers of all kinds, of which some are equal to others, come and go in any way: as many are removed as a list that
    is asked by == says."""
    model = Model(seed)
    for i in range(4000):
        growing = i // 500 % 2 == 0
        what = model.random.randrange(100)
        if what < (60 if growing else 20):
            model.add()
        elif what < 80:
            model.remove()
        elif what < 99:
            model.cancel()
        elif what < 100 and i % 7 == 0:
            model.remove_all()
        if i % 100 == 0:
            model.check()
    model.check()


def test_a_type_that_learns_to_compare(emitter):
    """What was not equal to anything else when it was registered, may be later."""
    class Learning:
        def __call__(self, event):
            pass
    learning = [Learning() for _ in range(40)]
    functions = [function() for _ in range(40)]
    for handler in learning + functions:
        emitter.on('a', handler)
    assert emitter.off('a', functions[0]) == 1
    Learning.__eq__ = lambda self, other: True
    assert emitter.off('a', functions[1]) == 41
    assert emitter.listener_count() == 38


def test_comparing_may_do_anything(emitter):
    """Where == of a handler adds and removes others, those of the index too, nothing is lost."""
    functions = [function() for _ in range(200)]

    class Busy:
        def __call__(self, event):
            pass

        def __eq__(self, other):
            if not inside:
                inside.append(True)
                emitter.off('a', functions.pop())
                emitter.on('a', print_nothing)
                gc.collect()
                inside.clear()
            return False
    inside = []
    for handler in functions + [Busy() for _ in range(3)]:
        emitter.on('a', handler)
    first = functions[0]
    assert emitter.off('a', first) == 1
    assert emitter.off('a', first) == 0
    assert print_nothing in emitter.listeners('a')
    emitter.close()
    assert emitter.listener_count() == 0


def test_weak_ones_that_went(emitter, collected):
    """They are not found any more, and the others are."""
    weak, kept = [Plain() for _ in range(100)], [Plain() for _ in range(100)]
    for one, other in zip(weak, kept):
        emitter.on('a', one.method, weak=True)
        emitter.on('a', other.method)
    assert emitter.off('a', weak[0].method) == emitter.off('a', kept[0].method) == 1
    del weak, one
    collected()
    assert emitter.listener_count('a') == 99
    assert [emitter.off('a', other.method) for other in kept] == [0] + [1] * 99


def test_pipes_are_no_handlers(emitter):
    """They are not found by handler, whatever that is."""
    functions = [function() for _ in range(100)]
    target = EventEmitter()
    for handler in functions:
        emitter.on('a', handler)
        emitter.pipe(target, 'a')
    assert [emitter.off('a', handler) for handler in functions] == [1] * 100
    assert emitter.listener_count('a') == 100
    assert emitter.off('a', target.close) == 0


MANY = 50_000


@pytest.mark.parametrize('kind', ['functions', 'methods', 'partials', 'weak in between'])
def test_very_many(emitter, kind):
    """Each takes a fraction of a second, and many minutes where all are looked at each time."""
    kept = [Plain() if kind == 'methods' else function() for _ in range(MANY)]
    if kind == 'partials':
        kept = [functools.partial(handler) for handler in kept]
    handlers = [handler.method for handler in kept] if kind == 'methods' else kept
    for i, handler in enumerate(handlers):
        emitter.on('a', handler)
        if kind == 'weak in between' and i % 1000 == 0:
            emitter.on('a', kept[i], weak=True)
    random.Random(1).shuffle(handlers)
    removed = sum(emitter.off('a', handler) for handler in handlers)
    assert removed == (MANY + MANY // 1000 if kind == 'weak in between' else MANY)
    assert emitter.listener_count() == 0


def test_one_beside_very_many(emitter):
    """One comes and goes, while the others stay; they go by other ways, then."""
    handlers = [function() for _ in range(MANY)]
    listeners = [emitter.add_listener('a', handler) for handler in handlers]
    for i in range(MANY):
        emitter.on('a', print_nothing)
        assert emitter.off('a', print_nothing) == 1
    assert all(listener.cancel() for listener in listeners)
    assert emitter.off('a', handlers[0]) == emitter.listener_count() == 0
