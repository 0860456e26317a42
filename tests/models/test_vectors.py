"""Residual vectors from the files in which others write them; a file that could run code is refused."""

from __future__ import annotations

import pickle

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from controlwindow.errors import UsageError
from controlwindow.models.vectors import read_vector

VALUES = {layer: torch.arange(8).float() + 10 * layer + 1 for layer in (1, 2, 12)}


def control_vector(path):
    """A GGUF control vector as repeng writes one: direction.N for the output of block N."""
    writer = gguf.GGUFWriter(str(path), "controlvector")
    writer.add_string("controlvector.model_hint", "llama")
    writer.add_uint32("controlvector.layer_count", len(VALUES))
    for layer, values in VALUES.items():
        writer.add_tensor(f"direction.{layer}", values.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


WRITERS = {
    "v.gguf": control_vector,
    "v.safetensors": lambda path: save_file({f"layer.{n}": v for n, v in VALUES.items()}, path),
    "layers.safetensors": lambda path: save_file({str(n): v for n, v in VALUES.items()}, path),
    "v.npz": lambda path: np.savez(path, **{f"layer_{n}": v.numpy() for n, v in VALUES.items()}),
    # The mapping of layers to activations that a SteeringVector of steering-vectors holds.
    "v.pt": lambda path: torch.save({"layer_activations": dict(VALUES), "layer_type": "decoder_block"}, path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_vector_for_each_layer(name, tmp_path):
    path = tmp_path / name
    WRITERS[name](path)
    for layer, values in VALUES.items():
        found = read_vector(f"{path}:{layer}")
        assert torch.equal(found.values, values)
        assert (found.layer, found.name) == (layer, f"{path.stem}@{layer}")
    with pytest.raises(UsageError, match="no vector of layer 3"):
        read_vector(f"{path}:3")


def test_one_vector_at_any_layer_and_a_row_of_a_decoder(tmp_path):
    np.save(tmp_path / "mean.npy", VALUES[1].numpy())
    assert torch.equal(read_vector(f"{tmp_path}/mean.npy:5").values, VALUES[1])
    save_file({"W_dec": torch.stack([VALUES[1], VALUES[2]]).half()}, tmp_path / "sae.safetensors")
    found = read_vector(f"{tmp_path}/sae.safetensors:4:1")
    assert (found.name, found.layer, found.values.dtype) == ("sae#1@4", 4, torch.float32)
    assert torch.equal(found.values, VALUES[2])
    for given, message in (("4", r"a \(2, 8\) array"), ("4:2", "holds 2 rows, row 2")):
        with pytest.raises(UsageError, match=message):
            read_vector(f"{tmp_path}/sae.safetensors:{given}")


class Runs:
    def __reduce__(self):
        return (print, ("code ran",))


def test_no_code_of_a_file_is_run(tmp_path, capsys):
    torch.save(Runs(), tmp_path / "v.pt")
    np.save(tmp_path / "v.npy", np.array([Runs()], dtype=object), allow_pickle=True)
    (tmp_path / "v.pkl").write_bytes(pickle.dumps(Runs()))
    for name, message in (("v.pt", "more than tensors"), ("v.npy", "cannot be read"), ("v.pkl", "no file of vectors")):
        with pytest.raises(UsageError, match=message):
            read_vector(f"{tmp_path}/{name}:1")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("given", "message"),
    [("v.npy", "malformed vector"), ("none.npy:1", "no vector file at"), ("zero.npy:1", "zero or not finite"),
     ("broken.safetensors:1", "no safetensors file"), ("broken.gguf:1", "cannot be read")],
)  # fmt: skip
def test_what_is_no_vector_is_said(given, message, tmp_path):
    np.save(tmp_path / "zero.npy", np.zeros(8))
    for name in ("broken.safetensors", "broken.gguf"):
        (tmp_path / name).write_bytes(b"no such thing")
    with pytest.raises(UsageError, match=message) as raised:
        read_vector(f"{tmp_path}/{given}")
    assert raised.value.hint
