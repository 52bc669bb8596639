"""When a campaign ends on properties: sigma^A, event rates, verdicts; never on force errors."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace

import pytest

from trepid.campaign.assess import verdict
from trepid.config import RoundSettings
from trepid.events.counting import class_rate
from trepid.runs.ledger_events import Reason, StopReason
from trepid.runs.properties import latest_verdicts, pooled_rates, property_status, settled_rounds
from trepid.runs.round_files import ClassVerdict, EventCount, Pick, RoundRecord, Selection, SigmaA
from trepid.runs.walk_files import WalkEnd, WalkSummary

HOP = "hop Cu: Cu -> Cu, 2.56 A"


def judged(verdict_: str, name: str = HOP) -> ClassVerdict:
    return ClassVerdict(name, verdict_, "", 0.3, 0.1, 0.31, 0.02, 1.1, 0.8, 1.5, 300.0, 4, (4, 5), (), (0,), (1,))


def record(number: int, **changes: object) -> RoundRecord:
    walk = WalkSummary(0, 300.0, 50_000, 1.0, 5, WalkEnd.FINISHED, "")
    values: dict[str, object] = {
        "round": number,
        "labels": (number,),
        "n_failed": 0,
        "n_corrupted": 0,
        "n_labels": 10 + number,
        "next_label": 11 + number,
        "walks": (walk,) if number else (),
        "new": None,
        "test": None,
        "calibration": {},
        "sigma_a": (SigmaA(300.0, 0.30, 0.005, 0.004),) if number else (),
        "n_worthy": 5,
        "new_classes": (),
        "noise_forces": 0.01,
    }
    return RoundRecord(**{**values, **changes})  # type: ignore[arg-type]


def selection(number: int, onsets: tuple[float, ...] = (), name: str = HOP) -> Selection:
    events = (EventCount(name, "hop", 300.0, len(onsets), 50.0, onsets),) if onsets else ()
    return Selection(number, None, (), (), (), (), 0, (), events)


def settings(**values: object) -> RoundSettings:
    return RoundSettings.model_validate(values)


OFTEN = tuple(float(k) * 4.9 + 0.5 for k in range(10))


def ends(records: list[RoundRecord], selections: list[Selection], **values: object) -> bool:
    found = verdict(records, settings(**values), hours=0.0, selections=selections)
    assert found is None or found[0] is StopReason.CONVERGED
    return found is not None


def test_true_gives_the_defaults_and_false_nothing() -> None:
    on, off = settings(stop=True, audit=True), settings(stop=False, audit=False)
    assert on.stop is not None
    assert on.audit is not None
    assert off.stop is None
    assert off.audit is None
    assert settings(stop={"sigma_a": 0.02}).stop == on.stop.model_copy(update={"sigma_a": 0.02})
    with pytest.raises(ValueError, match="rate_factor"):
        settings(stop={"rate_factor": 1.0})


def test_a_campaign_without_events_ends_when_sigma_a_and_their_absence_are_known() -> None:
    records, selections = [record(0), record(1), record(2)], [selection(1), selection(2)]
    assert ends(records, selections, stop=True)
    assert not ends(records, selections)
    assert not ends(records[:2], selections[:1], stop=True)


@pytest.mark.parametrize(
    ("sigma_a", "met"),
    [
        ((SigmaA(300.0, 0.31, 0.01, 0.01),), True),
        ((SigmaA(300.0, 0.31, 0.03, 0.001),), False),  # too few frames
        ((SigmaA(300.0, 0.31, 0.001, 0.03),), False),  # the model is unsure
        ((SigmaA(300.0, 0.40, 0.005, 0.005),), False),  # it still changes
        ((SigmaA(300.0, 0.31, 0.01, None),), False),
        ((SigmaA(300.0, 0.31, None, 0.01),), False),
        ((SigmaA(600.0, 0.31, 0.01, 0.01),), False),
        ((), False),
    ],
)
def test_sigma_a_counts_the_frames_and_the_model(sigma_a: tuple[SigmaA, ...], met: bool) -> None:
    records = [record(0), record(1), record(2, sigma_a=sigma_a)]
    assert ends(records, [selection(1), selection(2)], stop=True) is met


@pytest.mark.parametrize("end", [WalkEnd.UNTRUSTED, WalkEnd.UNSTABLE])
def test_a_walk_that_the_model_could_not_finish_keeps_a_campaign_open(end: WalkEnd) -> None:
    """Averages over what the model knows are no properties where it goes further; a later round of full length may end."""
    early = WalkSummary(1, 300.0, 48_000, 1.0, 5, end, "force uncertainty 1.4 eV/A")
    cut = record(2, walks=(*record(2).walks, early))
    selections = [selection(1), selection(2), selection(3)]
    assert not ends([record(0), record(1), cut], selections[:2], stop=True)
    status = property_status([record(0), record(1), cut], selections[:2], settings(stop=True).stop, audited=False)
    assert status.missing == ("a walk of the last round at 300 K left what the model knows after 48 ps",)
    assert ends([record(0), record(1), cut, record(3)], selections, stop=True)


def test_a_way_that_is_still_probed_keeps_a_campaign_open() -> None:
    """No event in the walks of a model that does not know the way is no knowledge; labels of other reasons do not count."""
    probe = Pick(12, Reason.PROBE, -1, 0, 0.0, 300.0, event_class="Cu from Cu to empty 4Cu6I")
    records = [record(0), record(1), record(2)]
    open_way, other = (replace(selection(2), picks=(pick,)) for pick in (probe, replace(probe, reason=Reason.INITIAL)))
    assert not ends(records, [selection(1), open_way], stop=True)
    status = property_status(records, [selection(1), open_way], settings(stop=True).stop, audited=False)
    assert status.missing == ("the way of Cu from Cu to empty 4Cu6I was still to be probed",)
    assert ends(records, [selection(1), other], stop=True)
    assert ends([*records, record(3)], [selection(1), open_way, selection(3)], stop=True)


@pytest.mark.parametrize(("bar", "over"), [(0.051, False), (0.049, True)])
def test_a_way_whose_energies_are_known_does_not_keep_a_campaign_open(bar: float, over: bool) -> None:
    """Its probe is labelled since forces are known less well than labels are; what ends a campaign is a property."""
    probe = Pick(12, Reason.PROBE, -1, 0, 0.0, 300.0, event_class="Cu from Cu to empty 4Cu6I", way_bar_eV=bar)
    records, selections = [record(0), record(1), record(2)], [selection(1), replace(selection(2), picks=(probe,))]
    assert Pick.from_dict(dataclasses.asdict(probe)) == probe
    assert ends(records, selections, stop=True) is over
    status = property_status(records, selections, settings(stop=True).stop, audited=False)
    line = f"the way of Cu from Cu to empty 4Cu6I was still to be probed: known to +- {bar:.3f} eV, wanted +- 0.05"
    assert status.missing == (() if over else (line,))


def test_properties_that_the_last_label_makes_known_end_a_campaign_as_known() -> None:
    """A used up budget says that something is missing."""
    records, selections = [record(0), record(1), record(2)], [selection(1), selection(2)]
    spent = settings(stop=True, max_labels=records[-1].n_labels)
    found = verdict(records, spent, hours=0.0, selections=selections)
    assert found is not None
    assert found[0] is StopReason.CONVERGED
    early = verdict(
        records[:2], settings(stop=True, max_labels=records[1].n_labels), hours=0.0, selections=selections[:1]
    )
    assert early is not None
    assert early[0] is StopReason.LABELS


def test_rates_are_pooled_over_settled_rounds_and_need_enough_events() -> None:
    records = [record(k) for k in range(4)]
    few = [selection(1, OFTEN), selection(2), selection(3, (1.0,))]
    many = [selection(1, OFTEN), selection(2, OFTEN), selection(3, OFTEN)]
    assert ends(records, many, stop={"rate_factor": 2.0})
    assert not ends(records, few, stop={"rate_factor": 1.5})
    # One event in 150 ps is below what the user cares about.
    seldom = [selection(1), selection(2), selection(3, (1.0,))]
    assert ends(records, seldom, stop={"rate_factor": 1.5, "rare_per_100_ps": 10.0})
    assert not ends(records, seldom, stop={"rate_factor": 1.5, "rare_per_100_ps": 1.0})
    pooled = pooled_rates(records[1:], many)[HOP, 300.0]
    assert pooled == class_rate([t + 50.0 * k for k in range(3) for t in OFTEN], 150.0)


def test_a_new_class_unsettles_without_audits() -> None:
    records = [record(0), record(1), record(2, new_classes=(HOP,))]
    assert not ends(records, [selection(1), selection(2, OFTEN)], stop=True)
    assert settled_rounds(records[1:], [selection(1), selection(2, OFTEN)], audited=False) == []
    later = [*records, record(3)]
    selections = [selection(1), selection(2, OFTEN), selection(3, OFTEN)]
    assert [r.round for r in settled_rounds(later[1:], selections, audited=False)] == [3]
    assert ends(later, selections, stop={"rate_factor": 3.0})


@pytest.mark.parametrize(
    ("verdicts", "shown", "met"),
    [
        (("genuine",), True, True),
        (("undecided",), True, False),
        (("miscaptured",), True, False),
        (("hallucinated",), True, False),
        (("hallucinated",), False, True),
        (("undecided",), False, False),
        (("miscaptured", "genuine"), True, True),
        ((), True, False),
    ],
)
def test_no_class_may_be_undecided_and_shown_ones_are_genuine(
    verdicts: tuple[str, ...], shown: bool, met: bool
) -> None:
    records = [record(0), *(record(k, verdicts=(judged(v),)) for k, v in enumerate(verdicts, 1))]
    records += [record(len(records) + k) for k in range(2)]
    selections = [selection(r.round, OFTEN if r.round <= len(verdicts) or shown else ()) for r in records[1:]]
    # An absent class is known to be rarer than this after two rounds.
    stop = {"rate_factor": 3.0, "rare_per_100_ps": 10.0}
    assert property_status(records, selections, settings(stop=stop).stop, audited=True).met is met  # type: ignore[arg-type]


def test_walks_on_a_wrong_model_do_not_count_for_rates() -> None:
    records = [
        record(0),
        record(1, verdicts=(judged("miscaptured"),)),
        record(2, verdicts=(judged("genuine"),)),
        record(3),
    ]
    selections = [selection(1, OFTEN), selection(2, OFTEN[:4]), selection(3, OFTEN[:5])]
    assert [r.round for r in settled_rounds(records[1:], selections, audited=True)] == [2, 3]
    status = property_status(records, selections, settings(stop={"rate_factor": 4.0}).stop, audited=True)  # type: ignore[arg-type]
    assert status.met
    assert any("9 (" in line or f"{HOP} at 300 K 9 " in line for line in status.known)


def test_force_errors_do_not_count() -> None:
    records = [replace(record(k), n_worthy=50, noise_forces=10.0) for k in range(3)]
    assert ends(records, [selection(1), selection(2)], stop=True)


def test_quiet_rounds_alone_do_not_end_a_campaign_on_properties() -> None:
    wide = (SigmaA(300.0, 0.3, 0.2, 0.001),)
    records = [record(0), *(record(k, n_worthy=0, labels=(), sigma_a=wide) for k in (1, 2, 3))]
    selections = [selection(k) for k in (1, 2, 3)]
    assert verdict(records, settings(patience=2), hours=0.0, selections=selections) is not None
    assert verdict(records, settings(patience=2, stop=True), hours=0.0, selections=selections) is None


def test_what_is_missing_is_said() -> None:
    records = [
        record(0),
        record(1),
        record(2, sigma_a=(SigmaA(300.0, 0.3, 0.1, 0.0),), verdicts=(judged("undecided"),)),
    ]
    stop = settings(stop=True).stop
    assert stop is not None
    line = property_status(records, [selection(1), selection(2, OFTEN)], stop, audited=True).line()
    assert "sigma^A 0.300 +- 0.196 at 300 K, wanted +- 0.05" in line
    assert f"{HOP} is undecided" in line
    assert (
        property_status(records[:1], [], stop, audited=True).line()
        == "not known yet: 0 of at least 2 rounds with walks"
    )


def test_records_with_verdicts_are_read_back_and_older_ones_too(tmp_path) -> None:
    whole = record(2, verdicts=(judged("genuine"),), sigma_a=(SigmaA(300.0, 0.3, 0.1, 0.02),))
    whole.write(tmp_path / "round.json")
    assert RoundRecord.read(tmp_path / "round.json") == whole
    judged("genuine").write(tmp_path / "verdict.json")
    assert ClassVerdict.read(tmp_path / "verdict.json") == judged("genuine")
    selection(1, OFTEN).write(tmp_path / "selection.json")
    assert Selection.read(tmp_path / "selection.json") == selection(1, OFTEN)
    text = (tmp_path / "round.json").read_text()
    old = json.loads(text)
    del old["verdicts"], old["sigma_a"][0]["model_error"]
    (tmp_path / "old.json").write_text(json.dumps(old))
    assert RoundRecord.read(tmp_path / "old.json").verdicts == ()
    assert latest_verdicts([whole])[HOP].verdict == "genuine"
