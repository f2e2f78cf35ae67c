"""The variants that are compared: the same stack, with these variables of its environment set."""

from dataclasses import dataclass

ONE_POOL = {"LARGE_WORKERS": "0"}
KEEP = {"GIVE_BACK_MB": "0"}


@dataclass(frozen=True)
class Variant:
    name: str
    label: str
    environment: dict[str, str]


VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("without", "No worker management at all.", ONE_POOL | KEEP | {"WORKER_MANAGEMENT": "without"}),
        Variant("article", "The article's four values, verbatim.", ONE_POOL | KEEP | {"WORKER_MANAGEMENT": "article"}),
        Variant("sized", "Recycling only, sized to the container; one pool.", ONE_POOL | KEEP),
        Variant("trim", "Giving back only; one pool.", ONE_POOL | {"WORKER_MANAGEMENT": "without"}),
        Variant("contained", "Two pools and recycling, nothing given back.", KEEP),
        Variant("lowtide", "What the stack ships: two pools, giving back, recycling.", {}),
    )
}
