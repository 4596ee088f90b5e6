"""Reads the rooms of a crate and the arrows between them, for scripts/rooms, which judges them, and scripts/rooms-picture, which draws them."""
import re
from collections import defaultdict
from pathlib import Path

LITERAL = re.compile(r"""//[^\n]*|/\*|\b[bc]?r(#*)".*?"\1|"(?:\\.|[^"\\])*"|'(?:\\.[^'\n]*|[^\\'\n])'""", re.S)
TEST = re.compile(r"#\[cfg\((?:all\()?(?:doc)?test\b[^]]*\]\s*(?:#\[[^]]*\]\s*)*(?:pub(?:\([^)]*\))?\s+)?(?:mod|use|fn|impl)\b")
ITEMS = {"const", "enum", "fn", "macro_rules", "static", "struct", "trait", "type", "union"}


def code(text):
    """The text, with comments, strings and tests blanked out."""
    for pattern, marks in [(LITERAL, r"/\*|\*/"), (TEST, "[{};]")]:
        at = 0
        while found := pattern.search(text, at):
            at, depth = found.end(), int(found[0] == "/*")
            for mark in re.compile(marks).finditer(text, at) if depth or pattern is TEST else ():
                at, depth = mark.end(), depth + {"/*": 1, "{": 1, ";": 0}.get(mark[0], -1)
                if depth <= 0:
                    break
            text = text[: found.start()] + re.sub(r"[^\n]", " ", text[found.start() : at]) + text[at:]
    return text


class Crate:
    def __init__(self, root):
        self.src = Path(root) / "src"
        self.files, self.modules, self.items, self.imports = {}, {()}, defaultdict(set), defaultdict(set)
        self.paths = []  # file, line and module of each, as written, and from the crate's root on
        self.read((), self.src / "lib.rs")
        heads = {module[0]: file.read_text() for module, file in self.files.items() if len(module) == 1}
        lines = {name: re.findall(r"^//!? May use: (.*)\.$", head, re.M) for name, head in heads.items()}
        self.may_use = {name: {*line[0].split(", ")} - {"nothing of ours"} for name, line in lines.items() if line}
        self.rooms = {folder.name for folder in self.src.iterdir() if folder.is_dir()} | set(self.may_use)

    def read(self, module, file):
        lines = enumerate(code(file.read_text()).split("\n"), 1)
        words = [(word, number) for number, line in lines for word in re.findall(r"\$?\w+|::|\S", line)] + [("", 0)] * 3
        self.files[module], scopes, at = file, [module], 0
        while at < len(words) - 3:
            here, (word, line), (after, _), (third, _) = scopes[-1], *words[at : at + 3]
            at += 1
            if word == "mod" and third in {"{", ";"}:
                self.modules.add(here + (after,))
                beside = [self.src.joinpath(*here, after + end) for end in (".rs", "/mod.rs")]
                for found in [file for file in beside if third == ";" and file.exists()]:
                    self.read(here + (after,), found)
                scopes, at = scopes + [here + (after,)] * (third == "{"), at + 2
            elif word == "use" and after != "<":
                self.is_face = words[at - 2][0] == "pub" and len(here) == 1
                at = self.use(file, here, words, at, ())
            elif word in {"{", "}"}:
                scopes = scopes + [here] if word == "{" else scopes[:-1]
            elif word in ITEMS:
                self.items[here].add(third if word == "macro_rules" else after)
            elif after == "::" and re.match(r"[$\w]", word) and words[at - 2][0] != "::":
                path = (word,)
                while words[at][0] == "::" and re.match(r"\w", words[at + 1][0]):
                    path, at = path + (words[at + 1][0],), at + 2
                self.paths.append((file, line, here, path, absolute(here, path)))

    def use(self, file, here, words, at, path):
        """Takes one tree of a `use`, and gives where it ends."""
        while words[at][0] not in {",", ";", "}"}:
            (word, line), at = words[at], at + 1
            if word == "{":
                while words[at - 1][0] != "}":
                    at = self.use(file, here, words, at, path) + 1
                return at
            path += (word,) * (word != "::" or not path)
            if word != "::" and words[at][0] != "::":
                target = absolute(here, path)
                name, at = (words[at + 1][0], at + 2) if words[at][0] == "as" else ((target or path)[-1], at)
                if not self.is_face:
                    self.paths.append((file, line, here, path, target))
                self.imports[here, name].add(target)
        return at

    def ends(self, path, seen=frozenset()):
        """Where what has this path is written, through all re-exports: paths that begin with the room. None if it is another crate's."""
        found, here = set(), ()
        for n, word in enumerate(path):
            found |= {here} if word in self.items[here] else set()
            for name, rest in [(word, path[n + 1 :]), *[("*", path[n:])] * (not found)]:
                for target in self.imports[here, name] if (here, name) not in seen else ():
                    target = (target[:-1] if name == "*" else target) + rest
                    found |= self.ends(target, seen | {(here, name)}) | ({target} if name != "*" else set())
            if here + (word,) not in self.modules:
                return found
            here += (word,)
        return found | {here}

    def arrows(self):
        """Every arrow out of a room: file, line, the room, the path, and the room where it leads, or "*" for all of the crate."""
        for file, line, here, written, path in self.paths:
            if self.rooms.intersection(here[:1]):
                is_glob = path[-1:] == ("*",)
                ends = self.ends(path[:-1] if is_glob else path) | {path}
                everything = {"*"} if is_glob and () in ends else set()
                for room in sorted({end[0] for end in ends if end} & self.rooms - {here[0]} | everything):
                    yield file, line, here[0], "::".join(written), room

    def uses_within(self):
        """Which modules of a room use which others of it: the room's own, each with all that is in it."""
        uses = defaultdict(set)
        for _, _, here, _, path in self.paths:
            for end in self.ends(path[:-1] if path[-1:] == ("*",) else path) | {path}:
                if end[:1] == here[:1] and end[:2] != here[:2] and {here[:2], end[:2]} <= self.modules - {here[:1]}:
                    uses[here[:2]].add(end[:2])
        return uses


def absolute(here, path):
    """The path from the crate's root on. What begins with a name may be of this module, or another crate's."""
    while path and path[0] in {"crate", "$crate", "self", "super"}:
        here = {"self": here, "super": here[:-1]}.get(path[0], ())
        path = path[1:]
    return path if path[:1] == ("::",) else here + tuple(word for word in path if word != "self")
