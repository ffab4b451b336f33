# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The image, and the manifests for Compose and Kubernetes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

import gearhorn
from gearhorn.service import config
from gearhorn.tests.conftest import NewDaemon, Start
from gearhorn.tests.functional.command import run
from gearhorn.tests.processes import free_port
from gearhorn.tests.servers import Gearmand, Redis

pytestmark = pytest.mark.once

ROOT = Path(gearhorn.__file__).parents[1]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
DAEMONS = {name: one for name, one in COMPOSE["services"].items() if name.startswith("daemon")}
KUBERNETES = {
    document["kind"]: document
    for document in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
}
POD = KUBERNETES["StatefulSet"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]


def instructions(path: Path) -> list[tuple[str, str]]:
    """The instructions of a Containerfile, each with its arguments in one line."""
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.partition(" ") for line in text.splitlines() if line]
    return [(name, " ".join(arguments.split())) for name, _, arguments in lines]


IMAGE = instructions(ROOT / "Containerfile")
GEARMAND_IMAGE = instructions(DEPLOY / "gearmand.Containerfile")


def the(image: list[tuple[str, str]], wanted: str) -> str:
    (arguments,) = [arguments for name, arguments in image if name == wanted]
    return arguments


def loaded(environment: dict[str, str], *arguments: str) -> Any:
    """The options that the daemon reads from its command line and these variables."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        return config.load(arguments)


# The image.


def test_the_daemon_is_process_1_and_not_root() -> None:
    assert json.loads(the(IMAGE, "ENTRYPOINT")) == ["gearhorn-fanout"]
    assert the(IMAGE, "USER") == "10001:10001"
    health = the(IMAGE, "HEALTHCHECK").partition("CMD ")[2]
    assert json.loads(health) == ["gearhorn-fanout", "--probe", "live"]
    # A volume is the choice of those who have an SQLite store.
    assert not [name for name, _ in IMAGE if name == "VOLUME"]


def test_the_image_is_made_of_what_the_build_sees() -> None:
    seen = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if "!" in line}
    copied = [
        arguments for name, arguments in IMAGE if name == "COPY" and "--from" not in arguments
    ]
    assert seen == {arguments.split()[0] for arguments in copied}
    assert (DEPLOY / "gearhorn.conf").exists()


def test_the_file_in_the_image_lets_the_health_check_ask() -> None:
    conf = loaded({}, "--config", str(DEPLOY / "gearhorn.conf"))
    assert conf.http.listen == "127.0.0.1:9419"
    # Where it is found without being named.
    target = next(args.split()[1] for _, args in IMAGE if args.startswith("deploy/gearhorn.conf "))
    assert target == "/etc/gearhorn/gearhorn.conf"


def test_a_daemon_that_variables_configure_serves_is_asked_and_drains(
    daemon: NewDaemon, gearmand: Gearmand, redis_server: Redis, key_prefix: str
) -> None:
    variables = {
        "OS_GEARMAN__SERVERS": gearmand.address,
        "OS_STORE__URL": redis_server.url,
        "OS_STORE__KEY_PREFIX": key_prefix,
        "OS_HTTP__LISTEN": f"127.0.0.1:{free_port()}",
    }
    # They come before the file, in which nothing is right.
    one = daemon(servers=["127.0.0.1:1"], store_url="redis://127.0.0.1:1/0", environment=variables)

    arguments = ("--config", DEPLOY / "gearhorn.conf", "--probe", "ready")
    probe = run(*arguments, cwd=None, **variables)

    assert (probe.returncode, probe.stdout.splitlines()[-1]) == (0, "ok")
    assert one.stop() == 0


def test_gearmand_runs_with_the_options_of_its_image(start: Start, tmp_path: Path) -> None:
    program, *options = json.loads(the(GEARMAND_IMAGE, "ENTRYPOINT"))
    assert program == "gearmand"
    (volume,) = [arguments for name, arguments in GEARMAND_IMAGE if name == "VOLUME"]
    options = [option.replace(volume, str(tmp_path)) for option in options]
    # Given by the fixture.
    kept = [option for option in options if not re.match("--(listen|log-file|verbose)=", option)]

    start(Gearmand(*kept))

    assert (tmp_path / "queue.db").exists()


# Compose.


def test_the_compose_file_is_one_by_its_schema() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "check_jsonschema"),
            *("--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout


def test_the_daemons_of_compose_have_options_that_work_and_time_to_drain() -> None:
    assert len(DAEMONS) == 2
    sampling = []
    for name, one in DAEMONS.items():
        conf = loaded(one["environment"], "--config", str(DEPLOY / "gearhorn.conf"))
        assert config.settings_of(conf).servers[0].host == "gearmand"
        assert conf.store.url == "redis://redis:6379/0"
        assert conf.http.listen == "0.0.0.0:9419"
        assert int(one["stop_grace_period"].removesuffix("s")) > conf.service.drain_timeout
        if conf.http.queue_interval:
            sampling.append(name)
    assert len(sampling) == 1


def test_the_compose_file_names_services_files_and_ports_that_are_there() -> None:
    services = COMPOSE["services"]
    assert {"gearmand", "redis"} < set(services)
    for one in services.values():
        if "build" in one:
            assert (DEPLOY / one["build"]["context"] / one["build"]["dockerfile"]).exists()
        # For this host alone: nothing here has access control.
        assert all(port.startswith("127.0.0.1:") for port in one.get("ports", ()))
        for volume in one.get("volumes", ()):
            source = volume.partition(":")[0]
            assert source in COMPOSE["volumes"] or (DEPLOY / source).exists()
    (job,) = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"{name}:9419" for name in DAEMONS]}]


def test_prometheus_reads_its_configuration() -> None:
    done = subprocess.run(
        ["promtool", "check", "config", DEPLOY / "prometheus.yaml"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout


# Kubernetes.

STATEFUL_SET = {"serviceName", "replicas", "podManagementPolicy", "selector", "template"}
POD_SPEC = {
    *("automountServiceAccountToken", "enableServiceLinks", "terminationGracePeriodSeconds"),
    *("securityContext", "topologySpreadConstraints", "containers", "volumes"),
}
CONTAINER_SPEC = {
    *("name", "image", "args", "env", "ports", "livenessProbe", "readinessProbe"),
    *("resources", "securityContext", "volumeMounts"),
}
PROBE = {"httpGet", "periodSeconds", "timeoutSeconds", "failureThreshold"}
"""The keys that the manifests use, as the API has them."""


@pytest.fixture
def replicas(tmp_path: Path) -> list[Any]:
    """The options that each replica reads from the files and variables of its container."""
    variables = {}
    secret = KUBERNETES["Secret"]
    for one in CONTAINER["env"]:
        source = one["valueFrom"].get("secretKeyRef")
        if source is not None:
            assert source["name"] == secret["metadata"]["name"]
            variables[one["name"]] = secret["stringData"][source["key"]]
    (mount,) = CONTAINER["volumeMounts"]
    (volume,) = POD["volumes"]
    assert volume["name"] == mount["name"]
    assert volume["configMap"] == {"name": KUBERNETES["ConfigMap"]["metadata"]["name"]}
    for name, text in KUBERNETES["ConfigMap"]["data"].items():
        (tmp_path / name).write_text(text)
    stateful_set = KUBERNETES["StatefulSet"]
    found = []
    for number in range(stateful_set["spec"]["replicas"]):
        known = {
            "$(POD_NAME)": f"{stateful_set['metadata']['name']}-{number}",
            mount["mountPath"]: str(tmp_path),
        }
        arguments = CONTAINER["args"]
        for name, value in known.items():
            arguments = [argument.replace(name, value) for argument in arguments]
        found.append(loaded(variables, *arguments))
    return found


def test_the_manifests_are_objects_of_kubernetes() -> None:
    versions = {kind: document["apiVersion"] for kind, document in KUBERNETES.items()}
    assert versions == {
        "ConfigMap": "v1",
        "Secret": "v1",
        "Service": "v1",
        "StatefulSet": "apps/v1",
        "PodDisruptionBudget": "policy/v1",
    }
    labels = {"app.kubernetes.io/name": "gearhorn"}
    for document in KUBERNETES.values():
        assert document["metadata"]["labels"] == labels
    spec = KUBERNETES["StatefulSet"]["spec"]
    assert set(spec) <= STATEFUL_SET
    assert set(POD) <= POD_SPEC
    assert set(CONTAINER) <= CONTAINER_SPEC
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"] == labels
    assert KUBERNETES["Service"]["spec"]["selector"] == labels
    assert KUBERNETES["Service"]["metadata"]["name"] == spec["serviceName"]


def test_the_manifests_are_right_by_the_schemas_of_each_release_of_kubernetes() -> None:
    schemas = pytest.importorskip(
        "kubernetes_validate.utils", reason="the schemas are installed by a step of CI"
    )
    releases = set(schemas.all_versions())
    assert len(releases) > 5
    for release in releases:
        for document in KUBERNETES.values():
            # Strict is without keys that are not known.
            schemas.validate(document, release, strict=True)


def test_kubelet_asks_for_the_paths_of_the_probes(replicas: list[Any]) -> None:
    (port,) = CONTAINER["ports"]
    for probe, path in (("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        assert set(CONTAINER[probe]) <= PROBE
        assert CONTAINER[probe]["httpGet"] == {"path": path, "port": port["name"]}
    for conf in replicas:
        assert conf.http.listen == f"0.0.0.0:{port['containerPort']}"


def test_a_pod_is_not_root_and_writes_nothing() -> None:
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_replicas_have_time_to_drain_and_one_samples(replicas: list[Any]) -> None:
    for conf in replicas:
        assert config.settings_of(conf).store_url == "redis://redis:6379/0"
        assert POD["terminationGracePeriodSeconds"] > conf.service.drain_timeout
    assert [bool(conf.http.queue_interval) for conf in replicas].count(True) == 1
