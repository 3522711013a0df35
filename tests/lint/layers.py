"""Keeps the layers: who may include whom, what only the lowest layers may name, how long things may be.
Usage: layers.py SOURCE_ROOT"""
import re
import sys
from pathlib import Path

import c_source
from tap import Tap

C_HEADERS = {'assert.h', 'ctype.h', 'errno.h', 'inttypes.h', 'limits.h', 'stdarg.h', 'stdbool.h', 'stddef.h',
             'stdint.h', 'stdio.h', 'stdlib.h', 'string.h'}

# What the sources of an adapter may include beside the public headers and its own foreign library.
ADAPTER = r'(pthread|stdatomic|time|unistd)\.h|\.\./common/\w+\.h|support\.h|package_events\.h'

# Folder: which paths it may include, as a pattern; the longest folder that fits counts.
LAYERS = {
    'include/mtaio': r'mtaio/\w+\.h',
    'src/base': r'base/\w+\.h|mtaio/base\.h|xxhash\.h',
    'src/os': r'explore_types\.h|base/\w+\.h|os/\w+\.h|mtaio/base\.h|<.*',
    'src/core': r'base/\w+\.h|os/os\.h|core/\w+\.h|mtaio/\w+\.h',
    'examples': r'mtaio/mtaio\.h|\w+\.h|<.*',
    'adapters/common': r'mtaio/mtaio\.h|' + ADAPTER,
    'adapters/uv': r'mtaio/(mtaio|uv)\.h|uv\.h|' + ADAPTER,
    'adapters/glib': r'mtaio/(mtaio|glib)\.h|glib\.h|' + ADAPTER,
    'adapters/nats': r'mtaio/(mtaio|nats)\.h|nats/nats\.h|\w+\.h|sys/\w+\.h|<.*',
    'bench': r'mtaio/(mtaio|nats)\.h|[\w-]+\.h(pp)?|<.*',
}

# Inside core one direction. Module: its files, and the modules it may use besides those that these use.
CORE = {
    'error': ('error', ''),
    'fork': ('fork', ''),
    'reclaim': ('reclaim', 'fork'),
    'topic': ('topic topic_set topic_match segment', 'reclaim'),
    'event': ('event metadata', 'error topic'),
    'executor': ('executor pool', 'error'),
    'handlers': ('handlers table', 'topic'),
    'hook': ('hook.h', 'event handlers'),
    'emission': ('emission choose deferral unhandled', 'event executor handlers hook'),
    'emitter': ('emitter emit brief listen name register', 'emission'),
    'hooking': ('hook.c', 'emitter'),
    'derive': ('derive derivation step', 'emitter'),
    'batch': ('batch', 'emitter'),
    'suppress': ('suppress', 'batch'),
    'wait': ('wait', 'emitter'),
    'timer': ('timer', 'executor reclaim'),
    'delay': ('delay', 'emitter timer'),
    'guard': ('guard', ''),
    'audience': ('audience memo', 'topic guard'),
    'pending': ('pending', 'error'),
    'message': ('message after', 'event executor'),
    'channel': ('channel subscriber buffer watch receive receive_async publish publish_async line select replay',
                'message audience executor pending'),
    'publisher': ('publisher', 'channel timer'),
    'bridge': ('bridge', 'channel emitter'),
}

# What the thin layer is for: nobody above it reaches these directly.
SYSTEM_NAMES = re.compile(r'\b(?:(?:malloc|calloc|realloc|free|strdup|abort|exit|getenv|fork|usleep|nanosleep|f?printf'
                          r'|f?puts|perror|clock_gettime)(?=\()|pthread_\w+|__(?:atomic|sync)_\w+|_Atomic|_Thread_local'
                          r'|__linux__|__unix__|__APPLE__|_WIN32|_GNU_SOURCE|_POSIX_C_SOURCE)\b')
MAY_NAME = {'src/base/atomic.h': r'__atomic_\w+', 'src/base/memory.c': r'malloc|realloc|free'}

MAX_COLUMNS, MAX_FUNCTION, MAX_FILE, MAX_HEADERS = 120, 80, 500, 1000


def module_of(path):
    names = {Path(path).name, Path(path).stem}
    return next((module for module, (files, _) in CORE.items() if names & set(files.split())), None)


def below(module):
    names = {module}
    for name in CORE[module][1].split():
        names |= below(name)
    return names


def layer_problems(path, text):
    layer = max((folder for folder in LAYERS if path.startswith(folder + '/')), key=len, default=None)
    if layer is None:
        return
    module = module_of(path) if layer == 'src/core' else None
    if layer == 'src/core' and module is None:
        yield f'{path}: it belongs to no module of core: give it a place in {Path(__file__).name}'
    for line, kind, target in c_source.includes(text):
        allowed = target in C_HEADERS or re.fullmatch(LAYERS[layer], target) or \
            (kind == '<' and '<.*' in LAYERS[layer] and not target.startswith(('base/', 'os/', 'core/', 'mtaio/')))
        if not allowed:
            yield f'{path}:{line}: {layer} may not include {target}'
        elif module and target.startswith('core/') and module_of(target) not in below(module):
            yield f'{path}:{line}: {module} may not build on {module_of(target) or target}'


def name_problems(path, text):
    if not path.startswith(('src/base/', 'src/core/')):
        return
    for number, line in enumerate(c_source.blank(text).split('\n'), 1):
        for m in SYSTEM_NAMES.finditer(line):
            member = line[:m.start()].rstrip().endswith(('.', '->')) or line[:m.start()].endswith('*')
            if not member and not re.fullmatch(MAY_NAME.get(path, '(?!)'), m.group()):
                yield f'{path}:{number}: only the lowest layer may name {m.group()}'


def size_problems(path, text):
    lines = text.split('\n')
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_COLUMNS:
            yield f'{path}:{number}: {len(line)} columns, at most {MAX_COLUMNS}'
        if '\t' in line or line != line.rstrip():
            yield f'{path}:{number}: a tab, or space at the end of the line'
    if len(lines) > MAX_FILE + 1:
        yield f'{path}: {len(lines) - 1} lines, at most {MAX_FILE}'
    for name, line, length in c_source.functions(text):
        if length > MAX_FUNCTION:
            yield f'{path}:{line}: {name} has {length} lines, at most {MAX_FUNCTION}'


def comment_problems(path, text):
    if not re.match(r'/[/*] \S+', text):
        yield f'{path}:1: a file begins with a comment that says what it is for'


def build_problems(root, source):
    """A source that no meson.build names is never compiled, a test in it never run."""
    folder = source.parent
    while not (folder / 'meson.build').exists():
        folder = folder.parent
    if source.suffix != '.h' and not re.search(rf"['/]{source.stem}({source.suffix})?'", (folder / 'meson.build').read_text()):
        yield f'{source.relative_to(root)}: {folder.relative_to(root)}/meson.build does not name it'


def main():
    root, tap = Path(sys.argv[1]), Tap()
    paths = sorted(p for folder in ('include', 'src', 'adapters', 'examples', 'bench', 'tests')
                   for p in (root / folder).rglob('*') if p.suffix in ('.c', '.h', '.cpp'))
    header_lines = 0
    for p in paths:
        path, text = p.relative_to(root).as_posix(), p.read_text()
        header_lines += text.count('\n') if path.startswith('include/') else 0
        problems = [*layer_problems(path, text), *name_problems(path, text), *size_problems(path, text),
                    *comment_problems(path, text), *build_problems(root, p)]
        tap.check(path, problems)
    for p in sorted((root / 'tests' / 'python').glob('test_*.py')):
        tap.check(p.relative_to(root).as_posix(), list(build_problems(root, p)))
    tap.check('public headers in all', [] if header_lines <= MAX_HEADERS else
              [f'the public headers have {header_lines} lines, at most {MAX_HEADERS}'])
    tap.done()


if __name__ == '__main__':
    main()
