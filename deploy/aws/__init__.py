"""The service on AWS: the templates, and the command that brings them there (`python -m deploy.aws --help`)."""
