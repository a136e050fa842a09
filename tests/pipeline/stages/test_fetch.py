import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from pipeline.errors import BadSignature, Malformed, Misconfigured, Rejected, Retryable
from pipeline.learning.models.architectures import build
from pipeline.learning.models.model_file import write_model
from pipeline.parties.ipfs.cid import RAW, Cid
from pipeline.protocol.block import Block
from pipeline.protocol.encodings import bitmap_from_indices, keccak256, sha256, to_hex
from pipeline.protocol.task import Architecture
from pipeline.stages.fetch import run
from tests.learning_jobs import MINERS, make_block, make_job, make_settings, make_task, shelf

LINEAR = Architecture(name="linear", kwargs={"in_features": 6, "num_classes": 3})


def model_bytes(architecture=LINEAR):
    torch.manual_seed(0)
    return write_model(build(architecture).state_dict(), architecture)


@pytest.fixture
def served():
    with shelf() as served:
        yield served


@pytest.fixture
def job_for(served, tmp_path):
    """Makes a job for a model on the shelf."""

    def make(model=None, *, settings=None, **changes):
        data = model_bytes() if model is None else model
        url = served.put("/model", data)
        members = {"modelURL": url, "modelSHA256": to_hex(sha256(data)), "aggregatorURL": served.url} | changes
        return make_job(tmp_path, make_task(**members), settings=settings)

    return make


def with_support(served, indices, **changes):
    bitmap = bitmap_from_indices(indices, 21)
    return {"support": {"url": served.put("/support", bitmap), "hash": to_hex(keccak256(bitmap))} | changes}


def test_the_model_goes_into_the_store_with_its_architecture(job_for):
    job = job_for()
    output = run(job)
    assert job.artifacts.get(output.artifacts["model"]) == model_bytes()
    assert output.figures == {
        "modelBytes": len(model_bytes()),
        "architecture": {"name": "linear", "kwargs": {"in_features": 6, "num_classes": 3}},
        "coordinates": 21,
    }


def test_a_model_is_downloaded_once_also_by_many_at_once(job_for, served):
    job = job_for()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, [job] * 6))
    assert served.asked == ["/model"]


def test_a_model_in_the_store_that_is_damaged_is_fetched_again(job_for, served):
    job = job_for()
    path = job.artifacts.path(run(job).artifacts["model"])
    path.write_bytes(b"x")
    assert job.artifacts.get(run(job).artifacts["model"]) == model_bytes()
    assert served.asked == ["/model", "/model"]


def test_another_model_than_the_signed_one_is_refused(job_for, tmp_path):
    job = job_for(modelSHA256="0x" + "cd" * 32)
    with pytest.raises(Rejected, match=r"expected SHA-256 0xcdcd.*, got 0x"):
        run(job)
    assert not job.artifacts.exists("cd" * 32)
    assert [path.suffix for path in (tmp_path / "cache" / "downloads").iterdir()] == [".lock"]


def test_a_model_that_is_too_large_is_refused(job_for, tmp_path):
    with pytest.raises(Rejected, match="larger than 100 bytes"):
        run(job_for(settings=make_settings(tmp_path, max_model_bytes=100)))


def test_a_model_with_too_many_parameters_is_refused(job_for, tmp_path):
    with pytest.raises(Rejected, match="FLFLEET_MAX_DIMENSION"):
        run(job_for(settings=make_settings(tmp_path, max_dimension=20)))


def test_a_model_of_another_dimension_than_the_tasks_is_refused(job_for):
    with pytest.raises(Rejected, match="21 floating-point values, but the task's dimension is 22"):
        run(job_for(dimension=22))


def test_a_model_that_is_none_is_refused(job_for):
    with pytest.raises(Rejected, match=r"neither safetensors nor a .pt file"):
        run(job_for(b"no model at all"))


def test_the_files_own_architecture_counts_where_the_task_names_none(job_for):
    assert run(job_for(architecture=None)).figures["architecture"]["name"] == "linear"


def test_a_missing_model_and_a_missing_server(job_for, served):
    job = job_for()
    served.clear()
    with pytest.raises(Rejected, match="404"):
        run(job)
    with pytest.raises(Retryable):
        run(job_for(modelURL="http://127.0.0.1:1/model"))


def test_a_model_on_ipfs_alone_says_what_is_needed(job_for):
    with pytest.raises(Misconfigured, match="set FLFLEET_IPFS_GATEWAYS or FLFLEET_IPFS_API"):
        run(job_for(modelURL=None, modelIPFSHash=raw_cid(model_bytes())))


def raw_cid(data):
    return str(Cid(codec=RAW, digest=sha256(data)))


def test_a_model_comes_from_ipfs_where_its_address_fails(job_for, served, tmp_path):
    settings = make_settings(tmp_path, ipfs_gateways=[served.url])
    job = job_for(modelURL=served.url + "/gone", modelIPFSHash=raw_cid(model_bytes()), settings=settings)
    served.put(f"/ipfs/{raw_cid(model_bytes())}", model_bytes())
    assert job.artifacts.get(run(job).artifacts["model"]) == model_bytes()
    assert served.asked == ["/gone", f"/ipfs/{raw_cid(model_bytes())}"]


def test_a_model_from_ipfs_is_still_held_against_the_tasks_hash(job_for, served, tmp_path):
    other = b"not the model"
    settings = make_settings(tmp_path, ipfs_gateways=[served.url])
    job = job_for(modelURL=None, modelIPFSHash=raw_cid(other), settings=settings)
    served.put(f"/ipfs/{raw_cid(other)}", other)
    with pytest.raises(Rejected, match=r"model from IPFS b.*: expected SHA-256"):
        run(job)


def test_a_failed_download_is_taken_up_by_the_next_attempt(job_for, tmp_path):
    job = job_for(modelURL="http://127.0.0.1:1/model")
    with pytest.raises(Retryable):
        run(job)
    assert [path.suffix for path in (tmp_path / "cache" / "downloads").iterdir()] == [".lock"]


def test_the_support_is_fetched_and_counted(job_for, served):
    job = job_for(**with_support(served, [1, 5, 20]))
    output = run(job)
    assert job.artifacts.get(output.artifacts["support"]) == bitmap_from_indices([1, 5, 20], 21)
    assert output.figures["coordinates"] == 3


def test_another_support_than_the_signed_one_is_refused(job_for, served):
    with pytest.raises(Rejected, match=r"support from .*: expected keccak256 0xabab"):
        run(job_for(**with_support(served, [1], hash="0x" + "ab" * 32)))


@pytest.mark.parametrize(
    ("bitmap", "reason"),
    [
        (b"\x01\x00", "expected 3 bytes"),
        (b"\x01\x00\x80", "spare bits are set"),
        (b"\x01\x00\x00\x00", "larger than 3"),
    ],
)
def test_a_support_of_another_length_or_with_spare_bits_is_refused(job_for, served, bitmap, reason):
    support = {"url": served.put("/support", bitmap), "hash": to_hex(keccak256(bitmap))}
    with pytest.raises(Rejected, match=reason):
        run(job_for(support=support))


def test_too_few_coordinates_name_the_setting(job_for, served, tmp_path):
    settings = make_settings(tmp_path, min_coordinates=4)
    with pytest.raises(Rejected, match=r"has 3 coordinates, at least 4 are needed \(FLFLEET_MIN_COORDINATES\)"):
        run(job_for(settings=settings, **with_support(served, [1, 5, 20])))
    assert run(job_for(settings=settings, **with_support(served, [1, 2, 5, 20]))).figures["coordinates"] == 4
    with pytest.raises(Rejected, match="has 21 coordinates"):
        run(job_for(settings=make_settings(tmp_path, min_coordinates=22)))


def second_round(served, block):
    data = json.dumps(block).encode()
    parent = Block.decode(data).block_hash
    served.put(f"/aggregator/blocks/{parent}", data)
    return {"round": 2, "parentBlockHash": parent}


def test_the_block_before_is_fetched_from_round_2_on(job_for, served):
    job = job_for(**second_round(served, make_block()))
    output = run(job)
    assert Block.decode(job.artifacts.get(output.artifacts["parent_block"])).block_hash == job.task.parent_block_hash


def test_another_block_than_the_named_one_is_refused(job_for, served):
    named = second_round(served, make_block())
    served.put(f"/aggregator/blocks/{named['parentBlockHash']}", json.dumps(make_block(accuracy=0.75)).encode())
    with pytest.raises(Rejected, match="answered with block 0x"):
        run(job_for(**named))


def test_a_block_that_the_aggregator_did_not_sign_is_refused(job_for, served):
    block = make_block()
    block["signature"] = MINERS[0].sign("block", block)
    with pytest.raises(BadSignature, match="signature of the aggregator"):
        run(job_for(**second_round(served, block)))


@pytest.mark.parametrize("changes", [{"taskID": "task_002"}, {"round": 2}])
def test_a_block_that_does_not_come_before_is_refused(job_for, served, changes):
    with pytest.raises(Rejected, match="does not come before round 2 of 'task_001'"):
        run(job_for(**second_round(served, make_block(**changes))))


def test_a_block_that_is_none_is_malformed(job_for, served):
    named = second_round(served, make_block())
    served.put(f"/aggregator/blocks/{named['parentBlockHash']}", b"{}")
    with pytest.raises(Malformed, match="block"):
        run(job_for(**named))
