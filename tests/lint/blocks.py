"""Compiles and runs the blocks of code in README.md and docs/, so that what a reader copies works.
Usage: blocks.py SOURCE_ROOT BUILD_DIR STATIC_LIBRARY COMPILER [FLAG...]

A ```c block that defines main is a program: it is compiled, run, and ends with status 0. Any other ```c block is a
fragment: statements in a function of its own that is given a fresh emitter `em`, with every header of ours and the
usual ones of C. What includes the header of an adapter is linked with that, and skipped where it was not built. A comment
on the line before a block says what else it is:

    <!-- test: definitions -->    file scope: kept for all later fragments and programs of the page; of ```python too
    <!-- test: compile -->        compiled, not run
    <!-- test: output -->         a ```text block: what the program or fragment before it prints
    <!-- test: run -->            a ```sh block: run in a copy of nothing, an empty directory; ends with status 0
    <!-- test: skip, REASON -->   not looked at

A ```python block that calls asyncio.run is a program. Any other is a fragment: it may await, and is given asyncio, all
that mtaio.events and mtaio.exceptions offer, and a fresh `emitter`.

```sh blocks are skipped unless told to run; ```python blocks unless a package mtaio can be imported from
BUILD_DIR/python, which none can that was built with a sanitizer. Skipped blocks are shown and counted as skipped. Blocks in other languages are text."""
import difflib
import os
import re
import sys
import tempfile
from pathlib import Path

from tap import Tap, run

BLOCK = re.compile(r'(?:^<!-- test: *(?P<word>\w+)(?P<reason>[^\n]*)-->\n+)?^```(?P<language>\w+)\n(?P<code>.*?)^```$',
                   re.DOTALL | re.MULTILINE)
WORDS = {'c': {None, 'definitions', 'compile', 'skip'}, 'text': {None, 'output', 'skip'}, 'sh': {None, 'run', 'skip'},
         'python': {None, 'definitions', 'skip'}}

INCLUDES = ''.join(f'#include <{name}>\n' for name in (
    'mtaio/mtaio.h', 'inttypes.h', 'stdbool.h', 'stdint.h', 'stdio.h', 'stdlib.h', 'string.h', 'pthread.h',
    'unistd.h'))
FRAGMENT = '''
int main(void) {{
    mtaio_emitter *em;
    if (mtaio_emitter_new(NULL, &em) < 0)
        return 1;
    {{
#line {line} "{page}"
{code}
    }}
    mtaio_emitter_unref(em);
    return 0;
}}
'''
PYTHON_FRAGMENT = '''
import ast, asyncio, inspect
import mtaio.events, mtaio.exceptions
names = {{'asyncio': asyncio, **vars(mtaio.events), **vars(mtaio.exceptions)}}
async def main():
    names['emitter'] = mtaio.events.EventEmitter()
    for line, text in {blocks!r}:
        code = compile('\\n' * (line - 1) + text, {page!r}, 'exec', ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        pending = eval(code, names)
        if code.co_flags & inspect.CO_COROUTINE:
            await pending
asyncio.run(main())
'''
# What a page's definitions hold need not all be used in each of its programs.
FLAGS = ['-D_GNU_SOURCE', '-Wall', '-Wextra', '-Werror', '-Wno-unused-function', '-Wno-unused-variable',
         '-Wno-unused-const-variable', '-g']


def adapters(source):
    """The adapters whose headers the source includes, and what Debian calls what they adapt to."""
    packages = {'uv': 'libuv', 'glib': 'glib-2.0', 'nats': 'libnats'}
    return {name: package for name, package in packages.items() if f'<mtaio/{name}.h>' in source}


class Page:
    def __init__(self, path, name, options, scratch):
        self.path, self.name, self.options, self.scratch = path, name, options, scratch
        self.definitions, self.python_definitions = '', []
        self.printed = None   # by the last program that ran
        self.skipped = None   # why the last program was not

    def compile(self, code, line, definitions=False):
        located = f'#line {line} "{self.name}"\n{code}'
        if definitions:
            self.definitions += located
            source, mode = INCLUDES + self.definitions, ['-c']
        elif re.search(r'\bmain\s*\(', code):
            source, mode = located, []
            if self.definitions and '#include' not in code:
                source = INCLUDES + self.definitions + located
        else:
            source, mode = INCLUDES + self.definitions + FRAGMENT.format(line=line, page=self.name, code=code), []
        file, program = self.scratch / 'block.c', self.scratch / 'block'
        file.write_text(source)
        root, build, library, compiler, *flags = self.options
        libraries, foreign = [], ''
        for name, package in adapters(source).items():
            flags.append(f'-I{root}/adapters/{name}')
            libraries.append(build / 'adapters' / name / f'libmtaio-{name}.a')
            foreign += run(['pkg-config', '--cflags', *([] if mode else ['--libs']), package])[0]
        output, problems = run([*compiler.split(), *FLAGS, *flags, f'-I{root}/include', file, *mode,
                                *([] if mode else [*libraries, library, '-pthread']), *foreign.split(), '-o', program])
        return program, problems

    def c(self, word, code, line):
        program, problems = self.compile(code, line, word == 'definitions')
        self.printed = None
        if not problems and word is None:
            self.printed, problems = run([program], cwd=self.scratch)
        return problems

    def text(self, word, code, line):
        if self.printed is None:
            return ['no program before this output ran']
        return list(difflib.unified_diff(code.splitlines(), self.printed.splitlines(), 'the page', 'printed',
                                         lineterm=''))

    def sh(self, word, code, line):
        with tempfile.TemporaryDirectory() as directory:
            return run(['sh', '-eu', '-c', code], cwd=directory)[1]

    def python(self, word, code, line):
        if word == 'definitions':
            self.python_definitions.append((line, code))
            return []
        if 'asyncio.run(' not in code:
            code = PYTHON_FRAGMENT.format(blocks=[*self.python_definitions, (line, code)], page=self.name)
        self.printed, problems = run(['/usr/bin/python3', '-W', 'error', '-c', code], cwd=self.scratch)
        return problems


def why_skipped(page, language, word, reason, python, code):
    if word == 'skip':
        return reason.strip(' ,') or 'told to'
    if language == 'sh' and word != 'run':
        return 'a command for the reader'
    if language == 'python':
        page.skipped = None if python else 'no Python package here'
    if language == 'c':
        build = page.options[1]
        page.skipped = next((f'no libmtaio-{name} here' for name in adapters(page.definitions + code)
                             if not (build / 'adapters' / name / f'libmtaio-{name}.a').exists()), None)
    return page.skipped if language in ('c', 'python', 'text') else None


def main():
    root, build, *options = sys.argv[1:]
    root, build, tap = Path(root), Path(build), Tap()
    python = (build / 'python' / 'mtaio').is_dir() and not any(flag.startswith('-fsanitize') for flag in options)
    os.environ.update(PYTHONPATH=str(build / 'python'), PYTHONDONTWRITEBYTECODE='1')
    with tempfile.TemporaryDirectory() as scratch:
        for path in [root / 'README.md', *sorted((root / 'docs').rglob('*.md'))]:
            if not path.exists():
                tap.check(path.name, ['there is no such file'])
                continue
            text = path.read_text()
            page = Page(path, path.relative_to(root).as_posix(), [root, build, *options],
                        Path(scratch))
            for m in BLOCK.finditer(text):
                language, word, code = m['language'], m['word'], m['code']
                line = text.count('\n', 0, m.start('code')) + 1
                name = f'{page.name}:{line} {language}'
                if word not in WORDS.get(language, {None}):
                    tap.check(name, [f'"test: {word}" says nothing about a block of {language}'])
                elif language in WORDS and (language, word) != ('text', None):
                    reason = why_skipped(page, language, word, m['reason'], python, code)
                    if reason:
                        tap.skip(name, reason)
                    else:
                        tap.check(name, getattr(page, language)(word, code, line))
    tap.done()


if __name__ == '__main__':
    main()
