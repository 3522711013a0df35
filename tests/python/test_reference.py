"""Every snippet of the API reference runs as it stands there, completed only by the names that it leaves undefined, and
does what the reference says; the classes have the signatures, fields and members that are shown there."""
import asyncio
import dataclasses
import inspect
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Dict

import pytest

import mtaio
from mtaio.events import Channel, ChangeType, Event, EventEmitter, EventPriority, Subscriber
from mtaio.exceptions import EventEmitError, EventError, EventHandlerError

from snippet import SNIPPETS, locals_of, run_snippet


def test_every_snippet_is_run():
    source = inspect.getsource(inspect.getmodule(test_every_snippet_is_run))
    assert [name for name in SNIPPETS if f"run_snippet('{name}'" not in source] == []
    assert len(SNIPPETS) == 17


# --- EventEmitter

async def test_basic_usage(capsys):
    defined = await run_snippet('basic_usage')
    assert capsys.readouterr().out == 'User John logged in\n'
    assert defined['emitter'].listener_count('user_login') == 1


def test_emitter_is_made_without_arguments():
    assert all(p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
               for p in inspect.signature(EventEmitter).parameters.values())
    EventEmitter()


@pytest.mark.parametrize('method, wanted', [
    ('on', [('event_name', inspect.Parameter.empty), ('priority', EventPriority.NORMAL)]),
    ('once', [('event_name', inspect.Parameter.empty), ('priority', EventPriority.NORMAL)]),
    ('emit', [('event_name', inspect.Parameter.empty), ('data', inspect.Parameter.empty), ('metadata', None)]),
])
def test_signatures_read_as_in_the_text(method, wanted):
    parameters = list(inspect.signature(getattr(EventEmitter, method)).parameters.values())
    assert parameters[0].name == 'self'
    positional = [(p.name, p.default) for p in parameters[1:] if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional[:len(wanted)] == wanted
    # What is offered beyond the text is optional.
    assert all(p.default is not p.empty for p in parameters[1 + len(wanted):])


async def test_arguments_by_position_and_by_name(emitter):
    seen = []
    emitter.on(event_name='x', priority=EventPriority.HIGH)(lambda event: seen.append('high'))
    emitter.on('x', EventPriority.LOW)(lambda event: seen.append('low'))
    emitter.once(event_name='x', priority=EventPriority.LOWEST)(lambda event: seen.append('once'))
    await emitter.emit(event_name='x', data=1, metadata={'a': 1})
    await emitter.emit('x', 1, {'a': 1})
    assert seen == ['high', 'low', 'once', 'high', 'low']


async def test_decorators_return_the_decorated_handler(emitter):
    async def handler(event):
        pass
    assert emitter.on('a')(handler) is handler
    assert emitter.on('a', EventPriority.LOW)(handler) is handler


async def test_emit_returns_nothing(emitter):
    assert await emitter.emit('x', 1) is None
    emitter.on('x')(lambda event: 'something')
    assert await emitter.emit('x', 1) is None


# --- Event types

async def test_event_class():
    """`Event` has the fields of the text, in its order, with its defaults."""
    defined = await run_snippet('event_class', dataclass=dataclasses.dataclass, field=dataclasses.field, Any=Any,
                                Dict=Dict)
    assert defined['ChangeType'] is ChangeType
    written = defined['Event']
    assert written is not Event

    def shape(cls):
        return [(f.name, f.default, f.default_factory) for f in dataclasses.fields(cls)]
    assert shape(Event) == shape(written)
    for event in Event('n', 1), Event(name='n', data=1, propagate=True, metadata={}):
        assert (event.name, event.data, event.propagate, event.metadata) == ('n', 1, True, {})
    assert Event[int]('n', 1) == Event('n', 1)


async def test_priority_class():
    defined = await run_snippet('priority_class', Enum=Enum, auto=auto)
    assert issubclass(EventPriority, Enum)
    assert [(p.name, p.value) for p in EventPriority] == [(p.name, p.value) for p in defined['EventPriority']]
    assert [p.value for p in EventPriority] == [1, 2, 3, 4, 5, 6]


def test_change_type():
    assert issubclass(ChangeType, Enum)
    assert {c.name: c.value for c in ChangeType} == {
        'CREATE': 'create', 'UPDATE': 'update', 'DELETE': 'delete', 'RESET': 'reset'}


# --- Advanced features

async def test_filtering(capsys):
    defined = await run_snippet('filtering')
    await defined['emitter'].emit('alert', {'priority': 'low', 'message': 'a little warm'})
    await defined['emitter'].emit('alert', {'message': 'nothing said'})
    assert capsys.readouterr().out == ''
    await defined['emitter'].emit('alert', {'priority': 'high', 'message': 'fire'})
    assert capsys.readouterr().out == 'High priority alert: fire\n'


async def test_transformation(emitter):
    defined = await run_snippet('transformation', emitter=emitter)
    seen, original = [], {'value': 1}

    @defined['transformed'].on('data_event')
    async def look(event):
        seen.append(event)

    await emitter.emit('data_event', original)
    assert [(type(e), e.name, e.data) for e in seen] == [(Event, 'data_event', {'value': 1, 'processed': True})]
    assert original == {'value': 1}


async def test_batch():
    """Handlers are called once with all events."""
    defined = await run_snippet('batch', data1='one', data2='two')
    seen = []
    for pattern in '*', 'event1', 'event2':
        defined['emitter'].on(pattern)(
            lambda batch, pattern=pattern: seen.append((pattern, [(e.name, e.data) for e in batch.events])))
    await defined['batch_operations']()
    assert seen == [('*', [('event1', 'one'), ('event2', 'two')]), ('event1', [('event1', 'one')]),
                    ('event2', [('event2', 'two')])]


async def test_channel():
    defined = await run_snippet('channel')
    assert defined['Subscriber'] is Subscriber
    found = await locals_of(defined['channel_example']())
    assert found['message'].data == 'Hello subscribers!'
    assert found['message'].topic is None
    assert isinstance(found['channel'], Channel) and isinstance(found['subscriber'], Subscriber)


async def test_topics():
    defined = await run_snippet('topics')
    found = await locals_of(defined['topic_example']())
    message = await found['subscriber'].receive()
    assert (message.data, message.topic) == ('User logged in', 'user.login')
    assert await found['channel'].publish('nobody', topic='other.login') == 0
    assert await found['channel'].publish('also', topic='system.halt') == 1


# --- Error handling

async def test_event_errors(emitter):
    defined = await run_snippet('event_errors', emitter=emitter, data=1)
    assert (defined['EventError'], defined['EventEmitError'], defined['EventHandlerError']) == (
        EventError, EventEmitError, EventHandlerError)
    await defined['handle_errors']()
    emitter.on('event')(lambda event: 1 / 0)
    await defined['handle_errors']()
    with pytest.raises(EventHandlerError):
        await emitter.emit('event', 1)
    await emitter.close()
    await defined['handle_errors']()
    with pytest.raises(EventEmitError):
        await emitter.emit('event', 1)


async def test_error_events(emitter, capsys):
    async def process_data():
        raise ValueError('no such data')
    await run_snippet('error_events', emitter=emitter, process_data=process_data)
    assert capsys.readouterr().out == 'Error occurred: no such data\n'


# --- Best practices

async def test_handler_class(emitter):
    defined = await run_snippet('handler_class', EventEmitter=EventEmitter, emitter=emitter)
    assert emitter.listener_count('user.created') == emitter.listener_count('user.updated') == 1
    assert defined['handlers'].emitter is emitter
    await emitter.emit('user.created', {})


async def test_resource_management():
    defined = await run_snippet('resource_management', EventEmitter=EventEmitter, Callable=Callable)
    manager, seen = defined['EventManager'](), []

    async def first(event):
        seen.append(('first', event.data))

    class Owner:
        def method(self, event):
            seen.append(('method', event.data))

    manager.register_handler('a', first)
    manager.register_handler('b', first)
    manager.register_handler('b', Owner().method)
    await manager.emitter.emit('a', 1)
    await manager.emitter.emit('b', 2)
    assert seen == [('first', 1), ('first', 2), ('method', 2)]
    await manager.cleanup()
    assert manager.emitter.listener_count('a') == manager.emitter.listener_count('b') == 0
    await manager.emitter.emit('b', 3)
    assert len(seen) == 3


async def test_batching(emitter):
    seen = []
    emitter.on('item.processed')(lambda event: seen.append([e.data for e in event.events]))
    await run_snippet('batching', emitter=emitter, items=range(5))
    assert seen == [[0, 1, 2, 3, 4]]


async def test_priority_handling(emitter):
    seen = []
    emitter.on('critical')(lambda event: seen.append('normal'))
    defined = await run_snippet('priority_handling', emitter=emitter, EventPriority=EventPriority)
    emitter.on('critical', EventPriority.HIGH)(lambda event: seen.append('high'))
    assert emitter.listeners('critical')[0] is defined['handle_critical']
    await emitter.emit('critical', 1)
    assert seen == ['high', 'normal']


async def test_early_filtering(emitter):
    defined = await run_snippet('early_filtering', emitter=emitter)
    seen = []
    defined['filtered'].on('event')(lambda event: seen.append(event.data))
    await emitter.emit('event', {'important': True})
    await emitter.emit('event', {'important': False})
    await emitter.emit('event', {})
    assert seen == [{'important': True}]


# --- Examples

async def test_data_processing():
    defined = await run_snippet('data_processing')
    seen = []

    class Processor(defined['DataProcessor']):
        async def process_data(self, data):
            await asyncio.sleep(0)
            return {key: value * 2 for key, value in data.items()}

    processor = Processor()
    processor.emitter.on('process.*')(lambda event: seen.append((event.name, event.data)))
    await processor.process({'x': 1})
    assert seen == [('process.start', {'x': 1}), ('process.complete', {'x': 2})]
    seen.clear()
    await processor.process({'x': None})
    assert seen[0] == ('process.start', {'x': None})
    assert seen[1][0] == 'process.error' and isinstance(seen[1][1], TypeError)


async def test_event_monitoring(emitter, capsys):
    defined = await run_snippet('event_monitoring', EventEmitter=EventEmitter, EventPriority=EventPriority,
                                Event=Event)
    defined['EventMonitor'](emitter)

    @emitter.on('user.login')
    async def handle(event):
        print('handled')
        event.propagate = False

    await emitter.emit('user.login', {'id': 1})
    await emitter.emit('shutdown', None)
    assert capsys.readouterr().out == ("handled\nEvent: user.login, Data: {'id': 1}\n"
                                       "Event: shutdown, Data: None\n")


# --- What the reference imports

def test_imports():
    assert {'EventEmitter', 'Event', 'ChangeType', 'EventPriority', 'Channel', 'Subscriber'} <= set(mtaio.events.__all__)
    assert issubclass(EventEmitError, EventError) and issubclass(EventHandlerError, EventError)
    assert not issubclass(EventEmitError, EventHandlerError) and not issubclass(EventHandlerError, EventEmitError)
