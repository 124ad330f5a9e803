"""What the user API counts, and who may see it; workers count together."""

from __future__ import annotations

import logging
import multiprocessing
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from fabric.certificates import CertificateWatch, NamedFile, ReadOnce
from tests.certificates import Authority
from tests.metrics import nonzero
from tests.userapi.conftest import Api, problem, settings_in
from userapi.app import create_app
from userapi.http.counts import Counts

TOKEN = "0123456789abcdef" * 2
AS_ADMIN = {"Authorization": f"Bearer {TOKEN}"}


def samples(text: str) -> dict[str, float]:
    return nonzero(text_string_to_metric_families(text), "sparrow_userapi_")


def test_requests_by_operation_and_status(api: Api, tmp_path: Path) -> None:
    (tmp_path / "admin").write_text(TOKEN)
    (tmp_path / "admin").chmod(0o600)
    settings = settings_in(tmp_path, admin_token_file=str(tmp_path / "admin"))
    used = ReadOnce(NamedFile("userapi.ldap_ca_file", str(Authority(tmp_path).file), is_ca=True))
    watch = CertificateWatch([used], logging.getLogger())
    client = create_app(settings, api.bridge, api.fabric, certificates=watch).test_client()
    problem(client.get("/v1/admin/metrics"), 401, "wrong_admin_token")
    good = {"user": "alice", "password": "correct horse"}
    client.post("/v1/accounts", json=good)
    for password in ("correct horse", "wrong horse", "wrong horse"):
        client.post("/v1/login", json={**good, "password": password})
    client.get("/nothing")
    answer = client.get("/v1/admin/metrics", headers=AS_ADMIN)
    assert answer.mimetype == "text/plain"
    found = samples(answer.text)
    assert found["requests_total register 2xx"] == 1
    assert (found["requests_total log_in 2xx"], found["requests_total log_in 4xx"]) == (1, 2)
    assert (found["requests_total other 4xx"], found["requests_total metrics 4xx"]) == (1, 1)
    assert found["request_seconds_total log_in"] > 0
    assert "alice" not in answer.text
    assert 'sparrow_certificate_expiration_timestamp_seconds{setting="userapi.ldap_ca_file"} ' in answer.text


def test_without_administration_there_is_nothing(api: Api) -> None:
    problem(api.client.get("/v1/admin/metrics", headers=AS_ADMIN), 404, "not_found")


def _count(counts: Counts) -> None:
    for _ in range(500):
        counts.count(0, 200, 0.5)


def test_processes_count_together() -> None:
    counts = Counts()
    workers = [multiprocessing.get_context("fork").Process(target=_count, args=(counts,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    counts.count(0, 101, 0.0)  # of no class that we name
    counts.name(["all"])
    requests, seconds, refused, *history = counts.metrics()
    assert {sample.labels["status"]: sample.value for sample in requests.samples if sample.value} == {"2xx": 1501}
    assert seconds.samples[0].value == 750
    assert not any(sample.value for metric in (refused, *history) for sample in metric.samples)
    counts.refused("malformed")
    counts.refused("nothing that there is")
    counts.page(3)
    counts.group("joined")
    counts.group("nothing that there is")
    *_, refused, groups, pages, messages = counts.metrics()
    assert {sample.labels["event"]: sample.value for sample in groups.samples if sample.value} == {"joined": 1}
    assert (pages.samples[0].value, messages.samples[0].value) == (1, 3)
    assert {sample.labels["reason"]: sample.value for sample in refused.samples if sample.value} == {"malformed": 1}
