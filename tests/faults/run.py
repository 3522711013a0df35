"""Tests of the tests: eight faults, each put into a copy of one source, must be found by the gate that is there for it.
Usage: run.py ROOT BUILD_DIRECTORY

A fault is a replacement of text that must occur exactly once in the source: where it does not any more, the fault
has to be written anew. A gate must be content with the true source, and complain of the faulty one for the right
reason. Nothing of it is in the sources or in what is installed."""
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT, WORK = Path(sys.argv[1]), Path(sys.argv[2])
sys.path.insert(0, str(ROOT / 'tests/lint'))
from tap import Tap, run  # noqa: E402

INCLUDES = [f'-I{ROOT / d}' for d in ('include', 'src', 'tests/explore', 'tests/unit')]
BASE = ['-std=c17', '-g', '-pthread', *INCLUDES]
# ThreadSanitizer of these compilers gives up where the kernel moves memory by more than 28 bits.
STILL = ['setarch', '-R']


class Gate:
    """A way to build the library with a test program."""

    def __init__(self, name, compiler, flags, test_flags, tests, link=(), os_sources='src/os/os_linux.c', wrapper=()):
        self.name, self.compiler, self.flags, self.test_flags = name, compiler, flags, test_flags
        self.tests, self.link, self.wrapper = tests, list(link), list(wrapper)
        self.os_sources = os_sources
        self.objects = None

    def compile(self, source, flags, target):
        return run([self.compiler, *BASE, *flags, '-c', source, '-o', target], timeout=120)[1]

    def prepare(self):
        """Compiles everything once; returns problems."""
        directory = WORK / self.name
        directory.mkdir(parents=True, exist_ok=True)
        jobs = [(ROOT / s, self.test_flags) for s in self.tests]
        os_flags = self.test_flags if 'explore' in self.os_sources else [*self.flags, '-D_GNU_SOURCE']
        jobs += [(s, os_flags) for s in sorted(ROOT.glob(self.os_sources))]
        library = ['tests/explore/scenarios_core_handlers.c'] if self.name == 'explore' else []
        jobs += [(s, self.flags) for g in [*library, 'src/base/*.c', 'src/core/*.c'] for s in sorted(ROOT.glob(g))]
        self.objects, problems, running = {}, [], []
        for source, flags in jobs:
            target = directory / f'{source.parent.name}_{source.stem}.o'
            self.objects[source] = target
            command = [self.compiler, *BASE, *flags, '-c', str(source), '-o', str(target)]
            running.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
            if len(running) == (os.cpu_count() or 1):
                problems += finish(running.pop(0))
        for process in running:
            problems += finish(process)
        return problems

    def build(self, name, replaced=None):
        """Links the program, with an object in the place of one source's."""
        objects = [replaced[1] if replaced and source == replaced[0] else o for source, o in self.objects.items()]
        program = WORK / self.name / name
        sanitizer = [f for f in self.flags if f.startswith('-fsanitize') and not self.name == 'explore']
        return program, run([self.compiler, '-pthread', *sanitizer, *objects, '-o', program, *self.link])[1]

    def run(self, program, arguments):
        """Returns the output, and whether it passed."""
        output, problems = run([*self.wrapper, program, *arguments], timeout=60)
        return output or '\n'.join(problems), not problems


def finish(process):
    output, _ = process.communicate()
    return [output] if process.returncode != 0 else []


EXPLORE = ['-O1', '-DMTAIO_EXPLORE', '-fno-omit-frame-pointer']
GATES = {
    'explore': Gate('explore', 'gcc', [*EXPLORE, '-fsanitize=thread'], EXPLORE,
                    [], os_sources='tests/explore/*explore*.c'),
    'sweep': Gate('sweep', 'gcc', [], ['-D_GNU_SOURCE'],
                  ['tests/unit/support.c', 'tests/unit/test_alloc_sweep.c'], link=['-lcmocka']),
    'msan': Gate('msan', 'clang-14', ['-O1', '-fsanitize=memory', '-fno-sanitize-recover=all'],
                 ['-O1', '-fsanitize=memory', '-fno-sanitize-recover=all'], ['tests/faults/handlers.c'], wrapper=STILL),
    'tsan': Gate('tsan', 'gcc', ['-O1', '-fsanitize=thread'], ['-O1', '-fsanitize=thread'],
                 ['tests/faults/handlers.c'], wrapper=STILL),
}

# What is wrong, the source, the replacements, the gate with its arguments, and what it must say.
FAULTS = [
    ('what a reader still sees is freed', 'core/reclaim.c',
     [('mtaio__scan_holds(s, (uint64_t)r->birth << BIRTH_SHIFT, r->when) ? &kept : &freed;', '&freed;\n        (void)s;')],
     'explore', ['emit-lane-freed'], 'use after free'),
    ('a name is published by a relaxed store', 'core/table.c',
     [('store_release(&b->node[i], n);', 'store_relaxed(&b->node[i], n);')],
     'tsan', [], 'data race'),
    ('a context ends while it is in use', 'core/emitter.c',
     [('if (!held || !mtaio__scan_runs(s, l)) listener_end(l);', 'listener_end(l);')],
     'explore', ['emit-cancel'], r'check failed: c->of->running == 0|use after free'),
    ('a handler for one event is called for two', 'core/listen.c',
     [('if (!atomic_cas(&listener_more(l)->claimed, &unclaimed, 1)) return false;', '(void)unclaimed;'),
      ('return there;', 'return true;')],
     'explore', ['once-two-emits'], r'check failed: s\.a\.calls == 1'),
    ('memory that was refused goes unnoticed', 'core/register.c',
     [('if (ret && !(handle = mtaio__alloc_zeroed(sizeof *handle))) return MTAIO_ENOMEM;',
       'if (ret) handle = mtaio__alloc_zeroed(sizeof *handle);')],
     'sweep', [], r'ERROR.* test_scenarios'),
    ('no fence between a store and a load', 'core/reclaim.c',
     [('    fence_full();\n    if (!is_alone(8)) os_fence_heavy();', '')],
     'explore', ['emit-cancel'], r'check failed: c->of->running == 0|use after free'),
    ('two locks are taken in either order', 'core/emitter.c',
     [('static void family_hold(struct reclaimer *r) { mtaio__family_hold((struct family *)r); }',
       'static void family_hold(struct reclaimer *r) {\n    struct family *f = (struct family *)r;\n'
       '    os_lock(&f->lock);\n    mtaio__family_hold(f);\n    os_unlock(&f->lock);\n}')],
     'explore', ['emit-cancel'], 'deadlock'),
    ('a field is never set', 'core/handlers.c',
     [('    b->dead = 0;\n', '')],
     'msan', [], 'use-of-uninitialized-value'),
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
    problems = gate.compile(copy, [*gate.flags, f'-I{(ROOT / "src" / source).parent}'], target)
    if problems:
        return problems
    program, problems = gate.build(f'fault{number}', (ROOT / 'src' / source, target))
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
