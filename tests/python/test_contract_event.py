"""`Event` is a dataclass in every respect that a user can see, although its instances are made in C; the two enums."""
import copy
import dataclasses
import gc
import inspect
import json
import pickle
import typing
import weakref
from typing import Generic, TypeVar

import pytest

from mtaio.events import ChangeType, Event, EventEmitter, EventPriority

NAMES = ['name', 'data', 'propagate', 'metadata']


class Special(Event):
    """A subclass as users write them."""

    @property
    def shout(self):
        return self.name.upper()


@dataclasses.dataclass
class Extended(Event):
    extra: int = 7


# --- Fields

def test_fields_in_order():
    assert [f.name for f in dataclasses.fields(Event)] == NAMES
    assert [f.name for f in dataclasses.fields(Event('a', 1))] == NAMES
    assert Event.__match_args__ == tuple(NAMES)
    assert list(inspect.get_annotations(Event)) == NAMES


def test_it_is_a_dataclass():
    assert dataclasses.is_dataclass(Event) and dataclasses.is_dataclass(Event('a', 1))


def test_signature():
    signature = inspect.signature(Event)
    assert list(signature.parameters) == NAMES
    assert signature.parameters['propagate'].default is True
    assert signature.parameters['metadata'].default is not inspect.Parameter.empty


@pytest.mark.parametrize('arguments, keywords', [
    ((), {}), (('a',), {}), (('a', 1, True, {}, 5), {}), (('a', 1), {'name': 'b'}), (('a', 1), {'nonsense': 2}),
    ((), {'data': 1}),
])
def test_wrong_arguments_are_type_errors(arguments, keywords):
    with pytest.raises(TypeError):
        Event(*arguments, **keywords)


def test_values_are_those_given():
    metadata, data = {'a': 1}, object()
    event = Event('a', data, False, metadata)
    assert (event.name, event.data, event.propagate) == ('a', data, False)
    assert event.data is data and event.metadata is metadata


def test_metadata_is_a_dict_of_its_own():
    a, b = Event('a', 1), Event('a', 1)
    a.metadata['x'] = 1
    assert (a.metadata, b.metadata) == ({'x': 1}, {})
    assert a.metadata is a.metadata


def test_fields_can_be_set():
    event = Event('a', 1)
    event.name, event.data, event.propagate, event.metadata = 'b', 2, False, {'x': 3}
    assert event == Event('b', 2, False, {'x': 3})
    event.anything = 'of the user'
    assert event.__dict__ == {'anything': 'of the user'} or vars(event)['anything'] == 'of the user'


def test_replace():
    event = Event('a', 1, False, {'m': 1})
    other = dataclasses.replace(event, name='b')
    assert (other, event) == (Event('b', 1, False, {'m': 1}), Event('a', 1, False, {'m': 1}))
    assert other.metadata is event.metadata
    with pytest.raises(TypeError):
        dataclasses.replace(event, nonsense=1)
    if hasattr(copy, 'replace'):   # 3.13
        assert copy.replace(event, data=2) == Event('a', 2, False, {'m': 1})


def test_asdict_and_astuple():
    event = Event('a', [1], metadata={'m': [2]})
    assert dataclasses.asdict(event) == {'name': 'a', 'data': [1], 'propagate': True, 'metadata': {'m': [2]}}
    assert dataclasses.asdict(event)['data'] is not event.data
    assert dataclasses.astuple(event) == ('a', [1], True, {'m': [2]})
    assert json.loads(json.dumps(dataclasses.asdict(event)))['data'] == [1]


def test_nested_in_another_dataclass():
    @dataclasses.dataclass
    class Holder:
        event: Event
    assert dataclasses.asdict(Holder(Event('a', 1)))['event']['name'] == 'a'


# --- Comparing, showing, matching

def test_equality():
    assert Event('a', 1) == Event('a', 1) != Event('a', 2)
    assert Event('a', 1, metadata={'x': 1}) != Event('a', 1)
    assert Event('a', 1, False) != Event('a', 1)
    assert Event('a', 1) != ('a', 1, True, {}) and Event('a', 1) != Special('a', 1)
    with pytest.raises(TypeError):
        Event('a', 1) < Event('b', 1)


def test_it_is_not_hashable():
    with pytest.raises(TypeError):
        hash(Event('a', 1))


def test_equality_that_raises():
    class Bad:
        def __eq__(self, other):
            raise KeyError('bad')
    with pytest.raises(KeyError):
        Event('a', Bad()) == Event('a', Bad())


def test_repr():
    assert repr(Event('a', [1])) == "Event(name='a', data=[1], propagate=True, metadata={})"
    assert repr(Special('a', 1)) == "Special(name='a', data=1, propagate=True, metadata={})"
    assert eval(repr(Event('a', [1], False, {'x': 'y'}))) == Event('a', [1], False, {'x': 'y'})


def test_repr_of_an_event_that_holds_itself():
    event = Event('a', None)
    event.data = [event]
    assert repr(event) == "Event(name='a', data=[...], propagate=True, metadata={})"


def test_matching():
    match Event('user.login', {'id': 5}):
        case Event('user.login', {'id': number}, True):
            assert number == 5
        case _:
            raise AssertionError('not matched')
    match Event('a', 1, metadata={'k': 'v'}):
        case Event(name=name, metadata={'k': value}):
            assert (name, value) == ('a', 'v')


# --- Pickles and copies

@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize('event', [
    Event('a', {'x': [1]}, False, {'m': 1}), Special('s', (1, 2)), Extended('e', 1, extra=8)],
    ids=['event', 'subclass', 'dataclass'])
def test_pickle(event, protocol):
    other = pickle.loads(pickle.dumps(event, protocol))
    assert other == event and type(other) is type(event)
    assert getattr(other, 'extra', None) == getattr(event, 'extra', None)


def test_pickle_keeps_what_users_added():
    event = Special('a', 1)
    event.mine = 5
    assert pickle.loads(pickle.dumps(event)).mine == 5


def test_copies():
    event = Event('a', [1], False, {'m': [2]})
    event.mine = 3
    shallow, deep = copy.copy(event), copy.deepcopy(event)
    assert shallow == deep == event
    assert shallow.data is event.data and shallow.metadata is event.metadata
    assert deep.data is not event.data and deep.metadata is not event.metadata
    assert shallow.mine == deep.mine == 3
    shallow.name = 'b'
    assert event.name == 'a'


def test_deepcopy_of_an_event_that_holds_itself():
    event = Event('a', None)
    event.data = [event]
    other = copy.deepcopy(event)
    assert other is not event and other.data[0] is other


async def test_pickle_and_copy_of_emitted_events(emitter):
    """Hazard 56: what a handler was given can be kept, pickled, copied and changed."""
    kept = []
    emitter.on('*')(kept.append)
    await emitter.emit('a', [1], {'m': 1})
    async with emitter.batch_operations():
        await emitter.emit('a', 1)
        await emitter.emit('b', 2)
    for event in kept:
        for other in pickle.loads(pickle.dumps(event)), copy.copy(event), copy.deepcopy(event):
            assert other == event
            assert [(e.name, e.data) for e in other.events] == [(e.name, e.data) for e in event.events]
        event.data, event.name = 'changed', 'changed'
        assert event.data == 'changed'


# --- Subclasses, generics, weak references, cycles

def test_subclasses():
    event = Special('a', 1)
    assert event.shout == 'A' and isinstance(event, Event) and event.metadata == {}
    assert Extended('a', 1, extra=3).extra == 3 and Extended('a', 1).extra == 7
    assert [f.name for f in dataclasses.fields(Extended)] == [*NAMES, 'extra']
    assert repr(Extended('a', 1)).endswith('extra=7)')

    class Slotted(Event):
        __slots__ = ('more',)

    slotted = Slotted('a', 1)
    slotted.more = 2
    assert slotted.more == 2


def test_subclass_with_an_init_of_its_own():
    class Own(Event):
        def __init__(self, data):
            super().__init__('own', data)
    assert Own(3).name == 'own' and Own(3).data == 3


def test_generics():
    alias = Event[int]
    assert typing.get_origin(alias) is Event and typing.get_args(alias) == (int,)
    assert alias('a', 1) == Event('a', 1)
    T = TypeVar('T')
    assert Event[T][str] == Event[str]

    class Generics(Event[T], Generic[T]):
        pass
    assert Generics[int]('a', 1).data == 1
    typing.get_type_hints(Event)


def test_weak_references():
    event = Event('a', 1)
    ref = weakref.ref(event)
    del event
    gc.collect()
    assert ref() is None


def test_cycles_are_collected(collected):
    """Hazard 53, of the event alone."""
    class Payload:
        pass
    payload = Payload()
    payload.event = Event('a', payload, metadata={'p': payload})
    ref = weakref.ref(payload)
    del payload
    collected()
    assert ref() is None


def test_a_deep_chain_of_events_is_freed():
    event = None
    for _ in range(200000):
        event = Event('a', event)
    del event


def test_type_cannot_be_damaged():
    with pytest.raises((TypeError, AttributeError)):
        Event.name = 5
    with pytest.raises((TypeError, AttributeError)):
        del Event.__init__
    event = Event('a', 1)
    for name in NAMES:
        try:
            delattr(event, name)
        except (AttributeError, TypeError):
            continue
        repr_or_error(event)
        setattr(event, name, 1)


def repr_or_error(event):
    try:
        repr(event)
    except AttributeError:
        pass


def test_events_of_a_plain_event_is_itself():
    event = Event('a', 1)
    assert event.events == [event] and event.events[0] is event


def test_type_checks_find_the_module():
    assert (Event.__module__, Event.__qualname__) == ('mtaio.events', 'Event')
    assert (EventEmitter.__module__, EventEmitter.__qualname__) == ('mtaio.events', 'EventEmitter')
    assert Event.__doc__ and EventEmitter.__doc__


# --- The enums

def test_enums_pickle_and_compare():
    for member in *EventPriority, *ChangeType:
        assert pickle.loads(pickle.dumps(member)) is member
    assert EventPriority(3) is EventPriority.NORMAL and ChangeType('create') is ChangeType.CREATE
    with pytest.raises(ValueError):
        EventPriority(0)
