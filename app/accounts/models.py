"""The user model: Django's own, as a class of this project, because a project cannot change to another one later.

A field that is added here becomes a column by a migration like any other. Other code asks for `get_user_model()`, and
models refer to `settings.AUTH_USER_MODEL`.
"""

from django.contrib.auth.models import AbstractUser


class User(AbstractUser):
    class Meta(AbstractUser.Meta):
        # The table that Django's own user model has, so that a database from before this model keeps its users
        # (docs/upgrade.md).
        db_table = "auth_user"
