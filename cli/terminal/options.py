"""Options that several commands have."""

from __future__ import annotations

import click

from . import completion

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
NAMESPACE = click.option(
    "--namespace",
    metavar="N",
    shell_complete=completion.namespace,
    help="Namespace of the topics. Default: HORUS_NAMESPACE, else default.",
)
