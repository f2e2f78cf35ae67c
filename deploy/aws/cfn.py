"""Reading CloudFormation templates, whose short tags (!Ref, !Sub, ...) plain YAML does not know."""

import json
from pathlib import Path
from typing import Any

import yaml

from deploy.aws import variables

TEMPLATES = Path(__file__).parent / "templates"
NAMES = sorted(path.stem for path in TEMPLATES.glob("*.yml"))


class Loader(yaml.SafeLoader):
    """SafeLoader that reads `!Sub x` as {"Fn::Sub": "x"} and `!Ref x` as {"Ref": "x"}."""


def _short(loader: Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)  # noqa: S101 - YAML has three kinds of nodes
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


Loader.add_multi_constructor("!", _short)


def text(stack: str) -> str:
    """The template of a stack as CloudFormation gets it."""
    return json.dumps(load(stack))


def load(stack: str) -> dict[str, Any]:
    """The template of a stack with the application's own variables, as plain dictionaries."""
    source = (TEMPLATES / f"{stack}.yml").read_text()
    template: dict[str, Any] = yaml.load(source, Loader)  # noqa: S506 - derived from SafeLoader
    variables.add(stack, template, variables.of_the_application())
    return template
