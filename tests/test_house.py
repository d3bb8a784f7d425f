"""The rules of the house, read off the source: floors, what may not be called where, docstrings, sizes.

Each rule is proved to bite on a line that breaks it.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import mailproto
from mailproto._flows.login import choose_login

ROOT = Path(mailproto.__file__).parent
MODULES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}
SOURCES = {name: path.read_text(encoding="utf-8") for name, path in MODULES.items()}
TREES = {name: ast.parse(source) for name, source in SOURCES.items()}

# The first prefix that matches counts. A package's own __init__ stands where its highest module does.
FLOORS = [
    ("mailproto.errors", 0),
    ("mailproto._core", 0),
    ("mailproto.address", 1),
    ("mailproto.sasl", 1),
    ("mailproto.smtp.flows", 3),
    ("mailproto.smtp.server", 2),
    ("mailproto.smtp._server", 2),
    ("mailproto.smtp.client", 2),
    ("mailproto.smtp._client", 2),
    ("mailproto.smtp.events", 2),
    ("mailproto.smtp.result", 2),
    ("mailproto.smtp.messages.submission", 2),
    ("mailproto.smtp.messages.content", 2),
    ("mailproto.smtp.", 1),
    ("mailproto.smtp", 2),
    ("mailproto.pop3.flows", 3),
    ("mailproto.pop3.server", 2),
    ("mailproto.pop3._server", 2),
    ("mailproto.pop3.client", 2),
    ("mailproto.pop3._client", 2),
    ("mailproto.pop3.events", 2),
    ("mailproto.pop3.", 1),
    ("mailproto.pop3", 2),
    ("mailproto.dns.lookup", 3),
    ("mailproto.dns.", 1),
    ("mailproto.dns", 3),
    ("mailproto._flows", 3),
    ("mailproto.flow", 3),
    ("mailproto.tunnels", 3),
    ("mailproto._net", 4),
    ("mailproto.tls", 4),
    ("mailproto.aio", 4),
    ("mailproto.sync", 4),
    ("mailproto", 5),
]
NO_IO = {"socket", "ssl", "asyncio", "threading", "selectors", "select", "time", "random", "subprocess", "concurrent"}


def floor_of(module: str) -> int:
    return next(
        floor
        for prefix, floor in FLOORS
        if module == prefix or module.startswith(prefix if prefix.endswith(".") else f"{prefix}.")
    )


def imports_of(module: str, tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield what a module imports when it is imported, down to modules, and the line."""
    for node in _at_import_time(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: relative imports hide the floor"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield (inner if inner in MODULES else str(node.module)), node.lineno


def _at_import_time(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        yield node
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield from _at_import_time(node)


IMPORTS = {name: list(imports_of(name, tree)) for name, tree in TREES.items()}


def test_there_is_something_to_read() -> None:
    assert len(MODULES) > 40
    assert "mailproto._core.buffer" in MODULES
    assert ("mailproto._core.dots", 9) in IMPORTS["mailproto._core.buffer"]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_its_own_floor_or_below(module: str) -> None:
    floor = floor_of(module)
    for imported, line in IMPORTS[module]:
        if imported.split(".")[0] == "mailproto":
            assert floor_of(imported) <= floor, f"{module}:{line}: floor {floor} imports {imported}"


def test_the_adapters_do_not_know_each_other() -> None:
    for one, other in (("mailproto.aio", "mailproto.sync"), ("mailproto.smtp", "mailproto.pop3")):
        for module in MODULES:
            for here, there in ((one, other), (other, one)):
                if module == here or module.startswith(here + "."):
                    met = [name for name, _ in IMPORTS[module] if name == there or name.startswith(there + ".")]
                    assert not met, f"{module} imports {met}"


@pytest.mark.parametrize("module", [name for name in MODULES if floor_of(name) < 4])
def test_nothing_below_the_adapters_does_io_or_keeps_time(module: str) -> None:
    for imported, line in IMPORTS[module]:
        assert imported.split(".")[0] not in NO_IO, f"{module}:{line} imports {imported}"


def test_there_are_no_import_cycles() -> None:
    graph = {
        name: {imported for imported, _ in imports if imported in MODULES and imported != name}
        for name, imports in IMPORTS.items()
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            for imported in sorted(graph[name]):
                visit(imported, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


# The gates of SECURITY section 10.

FORBIDDEN_CALLS = {
    "splitlines": "takes eleven octets and characters for line ends",
    "readline": "takes a bare LF for a line end",
    "readlines": "takes a bare LF for a line end",
    "isdigit": "takes digits of every script",
    "isdecimal": "takes digits of every script",
    "isnumeric": "takes digits of every script",
    "isalnum": "takes letters of every script",
    "isalpha": "takes letters of every script",
    "casefold": "changes lengths",
    "b64decode": "skips what is no base64",
    "decodebytes": "skips what is no base64",
    "eval": "",
    "exec": "",
}
STRIPS = {"strip", "lstrip", "rstrip"}
MATCHES = {"match", "search"}

# module, call: why it may.
ALLOWED = {
    ("mailproto._core.codec", "int"): "it is the owner of numbers: its input was checked digit by digit",
    ("mailproto._core.newlines", "decode"): "only the kinds of line end are looked at, and nothing of it is kept",
    ("mailproto.smtp.messages.writing", "encode"): "gives back the octets of a field, as the stdlib hides them",
    ("mailproto.smtp.messages.writing", "decode"): "how the stdlib keeps octets in a text, and undone where it goes",
    ("mailproto.smtp.rules", "split"): "the text of its own table",
    ("mailproto.pop3.rules", "split"): "the text of its own table",
}


def wire_modules() -> list[str]:
    """The modules that see a peer's octets."""
    return [name for name in MODULES if floor_of(name) <= 4]


def offences(tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """Yield line, name of the call, and what is wrong with it."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in FORBIDDEN_CALLS:
            yield node.lineno, name, FORBIDDEN_CALLS[name]
        elif name in STRIPS and not node.args:
            yield node.lineno, name, "without an argument strips whatever Python calls space"
        elif name == "split" and isinstance(node.func, ast.Attribute) and not node.args:
            yield node.lineno, name, "without an argument splits at whatever Python calls space"
        elif name == "int" and node.args and not isinstance(node.args[0], ast.Subscript):
            yield node.lineno, name, "takes 2_5, +25 and Arabic digits"
        elif name in MATCHES and isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "re":
            yield node.lineno, name, "patterns are compiled, and anchored by fullmatch"
        elif name in ("encode", "decode") and isinstance(node.func, ast.Attribute):
            said = " ".join(map(ast.unparse, node.args))
            if "latin" in said or "surrogate" in said:
                yield node.lineno, name, "loses or smuggles octets"
        elif name == "compare_digest" and any(isinstance(argument, ast.Constant) for argument in node.args):
            yield node.lineno, name, "compares with a constant"


@pytest.mark.parametrize("module", wire_modules())
def test_no_generous_conversion_touches_the_wire(module: str) -> None:
    """SECURITY section 7: each of these has let something through somewhere."""
    for line, call, why in offences(TREES[module]):
        assert (module, call) in ALLOWED, f"{module}:{line}: {call}() {why}"


@pytest.mark.parametrize(
    "line",
    [
        "data.splitlines()",
        "data.strip()",
        "data.split()",
        "int(text)",
        "text.isdigit()",
        "re.match(p, t)",
        "base64.b64decode(x)",
        'text.encode("latin-1")',
        'text.encode("ascii", "surrogateescape")',
    ],
)
def test_the_gate_bites(line: str) -> None:
    assert list(offences(ast.parse(line)))


def test_what_is_allowed_is_made_use_of() -> None:
    for module, call in ALLOWED:
        assert call in {name for _, name, _ in offences(TREES[module])}, f"{module} needs no leave for {call}()"


SECRETS = ("digest", "proof", "signature", "token", "password", "secret")


@pytest.mark.parametrize("module", MODULES)
def test_secrets_are_not_compared_by_equality(module: str) -> None:
    """S42: `hmac.compare_digest`, on bytes."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Compare) and any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops):
            for side in (node.left, *node.comparators):
                name = side.attr if isinstance(side, ast.Attribute) else getattr(side, "id", "")
                assert not any(word in name.lower() for word in SECRETS), f"{module}:{node.lineno}: == on {name}"


@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_asserted(module: str) -> None:
    """S85: ``python -O`` takes assertions away."""
    for node in ast.walk(TREES[module]):
        assert not isinstance(node, ast.Assert), f"{module}:{node.lineno}"


@pytest.mark.parametrize("module", MODULES)
def test_nothing_catches_everything_and_goes_on(module: str) -> None:
    """S19: who catches BaseException lets it go on its way."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else "everything"
            if caught in ("everything", "BaseException"):
                text = ast.unparse(node)
                assert "raise" in text or "as " in text, f"{module}:{node.lineno}: except {caught}"


@pytest.mark.parametrize("module", MODULES)
def test_everything_public_has_a_docstring(module: str) -> None:
    tree = TREES[module]
    assert ast.get_docstring(tree), f"{module} has no docstring"
    for node, private in _definitions(tree, False):
        dunder = node.name.startswith("__")
        if not private and not dunder:
            has_one = ast.get_docstring(node) or _borrows_docstring(node)
            assert has_one, f"{module}:{node.lineno}: {node.name} has no docstring"


def _borrows_docstring(node: ast.AST) -> bool:
    inside = ast.walk(node)
    return any(isinstance(inner, ast.Assign) and ast.unparse(inner).startswith("__doc__ =") for inner in inside)


Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _definitions(tree: ast.AST, private: bool) -> Iterator[tuple[Definition, bool]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Definition):
            hidden = private or (node.name.startswith("_") and not node.name.startswith("__"))
            overloads = any("overload" in ast.unparse(decorator) for decorator in node.decorator_list)
            setter = any(ast.unparse(decorator).endswith(".setter") for decorator in node.decorator_list)
            yield node, hidden or overloads or setter
            if isinstance(node, ast.ClassDef):
                yield from _definitions(node, hidden)


@pytest.mark.parametrize("module", MODULES)
def test_no_module_is_too_long_to_be_read_at_once(module: str) -> None:
    assert SOURCES[module].count("\n") <= 700


def test_both_drivers_together_are_short() -> None:
    """DESIGN section 1: what grows here stands on the wrong floor."""
    lines = sum(SOURCES[name].count("\n") for name in ("mailproto.aio.link", "mailproto.sync.link"))
    assert 100 < lines < 700


VERBS = ("EHLO", "HELO", "STARTTLS", "MAIL", "RCPT", "DATA", "RSET", "QUIT", "STLS", "CAPA", "RETR", "DELE", "UIDL")


@pytest.mark.parametrize("module", [name for name in MODULES if floor_of(name) == 4])
def test_the_adapters_know_no_verb_and_no_reply_code(module: str) -> None:
    """DESIGN section 1: such a line is on the wrong floor."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes) and not _is_docstring(module, node):
            text = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
            words = set(text.replace("\r", " ").replace("\n", " ").split(" "))
            assert not words & set(VERBS), f"{module}:{node.lineno}: {text!r}"
            assert not any(len(word) == 3 and word.isdigit() and word[0] in "2345" for word in words), node.lineno


def _is_docstring(module: str, constant: ast.Constant) -> bool:
    return any(isinstance(node, ast.Expr) and node.value is constant for node in ast.walk(TREES[module]))


@pytest.mark.parametrize("module", [name for name in MODULES if not name.endswith("__main__")])
def test_what_a_module_offers_is_there(module: str) -> None:
    loaded = importlib.import_module(module)
    names = getattr(loaded, "__all__", [])
    assert len(set(names)) == len(names)
    for name in names:
        assert hasattr(loaded, name), f"{module}.__all__ names {name}"


PUBLIC = [importlib.import_module(name) for name in MODULES if "._" not in name and "__all__" in SOURCES[name]]
OFFERED = {id(getattr(module, name)) for module in PUBLIC for name in module.__all__}
UNNAMED = {
    "mailproto._core.newlines.Checked": "octets that a flow has looked at: who passes them himself has bytes",
}


def annotations_of(offered: Any) -> Iterator[tuple[Any, str]]:
    """Yield the annotations of a function, or of what a class shows, each with the names that it can use."""
    functions = [offered]
    if inspect.isclass(offered):
        annotated: dict[str, tuple[Any, str]] = {}
        for base in reversed(offered.__mro__):
            names = vars(sys.modules[base.__module__])
            annotated |= {name: (names, text) for name, text in vars(base).get("__annotations__", {}).items()}
        yield from (found for name, found in annotated.items() if not name.startswith("_"))
        members = [inspect.getattr_static(offered, name) for name in dir(offered) if not name.startswith("_")]
        functions = [offered.__init__, *(getattr(each, "fget", getattr(each, "__func__", each)) for each in members)]
    for function in filter(inspect.isfunction, functions):
        yield from ((function.__globals__, text) for text in function.__annotations__.values())


def unnamed_types(offered: Any) -> set[str]:
    """Return the classes that stand in what is offered, and that nobody else can name without a private module."""
    found = {
        names.get(node.id)
        for names, text in annotations_of(offered)
        for node in ast.walk(ast.parse(str(text)))
        if isinstance(node, ast.Name)
    }
    classes = [each for each in found if inspect.isclass(each) and each.__module__.startswith("mailproto.")]
    private = [each for each in classes if "._" in each.__module__]
    return {f"{each.__module__}.{each.__qualname__}" for each in private if id(each) not in OFFERED}


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_what_is_offered_is_made_of_types_that_can_be_named(module: ModuleType) -> None:
    """Who passes it on, or takes it, in a typed program has to write down what it is."""
    for name in module.__all__:
        assert unnamed_types(getattr(module, name)) <= UNNAMED.keys(), f"{module.__name__}.{name}"


def test_the_types_of_what_is_not_offered_cannot_all_be_named() -> None:
    assert "mailproto._flows.login.LoginOptions" in unnamed_types(choose_login)


# What takes long to load and most programs never need. It stays away until it is used.
RARE = {"sqlite3", "tempfile", "json", "email.headerregistry", "email.generator", "email.policy", "email.parser"}
IO = {"ssl", "asyncio", "subprocess"}  # not socket, for `email.utils` has it before Python 3.13
NOT_LOADED = {
    "import mailproto": RARE | IO | {"email", "logging", "socket", "mailproto.sasl"},
    "import mailproto.smtp": RARE | IO | {"mailproto.pop3", "mailproto.smtp.messages.flattening"},
    "import mailproto.pop3": RARE | IO | {"mailproto.smtp", "email", "socket"},
    "import mailproto.sync": RARE | {"asyncio", "subprocess", "mailproto.maildrop"},
    "import mailproto.aio": RARE | {"mailproto.maildrop"},
    "import mailproto.cli; mailproto.cli.main(['send', '--help'])": {"asyncio", "sqlite3", "mailproto.maildrop"},
    "import mailproto.cli; mailproto.cli.main(['fetch', '--help'])": {"asyncio", "mailproto.mailhost"},
}


@pytest.mark.parametrize("statement", NOT_LOADED)
def test_what_is_rarely_needed_is_not_loaded(statement: str) -> None:
    """Every start of a program pays for what it loads."""
    program = f"import atexit, sys; atexit.register(lambda: print('=', *sys.modules)); {statement}"
    command = [sys.executable, "-S", "-c", program]  # -S: site may load anything
    environment = {"PYTHONPATH": str(ROOT.parent)}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    loaded = set(run.stdout.rpartition("= ")[2].split())
    assert "mailproto" in loaded
    assert not loaded & NOT_LOADED[statement]
