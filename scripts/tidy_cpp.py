"""What scripts/tidy knows of C++: enough to tell code from comments and to find function bodies.

It is a scanner, not a parser. Where it cannot tell, it says nothing: a check that cries wolf is
switched off by its readers.
"""

import re
from dataclasses import dataclass

TOKEN = re.compile(
    r'''(?P<line>//(?:[^\n\\]|\\.|\\\n)*)
      | (?P<block>/\*.*?\*/)
      | (?P<raw>R"(?P<delim>[^()\\\s]{0,16})\(.*?\)(?P=delim)")
      | (?P<string>"(?:[^"\\\n]|\\.)*")
      | (?P<char>(?<![0-9A-Fa-f])'(?:[^'\\\n]|\\.)+')''',
    re.VERBOSE | re.DOTALL)
NOT_NEWLINE = re.compile(r'[^\n]')
BOUNDARY = re.compile(r'[{}();]|\b(?:public|private|protected)\s*:(?!:)')
TYPE_HEAD = re.compile(r'\b(namespace|class|struct|union|enum|extern)\b')
# Words that are followed by a parenthesis in a function's head without being its name.
NOT_A_NAME = {'alignas', 'requires', 'noexcept', 'decltype', '__attribute__', 'explicit', 'if',
              'for', 'while', 'switch', 'catch', 'return', 'sizeof', 'static_assert', 'declspec'}
NAME = re.compile(r'(operator\s*[^\s\w(]+|operator\s*\(\s*\)|~?\b[A-Za-z_]\w*)\s*\(')
BRANCH = re.compile(r'#\s*(if|ifdef|ifndef|elif|else|endif)\b')


def blanked(text):
    return NOT_NEWLINE.sub(' ', text)


@dataclass
class Code:
    text: str        # comments and literals replaced by blanks; same length, same lines
    comments: list   # (offset, text)


def strip(text):
    """The code alone. The quotes of a string stay, so that calls keep their shape."""
    comments = []

    def replace(match):
        found = match.group()
        if match.lastgroup in ('line', 'block'):
            comments.append((match.start(), found))
            return blanked(found)
        if found.startswith(('"', 'R"')) and '#include' in text[
                text.rfind('\n', 0, match.start()) + 1:match.start()].replace(' ', ''):
            return found
        return found[0] + blanked(found[1:-1]) + found[-1]

    return Code(TOKEN.sub(replace, text), comments)


def without_preprocessor(text):
    """Directives, macro bodies and the #else branches go: braces then match up."""
    out = []
    skipping = []     # one entry for each open #if: are we in its else branch?
    continued = False
    for line in text.split('\n'):
        directive = continued or line.lstrip().startswith('#')
        if directive and not continued:
            branch = BRANCH.match(line.lstrip())
            word = branch.group(1) if branch else ''
            if word in ('if', 'ifdef', 'ifndef'):
                skipping.append(False)
            elif word in ('elif', 'else') and skipping:
                skipping[-1] = True
            elif word == 'endif' and skipping:
                skipping.pop()
        continued = directive and line.endswith('\\')
        out.append(blanked(line) if directive or any(skipping) else line)
    return '\n'.join(out)


@dataclass
class Function:
    name: str
    head: str        # from the return type to the opening brace
    body: str        # between the braces
    first_line: int
    last_line: int
    body_line: int   # the line of the opening brace


def name_of(head):
    for match in NAME.finditer(head):
        name = match.group(1)
        if name not in NOT_A_NAME and not (name.isupper() and len(name) > 3):
            return re.sub(r'\s+', '', name)
    match = NAME.search(head)
    return match.group(1) if match else ''


def top_level(head):
    """The head with everything inside its parentheses and angle brackets left out."""
    out = []
    depth = 0
    for char in head:
        if char in '([':
            depth += 1
        elif char in ')]':
            depth -= 1
            if depth == 0:
                out.append('()' if char == ')' else '[]')
        elif depth == 0:
            out.append(char)
    return ''.join(out)


def without_angles(text):
    while (shorter := re.sub(r'<[^<>]*>', '', text)) != text:
        text = shorter
    return text


def brace_kind(head):
    """What a brace after this head opens: 'scope', 'function' or 'value'."""
    flat = re.sub(r'\b(alignas|__attribute__)\s*\(\)', '', top_level(head))
    flat = re.sub(r'\boperator\s*[^\s\w(]+', 'operator_', flat)
    bare = re.sub(r'^\s*template\s*<.*?>\s*(?=class|struct|union)', '', flat, flags=re.DOTALL)
    if TYPE_HEAD.search(bare) and '()' not in bare and '=' not in bare:
        return 'scope'
    lambda_head = re.search(r'\[\]\s*\(\)[^()=]*$', flat) and '=' in flat
    if lambda_head:
        return 'function'
    if '()' not in flat or re.search(r'(?<![=!<>])=(?!=)', without_angles(flat)):
        return 'value'
    # A constructor's initialisers: "a_" before the brace is a member, ")" or "}" ends the list.
    after = flat[flat.index('()') + 2:]
    if re.search(r'(?<!:):(?!:)', after) and re.search(r'[\w>]\s*$', after):
        return 'value'
    return 'function'


def closing(text, opening):
    depth = 0
    for match in re.compile(r'[{}]').finditer(text, opening):
        depth += 1 if match.group() == '{' else -1
        if depth == 0:
            return match.start()
    return len(text) - 1


def functions(code):
    """Every function with a body, those of classes included, those inside functions not."""
    text = without_preprocessor(code)
    found = []
    start = position = parens = 0
    while match := BOUNDARY.search(text, position):
        token, position = match.group(), match.end()
        if token == '(':
            parens += 1
        elif token == ')':
            parens = max(0, parens - 1)
        elif token == '{' and parens == 0:
            head = text[start:match.start()]
            kind = brace_kind(head)
            if kind == 'scope':
                start = position
                continue
            end = closing(text, match.start())
            if kind == 'function':
                found.append(make_function(text, start, match.start(), end))
                start = end + 1
            position = end + 1
        elif token == '{':
            position = closing(text, match.start()) + 1
        elif token == '(' or parens > 0:
            continue
        else:
            start = position
    return found


def make_function(text, start, opening, end):
    head = text[start:opening]
    lead = len(head) - len(head.lstrip())
    line = text.count('\n', 0, start + lead) + 1
    body_line = text.count('\n', 0, opening) + 1
    return Function(name_of(head), head.strip(), text[opening + 1:end], line,
                    text.count('\n', 0, end) + 1, body_line)
