"""Message is a frozen dataclass in every respect that a user can see, made in C."""
import copy
import dataclasses
import gc
import pickle
import types
import weakref
from dataclasses import dataclass, field

import pytest

from mtaio.events import Channel, Message


def test_its_fields():
    assert [f.name for f in dataclasses.fields(Message)] == ['data', 'topic', 'metadata', 'missed']
    assert dataclasses.is_dataclass(Message) and dataclasses.is_dataclass(Message(1))
    assert Message.__match_args__ == ('data', 'topic', 'metadata', 'missed')
    m = Message(1)
    assert (m.data, m.topic, m.metadata, m.missed) == (1, None, {}, 0)


def test_made_by_position_and_by_name():
    metadata = {'a': 1}
    m = Message('x', 'a.b', metadata, 3)
    assert m == Message(data='x', topic='a.b', metadata=metadata, missed=3)
    assert m.metadata is metadata


def test_metadata_of_its_own_where_none_is_given():
    one, two = Message(1), Message(1, None, None)
    assert one.metadata == {} and one.metadata is one.metadata and one.metadata is not two.metadata


@pytest.mark.parametrize('arguments', [{}, {'data': 1, 'topic': 2}, {'data': 1, 'topic': b'a'}, {'data': 1, 'metadata': 5},
                                       {'data': 1, 'metadata': 'a'}, {'data': 1, 'metadata': [1]},
                                       {'data': 1, 'missed': 'x'}, {'data': 1, 'missed': 1.5}, {'data': 1, 'other': 1}])
def test_refused_arguments(arguments):
    with pytest.raises(TypeError):
        Message(**arguments)


@pytest.mark.parametrize('missed', [-1, 2**64])
def test_missed_is_a_count(missed):
    with pytest.raises(OverflowError):
        Message(1, missed=missed)
    assert Message(1, missed=2**64 - 1).missed == 2**64 - 1


def test_metadata_may_be_any_mapping():
    class Mapping(dict):
        pass
    for mapping in Mapping(a=1), types.MappingProxyType({'a': 1}):
        assert Message(1, metadata=mapping).metadata is mapping


@pytest.mark.parametrize('name', ['data', 'topic', 'metadata', 'missed'])
def test_frozen(name):
    m = Message(1)
    with pytest.raises(AttributeError):
        setattr(m, name, 2)
    with pytest.raises(AttributeError):
        delattr(m, name)


def test_equal_as_dataclasses_are():
    @dataclass(frozen=True)
    class Other:
        data: object
        topic: object = None
        metadata: dict = field(default_factory=dict)
        missed: int = 0
    assert Message(1) == Message(1) and not Message(1) != Message(1)
    assert Message(1) != Message(2) and Message(1, 'a') != Message(1) and Message(1, missed=1) != Message(1)
    assert Message(1, metadata={'a': 1}) != Message(1)
    assert Message(1) != Other(1) and Message(1) != 1
    with pytest.raises(TypeError):
        Message(1) < Message(2)


def test_a_comparison_that_raises():
    class Bad:
        def __eq__(self, other):
            raise KeyError('compared')
        __hash__ = None
    with pytest.raises(KeyError):
        Message(Bad()) == Message(Bad())


def test_repr():
    assert repr(Message('x', 'a.b', {'k': 1}, 2)) == "Message(data='x', topic='a.b', metadata={'k': 1}, missed=2)"
    recursive = Message([], 'a')
    recursive.data.append(recursive)
    assert '...' in repr(recursive)


def test_replace_asdict_astuple():
    m = Message([1], 'a', {'k': 1})
    other = dataclasses.replace(m, topic='b')
    assert (other.data, other.topic, other.metadata) == (m.data, 'b', m.metadata) and other.data is m.data
    assert dataclasses.asdict(m) == {'data': [1], 'topic': 'a', 'metadata': {'k': 1}, 'missed': 0}
    assert dataclasses.astuple(m) == ([1], 'a', {'k': 1}, 0)
    with pytest.raises(TypeError):
        dataclasses.replace(m, other=1)


def test_match():
    match Message('x', 'a.b'):
        case Message(data, topic='a.b'):
            assert data == 'x'
        case _:
            raise AssertionError


def test_pickle_and_copy():
    m = Message({'x': [1]}, 'a.b', {'k': [2]}, 7)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(m, protocol)) == m
    shallow, deep = copy.copy(m), copy.deepcopy(m)
    assert shallow == m == deep
    assert shallow.data is m.data and shallow.metadata is m.metadata
    assert deep.data is not m.data and deep.metadata is not m.metadata


def test_generic():
    assert Message[str].__origin__ is Message
    assert Message[str]('x') == Message('x')


def test_hash_as_frozen_dataclasses_have_it():
    with pytest.raises(TypeError):   # the dict of its metadata has none
        hash(Message(1))


class Letter(Message):
    def __init__(self, text):
        super().__init__(text, 'letter')
        self.stamp = 1


def test_subclass():
    m = Letter('x')
    assert (m.data, m.topic, m.stamp) == ('x', 'letter', 1)
    assert m != Message('x', 'letter') and repr(m).startswith('Letter(')
    assert copy.copy(Message('x')) == Message('x')


class Plain(Message):
    pass


def test_what_a_subclass_has_added_is_pickled_too():
    m = Plain('x', 'a')
    m.stamp = 2
    other = pickle.loads(pickle.dumps(m))
    assert type(other) is Plain and other == m and other.stamp == 2


def test_deeply_nested():
    """What a million messages hold within each other is freed without recursion."""
    m = None
    for _ in range(200_000):
        m = Message(m)
    del m


def test_cycles_are_collected(collected):
    class Node:
        pass
    node = Node()
    node.message = Message(node)
    gone = weakref.ref(node)
    del node
    collected()
    assert gone() is None
    m = Message(1)
    m.metadata['m'] = m   # nothing of it could be part of a cycle before
    gone = weakref.ref(type('Tail', (), {})())
    m.metadata['tail'] = tail = Node()
    gone = weakref.ref(tail)
    del m, tail
    collected()
    assert gone() is None


def test_not_tracked_without_need():
    assert not gc.is_tracked(Message(1)) and not gc.is_tracked(Message('x', 'a'))
    assert gc.is_tracked(Message([])) and gc.is_tracked(Message(1, metadata={}))


def test_reused_memory_is_fresh():
    for _ in range(1000):
        m = Message([], 'a', {'a': 1}, 5)
        del m
        assert Message(1) == Message(1, None, {}, 0)


async def test_all_subscribers_receive_the_same_object():
    channel = Channel()
    subscribers = [await channel.subscribe() for _ in range(3)]
    data, metadata = object(), {'k': 1}
    await channel.publish(data, 'a', metadata)
    first, *others = [await s.receive() for s in subscribers]
    assert first.data is data and first.metadata is metadata
    assert all(m is first for m in others)


async def test_who_missed_messages_receives_a_copy_that_says_so():
    channel = Channel()
    slow, quick = await channel.subscribe(buffer_size=1, overflow='drop_oldest'), await channel.subscribe()
    for i in range(4):
        await channel.publish(i, 'a', {'i': i})
    assert [(await quick.receive()).missed for _ in range(4)] == [0] * 4
    m = await slow.receive()
    assert m == Message(3, 'a', {'i': 3}, 3)
