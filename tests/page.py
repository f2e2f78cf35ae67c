"""The figures of a page of metrics, as tests name them: by the sample's name and labels."""

from lowtide.tools import page


def figures(text: str) -> dict[str, float]:
    values = {}
    for sample in page.samples(text):
        labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
        values[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return values
