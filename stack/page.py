"""Asks the running stack for one real page, so that `make up` never calls a site good whose pages all fail.

Also looks at how large its workers are, because nothing else says that a limit suits the application.
"""

import http.client
import json
from urllib.parse import urlsplit

from lowtide import sizing
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


def too_low(sampled: str, reload_on_rss: str) -> str:
    """A sentence where idle workers are hardly below the limit at which they are replaced; otherwise empty.

    Args:
        sampled: what `python -m lowtide.sample --once` prints.
        reload_on_rss: the limit, MiB.
    """
    workers = [worker["rss_mb"] for worker in json.loads(sampled)["workers"]]
    if not workers or max(workers) + sizing.LEAST_GROWTH_MB <= int(reload_on_rss):
        return ""
    least = sizing.least_reload_on_rss(sizing.Load(sum(workers), len(workers), max(workers), 0))
    return (
        f" An idle worker has {max(workers):.0f} MiB and RELOAD_ON_RSS is {reload_on_rss}, so workers are replaced too "
        f"often: write RELOAD_ON_RSS={least} into .env."
    )
