"""The messages of errors, read from the package's source: what is wrong, and what to do next. Nothing is imported."""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "keras_transfer"
UNKNOWN = "‹…›"
# How the sentences begin that say what to do, or what there is to choose from.
_VERBS = (
    "A Keras callback goes|A tracker goes|Add|Build|Change|Check|Choose|Convert|Copy|Count|Describe|Did you mean|"
    "Divide|Export|Fill|Fix|Free|Give|Increase|Install|It takes|Keep|Label|Leave|Likely|List|Lower|Make|Merge|Move|"
    "Name|Open|Pass|Prepare|Put|Raise|Remove|Rename|Replace|Report|Restore|Resume|Return|Run|Save|See|Set|Start|Take|Try|"
    "Turn|Unset|Upgrade|Use|Wait|Watch|Write"
)
_CONDITION = r"(?:If|For|On|With|To) .{1,120}?, "
_CHOICES = r"(?:Known|Supported|Example|Expected|[A-Z][\w ]*s(?: of [\w‹› ]+| that [\w ]+)?): "
_REMEDY = re.compile(
    rf"(?<=[.?:)›]) ?(?=(?:{_VERBS})\b|{_CONDITION}|{_CHOICES})|(?<=[:;]) (?=(?:copy|set|use|remove) )"
)
# What functions call a text, or the end of one, before they raise it.
_ADVICE = ("advice", "fix", "hint", "message", "near", "others", "refusal", "ways")


@dataclass(frozen=True)
class Message:
    """One message, with a name in angle quotation marks for what depends on the input.

    Attributes:
        error: The class of the error.
        file: The module, relative to the package.
        line: Its line there.
        text: The whole message.
    """

    error: str
    file: str
    line: int
    text: str

    @property
    def package(self) -> str:
        """The part of the package that the module is in."""
        return self.file.partition("/")[0]

    @property
    def parts(self) -> tuple[str, str]:
        """What is wrong, and what to do next: "" if the message leaves that to the reader."""
        found = _REMEDY.search(self.text)
        return (self.text[: found.start()], self.text[found.end() :]) if found else (self.text, "")


def collect_messages() -> list[Message]:
    """Return the messages of all errors of the package that a user may meet, by module and line."""
    modules = {file: ast.parse((PACKAGE / file).read_text(encoding="utf-8")) for file in _files()}
    errors = _error_classes(modules.values())
    shared = {name: texts for tree in modules.values() for name, texts in _constants(tree).items() if name[0] != "_"}
    return [message for file, tree in modules.items() for message in _Module(file, tree, shared).messages(errors)]


def summarize(file: str) -> str:
    """Return the first line of the docstring of a module."""
    return (ast.get_docstring(ast.parse((PACKAGE / file).read_text(encoding="utf-8"))) or file).partition("\n")[0]


def _files() -> list[str]:
    """The modules, errors.py first."""
    files = [file.relative_to(PACKAGE).as_posix() for file in PACKAGE.rglob("*.py")]
    return sorted(files, key=lambda file: (file != "errors.py", file))


def _error_classes(modules: Iterable[ast.Module]) -> set[str]:
    """The errors of errors.py, and those that modules derive from them."""
    found = {"TransferError"}
    for node in (node for tree in modules for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        if any(isinstance(base, ast.Name) and base.id in found for base in node.bases):
            found.add(node.name)
    return found


def _constants(tree: ast.Module) -> dict[str, list[ast.expr]]:
    """The texts that have a name in a whole module."""
    return {
        target.id: [node.value]
        for node in tree.body
        if isinstance(node, ast.Assign) and _is_text(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


class _Module:
    """The source of a module, and the text that its expressions stand for."""

    def __init__(self, file: str, tree: ast.Module, shared: dict[str, list[ast.expr]]) -> None:
        self._file = file
        self._tree = tree
        self._constants = {**shared, **_constants(tree)}

    def messages(self, errors: set[str]) -> Iterator[Message]:
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in errors and node.args:
                for text in self._texts(node.args[0]):
                    yield Message(node.func.id, self._file, node.lineno, " ".join(text.split()))
            elif isinstance(node, ast.Yield) and node.value and self._file.startswith("config/"):  # mistakes in recipes
                for text in self._texts(node.value):
                    if ": " in text:
                        yield Message("ConfigError", self._file, node.lineno, " ".join(text.split()))

    def _texts(self, node: ast.expr) -> list[str]:
        """The texts that an expression may be, as far as the module alone says."""
        if isinstance(node, ast.IfExp):
            return [*self._texts(node.body), *self._texts(node.orelse)]
        named = [text for value in self._named(node) for text in self._texts(value)]
        text = self._text(node)
        return named or ([text] if re.search(r"\w{3}", re.sub("‹.*?›", "", text)) else [])

    def _text(self, node: ast.expr) -> str:
        match node:
            case ast.Constant(value=str(text)):
                return text
            case ast.JoinedStr(values=values):
                return "".join(map(self._text, values))
            case ast.FormattedValue(value=value):
                return self._text(value)
            case ast.BinOp(op=ast.Add(), left=left, right=right):
                return self._text(left) + self._text(right)
            case ast.BinOp(op=ast.Mult(), left=left):
                return self._text(left)
            case ast.IfExp(body=body, orelse=orelse):
                return self._text(body) or self._text(orelse)
            case ast.Call(func=ast.Name(id="did_you_mean")):
                return f"Did you mean {UNKNOWN}?"
            case ast.Call(func=ast.Attribute(value=ast.Constant(), attr="join"), args=[ast.List(elts=values)]):
                return " ".join(map(self._text, values))
        if named := self._named(node):
            return self._text(named[0])
        return f"‹{name}›" if (name := _name(node)) else UNKNOWN

    def _named(self, node: ast.expr) -> list[ast.expr]:
        """The texts of the module that a name or a call stands for."""
        match node:
            case ast.Name(id=name) if name in _ADVICE:
                return self._local.get((self._functions.get(node), name), [])
            case ast.Name(id=name):
                return self._constants.get(name, [])
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(value=ast.Name(id="self"), attr=name)):
                return self._returned.get(name, [])
        return []

    @cached_property
    def _functions(self) -> dict[ast.AST, ast.FunctionDef]:
        """The innermost function of each node."""
        functions = [node for node in ast.walk(self._tree) if isinstance(node, ast.FunctionDef)]
        return {node: function for function in functions for node in ast.walk(function)}

    @cached_property
    def _local(self) -> dict[tuple[ast.FunctionDef | None, str], list[ast.expr]]:
        """The texts that functions give a name before they raise them."""
        found: dict[tuple[ast.FunctionDef | None, str], list[ast.expr]] = {}
        for node, function in self._functions.items():
            if isinstance(node, ast.Assign) and _is_text(node.value):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        found.setdefault((function, target.id), []).append(node.value)
        return found

    @cached_property
    def _returned(self) -> dict[str, list[ast.expr]]:
        """The texts that the functions of the module return."""
        return {
            node.name: found
            for node in ast.walk(self._tree)
            if isinstance(node, ast.FunctionDef)
            and (
                found := [
                    inner.value for inner in ast.walk(node) if isinstance(inner, ast.Return) and _is_text(inner.value)
                ]
            )
        }


def _is_text(node: ast.expr | None) -> bool:
    return isinstance(node, ast.JoinedStr) or bool(
        isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value
    )


def _name(node: ast.expr) -> str:
    """A word for a value: the last one of its name."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.strip("_").replace("_", " ").lower()
        case ast.Subscript(value=value) | ast.Starred(value=value):
            return _name(value)
        case ast.Call(func=ast.Attribute(attr="join"), args=[ast.GeneratorExp(generators=[first, *_]), *_]):
            return _name(first.iter)
        case ast.Call(func=ast.Name(), args=[*_, last]) | ast.Call(func=ast.Attribute(attr="join"), args=[last]):
            return _name(last)
        case ast.Call(func=ast.Attribute(value=ast.Name(id="self")) as method):
            return _name(method)
        case ast.Call(func=ast.Attribute(value=value)):
            return _name(value)
    return ""
