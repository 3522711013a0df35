"""Compiles and runs the blocks of code in README.md and docs/, so that what a reader copies works.
Usage: blocks.py SOURCE_ROOT BUILD_DIR STATIC_LIBRARY COMPILER [FLAG...]

A ```c block that defines main is a program: it is compiled, run, and ends with status 0. Any other ```c block is a
fragment: statements in a function of its own that is given a fresh emitter `em`, with every header of ours and the
usual ones of C. A comment on the line before a block says what else it is:

    <!-- test: definitions -->    file scope: kept for all later fragments and programs of the page
    <!-- test: compile -->        compiled, not run
    <!-- test: output -->         a ```text block: what the program or fragment before it prints
    <!-- test: run -->            a ```sh block: run in a copy of nothing, an empty directory; ends with status 0
    <!-- test: skip, REASON -->   not looked at

```sh blocks are skipped unless told to run; ```python blocks unless a package mtaio can be imported from
BUILD_DIR/python. Skipped blocks are shown and counted as skipped. Blocks in other languages are text."""
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
         'python': {None, 'skip'}}

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
# What a page's definitions hold need not all be used in each of its programs.
FLAGS = ['-D_GNU_SOURCE', '-Wall', '-Wextra', '-Werror', '-Wno-unused-function', '-Wno-unused-variable',
         '-Wno-unused-const-variable', '-g']


class Page:
    def __init__(self, path, name, options, scratch):
        self.path, self.name, self.options, self.scratch = path, name, options, scratch
        self.definitions = ''
        self.printed = None   # by the last program that ran

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
        root, library, compiler, *flags = self.options
        output, problems = run([*compiler.split(), *FLAGS, *flags, f'-I{root}/include', file, *mode,
                                *([] if mode else [library, '-pthread']), '-o', program])
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
        return run(['/usr/bin/python3', '-c', code], cwd=self.scratch)[1]


def why_skipped(language, word, reason, python):
    if word == 'skip':
        return reason.strip(' ,') or 'told to'
    if language == 'sh' and word != 'run':
        return 'a command for the reader'
    if language == 'python' and not python:
        return 'no Python package here'
    return None


def main():
    root, build, *options = sys.argv[1:]
    root, python, tap = Path(root), Path(build) / 'python' / 'mtaio', Tap()
    if python.is_dir():
        os.environ['PYTHONPATH'] = str(python.parent)
    with tempfile.TemporaryDirectory() as scratch:
        for path in [root / 'README.md', *sorted((root / 'docs').rglob('*.md'))]:
            if not path.exists():
                tap.check(path.name, ['there is no such file'])
                continue
            text = path.read_text()
            page = Page(path, path.relative_to(root).as_posix(), [root, *options], Path(scratch))
            for m in BLOCK.finditer(text):
                language, word, code = m['language'], m['word'], m['code']
                line = text.count('\n', 0, m.start('code')) + 1
                name = f'{page.name}:{line} {language}'
                if word not in WORDS.get(language, {None}):
                    tap.check(name, [f'"test: {word}" says nothing about a block of {language}'])
                elif language in WORDS and (language, word) != ('text', None):
                    reason = why_skipped(language, word, m['reason'], python.is_dir())
                    if reason:
                        tap.skip(name, reason)
                    else:
                        tap.check(name, getattr(page, language)(word, code, line))
    tap.done()


if __name__ == '__main__':
    main()
