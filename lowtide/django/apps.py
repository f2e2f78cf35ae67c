from django.apps import AppConfig


class LowtideConfig(AppConfig):
    name = "lowtide.django"
    label = "lowtide"
