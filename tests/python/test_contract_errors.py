"""Errors: a failing handler keeps no other from running; what is reported, how, and where to."""
import asyncio
import gc
import pickle
import sys
import traceback
import weakref

import pytest

from mtaio import exceptions
from mtaio.events import EventEmitter, EventPriority
from mtaio.exceptions import ChannelClosedError, ChannelError, EventEmitError, EventError, EventHandlerError, MTAIOError

P = EventPriority


async def failure_of(emitter, name='a', data=1):
    with pytest.raises(EventHandlerError) as caught:
        await emitter.emit(name, data)
    return caught.value


def test_the_tree_of_exceptions():
    for name in exceptions.__all__:
        error = getattr(exceptions, name)
        assert issubclass(error, MTAIOError) and issubclass(error, Exception) and error.__doc__
    assert EventEmitError.__mro__.index(EventError) and EventHandlerError.__mro__.index(EventError)
    assert not issubclass(EventEmitError, EventHandlerError) and not issubclass(EventHandlerError, EventEmitError)
    assert issubclass(ChannelClosedError, ChannelError) and not issubclass(ChannelError, EventError)


async def test_a_failing_handler_keeps_no_other_from_running(emitter):
    """Hazard 46, in every kind of handler."""
    seen = []

    @emitter.on('a', P.HIGHEST)
    def plain(event):
        raise ValueError('plain')

    @emitter.on('a')
    async def quick(event):
        raise KeyError('quick')

    @emitter.on('a')
    async def slow(event):
        await asyncio.sleep(0)
        raise TypeError('slow')
    emitter.on('a', P.LOWEST)(lambda event: seen.append('last'))

    @emitter.on('a', P.MONITOR)
    async def monitor(event):
        seen.append('monitor')
        raise OSError('monitor')
    error = await failure_of(emitter)
    assert seen == ['last', 'monitor']
    assert [(handler, type(e)) for handler, e in error.errors] == [
        (plain, ValueError), (quick, KeyError), (slow, TypeError), (monitor, OSError)]
    assert error.__cause__ is error.errors[0][1]
    assert error.event.name == 'a' and error.event.data == 1


async def test_the_message_names_event_handler_and_first_cause(emitter):
    @emitter.on('order.paid')
    def send_invoice(event):
        raise ValueError('no address')
    text = str(await failure_of(emitter, 'order.paid'))
    assert 'order.paid' in text and 'send_invoice' in text and 'no address' in text


async def test_the_message_survives_a_bad_str_and_repr(emitter):
    class Bad(Exception):
        def __str__(self):
            raise KeyError('str')
        __repr__ = __str__

    class BadHandler:
        def __call__(self, event):
            raise Bad

        def __repr__(self):
            raise KeyError('repr')
    emitter.on('a')(BadHandler())
    error = await failure_of(emitter)
    assert isinstance(error.__cause__, Bad)
    try:
        str(error), repr(error)
    except KeyError:
        pass


async def test_errors_name_the_function_that_the_user_gave(emitter):
    class Owner:
        def method(self, event):
            raise ValueError
    owner = Owner()
    once = emitter.once('a')(lambda event: 1 / 0)
    emitter.on('a', weak=True)(owner.method)
    error = await failure_of(emitter)
    assert error.errors[0][0] == once and error.errors[1][0] == owner.method


async def test_the_same_exception_object_from_two_handlers(emitter):
    shared = ValueError('shared')

    def raising(event):
        raise shared
    emitter.on('a')(raising)
    emitter.on('a')(raising)
    error = await failure_of(emitter)
    assert [e for _, e in error.errors] == [shared, shared]


async def test_stop_iteration_from_a_handler_is_a_failure(emitter):
    for raised in StopIteration('x'), StopAsyncIteration('y'):
        @emitter.once('a')
        def handler(event, raised=raised):
            raise raised
        error = await failure_of(emitter)
        assert error.errors[0][1] is raised or isinstance(error.__cause__, RuntimeError)


async def test_an_awaitable_that_is_none(emitter):
    class Wrong:
        def __await__(self):
            return 5
    emitter.on('a')(lambda event: Wrong())
    error = await failure_of(emitter)
    assert isinstance(error.__cause__, TypeError)


async def test_a_failing_handler_is_removed_by_itself_first(emitter):
    def handler(event):
        emitter.off('a', handler)
        raise ValueError
    emitter.on('a')(handler)
    assert (await failure_of(emitter)).errors[0][0] is handler


async def test_nested_failures_chain(emitter):
    emitter.on('inner')(lambda event: 1 / 0)

    @emitter.on('outer')
    async def outer(event):
        await emitter.emit('inner', 1)
    error = await failure_of(emitter, 'outer')
    assert isinstance(error.__cause__, EventHandlerError)
    assert isinstance(error.__cause__.__cause__, ZeroDivisionError)


async def test_nothing_is_leaked_by_failures(emitter, collected):
    class Marked(Exception):
        pass
    refs = []

    @emitter.on('a')
    async def handler(event):
        await asyncio.sleep(0)
        error = Marked()
        refs.append(weakref.ref(error))
        raise error
    for _ in range(5):
        try:
            await emitter.emit('a', 1)
        except EventHandlerError:
            pass
    collected()
    assert [ref() for ref in refs] == [None] * 5


# --- Emissions that could not be carried out

async def test_closed(emitter):
    emitter.on('a')(lambda event: None)
    result = emitter.close()
    if result is not None:
        await result
    with pytest.raises(EventEmitError, match='closed'):
        await emitter.emit('a', 1)
    with pytest.raises(EventError, match='closed'):
        emitter.on('a')(print)
    assert emitter.listener_count('a') == 0


async def test_messages_say_what_is_wrong(emitter):
    with pytest.raises(EventEmitError, match=r'a\.\*'):
        await emitter.emit('a.*', 1)
    with pytest.raises(EventError, match=r'log\*'):
        emitter.on('log*')(print)


# --- The error event

async def test_error_is_an_ordinary_event(emitter):
    seen = []
    emitter.on('error')(lambda event: seen.append(event.data))
    await emitter.emit('error', 'no exception at all')
    error = ValueError('x')
    await emitter.emit('error', error)
    assert seen == ['no exception at all', error]


async def test_error_without_a_handler_is_an_error(emitter):
    """Errors do not vanish: EventEmitError, whose cause is the exception."""
    error = ValueError('lost')
    with pytest.raises(EventEmitError) as caught:
        await emitter.emit('error', error)
    assert caught.value.__cause__ is error and 'lost' in str(caught.value)
    with pytest.raises(EventEmitError) as caught:
        await emitter.emit('error', 'text')
    assert caught.value.__cause__ is None


async def test_a_monitor_alone_does_not_handle_an_error(emitter):
    seen = []
    emitter.on('*', P.MONITOR)(lambda event: seen.append(event.name))
    with pytest.raises(EventEmitError):
        await emitter.emit('error', ValueError())
    assert seen == ['error']


def nobody(emitter):
    pass


def monitor(emitter):
    emitter.on('error', P.MONITOR)(lambda event: None)


def filter_refuses(emitter):
    emitter.filter(lambda event: event.name != 'error').on('*')(lambda event: None)


def monitor_behind_a_filter(emitter):
    emitter.filter(lambda event: True).on('*', P.MONITOR)(lambda event: None)


def monitor_behind_a_map(emitter):
    emitter.map(lambda event: event).on('*', P.MONITOR)(lambda event: None)


@pytest.mark.parametrize('prepare', [nobody, monitor, filter_refuses, monitor_behind_a_filter, monitor_behind_a_map])
async def test_an_error_that_nobody_handles_is_reported_alone_and_in_a_batch(emitter, prepare):
    """Emitting it with no handler is an EventEmitError: only what was called counts, and no monitor."""
    prepare(emitter)
    error, seen = ValueError('lost'), []
    emitter.on('a')(lambda event: seen.append(event.name))
    with pytest.raises(EventEmitError) as caught:
        await emitter.emit('error', error)
    assert caught.value.__cause__ is error
    with pytest.raises(EventEmitError) as caught:
        async with emitter.batch_operations():
            await emitter.emit('a', 1)
            await emitter.emit('error', error)
    assert caught.value.__cause__ is error and seen == ['a']


async def test_each_error_of_a_batch_counts_for_itself(emitter):
    seen = []
    emitter.filter(lambda event: event.data == 'passes').on('error')(lambda event: seen.append(event.data))
    async with emitter.batch_operations():
        await emitter.emit('error', 'passes')
        await emitter.emit('error', 'passes')
    with pytest.raises(EventEmitError):
        async with emitter.batch_operations():
            await emitter.emit('error', 'passes')
            await emitter.emit('error', 'refused')
    assert seen == [['passes', 'passes'], ['passes']]


async def test_a_pattern_handles_an_error(emitter):
    seen = []
    emitter.on('*')(lambda event: seen.append(event.name))
    await emitter.emit('error', ValueError())
    assert seen == ['error']


# --- Emissions nobody awaits

async def settle():
    for _ in range(10):
        await asyncio.sleep(0)


async def test_nowait_reports_failures_as_error_events(emitter):
    seen = []
    emitter.on('error')(lambda event: seen.append(event.data))

    @emitter.on('a')
    async def handler(event):
        await asyncio.sleep(0)
        raise ValueError('from nowait')
    emitter.on('a')(lambda event: 1 / 0)
    emitter.emit_nowait('a', 1)
    await settle()
    causes = [getattr(e, '__cause__', None) or e for e in seen]
    assert ValueError in map(type, causes) or ValueError in [type(e) for x in seen for _, e in getattr(x, 'errors', [])]
    assert seen


async def test_nowait_without_an_error_handler_goes_to_the_loop(emitter):
    """The program's last resort: the loop's exception handler."""
    contexts = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: contexts.append(context))
    for handler in lambda event: 1 / 0, fail_later:
        emitter.once('a')(handler)
        emitter.emit_nowait('a', 1)
        await settle()
    await settle()
    gc.collect()
    assert len(contexts) == 2
    for context in contexts:
        assert isinstance(context['exception'], (EventHandlerError, ZeroDivisionError)) and context['message']


async def fail_later(event):
    await asyncio.sleep(0)
    raise ZeroDivisionError


async def test_a_failing_error_handler_goes_to_the_loop(emitter):
    contexts = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: contexts.append(context))
    emitter.on('error')(lambda event: 1 / 0)
    emitter.on('a')(lambda event: {}['x'])
    emitter.emit_nowait('a', 1)
    await settle()
    assert contexts


async def test_nowait_does_what_emit_does(emitter):
    seen = []

    @emitter.on('a')
    async def handler(event):
        seen.append((event.name, event.data, event.metadata))
        await asyncio.sleep(0)
        seen.append('ends')
    assert emitter.emit_nowait('a', 1, {'m': 1}) is None or True
    await settle()
    assert seen == [('a', 1, {'m': 1}), 'ends']


async def test_nowait_refuses_bad_names_at_once(emitter):
    with pytest.raises(EventEmitError):
        emitter.emit_nowait('a.*', 1)
    result = emitter.close()
    if result is not None:
        await result
    with pytest.raises(EventEmitError):
        emitter.emit_nowait('a', 1)


# --- EventHandlerError as an object

async def test_pickles(emitter):
    emitter.on('a')(module_handler)
    error = await failure_of(emitter)
    other = pickle.loads(pickle.dumps(error))
    assert type(other) is EventHandlerError and str(other) == str(error)
    assert other.event == error.event
    assert [(h, type(e), e.args) for h, e in other.errors] == [(module_handler, ValueError, ('pickled',))]
    for cls in EventEmitError, ChannelClosedError, MTAIOError:
        assert str(pickle.loads(pickle.dumps(cls('x')))) == 'x'


def module_handler(event):
    raise ValueError('pickled')


async def test_as_a_group(emitter):
    """On 3.11 and later also usable with except*."""
    if sys.version_info < (3, 11):
        return
    emitter.on('a')(lambda event: 1 / 0)
    emitter.on('a')(lambda event: {}['x'])
    error, seen = await failure_of(emitter), []
    assert isinstance(error.group, ExceptionGroup)
    exec('try:\n raise error.group\nexcept* KeyError as e: seen.append(len(e.exceptions))\n'
         'except* ZeroDivisionError as e: seen.append(len(e.exceptions))')
    assert seen == [1, 1]


async def test_traceback_printing(emitter):
    emitter.on('a')(lambda event: 1 / 0)
    error = await failure_of(emitter)
    text = ''.join(traceback.format_exception(None, error, error.__traceback__))
    assert 'ZeroDivisionError' in text and 'EventHandlerError' in text
