"""How somebody gets into a cluster by docs/operations.md: the ports that are forwarded, and the token that is made."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys

from servicekit.identity import TokenVerifier
from tests.deploy.kustomized import SERVICES, rendered, secrets_of
from tests.deploy.service_settings import SETTINGS
from tests.deploy.test_manifest_settings import section


def commands() -> str:
    """All that is to be entered."""
    chapter = section().partition("### The materials command against a cluster\n")[2].partition("\n### ")[0]
    return "\n".join(chapter.split("```")[1::2])


def test_each_service_is_forwarded_at_its_port_and_looked_for_there() -> None:
    forwarded = dict(re.findall(r"port-forward service/(\w+) (\d+)", commands()))
    for overlay in map(rendered, ("development", "production")):
        assert forwarded == {name: str(overlay.named("Service", name)["spec"]["ports"][0]["port"]) for name in SERVICES}
    looked_for = re.findall(r"MATERIALS_(\w+)=(?:http://)?127\.0\.0\.1:(\d+)", commands())
    assert {name.lower(): port for name, port in looked_for} == forwarded


async def test_the_token_is_one_of_an_operator_that_a_cluster_for_trying_believes() -> None:
    overlay, secrets = rendered("development"), secrets_of("development")
    given = overlay.environment(overlay.service_container("status"), secrets)
    settings = SETTINGS["status"].model_fields
    [program] = re.findall(r"python -c '\n(.*?)'\)", commands(), re.DOTALL)
    made = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "AUTH_HS256_SECRET": secrets["identity-keys"]["AUTH_HS256_SECRET"]},
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    verifier = TokenVerifier(
        hs256_secret=given["AUTH_HS256_SECRET"],
        jwks_url="",
        audience=given["AUTH_AUDIENCE"],
        issuer=given.get("AUTH_ISSUER", settings["auth_issuer"].default),
        service_secret=given["SERVICE_TOKEN_SECRET"],
    )
    caller = await verifier.verify(made.stdout.strip())
    assert caller.is_operator
    assert caller.may_write_course("any-course")


def test_the_key_is_taken_from_the_secret_that_has_it() -> None:
    [line] = [line for line in commands().splitlines() if line.startswith("export AUTH_HS256_SECRET=")]
    asked = shlex.split(line.partition("$(")[2].partition(" |")[0])
    assert asked[asked.index("secret") + 1] in secrets_of("development")
    assert asked[-1] == "jsonpath={.data.AUTH_HS256_SECRET}"
