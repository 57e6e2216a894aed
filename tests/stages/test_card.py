"""The model card: its numbers are those of the documents, its words those of the person who wrote them."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from cnnboost import stages
from cnnboost.config import packaged
from cnnboost.deploy.bundle import read_bundle, write_bundle
from cnnboost.errors import RecipeError, StoreError
from cnnboost.files import read_json, write_json
from cnnboost.report import card as contents
from cnnboost.report.card import OFTEN, common_mistakes, recipe_keys
from cnnboost.report.table import percent
from cnnboost.stages.card import HEADINGS, evaluate_command, find_card_text, read_card_text, write_card
from tests.command_line import invoke

WORDS = "# For editors\n\n" + "\n".join(f"## {heading}\n\nOf {heading}.\n" for heading in HEADINGS.values())

#: Of the recipe, so that all is made quickly.
CHANGES = ["hybrid.boost.n_estimators=3", 'cut.layers=["fc1"]']
SETS = [word for change in CHANGES for word in ("--set", change)]


@pytest.fixture
def words_file(tmp_path):
    path = tmp_path / "toy.card.md"
    path.write_text(WORDS)
    return path


@pytest.fixture(scope="module")
def finished(job_in, tmp_path_factory):
    """Return a job whose bundle, audit, scores and comparison are there; copy them, do not change them."""
    few = [
        "compare.seeds=1",
        "compare.folds=2",
        'compare.modes=["residual"]',
        'compare.heads=["vector_scaling"]',
    ]
    job = job_in(tmp_path_factory.mktemp("finished"), *few, *CHANGES)
    stages.inspect(job)
    stages.export(job)
    stages.evaluate(job)
    stages.compare_modes(job)
    return job


@pytest.fixture
def job(finished, copy_of, tmp_path):
    return copy_of(finished, tmp_path)


@pytest.fixture
def card(job, words_file):
    return write_card(job, read_card_text(words_file)).text


def document(job, name):
    return read_json(job.reports_dir / f"{name}.json")


def rows_under(card, heading):
    """Return the cells of the first table after some text, by the first cell of each row."""
    lines = iter(card[card.index(heading) :].splitlines())
    rows = []
    for text in lines:
        if text.startswith("|"):
            rows.append([cell.strip() for cell in text.strip("|").split("|")])
        elif rows:
            break
    return {cells[0]: cells[1:] for cells in rows[2:]}


def numbers(text):
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", text.replace("\N{MINUS SIGN}", "-"))]


@pytest.fixture(scope="module")
def residual(finished, copy_of, change, tmp_path_factory):
    """Return a finished job whose head is a residual one, over two views; do not change it."""
    job = copy_of(finished, tmp_path_factory.mktemp("residual"))
    job = change(job, hybrid={"mode": "residual", "tta": "flip"})
    (job.reports_dir / "compare.json").unlink()  # of other views
    stages.export(job, int8=True)
    stages.evaluate(job)
    return job


class TestNumbers:
    def test_scores_are_those_of_the_bundles_own_head(self, job, card):
        metrics = document(job, "metrics")
        (head,) = [head for head in metrics["heads"] if head["layer"] == "fc1"]
        found = rows_under(card, "## Scores")
        for name, scores in (
            ("this bundle", head["scores"]),
            ("its network alone (softmax)", metrics["cnn"]["scores"]),
        ):
            cells = [numbers(cell) for cell in found[name]]
            share = [scores["accuracy"]["value"], *scores["accuracy"]["interval"]]
            assert cells[0] == pytest.approx([100 * of for of in share], abs=0.051)
            f1, loss = ([scores[key]["value"], *scores[key]["interval"]] for key in ("macro_f1", "log_loss"))
            assert cells[1] == pytest.approx([100 * of for of in f1], abs=0.051)
            assert cells[2] == pytest.approx(loss, abs=0.00051)
            assert cells[3] == pytest.approx([scores["calibration_error"]["value"]], abs=0.00051)
        assert f"**{percent(head['scores']['accuracy']['value'])}**" in card
        assert head["against_cnn"]["verdict"] in card

    def test_scores_class_by_class(self, job, card):
        scores = next(h for h in document(job, "metrics")["heads"] if h["layer"] == "fc1")["scores"]
        found = rows_under(card, "Class by class")
        assert list(found) == [row["name"] for row in scores["per_class"]]
        for row in scores["per_class"]:
            support, *estimates = (numbers(cell) for cell in found[row["name"]])
            assert support == [row["support"]]
            for cell, key in zip(estimates, ("precision", "recall", "f1"), strict=True):
                wanted = [row[key]["value"], *row[key]["interval"]]
                assert cell == pytest.approx([100 * of for of in wanted], abs=0.051)

    def test_confusion_is_in_per_cent_of_the_true_class(self, job, card):
        scores = next(h for h in document(job, "metrics")["heads"] if h["layer"] == "fc1")["scores"]
        found = rows_under(card, "Of each true class")
        for row, counts in zip(scores["per_class"], scores["confusion"], strict=True):
            cells = [float(cell) for cell in found[row["name"]]]
            assert cells == pytest.approx([100 * count / row["support"] for count in counts], abs=0.51)

    def test_common_mistakes_are_listed(self, job, card):
        scores = next(h for h in document(job, "metrics")["heads"] if h["layer"] == "fc1")["scores"]
        names = [row["name"] for row in scores["per_class"]]
        wanted = {
            (truth, said)
            for truth, counts in zip(names, scores["confusion"], strict=True)
            for said, count in zip(names, counts, strict=True)
            if said != truth and count / sum(counts) > 0.15
        }
        assert wanted  # or this test shows nothing
        assert set(re.findall(r"^- `(\w+)` is taken for `(\w+)`", card, re.MULTILINE)) == wanted

    def test_the_comparison_with_its_verdict(self, job, card):
        compared = document(job, "compare")
        found = rows_under(card, "All heads")
        assert list(found) == ["softmax", "calibrated softmax", "residual", "vector scaling"]
        row = compared["summary"]["residual"]
        assert numbers(found["residual"][0]) == pytest.approx([100 * row["accuracy"]], abs=0.0051)
        assert numbers(found["residual"][1])[0] == pytest.approx(100 * row["difference"], abs=0.051)
        assert f"- {row['verdict']}" in card
        assert "1 seed, " in card

    def test_images_and_training(self, job, card):
        audit, history = document(job, "audit"), read_json(job.models_dir / "history.json")
        found = rows_under(card, "| class | train")
        for name, count in audit["counts"]["train"].items():
            assert numbers(found[name][0])[0] == count
        assert numbers(found["all"][1])[0] == sum(audit["counts"]["validation"].values())
        assert f"{history['parameters']:,} parameters" in card
        assert f"trained for {len(history['history']['loss'])} epochs" in card
        assert "| `cnn.epochs` | `2` |" in card
        assert "no images chose them" in card

    def test_files(self, job, card):
        members = read_json(job.models_dir / "manifest.json")["members"]
        found = rows_under(card, "## Files")
        assert {name: numbers(cells[0].replace(",", "")) for name, cells in found.items()} == {
            name: [metadata["bytes"]] for name, metadata in members.items()
        }

    def test_no_place_of_this_machine(self, job, card, tmp_path):
        assert str(tmp_path) not in card
        assert str(Path.home()) not in card

    def test_nor_any_that_a_recipe_names(self, job, change):
        changed = change(
            job, data={"source": "/home/somebody/faces"}, cnn={"teacher": "/home/somebody/t.npz"}
        )
        keys = dict(recipe_keys(changed.recipe, "plain"))
        assert keys["cnn.teacher"] == '"t.npz"'
        assert keys["data.size"] == "8"
        assert "somebody" not in str(keys)

    def test_commands_name_the_folder_of_the_card(self, job, card):
        assert "cnnboost predict image.jpg --model . " in card
        assert "There `.` is the folder of this file" in card
        assert "face" not in card
        assert "models/toy" not in card

    @pytest.mark.parametrize(
        ("constant", "option", "argument"), [("SHIPPED", "", ""), ("FAST", " --model toy", '"toy"')]
    )
    def test_bundles_that_ship_go_by_their_names(
        self, job, words_file, monkeypatch, constant, option, argument
    ):
        monkeypatch.setattr(contents, constant, "toy")
        monkeypatch.setattr(contents, "shipped_bundle", lambda name: read_bundle(job.models_dir))
        card = write_card(job, read_card_text(words_file)).text
        assert f"cnnboost predict image.jpg{option}  " in card
        assert f"Predictor.load({argument})" in card
        assert "--model ." not in card
        assert "folder of this file" not in card

    def test_a_class_without_a_scored_image_is_named(self, job, words_file):
        (job.reports_dir / "audit.json").unlink()
        metrics = document(job, "metrics")
        for head in metrics["heads"]:
            nothing = {"value": None, "interval": None}
            head["scores"]["per_class"][3] |= {"support": 0, "recall": nothing, "f1": nothing}
            head["scores"]["confusion"][3] = [0] * 10
        write_json(job.reports_dir / "metrics.json", metrics)
        card = write_card(job, read_card_text(words_file)).text
        assert "None of the scored images is of `3`: how well it tells that class is not known." in card
        ((name, count),) = re.findall(
            r"The rarest class among the scored images is `(\w)`: (\d+) images", card
        )
        assert name != "3"
        assert int(count) > 0

    def test_without_audit_and_comparison(self, job, words_file):
        for name in ("audit", "compare"):
            (job.reports_dir / f"{name}.json").unlink()
        card = write_card(job, read_card_text(words_file)).text
        assert "All modes" not in card
        assert "audit found" not in card
        assert "\n\n\n" not in card

    def test_python_in_it_runs(self, job, card, monkeypatch):
        monkeypatch.chdir(job.models_dir)
        (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
        names = {"images": job.images.validation.X[:3]}
        exec(code, names)
        assert names["predictor"].predict_proba(names["images"]).shape == (3, 10)


class TestResidual:
    def test_what_chose_and_what_scored_are_told_apart(self, residual, words_file):
        card = write_card(residual, read_card_text(words_file)).text
        manifest = read_json(residual.models_dir / "manifest.json")
        (head,) = [h for h in document(residual, "metrics")["heads"] if h["mode"] == "residual"]
        assert "(`residual` at `fc1`" in card
        assert numbers(rows_under(card, "## Scores")["this bundle"][0])[0] == pytest.approx(
            100 * head["scores"]["accuracy"]["value"], abs=0.051
        )
        assert f"temperature of {manifest['temperature']:.2f}" in card
        assert "temperature were chosen on validation" in card
        assert "scored by cross-fitting" in card
        assert "mean over views of the image (`flip`)" in card
        assert "\n\n\n" not in card

    def test_the_graph_in_integers_is_set_beside_the_exact_one(self, residual, words_file, card):
        found = write_card(residual, read_card_text(words_file)).text
        scores = read_json(residual.models_dir / "manifest.json")["scores"]
        (text,) = [part for part in found.split("\n\n") if part.startswith("`--graph int8`")]
        assert f"right on {percent(scores['int8']['accuracy'])}" in text
        assert f"graph on {percent(scores['hybrid']['accuracy'])}" in text
        assert "--graph int8" not in card

    def test_scores_over_other_views_are_refused(self, residual, words_file, tmp_path):
        shutil.copytree(residual.reports, tmp_path / "reports")
        job = replace(residual, reports=tmp_path / "reports")
        write_json(job.reports_dir / "metrics.json", {**document(job, "metrics"), "tta": "none"})
        said = r"no scores of the bundle's own head .*--mode residual --tta flip"
        with pytest.raises(StoreError, match=said):
            write_card(job, read_card_text(words_file))


class TestDocuments:
    @pytest.mark.parametrize(
        ("place", "change", "words"),
        [
            (
                "models/history",
                {"model_sha256": "0"},
                ["history.json", "checksum of the CNN", "export -r toy"],
            ),
            ("models/history", {"fit_seconds": -1.0}, ["metrics.json", "time of the training", "evaluate"]),
            (
                "reports/metrics",
                {"heads": []},
                [
                    "no scores of the bundle's own head (plain at fc1",
                    "evaluate -r toy --mode plain --tta none",
                ],
            ),
            ("reports/metrics", {"classes": ["a"]}, ["list of classes is ['a']"]),
            ("reports/metrics", {"data_digest": "0"}, ["metrics.json", "digest of the images is '0'"]),
            (
                "reports/compare",
                {"data_digest": "0"},
                ["compare.json", "digest of the images", "compare -r toy"],
            ),
            ("reports/compare", {"runs": None}, ["not what this version writes", "compare"]),
            (
                "reports/compare",
                {"networks": ["0"]},
                ["compare.json", "checksum of the CNN", "compare -r toy"],
            ),
            ("reports/audit", {"data_digest": "0"}, ["audit.json", "digest of the images", "inspect -r toy"]),
            (
                "reports/metrics",
                {"split": "test"},
                ["metrics.json: the scored split is 'test'", "--split validation"],
            ),
            (
                "reports/metrics",
                {"images": {"train": 420, "validation": 9}},
                ["number of scored images is 9", "evaluate", "export"],
            ),
            ("reports/metrics", {"cnn": None}, ["metrics.json: the time of the training"]),
            ("reports/metrics", {"cnn": 3}, ["metrics.json: cnn: ", "evaluate -r toy"]),
            ("models/history", {"trained_on": None}, ["not what this version writes", "export"]),
        ],
    )
    def test_those_of_another_model_are_refused(self, job, words_file, place, change, words):
        kind, name = place.split("/")
        path = (job.models_dir if kind == "models" else job.reports_dir) / f"{name}.json"
        write_json(path, {**read_json(path), **change})
        with pytest.raises(StoreError) as error:
            write_card(job, read_card_text(words_file))
        assert all(word in str(error.value) for word in words), error.value
        assert not (job.models_dir / "README.md").exists()

    def test_scores_of_another_head_are_refused(self, job, words_file):
        metrics = document(job, "metrics")
        for head in metrics["heads"]:
            head["scores"]["accuracy"]["value"] -= 0.1
        write_json(job.reports_dir / "metrics.json", metrics)
        with pytest.raises(StoreError, match="the accuracy is"):
            write_card(job, read_card_text(words_file))

    @pytest.mark.parametrize("name", ["metrics", "compare"])
    def test_those_without_what_they_are_known_by_are_refused(self, job, words_file, name):
        metadata = document(job, name)
        del metadata[{"metrics": "cnn", "compare": "networks"}[name]]
        write_json(job.reports_dir / f"{name}.json", metadata)
        with pytest.raises(StoreError, match=r"cnn: field required|compare -r toy again, or remove the file"):
            write_card(job, read_card_text(words_file))

    def test_a_bundle_without_scores_is_refused(self, job, words_file):
        bundle = read_bundle(job.models_dir)
        metadata = {key: value for key, value in bundle.manifest.items() if key not in ("scores", "members")}
        members = {name: path.read_bytes() for name, path in bundle.members.items()}
        write_bundle(job.models_dir, metadata, members)
        with pytest.raises(StoreError, match=r"no 'scores'.*export -r toy"):
            write_card(job, read_card_text(words_file))

    def test_trees_of_other_values_are_not_a_comparison(self, job, words_file):
        compared = document(job, "compare")
        compared["recipe_facts"]["boost"]["max_depth"] += 1
        write_json(job.reports_dir / "compare.json", compared)
        with pytest.raises(StoreError, match=r"digest of the trees' values .*compare -r toy again"):
            write_card(job, read_card_text(words_file))

    @pytest.mark.parametrize("split", ["train", "validation"])
    def test_an_audit_of_other_images_is_refused(self, job, words_file, split):
        audit = document(job, "audit")
        del audit["data_digest"]  # as earlier versions wrote it
        write_json(job.reports_dir / "audit.json", audit)
        write_card(job, read_card_text(words_file))
        audit["counts"][split]["3"] += 1
        if split == "validation":  # as many in all
            audit["counts"][split]["4"] -= 1
        write_json(job.reports_dir / "audit.json", audit)
        with pytest.raises(StoreError, match=r"audit\.json: the number of images .*inspect -r toy"):
            write_card(job, read_card_text(words_file))

    @pytest.mark.parametrize("name", ["models/manifest", "models/history", "reports/metrics"])
    def test_missing_ones_are_named_with_what_makes_them(self, job, words_file, name):
        kind, name = name.split("/")
        (getattr(job, f"{kind}_dir") / f"{name}.json").unlink()
        with pytest.raises(StoreError, match=rf"{name}.*(export|train|evaluate)"):
            write_card(job, read_card_text(words_file))

    def test_a_changed_recipe_is_refused(self, job, change, words_file):
        with pytest.raises(StoreError, match=r"other values than recipe 'toy' has now.*export -r toy.*--set"):
            write_card(change(job, boost={"max_depth": 5}), read_card_text(words_file))

    def test_a_layer_that_the_recipe_lacks_is_named(self, job):
        manifest = read_bundle(job.models_dir).manifest | {"layer": "fc2"}
        assert evaluate_command(job, manifest).startswith("cnnboost evaluate -r toy --layer fc2 --mode plain")

    def test_there_is_none_for_networks_of_a_part(self, job, change, words_file):
        parts = change(job, hybrid={"mode": "residual", "holdout": 0.2})
        stages.export(parts)
        with pytest.raises(StoreError, match=r"trained on parts of the images \(hybrid\.holdout"):
            write_card(parts, read_card_text(words_file))

    def test_the_command_that_is_named_makes_what_was_missing(self, job, recipe_file, words_file):
        stages.export(job, ["fc1", "fc2"], mode="residual", tta="flip")
        with pytest.raises(StoreError, match="no scores of the bundle's own head") as error:
            write_card(job, read_card_text(words_file))
        command = shlex.split(str(error.value).split("run cnnboost ")[1])
        assert command[-10:-6] == ["--layer", "fc1", "--layer", "fc2"]
        assert command[-6:] == ["--mode", "residual", "--tta", "flip", "--split", "validation"]
        command[command.index("toy")] = str(recipe_file)
        folders = ["--models", str(job.models), "--reports", str(job.reports)]
        invoke(*command, *SETS, *folders)
        with pytest.raises(StoreError, match="the list of layers") as error:
            write_card(job, read_card_text(words_file))
        assert """--set 'hybrid.layers=["fc1", "fc2"]' --set 'hybrid.tta="flip"'""" in str(error.value)
        (job.reports_dir / "compare.json").unlink()
        assert "(`residual` at `fc1+fc2`" in write_card(job, read_card_text(words_file)).text


class TestCommand:
    @pytest.fixture
    def run(self, job, recipe_file, words_file, tmp_path):
        """Run `cnnboost card` on a recipe's file, with its words beside it."""

        def run(*arguments, status=0):
            shutil.copy(recipe_file, tmp_path / "toy.toml")
            command = ["card", "-r", str(tmp_path / "toy.toml"), "--models", str(job.models)]
            return invoke(*command, "--reports", job.reports, *SETS, *arguments, status=status)

        return run

    def test_it_writes_the_card_beside_the_bundle(self, run, job, words_file):
        assert str(job.models_dir / "README.md") in run().stdout.replace("\n", "")
        card = (job.models_dir / "README.md").read_text()
        found = json.loads(run("--json", "--words", str(words_file)).stdout)
        assert found["written"] == [str(job.models_dir / "README.md")]
        assert found["words"] == str(words_file)
        assert (job.models_dir / "README.md").read_text() == card
        assert stages.export(job).cached  # it is no part of the bundle

    def test_other_values_than_those_of_the_bundle_are_refused(self, run):
        error = run("--set", "boost.max_depth=5", status=1).stderr
        assert "was made with other values than recipe 'toy' has now" in error

    def test_what_a_user_lacks_is_named(self, run, job, words_file, tmp_path):
        assert "'## Biases'" in run("--words", str(tmp_path / "none.md"), status=2).stderr
        assert "no bundle" in run("--models", str(tmp_path / "none"), status=1).stderr
        words_file.unlink()
        assert "toy.card.md" in run(status=2).stderr

    def test_nothing_slow_is_imported(self, run, job, words_file):
        code = """
import sys
from cnnboost.cli import app
try:
    app(sys.argv[1:])
finally:
    print(sorted({"tensorflow", "matplotlib", "optuna"} & sys.modules.keys()), file=sys.stderr)
"""
        run()
        command = ["card", "-r", str(words_file.with_name("toy.toml")), "--models", str(job.models)]
        command = [sys.executable, "-c", code, *command, "--reports", str(job.reports), *SETS, "-q"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stderr.splitlines()[-1] == "[]"


class TestWords:
    def test_every_part_stands_in_the_card(self, card, words_file):
        for text in read_card_text(words_file).values():
            assert text in card
        assert "For editors" not in card

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda text: text.replace("## Biases", "## Bias"), ["unknown section '## Bias'", "'## Biases'"]),
            (lambda text: text + "## Data\n\nmore\n", ["'## Data'", "appears twice"]),
            (lambda text: text.replace("Of Licence.", ""), ["'## Licence' is missing or empty"]),
            (lambda text: text.replace("## Data", "Data"), ["'## Data' is missing or empty"]),
        ],
    )
    def test_other_headings_are_refused(self, words_file, change, words):
        words_file.write_text(change(WORDS))
        with pytest.raises(RecipeError) as error:
            read_card_text(words_file)
        assert all(word in str(error.value) for word in (str(words_file), *words)), error.value

    def test_no_file_and_no_text_are_refused(self, tmp_path):
        with pytest.raises(RecipeError, match=r"none\.card\.md.*## Biases"):
            read_card_text(tmp_path / "none.card.md")
        (tmp_path / "bytes.card.md").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(RecipeError, match="UTF-8"):
            read_card_text(tmp_path / "bytes.card.md")

    def test_they_stand_beside_the_recipe(self, tmp_path):
        (tmp_path / "mine.toml").touch()
        assert find_card_text(tmp_path / "mine.toml") == tmp_path / "mine.card.md"
        assert find_card_text("oslo") == packaged()["oslo"].with_name("oslo.card.md")

    @pytest.mark.parametrize(
        "path", sorted(packaged()["digits"].parent.glob("*.card.md")), ids=lambda p: p.name
    )
    def test_packaged_ones_are_whole_and_of_a_recipe(self, path):
        assert path.name.removesuffix(".card.md") in packaged()
        assert all(read_card_text(path).values())

    def test_those_of_what_ships_name_the_law_and_the_limits(self):
        words = read_card_text(find_card_text("fer2013"))
        assert "Article 5(1)(f)" in words["misuse"]
        assert "`cnnboost predict`" in words["use"]
        assert "no figure can be given" in words["biases"]


@given(st.lists(st.lists(st.integers(0, 50), min_size=3, max_size=3), min_size=3, max_size=3))
def test_a_mistake_is_common_from_its_share_on(confusion):
    names = "abc"
    scores = {"per_class": [{"name": name} for name in names], "confusion": confusion}
    found = common_mistakes(scores)
    wanted = sum(
        count > OFTEN * sum(row) for i, row in enumerate(confusion) for j, count in enumerate(row) if i != j
    )
    assert len(found) == wanted
    shares = [float(re.search(r"([\d.]+)%", text)[1]) for text in found]
    assert shares == sorted(shares, reverse=True)
