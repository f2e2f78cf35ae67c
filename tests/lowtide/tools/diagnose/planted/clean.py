"""Clean: takes some MiB of small objects and keeps nothing."""

from tests.lowtide.tools.diagnose.planted.answer import Environ, StartResponse, answer


def application(environ: Environ, start_response: StartResponse) -> list[bytes]:
    rows = [{"number": number, "name": f"row {number}"} for number in range(5_000)]
    sorted(rows, key=lambda row: str(row["name"]))
    return answer(start_response)
