"""Just enough of C for the checks: text without comments and strings, includes, functions."""
import re

COMMENT_OR_LITERAL = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', re.MULTILINE)


def blank(text):
    """The code alone: comments and literals become spaces, lines stay where they are."""
    return COMMENT_OR_LITERAL.sub(lambda m: re.sub(r'[^\n]', ' ', m.group()), text)


def includes(text):
    """(line, '<' or '"', path) of each #include."""
    return [(text.count('\n', 0, m.start(2)) + 1, m.group(1), m.group(2)) for m in INCLUDE.finditer(text)]


def functions(text):
    """(name, first line, number of lines) of each function with a body, in code whose functions begin in column one."""
    name, opened, depth = None, False, 0
    for number, line in enumerate(blank(text).split('\n'), 1):
        m = re.match(r'[A-Za-z_][^=;{]*?(\w+)\s*\(', line)
        if depth == 0 and name is None and m:
            name, start, opened = m.group(1), number, False
        opened = opened or '{' in line
        depth += line.count('{') - line.count('}')
        if name and depth == 0 and (opened or line.rstrip().endswith(';')):
            if opened:
                yield name, start, number - start + 1
            name = None


def api(header_texts):
    """The functions that headers export."""
    code = ' '.join(re.sub(r'^\s*#.*', '', blank(t), flags=re.MULTILINE) for t in header_texts)
    return {m.group(1) for m in re.finditer(r'\bMTAIO_API\b[^;(]*?\b(mtaio_\w+)\s*\(', code)}
