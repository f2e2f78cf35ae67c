"""Asks the running stack for one real page, so that `make up` never calls a site good whose pages all fail."""

import http.client
from urllib.parse import urlsplit

from stack import Failed


def asked(site: str, path: str) -> str:
    """A sentence that says how the page at `path` answers; a redirect is said and not followed.

    Raises:
        Failed: the application fails (5xx), refuses the host (400), or does not answer.
    """
    connection = http.client.HTTPConnection(urlsplit(site).netloc, timeout=65)
    try:
        connection.request("GET", path, headers={"Accept": "text/html"})
        answer = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        raise Failed(f"The site is up, but its page {path} does not answer: {error}.") from None
    finally:
        connection.close()
    if answer.status >= 500 or answer.status == 400:
        raise Failed(f"The site is up, but its page {path} answers {answer.status}: the lines above may say why.")
    location = answer.getheader("Location")
    return f"Its page {path} answers {answer.status}{f', to {location}' if location else ''}."
