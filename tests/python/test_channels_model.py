"""Random histories of a channel, against a model in plain Python: who gets what, what is dropped, what is counted."""
from collections import deque

import pytest

hypothesis = pytest.importorskip('hypothesis')
from hypothesis import HealthCheck, settings, strategies as st   # noqa: E402
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule   # noqa: E402

from mtaio.events import Channel, Message   # noqa: E402
from mtaio.exceptions import ChannelClosedError, ChannelEmptyError, ChannelFullError   # noqa: E402

TOPICS = st.sampled_from([None, 'a', 'b', 'a.b', 'a.c', 'a.b.c'])
PATTERNS = st.sampled_from(['a', 'b', 'a.*', '*', '**', 'a.**', '*.b', 'x'])
POLICIES = st.sampled_from(['block', 'drop_oldest', 'drop_newest', 'error'])


def matches(pattern, topic):
    """Segment by segment; `*` alone is everything."""
    def walk(p, t):
        if not p:
            return not t
        if p[0] == '**':
            return walk(p[1:], t) or bool(t) and walk(p, t[1:])
        return bool(t) and p[0] in ('*', t[0]) and walk(p[1:], t[1:])
    return pattern == '*' or walk(pattern.split('.'), topic.split('.'))


class Model:
    """A subscriber."""

    def __init__(self, patterns, size, policy):
        self.patterns, self.size, self.policy = set(patterns), size or 10**9, policy
        self.everything = not patterns
        self.buffer, self.missed, self.dropped, self.delivered, self.ended = deque(), 0, 0, 0, False

    def wants(self, topic):
        return not self.ended and (topic is None or self.everything or any(matches(p, topic) for p in self.patterns))

    def is_full(self):
        return len(self.buffer) >= self.size

    def push(self, data):
        if self.is_full():
            self.dropped += 1
            if self.policy == 'drop_newest':
                self.missed += 1
                return
            _, missed = self.buffer.popleft()
            if self.buffer:
                self.buffer[0] = self.buffer[0][0], self.buffer[0][1] + missed + 1
            else:
                self.missed += missed + 1
        self.buffer.append((data, self.missed))
        self.missed = 0


class Histories(RuleBasedStateMachine):
    subscribers = Bundle('subscribers')

    def __init__(self):
        super().__init__()
        self.channel = Channel('model')
        self.all = {}   # by a number, so that the machine itself keeps no subscriber alive
        self.number, self.published, self.closed = 0, 0, False
        self.ended = [0, 0]   # delivered and dropped of those that are gone

    @rule(target=subscribers, patterns=st.lists(PATTERNS, max_size=3), size=st.integers(0, 3), policy=POLICIES)
    def subscribe(self, patterns, size, policy):
        if self.closed:
            with pytest.raises(ChannelClosedError):
                self.channel.subscribe_nowait(patterns)
            return hypothesis.stateful.multiple()
        subscriber = self.channel.subscribe_nowait(patterns, buffer_size=size, overflow=policy)
        key = len(self.all)
        self.all[key] = subscriber, Model(patterns, size, policy)
        return key

    def expected(self, topic):
        wanting = [m for _, m in filter(None, self.all.values()) if m.wants(topic)]
        full = {m.policy for m in wanting if m.is_full()}
        return wanting, ChannelClosedError if self.closed else ChannelFullError if full & {'block', 'error'} else None

    @rule(topic=TOPICS, boxed=st.booleans())
    def publish(self, topic, boxed):
        self.number += 1
        data = [self.number] if boxed else self.number
        wanting, error = self.expected(topic)
        if error:
            with pytest.raises(error):
                self.channel.publish_nowait(data, topic)
            return
        assert self.channel.publish_nowait(data, topic) == len(wanting) == self.channel.reach(topic)
        self.published += 1
        for m in wanting:
            m.push((data, topic))

    @rule(topics=st.lists(TOPICS, max_size=4))
    def publish_many(self, topics):
        messages = [Message((self.number, i), topic) for i, topic in enumerate(topics)]
        self.number += 1
        operation = self.channel.publish_many(messages)
        for m in messages:
            wanting, error = self.expected(m.topic)
            if error:
                break
            self.published += 1
            for model in wanting:
                model.push((m.data, m.topic))
        try:
            operation.send(None)
        except StopIteration as stop:
            assert stop.value == len(topics)
        except (ChannelClosedError, ChannelFullError) as raised:
            assert error is type(raised)
        except RuntimeError:   # it has to wait, and there is no loop
            assert error is ChannelFullError

    @rule(key=subscribers)
    def receive(self, key):
        subscriber, model = self.all[key]
        if model.buffer:
            (data, topic), missed = model.buffer.popleft()
            model.delivered += 1
            assert subscriber.receive_nowait() == Message(data, topic, missed=missed)
        else:
            with pytest.raises(ChannelClosedError if self.closed or model.ended else ChannelEmptyError):
                subscriber.receive_nowait()

    @rule(key=subscribers, pattern=PATTERNS)
    def add(self, key, pattern):
        subscriber, model = self.all[key]
        if model.ended or self.closed:
            return
        assert subscriber.add(pattern) is (pattern not in model.patterns)
        model.patterns.add(pattern)
        model.everything = False

    @rule(key=subscribers, pattern=PATTERNS)
    def drop(self, key, pattern):
        subscriber, model = self.all[key]
        if model.ended or self.closed:
            return
        assert subscriber.drop(pattern) is (pattern in model.patterns)
        model.patterns.discard(pattern)

    @rule(key=subscribers)
    def unsubscribe(self, key):
        subscriber, model = self.all[key]
        self.channel.unsubscribe(subscriber)
        model.dropped += len(model.buffer)
        model.buffer.clear()
        model.ended = True

    @rule(key=consumes(subscribers))
    def forget(self, key):
        _, model = self.all[key]
        self.all[key] = None
        self.ended[0] += model.delivered
        self.ended[1] += model.dropped + len(model.buffer)

    @rule(really=st.sampled_from([False] * 19 + [True]))
    def close(self, really):
        if really:
            self.channel.close()
            self.closed = True

    @invariant()
    def sums(self):
        alive = [pair for pair in self.all.values() if pair]
        for subscriber, m in alive:
            stats = subscriber.stats
            assert (stats.delivered, stats.dropped, stats.waiting) == (m.delivered, m.dropped, len(m.buffer))
            assert subscriber.topics == m.patterns
        stats = self.channel.stats
        assert stats.published == self.published
        assert stats.reached == stats.delivered + stats.dropped + stats.waiting
        assert stats.delivered == sum(m.delivered for _, m in alive) + self.ended[0]
        assert stats.dropped == sum(m.dropped for _, m in alive) + self.ended[1]
        assert self.channel.subscriber_count == sum(not m.ended for _, m in alive)


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=60, stateful_step_count=60, deadline=None, database=None,
                                  suppress_health_check=list(HealthCheck))
