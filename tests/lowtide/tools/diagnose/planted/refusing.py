"""An application that answers every request with an error."""

from tests.lowtide.tools.diagnose.planted.answer import Environ, StartResponse


def application(environ: Environ, start_response: StartResponse) -> list[bytes]:
    if environ["PATH_INFO"] == "/raise":
        raise RuntimeError("no database\nhere")
    start_response("301 Moved Permanently", [("Location", "https://localhost/")])
    return []
