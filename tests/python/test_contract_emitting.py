"""Names, order, once, removal, metadata, propagation, counts: what the contract says of emitting."""
import asyncio
import functools
import gc
import weakref

import pytest

from mtaio.events import Event, EventEmitter, EventPriority
from mtaio.exceptions import EventEmitError, EventError, EventHandlerError

P = EventPriority
BAD_NAMES = ['', '.', 'a.', '.a', 'a..b', 'a\0b', '\0', '\ud800', 'x' * 65536, 'é' * 32768, 'a.' * 32768]
PATTERNS = ['*', '**', 'a.*', '*.a', '**.b', 'a.**.c']
BAD_PATTERNS = ['log*', 'a.*b', '***', 'a.***', '*a*', 'a.**b']


def recorder(seen, name, action=None):
    def handler(event):
        seen.append(name)
        if action:
            action(event)
    return handler


# --- Names and patterns

@pytest.mark.parametrize('name', ['a', 'user_login', 'user.created', 'a.b.c.d', 'ünïcödé.名前', 'x' * 65535, 'a b',
                                  '-', 'A'], ids=range(9))
async def test_good_names(emitter, name):
    seen = []
    emitter.on(name)(lambda event: seen.append(event.name))
    await emitter.emit(name, 1)
    assert seen == [name]


@pytest.mark.parametrize('name', BAD_NAMES, ids=range(len(BAD_NAMES)))
async def test_names_that_are_none_are_refused(emitter, name):
    """Hazard 38: empty, NUL, lone surrogate, too long."""
    with pytest.raises(EventEmitError):
        await emitter.emit(name, 1)
    with pytest.raises(EventError):
        emitter.on(name)(print)
    assert emitter.listener_count() == 0


@pytest.mark.parametrize('name', PATTERNS)
async def test_emitting_to_a_pattern_is_refused(emitter, name):
    emitter.on('**')(lambda event: None)
    with pytest.raises(EventEmitError):
        await emitter.emit(name, 1)


@pytest.mark.parametrize('pattern', BAD_PATTERNS)
async def test_a_star_inside_a_segment_is_refused(emitter, pattern):
    with pytest.raises(EventError):
        emitter.on(pattern)(print)


@pytest.mark.parametrize('name', [None, 1, b'a', ['a'], object()], ids=type)
async def test_what_is_no_str_is_a_type_error(emitter, name):
    with pytest.raises(TypeError):
        await emitter.emit(name, 1)
    with pytest.raises(TypeError):
        emitter.on(name)(print)


@pytest.mark.parametrize('pattern, names', [
    ('*', {'a', 'b', 'a.b', 'a.b.c', 'x.b.c'}), ('**', {'a', 'b', 'a.b', 'a.b.c', 'x.b.c'}), ('a', {'a'}),
    ('a.*', {'a.b'}), ('a.**', {'a', 'a.b', 'a.b.c'}), ('*.b', {'a.b'}), ('**.c', {'a.b.c', 'x.b.c'}),
    ('*.*', {'a.b'}), ('*.b.*', {'a.b.c', 'x.b.c'}), ('a.**.c', {'a.b.c'}), ('**.b.**', {'b', 'a.b', 'a.b.c', 'x.b.c'}),
])
async def test_what_patterns_match(emitter, pattern, names):
    seen = set()
    emitter.on(pattern)(lambda event: seen.add(event.name))
    for name in 'a', 'b', 'a.b', 'a.b.c', 'x.b.c':
        await emitter.emit(name, 1)
    assert seen == names


async def test_names_of_a_str_subclass(emitter):
    """Hazard 55: a str subclass whose hash and equality misbehave is a str like any other."""
    class Name(str):
        def __eq__(self, other):
            raise KeyError('eq')

        def __hash__(self):
            raise KeyError('hash')
    seen = []
    emitter.on(Name('a.b'))(lambda event: seen.append(str(event.name)))
    await emitter.emit('a.b', 1)
    await emitter.emit(Name('a.b'), 1)
    assert [str.__str__(name) for name in seen] == ['a.b', 'a.b']
    assert emitter.listener_count(Name('a.b')) == 1


async def test_a_stream_of_unseen_names_grows_nothing(emitter):
    import tracemalloc
    emitter.on('known')(lambda event: None)
    emitter.on('other.*')(lambda event: None)
    for i in range(2000):
        await emitter.emit(f'unseen.{i}', 1)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for i in range(20000):
        await emitter.emit(f'unseen.{i}', 1)
        await emitter.emit(f'other.{i}', 1)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 50000


# --- Order

async def test_order_of_priorities(emitter):
    seen = []
    for priority in P.MONITOR, P.LOW, P.HIGHEST, P.NORMAL, P.LOWEST, P.HIGH:
        for pattern in 'a.b', 'a.*', '**', 'a.b':
            emitter.on(pattern, priority)(recorder(seen, (priority, pattern)))
    await emitter.emit('a.b', 1)
    order = [P.HIGHEST, P.HIGH, P.NORMAL, P.LOW, P.LOWEST, P.MONITOR]
    assert seen == [(priority, pattern) for priority in order for pattern in ('a.b', 'a.*', '**', 'a.b')]


@pytest.mark.parametrize('priority', [None, 0, 7, 'HIGH', 3.0, True, object()])
def test_priorities_that_are_none(emitter, priority):
    """Hazard 59: what is no EventPriority is refused, or, where it is an int, counts as its value."""
    try:
        emitter.on('a', priority)(print)
    except (TypeError, ValueError):
        assert emitter.listener_count('a') == 0
    else:
        assert isinstance(priority, int) and 1 <= priority <= 6


async def test_handlers_run_one_after_another(emitter):
    seen = []

    def add(name):
        @emitter.on('a')
        async def handler(event):
            seen.append(f'{name} begins')
            await asyncio.sleep(0.001)
            seen.append(f'{name} ends')
    add('first')
    add('second')
    emitter.on('a')(lambda event: seen.append('plain'))
    await emitter.emit('a', 1)
    assert seen == ['first begins', 'first ends', 'second begins', 'second ends', 'plain']


async def test_emissions_do_not_wait_for_each_other(emitter):
    seen, gate = [], asyncio.Event()

    @emitter.on('a')
    async def handler(event):
        if event.data == 'slow':
            await gate.wait()
        seen.append(event.data)
    slow = asyncio.ensure_future(emitter.emit('a', 'slow'))
    await asyncio.sleep(0)
    await emitter.emit('a', 'quick')
    await emitter.emit('a', 'quick too')
    assert seen == ['quick', 'quick too']
    gate.set()
    await slow
    assert seen[-1] == 'slow'


async def test_registered_twice_is_called_twice(emitter):
    seen = []
    handler = recorder(seen, 'h')
    emitter.on('a')(handler)
    emitter.on('a')(handler)
    await emitter.emit('a', 1)
    assert seen == ['h', 'h'] and emitter.listener_count('a') == 2


# --- Propagation and monitors

async def test_propagation_ends_for_all_but_monitors(emitter):
    seen = []
    emitter.on('a', P.MONITOR)(lambda event: seen.append(('monitor', event.propagate)))

    @emitter.on('a', P.HIGH)
    async def stop(event):
        await asyncio.sleep(0)
        event.propagate = False
        seen.append('stop')
    emitter.on('a')(recorder(seen, 'not called'))
    await emitter.emit('a', 1)
    assert seen == ['stop', ('monitor', False)]


async def test_what_a_monitor_does_to_propagate_is_ignored(emitter):
    seen = []

    def monitor(event):
        event.propagate = not event.propagate
        seen.append('m')
    emitter.on('a', P.MONITOR)(monitor)
    emitter.on('a', P.MONITOR)(lambda event: seen.append(event.propagate))
    emitter.filter(lambda event: True).on('a', P.MONITOR)(monitor)
    await emitter.emit('a', 1)
    assert seen.count('m') == 2 and True in seen and False not in seen


@pytest.mark.parametrize('value', [0, '', None, [], False])
async def test_whatever_is_false_stops(emitter, value):
    seen = []
    emitter.on('a')(lambda event: setattr(event, 'propagate', value))
    emitter.on('a')(recorder(seen, 'not called'))
    await emitter.emit('a', 1)
    assert seen == []


async def test_a_propagate_whose_truth_raises(emitter):
    class Bad:
        def __bool__(self):
            raise KeyError('no truth')
    seen = []
    emitter.on('a')(lambda event: setattr(event, 'propagate', Bad()))
    emitter.on('a')(recorder(seen, 'after'))
    with pytest.raises(EventHandlerError) as caught:
        await emitter.emit('a', 1)
    assert isinstance(caught.value.__cause__, KeyError)


async def test_set_back_in_time_goes_on(emitter):
    seen = []

    def handler(event):
        event.propagate = False
        event.propagate = True
    emitter.on('a')(handler)
    emitter.on('a')(recorder(seen, 'called'))
    await emitter.emit('a', 1)
    assert seen == ['called']


# --- What an emission works on: hazards 1, 2, 3

async def test_added_during_an_emission_waits_for_the_next(emitter):
    seen = []

    def handler(event):
        emitter.on('a')(recorder(seen, 'added'))
        emitter.on('a', P.HIGHEST)(recorder(seen, 'added'))
        emitter.on('a', P.MONITOR)(recorder(seen, 'added'))
    emitter.once('a')(handler)
    await emitter.emit('a', 1)
    assert seen == []
    await emitter.emit('a', 1)
    assert seen == ['added'] * 3


@pytest.mark.parametrize('remover', range(5))
@pytest.mark.parametrize('removed', range(5))
async def test_removed_and_not_yet_called_is_not_called(emitter, remover, removed):
    seen, handlers = [], []

    def make(i):
        async def handler(event):
            seen.append(i)
            if i == remover:
                await asyncio.sleep(0)
                emitter.remove_listener('a', handlers[removed])
        return handler
    handlers += [make(i) for i in range(5)]
    for handler in handlers:
        emitter.on('a')(handler)
    await emitter.emit('a', 1)
    assert seen == [i for i in range(5) if i <= remover or i != removed]
    seen.clear()
    await emitter.emit('a', 1)
    assert seen == [i for i in range(5) if i != removed]


async def test_each_handler_removes_itself(emitter):
    seen = []

    def add(i):
        def handler(event):
            seen.append(i)
            assert emitter.remove_listener('a', handler) == 1
        emitter.on('a')(handler)
    for i in range(20):
        add(i)
    await emitter.emit('a', 1)
    assert seen == list(range(20)) and emitter.listener_count('a') == 0


async def test_nested_emissions_go_depth_first(emitter):
    seen = []

    @emitter.on('a')
    async def outer(event):
        seen.append('a1')
        await emitter.emit('b', 1)
        seen.append('a2')
    emitter.on('a')(recorder(seen, 'a3'))
    emitter.on('b')(recorder(seen, 'b'))
    await emitter.emit('a', 1)
    assert seen == ['a1', 'b', 'a2', 'a3']


async def test_nested_too_deep_is_a_clear_error(emitter):
    """Hazard 8: a handler that emits itself without end."""
    depth = 0

    @emitter.on('a')
    async def handler(event):
        nonlocal depth
        depth += 1
        await emitter.emit('a', 1)
    with pytest.raises((EventError, RecursionError)):
        await emitter.emit('a', 1)
    assert 20 < depth < 100000
    emitter.remove_all_listeners()
    emitter.on('a')(lambda event: None)
    await emitter.emit('a', 1)


async def test_nested_with_suspension_too_deep(emitter):
    @emitter.on('a')
    async def handler(event):
        await asyncio.sleep(0)
        await emitter.emit('a', 1)
    with pytest.raises((EventError, RecursionError)):
        await emitter.emit('a', 1)
    emitter.off('a', handler)
    await emitter.emit('a', 1)


async def test_a_handler_may_close_the_emitter(emitter):
    seen = []

    @emitter.on('a')
    async def handler(event):
        seen.append(1)
        result = emitter.close()
        if result is not None:
            await result
    emitter.on('a')(recorder(seen, 'removed by closing'))
    try:
        await emitter.emit('a', 1)
    except EventEmitError:
        pass
    assert seen == [1]
    with pytest.raises(EventEmitError):
        await emitter.emit('a', 1)


async def test_a_handler_may_drop_the_emitter():
    """Hazard 6: the last reference goes while it emits."""
    holder, seen = [EventEmitter()], []

    @holder[0].on('a')
    async def first(event):
        holder.clear()
        gc.collect()
        await asyncio.sleep(0)
        gc.collect()
        seen.append(1)
    holder[0].on('a')(recorder(seen, 2))
    await holder[0].emit('a', 1)
    assert seen == [1, 2]


async def test_a_handler_whose_only_reference_is_the_emitter_removes_itself(emitter):
    """Hazard 54."""
    seen = []

    def make():
        @functools.lru_cache
        def handler(event_id):
            return None

        class Callable:
            def __call__(self, event):
                emitter.remove_all_listeners('a')
                gc.collect()
                seen.append(self.__class__.__name__)
        return Callable()
    emitter.on('a')(make())
    emitter.once('a')(make())
    emitter.on('a')(functools.partial(lambda e, x: (emitter.remove_all_listeners(), gc.collect(), seen.append(x)), x=1))
    await emitter.emit('a', 1)
    assert seen == ['Callable']


# --- Once

async def test_once_is_called_exactly_once(emitter):
    seen = []

    @emitter.once('a')
    async def handler(event):
        seen.append(emitter.listener_count('a'))
        await emitter.emit('a', 2)   # hazard 10: nested
    assert emitter.listener_count('a') == 1
    await asyncio.gather(*(emitter.emit('a', 1) for _ in range(5)))
    assert seen == [0]


async def test_once_is_consumed_even_when_it_fails(emitter):
    emitter.once('a')(lambda event: 1 / 0)
    with pytest.raises(EventHandlerError):
        await emitter.emit('a', 1)
    await emitter.emit('a', 1)


async def test_once_by_a_pattern_is_used_up_by_the_first_event(emitter):
    seen = []
    emitter.once('*')(lambda event: seen.append(event.name))
    await emitter.emit('a', 1)
    await emitter.emit('b', 1)
    assert seen == ['a']


async def test_remove_takes_the_function_given_to_once_or_what_it_returned(emitter):
    def handler(event):
        raise AssertionError('called')
    returned = emitter.once('a')(handler)
    assert emitter.remove_listener('a', handler) == 1
    returned = emitter.once('a')(handler)
    assert emitter.remove_listener('a', returned) == 1
    await emitter.emit('a', 1)


async def test_once_and_propagation(emitter):
    """A once handler that is not reached is not used up."""
    seen = []
    emitter.on('a', P.HIGH)(lambda event: setattr(event, 'propagate', event.data))
    emitter.once('a')(recorder(seen, 'once'))
    await emitter.emit('a', False)
    assert seen == []
    await emitter.emit('a', True)
    await emitter.emit('a', True)
    assert seen == ['once']


# --- Removing, counting

async def test_remove_takes_every_registration_and_says_how_many(emitter):
    def handler(event):
        raise AssertionError('called')
    emitter.on('a')(handler)
    emitter.on('a', P.HIGH)(handler)
    emitter.once('a')(handler)
    emitter.on('b')(handler)
    emitter.on('*')(handler)
    assert emitter.remove_listener('a', handler) == 3
    assert emitter.remove_listener('a', handler) == 0
    assert emitter.off('b', handler) == 1
    assert emitter.off('*', handler) == 1
    assert emitter.remove_listener('never heard of', handler) == 0
    await emitter.emit('a', 1)


async def test_bound_methods_are_the_same_when_equal(emitter):
    class Owner:
        def __init__(self):
            self.seen = []

        async def method(self, event):
            self.seen.append(event.data)
    owner, other = Owner(), Owner()
    emitter.on('a')(owner.method)
    assert emitter.remove_listener('a', other.method) == 0
    await emitter.emit('a', 1)
    assert owner.method is not owner.method
    assert emitter.remove_listener('a', owner.method) == 1
    await emitter.emit('a', 2)
    assert owner.seen == [1]


async def test_counts_are_always_true(emitter):
    assert emitter.listener_count('a') == 0 and list(emitter.event_names()) == []
    handler = emitter.on('a')(lambda event: None)
    emitter.on('a.*')(handler)
    emitter.once('a')(handler)
    assert emitter.listener_count('a') == 2 and emitter.listener_count('a.*') == 1 and emitter.listener_count('a.b') == 0
    assert sorted(emitter.event_names()) == ['a', 'a.*']
    await emitter.emit('a', 1)
    assert emitter.listener_count('a') == 1
    emitter.remove_listener('a', handler)
    assert list(emitter.event_names()) == ['a.*']
    assert emitter.remove_all_listeners() == 1
    assert list(emitter.event_names()) == []


async def test_listeners(emitter):
    def a(event):
        pass

    async def b(event):
        pass
    emitter.on('x')(a)
    emitter.once('x')(b)
    assert list(emitter.listeners('x')) == [a, b]
    assert list(emitter.listeners('y')) == []


async def test_remove_all_listeners(emitter):
    for name in 'a', 'a', 'b', '*':
        emitter.on(name)(lambda event: None)
    assert emitter.remove_all_listeners('a') == 2
    assert emitter.remove_all_listeners('a') == 0
    assert emitter.remove_all_listeners() == 2


async def test_a_listener_handle_cancels_just_that_registration(emitter):
    seen = []

    def handler(event):
        seen.append(event.data)
    first, second = emitter.add_listener('a', handler), emitter.add_listener('a', handler)
    first.cancel()
    assert emitter.listener_count('a') == 1
    first.cancel()
    assert emitter.listener_count('a') == 1
    await emitter.emit('a', 1)
    second.cancel()
    await emitter.emit('a', 2)
    assert seen == [1]


async def test_a_listener_is_a_context_manager(emitter):
    seen = []
    with emitter.add_listener('a', lambda event: seen.append(event.data)):
        await emitter.emit('a', 1)
    await emitter.emit('a', 2)
    assert seen == [1] and emitter.listener_count('a') == 0


async def test_what_a_listener_tells(emitter):
    class Owner:
        def method(self, event):
            pass
    owner = Owner()
    listener, weak = emitter.add_listener('a.*', print), emitter.add_listener('b', owner.method, weak=True)
    assert (listener.event_name, listener.handler, listener.active) == ('a.*', print, True)
    assert weak.handler == owner.method and "'a.*'" in repr(listener)
    assert listener.cancel() is True and listener.cancel() is False and listener.active is False
    assert 'removed' in repr(listener)
    del owner
    gc.collect()
    assert weak.handler is None and weak.active is False
    once = emitter.add_listener('c', lambda event: None, once=True)
    await emitter.emit('c', 1)
    assert once.active is False and once.cancel() is False


async def test_a_dropped_listener_handle_does_not_cancel(emitter):
    seen = []
    emitter.add_listener('a', lambda event: seen.append(event.data))
    gc.collect()
    await emitter.emit('a', 1)
    assert seen == [1]


async def test_equality_that_raises_leaves_the_list_whole(emitter):
    """Hazard 55."""
    class Bad:
        def __init__(self, raising):
            self.raising = raising

        def __call__(self, event):
            pass

        def __eq__(self, other):
            if self.raising:
                raise KeyError('eq')
            return self is other
        __hash__ = None
    good, bad = Bad(False), Bad(True)
    for handler in good, bad, good:
        emitter.on('a')(handler)
    with pytest.raises(KeyError):
        emitter.remove_listener('a', Bad(True))
    bad.raising = False
    count = emitter.listener_count('a')
    assert count == len(emitter.listeners('a')) == 3
    assert emitter.remove_listener('a', good) == 2
    await emitter.emit('a', 1)


async def test_equality_that_reenters(emitter):
    """Hazard 55: __eq__ that removes, adds and emits."""
    class Meddler:
        def __call__(self, event):
            pass

        def __eq__(self, other):
            emitter.remove_all_listeners('a')
            emitter.on('a')(print_nothing)
            gc.collect()
            return True
        __hash__ = None

    def print_nothing(event):
        pass
    for _ in range(5):
        emitter.on('a')(Meddler())
    removed = emitter.remove_listener('a', Meddler())
    assert 0 <= removed <= 5
    assert emitter.listener_count('a') == len(emitter.listeners('a'))
    await emitter.emit('a', 1)


# --- Metadata

async def test_metadata_is_the_same_object(emitter):
    kept, metadata = [], {'a': 1}
    emitter.on('a')(kept.append)
    await emitter.emit('a', 1, metadata)
    await emitter.emit('a', 1, metadata=metadata)
    assert kept[0].metadata is metadata and kept[1].metadata is metadata


async def test_metadata_is_empty_where_none_was_given(emitter):
    kept = []
    emitter.on('a')(kept.append)
    await emitter.emit('a', 1)
    await emitter.emit('a', 1, None)
    assert kept[0].metadata == {} == kept[1].metadata
    assert kept[0].metadata is not kept[1].metadata


async def test_metadata_changed_by_a_handler_is_seen_by_the_next(emitter):
    """Hazard 56."""
    seen = []
    emitter.on('a')(lambda event: event.metadata.update(x=1))
    emitter.on('a')(lambda event: seen.append(dict(event.metadata)))
    metadata = {'y': 2}
    await emitter.emit('a', 1, metadata)
    await emitter.emit('a', 1)
    assert seen == [{'y': 2, 'x': 1}, {'x': 1}] and metadata == {'y': 2, 'x': 1}


async def test_all_handlers_of_an_emission_see_one_event(emitter):
    seen = []
    emitter.on('a')(seen.append)
    emitter.on('a', P.HIGH)(seen.append)
    emitter.on('*', P.MONITOR)(seen.append)
    await emitter.emit('a', 1)
    assert type(seen[0]) is Event and seen[0] is seen[1] is seen[2]


# --- Kinds of handlers: hazard 59

async def test_kinds_of_handlers(emitter):
    seen = []

    async def coroutine(event):
        await asyncio.sleep(0)
        seen.append('coroutine')

    class Async:
        async def __call__(self, event):
            await asyncio.sleep(0)
            seen.append('object')

        async def method(self, event):
            seen.append('method')

        @classmethod
        async def class_method(cls, event):
            seen.append('class method')

        @staticmethod
        def static_method(event):
            seen.append('static method')

    class Awaitable:
        def __await__(self):
            yield from asyncio.sleep(0).__await__()
            seen.append('awaitable')

    async def with_two(event, more):
        seen.append(more)

    class MadeWithEvent:
        def __init__(self, event):
            seen.append('class')

    def future(event):
        result = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(result.set_result, None)
        result.add_done_callback(lambda _: seen.append('future'))
        return result

    def task(event):
        return asyncio.ensure_future(coroutine(event))
    thing = Async()
    handlers = [coroutine, thing, thing.method, Async.class_method, Async.static_method, lambda event: Awaitable(),
                functools.partial(with_two, more='partial'), MadeWithEvent, future, task]
    for handler in handlers:
        emitter.on('a')(handler)
    await emitter.emit('a', 1)
    assert seen == ['coroutine', 'object', 'method', 'class method', 'static method', 'awaitable', 'partial', 'class',
                    'future', 'coroutine']


async def test_a_generator_is_not_awaited(emitter):
    def generator(event):
        yield 1
    emitter.on('a')(generator)
    try:
        await emitter.emit('a', 1)
    except EventHandlerError as error:
        assert isinstance(error.__cause__, TypeError)


@pytest.mark.parametrize('handler', [None, 1, 'name', b'x', [], object()], ids=type)
def test_what_cannot_be_called_is_a_type_error(emitter, handler):
    with pytest.raises(TypeError):
        emitter.on('a')(handler)
    with pytest.raises(TypeError):
        emitter.add_listener('a', handler)
    with pytest.raises(TypeError):
        emitter.once('a')(handler)
    assert emitter.listener_count('a') == 0


async def test_a_handler_of_wrong_arguments_fails_as_a_handler(emitter):
    emitter.on('a')(lambda: None)
    with pytest.raises(EventHandlerError) as caught:
        await emitter.emit('a', 1)
    assert isinstance(caught.value.__cause__, TypeError)


async def test_on_and_once_as_a_call(emitter):
    """`on` and `once` work as decorator and as call."""
    seen = []

    def handler(event):
        seen.append(event.data)
    assert emitter.on('a', handler=handler) is handler
    emitter.once('a', handler=handler)
    await emitter.emit('a', 1)
    await emitter.emit('a', 2)
    assert seen == [1, 1, 2]


async def test_weak_methods(emitter):
    """`weak=True` holds a bound method weakly."""
    class Owner:
        def method(self, event):
            seen.append(event.data)
    seen, owner = [], Owner()
    emitter.on('a', weak=True)(owner.method)
    emitter.once('b', weak=True)(owner.method)
    await emitter.emit('a', 1)
    assert emitter.listener_count('a') == 1
    ref = weakref.ref(owner)
    del owner
    gc.collect()
    assert ref() is None
    assert emitter.listener_count('a') == 0 == emitter.listener_count('b')
    await emitter.emit('a', 2)
    await emitter.emit('b', 2)
    assert seen == [1]


async def test_a_weak_method_is_removed_by_function(emitter):
    class Owner:
        def method(self, event):
            raise AssertionError('called')
    owner = Owner()
    emitter.on('a', weak=True)(owner.method)
    assert emitter.remove_listener('a', owner.method) == 1
    await emitter.emit('a', 1)


async def test_weak_dies_during_the_emission(emitter):
    class Owner:
        def method(self, event):
            seen.append('called')
    seen, owners = [], [Owner()]
    emitter.on('a', P.HIGH)(lambda event: (owners.clear(), gc.collect()))
    emitter.on('a', weak=True)(owners[0].method)
    await emitter.emit('a', 1)
    assert seen == [] and emitter.listener_count('a') == 1


# --- The limit of listeners

async def test_the_limit_of_listeners_is_reported_once(capfd, recwarn):
    """Passing it is reported once, naming emitter and event; nothing is refused; off by default."""
    import warnings
    emitter = EventEmitter(name='tickets', max_listeners=3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        for _ in range(10):
            emitter.on('sold')(lambda event: None)
    assert len(caught) == 1 and 'tickets' in str(caught[0].message) and 'sold' in str(caught[0].message)
    assert emitter.listener_count('sold') == 10
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        for _ in range(1000):
            EventEmitter().on('x')(lambda event: None)
    assert caught == []
