"""Finds out, without running it, what a Django project is made of."""

import ast
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lowtide.application import NAMES_SETTINGS
from stack import Failed
from stack.adopt import requirements
from stack.adopt.requirements import Requirements

# Folders that are no part of a project although nothing ignores them.
NOT_PART = {
    ".git",
    ".hg",
    ".venv",
    "venv",
    "env",
    "node_modules",
    "__pycache__",
    ".tox",
    ".mypy_cache",
    ".pytest_cache",
}
DEVELOPMENT = ("dev", "development", "local", "test")
PRODUCTION = ("production", "prod")
# Variables that the stack sets, or that say where Django's settings are.
STACKS_OWN = {"DATABASE_URL", "STATIC_ROOT", "DEBUG", "DJANGO_SETTINGS_MODULE", "SECRET_KEY", "ALLOWED_HOSTS"}


@dataclass(frozen=True)
class Read:
    """A variable of the environment that the settings read, and whether they have a value for it when it is unset."""

    name: str
    file: str
    optional: bool

    @property
    def secret(self) -> bool:
        return re.search("SECRET|PASSWORD|TOKEN|_KEY|SALT|DSN", self.name) is not None

    @property
    def any_text_will_do(self) -> bool:
        return "SECRET_KEY" in self.name or "SALT" in self.name


@dataclass
class Project:
    """A project as it lies in its folder. Paths are relative to it; `unknown` are sentences about what is not known."""

    folder: Path
    files: list[Path]
    manage: Path
    settings: str = ""
    wsgi: str = ""
    build: list[str] = field(default_factory=list)
    hashed_static: bool = False
    variables: list[Read] = field(default_factory=list)
    requirements: Requirements = field(default_factory=Requirements)
    unknown: list[str] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.folder / self.manage.parent


def read(folder: Path, manage: str = "") -> Project:
    """What is in the folder.

    Raises:
        Failed: it is no Django project, or it has several and `manage` names none of them.
    """
    if not folder.is_dir():
        raise Failed(f"{folder} is no folder: write make adopt PROJECT=../myservice.")
    files = listed(folder)
    project = Project(folder, files, chosen_manage(folder, files, manage))
    project.settings = chosen_settings(project)
    sources = settings_sources(project)
    project.wsgi = chosen_wsgi(project, sources)
    project.build = build_commands(project, sources)
    project.hashed_static = any("Manifest" in ast.unparse(tree) for tree in sources.values())
    project.variables = list(variables(project, sources))
    project.requirements = requirements.read(folder)
    project.unknown += project.requirements.unknown
    return project


def listed(folder: Path) -> list[Path]:
    """The project's files. In a repository git says what they are, uncommitted ones too, but not what is ignored."""
    command = ["git", "-C", str(folder), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "."]
    said = subprocess.run(command, capture_output=True, text=True)
    if said.returncode == 0 and said.stdout:
        paths = [Path(name) for name in said.stdout.split("\0") if name]
    else:
        paths = [path.relative_to(folder) for path in folder.rglob("*")]
    return sorted(
        path
        for path in paths
        if not NOT_PART & set(path.parts)
        and path.name != ".env"
        and path.suffix not in (".pyc", ".sqlite3")
        and ((folder / path).is_file() or (folder / path).is_symlink())
    )


def chosen_manage(folder: Path, files: list[Path], manage: str) -> Path:
    places = sorted((path for path in files if path.name == "manage.py"), key=lambda path: (len(path.parts), path))
    if manage:
        if Path(manage) not in files:
            raise Failed(f"MANAGE={manage} is no file of {folder}: it has {', '.join(map(str, places)) or 'none'}.")
        return Path(manage)
    if not places:
        raise Failed(f"{folder} has no manage.py, so it is no Django project: PROJECT names the folder that has one.")
    nearest = [path for path in places if len(path.parts) == len(places[0].parts)]
    if len(nearest) > 1:
        raise Failed(f"{folder} has several: write MANAGE={nearest[0]}, or another of {', '.join(map(str, nearest))}.")
    return nearest[0]


def chosen_settings(project: Project) -> str:
    """The settings module that the WSGI module or manage.py names, or its neighbour for production."""
    at_root = [path for path in project.files if (project.folder / path).is_relative_to(project.root)]
    for path in [*(path for path in at_root if path.name == "wsgi.py"), project.manage]:
        if found := re.search(NAMES_SETTINGS, text(project.folder / path)):
            module = found[1]
            break
    else:
        project.unknown.append("Which module has the settings: manage.py does not say. Write it under `settings`.")
        return ""
    package, _, name = module.rpartition(".")
    if package and name.startswith(DEVELOPMENT):
        for other in PRODUCTION:
            if module_file(project, f"{package}.{other}"):
                project.unknown.append(
                    f"Whether {package}.{other} is right under `settings`: the project itself starts with {module}."
                )
                return f"{package}.{other}"
    return module


def module_file(project: Project, module: str) -> Path | None:
    path = project.root.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def settings_sources(project: Project) -> dict[str, ast.Module]:
    """The settings module and those of its package that it imports, parsed, by their path."""
    sources: dict[str, ast.Module] = {}
    waiting = [project.settings]
    while waiting:
        module = waiting.pop()
        file = module_file(project, module) if module else None
        if not file or (name := str(file.relative_to(project.folder))) in sources:
            continue
        try:
            sources[name] = ast.parse(text(file))
        except SyntaxError as error:
            raise Failed(f"{file} cannot be read: line {error.lineno}: {error.msg}.") from None
        package = module if file.name == "__init__.py" else module.rpartition(".")[0]
        for node in ast.walk(sources[name]):
            if isinstance(node, ast.ImportFrom):
                base = package.rsplit(".", node.level - 1)[0] if node.level else ""
                waiting.append(".".join(filter(None, (base, node.module))))
    if project.settings and not sources:
        project.unknown.append(f"What is in {project.settings}: its file is not below {project.root}.")
    return sources


def assigned(sources: dict[str, ast.Module], name: str) -> str:
    """The source of the value that a setting is given, the last where there are several; empty where there is none."""
    found = ""
    for tree in sources.values():
        for node in ast.walk(tree):
            targets = node.targets if isinstance(node, ast.Assign) else []
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                found = found or ast.unparse(node.value)  # type: ignore[attr-defined]
    return found


def chosen_wsgi(project: Project, sources: dict[str, ast.Module]) -> str:
    dotted = assigned(sources, "WSGI_APPLICATION").strip("\"'")
    if re.fullmatch(r"[A-Za-z_][\w.]*\.\w+", dotted) and module_file(project, dotted.rpartition(".")[0]):
        module, _, name = dotted.rpartition(".")
        return f"{module}:{name}"
    for path in project.files:
        if path.name == "wsgi.py" and (project.folder / path).is_relative_to(project.root):
            inside = (project.folder / path).relative_to(project.root).with_suffix("")
            return f"{'.'.join(inside.parts)}:application"
    # Every project has this one, without whatever a wsgi.py of its own would add.
    return "lowtide.django.plain_wsgi:application"


def build_commands(project: Project, sources: dict[str, ast.Module]) -> list[str]:
    """The commands that make what is served as static files."""
    commands = []
    for package in (path for path in project.files if path.name == "package.json"):
        if re.search(r'"build"\s*:', text(project.folder / package)):
            place = "" if package.parent == Path() else f" --prefix {package.parent}"
            install = "ci" if package.with_name("package-lock.json") in project.files else "install"
            commands += [f"npm{place} {install}", f"npm{place} run build"]
    collect = "manage.py collectstatic --noinput --verbosity=0"
    everything = " ".join(ast.dump(tree) for tree in sources.values())
    compress = "'compressor'" in everything and "COMPRESS_OFFLINE" in everything
    return [*commands, collect, *(["manage.py compress --force"] if compress else [])]


def variables(project: Project, sources: dict[str, ast.Module]) -> Iterator[Read]:
    """The variables that the settings read, as far as their names stand there."""
    seen = set(STACKS_OWN)
    for file, tree in sources.items():
        for node in ast.walk(tree):
            name, optional = asked_for(node)
            if name and name not in seen and re.fullmatch("[A-Z][A-Z0-9_]*", name):
                seen.add(name)
                yield Read(name, file, optional)


def asked_for(node: ast.AST) -> tuple[str, bool]:
    """The variable that an expression reads from the environment, and whether it may be unset."""
    if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
        return constant(node.slice), False
    if isinstance(node, ast.Call) and node.args:
        function = ast.unparse(node.func)
        if function in ("os.environ.get", "os.getenv", "getenv"):
            return constant(node.args[0]), True
        # django-environ, environs, python-decouple.
        if re.fullmatch(r"(env|environ|config)(\.\w+)?", function):
            given = len(node.args) > 1 or any(word.arg == "default" for word in node.keywords)
            return constant(node.args[0]), given
    return "", False


def constant(node: ast.AST) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def text(path: Path) -> str:
    return path.read_text(errors="replace")
