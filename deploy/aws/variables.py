"""Adds the application's own variables (app/lowtide.toml, [variables]) to the templates, which name none of them.

A secret with `generate` becomes a secret of Secrets Manager in database.yml. For any other secret the parameter
NAMESecret takes its ARN. A variable that is no secret becomes the parameter NAME. Both are set under [parameters] of an
environment.
"""

from pathlib import Path
from typing import Any

from lowtide import application
from lowtide.application import Variable

APP = Path(__file__).resolve().parents[2] / "app"
# For each template the container that reads them. `migrate` does, because manage.py loads the same settings as the
# server.
_READERS = {"service": "app", "processes": "processes", "migrate": "migrate", "loadtest": "locust"}
# The roles that start these containers.
_ROLES = ("ExecutionRole", "MigrationRole", "LoadtestRole")


def parameter(name: str, variable: Variable) -> str:
    """The parameter of a variable: UploadKey for UPLOAD_KEY, and UploadKeySecret if it is a secret."""
    return "".join(word.capitalize() for word in name.split("_")) + ("Secret" if variable.secret else "")


def add(stack: str, template: dict[str, Any], variables: dict[str, Variable]) -> None:
    """Put the variables into the template of a stack."""
    for name, variable in variables.items():
        wanted = parameter(name, variable)
        reference = {"Ref": wanted}
        if stack == "database" and variable.generate:
            template["Resources"][wanted] = _generated(name, variable)
            template["Outputs"][wanted] = {"Value": reference}
        if stack == "roles" and variable.secret:
            template["Parameters"][wanted] = {"Type": "String"}
            for role in _ROLES:
                _may_read(template["Resources"][role], reference)
        if stack in _READERS:
            template["Parameters"][wanted] = (
                {"Type": "String"} if variable.secret else {"Type": "String", "Default": ""}
            )
            (container,) = (
                definition
                for definition in template["Resources"]["Task"]["Properties"]["ContainerDefinitions"]
                if definition["Name"] == _READERS[stack]
            )
            if variable.secret:
                container.setdefault("Secrets", []).append({"Name": name, "ValueFrom": reference})
            else:
                container.setdefault("Environment", []).append({"Name": name, "Value": reference})


def _generated(name: str, variable: Variable) -> dict[str, Any]:
    return {
        "Type": "AWS::SecretsManager::Secret",
        "DeletionPolicy": "Delete",
        "UpdateReplacePolicy": "Retain",
        "Properties": {
            "Name": {"Fn::Sub": f"{service()}-${{Environment}}/{name.lower().replace('_', '-')}"},
            "Description": variable.about,
            "GenerateSecretString": {"PasswordLength": 48, "ExcludePunctuation": True},
        },
    }


def _may_read(role: dict[str, Any], reference: dict[str, str]) -> None:
    statements = role["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    reading = next((rule for rule in statements if rule["Action"] == "secretsmanager:GetSecretValue"), None)
    if reading is None:
        reading = {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": []}
        statements.append(reading)
    reading["Resource"].append(reference)


def service() -> str:
    """The service's name."""
    return application.read(APP).name


def of_the_application() -> dict[str, Variable]:
    return application.read(APP).variables
