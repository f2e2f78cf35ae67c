"""What lowtide.toml may contain, and that a mistake in it gives one line that names the key and says what to write."""

from pathlib import Path

import pytest

from lowtide import application

SMALLEST = """
name = "site"
wsgi = "site:application"
manage = "manage.py"
page = "/"
live = "/alive"
ready = "/ready"
"""
WHOLE = (
    SMALLEST
    + """
large = ["/export*", "/report/"]

[variables.TOKEN]
about = "Opens the door."

[[preload]]
path = "/"
headers = {Authorization = "Bearer {TOKEN}", Accept = "text/html"}

[loadtest]
warm_up = {path = "/export.lines"}
seed = ["fill --count {items}"]
seed_requests = ["upload"]

[loadtest.draw]
page = {most = 50}
word = {words = ["a", "b"]}

[[loadtest.requests]]
name = "list"
lane = "small"
weight = 5
path = "/?page={page:03d}&q={word}"

[[loadtest.requests]]
name = "upload"
lane = "large"
weight = 1
method = "POST"
path = "/upload/"
make_body = "bodies:made"
"""
)

MEASURED = "[measured]\nworkers = 1\nidle_mb = 50\nworker_rss_mb = 40.5\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bodies.py").write_text("WORDS = ['a']\nNUMBERS = [1]\n\n\ndef made(records, seed):\n    return b''\n")
    return tmp_path


def described(folder: Path, text: str) -> application.Application:
    (folder / "lowtide.toml").write_text(text)
    return application.read(folder)


def test_the_smallest_description(folder: Path) -> None:
    read = described(folder, SMALLEST)
    assert (read.wsgi, read.page, read.large, read.loadtest) == ("site:application", "/", (), None)
    assert read.folder == folder


def test_what_is_left_out_has_a_default(folder: Path) -> None:
    read = described(folder, WHOLE)
    application.check(read)
    assert read.loadtest
    (listed, upload) = read.loadtest.requests
    assert (listed.method, listed.status, listed.streamed, upload.method) == ("GET", 200, None, "POST")
    assert read.words(read.loadtest.draw["word"]) == ("a", "b")
    assert read.load(upload.make_body)(1, 1) == b""


def test_a_header_waits_for_its_variable(folder: Path) -> None:
    (call,) = described(folder, WHOLE).preload
    assert application.variables(call) == ["TOKEN"]
    assert application.headers(call, {"TOKEN": "x"}) == {"Authorization": "Bearer x", "Accept": "text/html"}
    assert application.headers(call, {"TOKEN": ""}) == application.headers(call, {}) == {"Accept": "text/html"}


def test_only_some_requests_are_those_of_a_user(folder: Path) -> None:
    environment = {application.LOGGED_IN: '{"Cookie": "sessionid=1"}'}
    own = application.Call(path="/own/", headers={"Accept": "text/html"}, login=True)
    assert application.headers(own, environment) == {"Cookie": "sessionid=1", "Accept": "text/html"}
    assert application.headers(own, {}) == {"Accept": "text/html"}
    assert application.headers(application.Call(path="/"), environment) == {}


@pytest.mark.parametrize(
    ("written", "instead", "says"),
    [
        (
            'name = "site"',
            'name = "My site"',
            'name = "My site" cannot be used: write 2 to 15 small letters and digits',
        ),
        ("large =", "processes.Worker = 'x'\nlarge =", "processes.Worker is no name: write small letters, digits"),
        ("large =", "processes.worker = ''\nlarge =", "processes.worker is empty: write a command, or leave it out."),
        ("large =", "packages = ['libpq5; ls']\nlarge =", '"libpq5; ls" cannot be used: write Debian packages, for'),
        ('wsgi = "site:application"', "", 'wsgi is missing: write the WSGI callable, for example "config.wsgi'),
        ('wsgi = "site:application"', 'wsgi = "site"', 'wsgi = "site" cannot be used: write the WSGI callable'),
        ('wsgi = "site:application"', "wsgi = 1", "wsgi = 1 cannot be used: write the WSGI callable"),
        ('page = "/"', 'paeg = "/"', "paeg is no key: write one of name, wsgi, manage, page,"),
        ('live = "/alive"', 'live = "alive"', 'live = "alive" cannot be used: write a path, for example "/healthz"'),
        ('"/report/"', '"report"', 'large[2] = "report" cannot be used: write a path, or the beginning of paths'),
        ('"/report/"', "'/a; return 1'", 'large[2] = "/a; return 1" cannot be used'),
        ('"/report/"', "7", "large[2] = 7 cannot be used"),
        ("[variables.TOKEN]", "[variables.token]", "variables.token is no name: write capitals"),
        ('about = "Opens the door."', "", "variables.TOKEN.about is missing: write what it is for"),
        ('about = "Opens the door."', 'about = "x"\nsecret = "yes"', 'secret = "yes" cannot be used: write true or'),
        ('about = "Opens the door."', 'about = "x"\ngenerate = true', "generate is for secrets: write secret = true"),
        ("Bearer {TOKEN}", "Bearer {KEY}", "preload[1].headers names KEY: write [variables.KEY] for it."),
        ("Bearer {TOKEN}", "Bearer {TOKEN", "preload[1].headers cannot be used: expected '}'"),
        ("[[preload]]", "[[preload]]\nlogin = true", "preload[1].login: nobody is logged in before the fork"),
        ("weight = 5", "weight = 5\nlogin = true", "loadtest.requests[1].login needs the form of a login: write [lo"),
        (
            "[loadtest.draw]",
            '[loadtest.login]\npath = "/in/"\nform = {word = "{WORD}"}\n[loadtest.draw]',
            "loadtest.login.form names WORD: write [variables.WORD] for it.",
        ),
        ("[[preload]]", "[preload]", "preload = {'path': '/', "),
        ('path = "/upload/"', "", "loadtest.requests[2].path is missing: write a path"),
        ("weight = 5", "weight = 0", "loadtest.requests[1].weight = 0 cannot be used: write a whole number, 1 or"),
        ("weight = 5", "weight = true", "loadtest.requests[1].weight = true cannot be used"),
        ("weight = 5", "wieght = 5", "loadtest.requests[1].wieght is no key: write one of path, method"),
        ('lane = "large"', 'lane = "huge"', 'lane = "huge" cannot be used: write "small" or "large".'),
        ('lane = "large"', 'lane = "small"', 'loadtest.requests has none with lane = "large"'),
        ('name = "upload"', 'name = "list"', 'loadtest.requests[2].name = "list" is taken: write another.'),
        ("{page:03d}", "{pgae}", "loadtest.requests[1].path names {pgae}, which loadtest.draw does not have: there is"),
        ("{word}", "{word:03d}", "cannot be filled in: Unknown format code 'd'"),
        ('make_body = "bodies:made"', 'make_body = "bodies.made"', "write a function as"),
        ('make_body = "bodies:made"', 'make_body = "bodies:made"\nbody = "x"', "requests[2] has both body and make_"),
        ("page = {most = 50}", "page = {least = 2}", "loadtest.draw.page needs one of three: write most, words, or"),
        ("page = {most = 50}", "page = {least = 51, most = 50}", "loadtest.draw.page has least = 51 above most = 50:"),
        ("[[preload]]", f"{MEASURED}large_mb = inf\n[[preload]]", "measured.large_mb = inf cannot be used: write what"),
        ("page = {most = 50}", 'page = {most = "all"}', "write a whole number"),
        ("--count {items}", "--count {all}", "loadtest.seed names {all}, which a scenario does not have: there is ite"),
        ('seed_requests = ["upload"]', 'seed_requests = ["up"]', "seed_requests names up: write one of list, upload."),
        ('warm_up = {path = "/export.lines"}', "", "loadtest.warm_up is missing: write a table, [loadtest.warm_up]"),
        ('"/export.lines"', '"export"', 'loadtest.warm_up.path = "export" cannot be used: write a path'),
        ("[loadtest]", "[loadtest", "is not TOML: "),
        ("large =", "settings = 'a b'\nlarge =", 'settings = "a b" cannot be used: write a module'),
        ("large =", "build = 'npm ci'\nlarge =", 'build = "npm ci" cannot be used: write a list of commands'),
        ("large =", "content_security_policy = 'a\"b'\nlarge =", "content_security_policy = "),
        ("large =", "hashed_static = 'no'\nlarge =", 'hashed_static = "no" cannot be used: write true or false.'),
        ("large =", "python = '3.12'\nlarge =", 'python = "3.12" cannot be used: write versions, for example'),
        ("large =", "python = '<3'\nlarge =", 'python = "<3" allows none of 3.11 and newer'),
        ("large =", "build = ['npm \"ci']\nlarge =", 'build[1] = "npm "ci" cannot be used: No closing quotation.'),
        ("large =", "build = [' ']\nlarge =", "build[1] is empty: write a command, or leave it out."),
    ],
)
def test_a_mistake_is_named(written: str, instead: str, says: str, folder: Path) -> None:
    assert written in WHOLE
    with pytest.raises(application.Invalid) as refused:
        described(folder, WHOLE.replace(written, instead))
    line = str(refused.value)
    assert line.startswith(f"{folder}/lowtide.toml")
    assert says in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("written", "instead", "says"),
    [
        ("bodies:made", "bodeis:made", "bodeis:made cannot be imported: ModuleNotFoundError: No module named 'bodeis'"),
        ("bodies:made", "bodies:maed", "bodies:maed cannot be imported: AttributeError: "),
        ("bodies:made", "bodies:WORDS", "bodies:WORDS is no function: write one of (records, seed)."),
        ('words = ["a", "b"]', 'words_from = "bodies:NUMBERS"', "words_from: bodies:NUMBERS is no list of texts."),
    ],
)
def test_what_cannot_be_imported_is_named(written: str, instead: str, says: str, folder: Path) -> None:
    read = described(folder, WHOLE.replace(written, instead))
    with pytest.raises(application.Invalid) as refused:
        application.check(read)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(application.Invalid, match=r"lowtide.toml cannot be read: No such file .*docs/fork.md"):
        application.read(tmp_path)


def test_where_the_application_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("APP_DIR", raising=False)
    (folder / "app").mkdir()
    (folder / "app/lowtide.toml").write_text(SMALLEST)
    monkeypatch.chdir(folder)
    assert application.find() == Path("app")
    monkeypatch.chdir(folder / "app")
    assert application.find() == Path()
    monkeypatch.setenv("APP_DIR", "/srv/app")
    assert application.find() == Path("/srv/app")
