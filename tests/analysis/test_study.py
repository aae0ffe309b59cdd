"""A study says its findings itself, judged as one likes; they are those of its report."""

import json

from ended_study import PLAIN, begin, end

import playbook
from playbook.report import report


def test_the_findings_of_a_study_are_those_of_its_report(tmp_path):
    folder = tmp_path / "plain"
    end(folder, PLAIN, begin(folder, PLAIN, 16), crashed={3: "boom"})
    found = playbook.load_study(folder).findings()
    told = json.loads((report(folder).parent / "findings.json").read_text())
    assert [(finding.code, finding.message) for finding in found] == [(each["code"], each["message"]) for each in told]
    assert "crashed" in {finding.code for finding in found}


def test_a_study_is_judged_by_another_metric(tmp_path):
    end(tmp_path, PLAIN, begin(tmp_path, PLAIN, 12))
    study = playbook.load_study(tmp_path)
    final = study.curves().filter(metric="train/loss").group_by("trial").tail(1)
    complete = final.filter(final["trial"].is_in(study.trials.filter(status="complete")["trial"].implode()))
    worst = study.tables(metric="train/loss", mode="max", by="final").ranked()
    assert worst["objective"].to_list() == sorted(complete["value"], reverse=True)
    assert study.tables().ranked()["objective"].to_list() == study.trials["objective"].drop_nulls().sort().to_list()
