"""Tests of the tests: known faults, each put into a copy of one source, must be found by the gate for them.
Usage: run.py ROOT BUILD_DIRECTORY HANDLERS.c CHANNELS.c

A fault is a replacement of text that must occur exactly once in the source: where it does not any more, the
fault has to be written anew. A gate must be content with the true source, and complain of the faulty one for
the right reason. Nothing of it is in the sources or in what is installed."""
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT, WORK = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
HANDLERS, CHANNELS = (str(Path(arg).resolve().relative_to(ROOT)) for arg in sys.argv[3:5])
sys.path.insert(0, str(ROOT / 'tests/lint'))
from tap import Tap, run  # noqa: E402

INCLUDES = [f'-I{ROOT / d}' for d in ('include', 'src', 'tests/explore', 'tests/unit')]
BASE = ['-std=c17', '-g', '-pthread', *INCLUDES]


def still():
    """The sanitizers of these compilers give up where the kernel moves memory by more than 28 bits."""
    try:
        return ['setarch', '-R'] if int(Path('/proc/sys/vm/mmap_rnd_bits').read_text()) > 28 else []
    except (OSError, ValueError):
        return []


COMPILED = {}   # (compiler, flags, source): object; what gates have in common is compiled once


class Gate:
    """A way to build the library (with flags) and a test program (extra: sources and their flags)."""

    def __init__(self, name, compiler, flags, extra, link=(), wrapper=()):
        self.name, self.compiler, self.flags, self.extra = name, compiler, flags, extra
        self.link, self.wrapper = list(link), list(wrapper)
        self.objects = {}

    def compile(self, source, flags, target):
        command = [self.compiler, *BASE, *flags, '-c', str(source), '-o', str(target)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def prepare(self):
        """Compiles everything once; returns problems."""
        directory = WORK / self.name
        directory.mkdir(parents=True, exist_ok=True)
        problems, running = [], []
        for pattern, flags in [*self.extra, ('src/base/*.c', self.flags), ('src/core/*.c', self.flags)]:
            for source in sorted(ROOT.glob(pattern)):
                key = (self.compiler, *flags, source)
                self.objects[source] = COMPILED.get(key)
                if self.objects[source]:
                    continue
                COMPILED[key] = self.objects[source] = directory / f'{source.parent.name}_{source.stem}.o'
                running.append(self.compile(source, flags, self.objects[source]))
                if len(running) == (os.cpu_count() or 1):
                    problems += finish(running.pop(0))
        return problems + [p for process in running for p in finish(process)]

    def build(self, name, replaced=None):
        """Links the program, with other objects for the sources in replaced. Returns it, and problems."""
        objects = {**self.objects, **(replaced or {})}
        program = WORK / self.name / name
        return program, run([self.compiler, '-pthread', *objects.values(), '-o', program, *self.link])[1]

    def run(self, program, arguments):
        """Returns the output, and whether it passed."""
        output, problems = run([*self.wrapper, program, *arguments], timeout=60)
        return output or '\n'.join(problems), not problems


def finish(process):
    output, _ = process.communicate()
    return [output] if process.returncode != 0 else []


EXPLORE = ['-O1', '-DMTAIO_EXPLORE', '-fno-omit-frame-pointer']
EXPLORED = [*EXPLORE, '-fsanitize=thread']
MEMORY = ['-O1', '-fsanitize=memory', '-fno-sanitize-recover=all']
THREAD = ['-O1', '-fsanitize=thread']
GNU = '-D_GNU_SOURCE'
OS = ('src/os/os_linux.c', [GNU])


def explore(name):
    return Gate(f'explore-{name}', 'gcc', EXPLORED, [('tests/explore/explore*.c', EXPLORE),
                                                     ('tests/explore/os_explore.c', EXPLORE),
                                                     (f'tests/explore/scenarios_{name}.c', EXPLORED)])


def unit(name):
    return Gate(name, 'gcc', [], [OS, ('tests/unit/support.c', [GNU]), (f'tests/unit/{name}.c', [GNU])],
                ['-lcmocka'])


def tsan(name, program):
    return Gate(name, 'gcc', THREAD, [('src/os/os_linux.c', [*THREAD, GNU]), (program, THREAD)],
                ['-fsanitize=thread'], still())


GATES = {gate.name: gate for gate in [
    explore('core_handlers'), explore('guard'), explore('channel_receive'), explore('channel_publish'),
    explore('channel_async'),
    unit('test_alloc_sweep'), unit('test_batch_errors'), unit('test_channel_overflow'),
    unit('test_channel_publish'), unit('test_memo_internal'), unit('test_fork'), unit('test_removal_many'),
    Gate('msan', 'clang-14', MEMORY, [('src/os/os_linux.c', [*MEMORY, GNU]),
                                      (HANDLERS, MEMORY)], ['-fsanitize=memory'], still()),
    tsan('tsan', HANDLERS), tsan('tsan-channels', CHANNELS),
]}

# What is wrong, the source, the replacements, the gate with its arguments, and what it must say.
FAULTS = [
    ('what a reader still sees is freed', 'core/reclaim.c',
     [('mtaio__scan_holds(s, (uint64_t)r->birth << BIRTH_SHIFT, r->when) ? &kept : &freed;',
       '&freed;\n        (void)s;')],
     'explore-core_handlers', ['emit-lane-freed'], 'use after free'),
    ('a name is published by a relaxed store', 'core/table.c',
     [('store_release(&b->node[i], n);', 'store_relaxed(&b->node[i], n);')],
     'tsan', [], 'data race'),
    ('a context ends while it is in use', 'core/emitter.c',
     [('if (!held || !mtaio__scan_runs(s, l)) listener_end(l);', 'listener_end(l);')],
     'explore-core_handlers', ['emit-cancel'], r'check failed: c->of->running == 0|use after free'),
    ('a handler for one event is called for two', 'core/listen.c',
     [('return there;', 'return true;')],
     'explore-core_handlers', ['once-two-emits'], r'check failed: s\.a\.calls == 1'),
    ('memory that was refused goes unnoticed', 'core/register.c',
     [('if (ret && !(handle = mtaio__alloc_zeroed(sizeof *handle))) return MTAIO_ENOMEM;',
       'if (ret) handle = mtaio__alloc_zeroed(sizeof *handle);')],
     'test_alloc_sweep', [], r'ERROR.* test_scenarios'),
    ('no fence between a store and a load', 'core/reclaim.c',
     [('    fence_full();\n    int64_t rests;\n    if (!is_alone(8, &rests))\n        os_fence_heavy();', '    int64_t rests;')],
     'explore-core_handlers', ['emit-cancel'], r'check failed: c->of->running == 0|use after free'),
    ('gaps are closed before the eyes of a new thread', 'core/reclaim.c',
     [('    for (unsigned i = 0; load_acquire(&alone); i++) os_nap(i);', '   ')],
     'explore-core_handlers', ['threads-new-to-a-lane-with-gaps'], r'check failed: s\.a\.calls == STAY'),
    ('what rests is not counted', 'core/reclaim.c',
     [('    count_rests(+1);\n    store_release(&rest->pin.lower', '    store_release(&rest->pin.lower')],
     'msan', [], 'a wrong result while nobody else is there'),
    ('the clock is not looked at again', 'core/brief.c',
     [('    if (likely(l != NULL) && !clock_moved(of, now)) return', '    if (likely(l != NULL)) return')],
     'explore-core_handlers', ['emit-first-add-and-cancel'], 'use after free|check failed'),
    ('the clock is not looked at again, where there is room for more than one', 'core/brief.c',
     [('    if (clock_moved(of, now)) return emit_again(em, pin, n, data, name);\n    brief_begin',
       '    brief_begin')],
     'explore-core_handlers', ['emit-add-and-cancel'], 'use after free|check failed'),
    ('an "error" is handled because another is', 'core/unhandled.c',
     [('if (mark) mark->handled = true;', 'for (size_t k = 0; mark && k < u->count; k++) u->errors[k].handled = true;')],
     'test_batch_errors', [], r'ERROR.* test_each_for_itself'),
    ('two locks are taken in either order', 'core/emitter.c',
     [('static void family_hold(struct reclaimer *r) { mtaio__family_hold((struct family *)r); }',
       'static void family_hold(struct reclaimer *r) {\n    struct family *f = (struct family *)r;\n'
       '    os_lock(&f->lock);\n    mtaio__family_hold(f);\n    os_unlock(&f->lock);\n}')],
     'explore-core_handlers', ['emit-cancel'], 'deadlock'),
    ('an index outlives the places that it tells', 'core/handlers.c',
     [('    index_drop(lane_block(lane));\n    lane_block(lane)->dead = 0;', '    lane_block(lane)->dead = 0;')],
     'test_removal_many', [], r'ERROR.* test_beside_a_list'),
    ('a field is never set', 'core/handlers.c',
     [('    b->dead = 0;\n', '')],
     'msan', [], 'use-of-uninitialized-value'),

    # Channels.
    ('a guard is taken from its favourite without a fence', 'core/guard.c',
     [('        os_fence_heavy(); /* pairs with guard_lock', '        /* pairs with guard_lock')],
     'explore-guard', ['thrice-twice'], 'check failed'),
    ('a guard has a new favourite while the old one is on its way in', 'core/guard.c',
     [(' && !g->owner && os_is', ' && os_is')],
     'explore-guard', ['thrice-thrice'], 'check failed'),
    ('a place is free before its message was copied out', 'core/receive.c',
     [('store_release(&sub->head, head + n);', 'store_relaxed(&sub->head, head + n);')],
     'tsan-channels', [], 'data race'),
    ('a receiver sleeps without looking once more', 'core/watch.c',
     [('if (subscriber_is_ready(sub)) return false; /* nobody can', '/* nobody can')],
     'explore-channel_receive', ['publish-receive'], 'deadlock'),
    ('a receiver whose time passes does not wait for who is waking it', 'core/receive.c',
     [('            mtaio__waiter_wait(&me.waiter, INT64_MAX); /* it is just',
       '            r = MTAIO_ETIMEDOUT; /* it is just')],
     'explore-channel_receive', ['publish-receive-soon'], 'use after|that has returned|waits for|not initialised'),
    ('a publisher sleeps where there is room by now', 'core/buffer.c',
     [('    bool full = level_of(sub) >= sub->limit;', '    bool full = true;')],
     'explore-channel_publish', ['full-publish-receive'], 'deadlock'),
    ('a receiver makes room and looks for nobody', 'core/receive.c',
     [('if (attention & ATTEND_WANTED) mtaio__line_carry_on(ch, &after);', '')],
     'explore-channel_publish', ['full-publish-receive'], 'deadlock'),
    ('a receiver that was told and is cancelled does not hand on', 'core/receive_async.c',
     [('    hand_on(r->sub);\n', '    (void)hand_on;\n')],
     'explore-channel_async', ['take-publish-cancel-beside'], 'deadlock'),
    ('cancelling leaves those behind it in line', 'core/publish_async.c',
     [('        mtaio__line_carry_on(ch, &after); /* it may', '        /* it may')],
     'explore-channel_async', ['line-holds-up-cancel'], 'deadlock'),
    ('a descriptor stays set when the last message is taken', 'core/receive.c',
     [('        os_event_fd_clear(sub->fd);\n', '')],
     'explore-channel_receive', ['publish-fd-with-message'], 'check failed: explore_fd_is_set'),
    ('a shared message has too few references', 'core/publish.c',
     [('slot_hold(slot, copies - 1);', 'slot_hold(slot, copies - 2);')],
     'explore-channel_receive', ['hand-over-receive-two-subscribers'], 'use after free|double free|freed'),
    ('a dropped message is not counted', 'core/buffer.c',
     [('        sub->skipped++;\n', '')],
     'test_channel_overflow', [], r'ERROR.* test_drop_newest'),
    ('the next message does not tell of all that were missed', 'core/buffer.c',
     [('uint64_t missed = oldest->missed + 1;', 'uint64_t missed = 1;')],
     'test_channel_overflow', [], r'ERROR.* test_drop_oldest'),
    ('data that was refused is released', 'core/message.c',
     [('    if (p->release && slot_kind(s) == SLOT_SHARED) s->u.content->release = NULL;\n', '')],
     'test_channel_publish', [], r'ERROR.* test_stays_the_callers'),
    ('a topic is recalled as it was before a pattern changed', 'core/audience.c',
     [('    a->last = (struct recalled){0};\n    if (memo) mtaio__memo_forget', '    if (memo) mtaio__memo_forget')],
     'test_memo_internal', [], r'FAILED.* test_recalled'),
    ('in the child of a fork a thread that is not there is given messages', 'core/watch.c',
     [('if (thread && thread != os_thread_mark()) link_remove(l);', '(void)thread;')],
     'test_fork', [], r'FAILED.* test_who_waited'),
]


def faulty_source(number, source, replacements):
    text, problems = (ROOT / 'src' / source).read_text(), []
    for old, new in replacements:
        if text.count(old) != 1:
            problems.append(f'src/{source} has {text.count(old)} times, not once: {old.strip()}')
        text = text.replace(old, new)
    copy = WORK / f'fault{number}_{Path(source).name}'
    copy.write_text(text)
    return copy, problems


def test_fault(number, source, replacements, gate, arguments, reason):
    copy, problems = faulty_source(number, source, replacements)
    if problems:
        return problems
    target = copy.with_suffix('.o')
    problems = finish(gate.compile(copy, gate.flags, target))
    if problems:
        return problems
    program, problems = gate.build(f'fault{number}', {ROOT / 'src' / source: target})
    if problems:
        return problems
    output, passed = gate.run(program, arguments)
    if passed:
        return [f'{gate.name} did not find it', output[-2000:]]
    if not re.search(reason, output):
        return [f'{gate.name} does not say "{reason}"', output[:4000]]
    return []


def main():
    tap = Tap()
    ready = {}
    for number, (what, source, replacements, name, arguments, reason) in enumerate(FAULTS, 1):
        gate = GATES[name]
        if name not in ready:
            ready[name] = gate.prepare()
        problems = list(ready[name])
        if not problems and (name, *arguments) not in ready:
            program, problems = gate.build('sound')
            if not problems:
                output, passed = gate.run(program, arguments)
                problems = [] if passed else [f'{name} complains of the true source', output[:4000]]
            ready[(name, *arguments)] = problems
        problems = problems or ready[(name, *arguments)]
        problems = problems or test_fault(number, source, replacements, gate, arguments, reason)
        tap.check(f'{what}: found by {name}', problems)
    tap.done()


if __name__ == '__main__':
    main()
