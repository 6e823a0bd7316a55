"""`emulab image`: the images that containers of their names run."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from emulab.cli.output.progress import progress
from emulab.cli.output.table import table
from emulab.cli.usage import UsageError, add_output
from emulab.errors import UserError
from emulab.kinds.ages import age
from emulab.kinds.openapi.typed import quantity
from emulab.lab.images.home import images_folder
from emulab.lab.images.loading import MAX_SIZE, LoadedImage, load
from emulab.lab.images.store import ImageStore, StoredImage, opened_store
from emulab.model.quantity import parse_quantity
from emulab.observe.telling.escapes import as_json, printable

_NOTHING = "No images are loaded; load one with: emulab image load ARCHIVE"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = "emulab image load ARCHIVE… | ls | inspect NAME | rm NAME…"
    add = parser.add_argument
    add("action", choices=_ACTIONS, metavar="|".join(_ACTIONS), help="what to do")
    add(
        "images",
        nargs="*",
        metavar="ARCHIVE",
        help="an OCI layout's folder, an archive, or - for stdin; an image's name",
    )
    add("--name", metavar="NAME", default="", help="of load: the image's name (default: as the archive says)")
    add(
        "--max-size",
        type=_size,
        default=MAX_SIZE,
        metavar="SIZE",
        help="of load: as much as an image may come to unpacked (default: 32Gi)",
    )
    add_output(parser, "json")


def run(options: argparse.Namespace) -> int:
    return _ACTIONS[options.action](opened_store(images_folder()), options)


def _size(text: str) -> int:
    if quantity(text) or parse_quantity(text).value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write 500Mi or 64Gi")
    return int(parse_quantity(text).value)


def _load(store: ImageStore, options: argparse.Namespace) -> int:
    if not options.images:
        raise UsageError("image load needs an archive: docker save IMAGE | emulab image load -")
    if options.name and len(options.images) > 1:
        raise UsageError("--name is the name of one image, and there are several archives")
    found: list[LoadedImage] = []
    for source in options.images:
        with progress(source) as say:
            found += load(store, source, options.name, options.max_size, say)
    if options.output == "json":
        print(as_json([_data(one.image) for one in found]))
    for one in found:
        for name in one.image.names if options.output is None else ():
            new = f"{one.unpacked} of {len(one.image.config.layers)} layers unpacked"
            print(f"{name} loaded: {_short(one.image)}, {_human(one.image.size)}, {new}")
        for note in one.notes:
            print(f"emulab: {printable(one.image.names[0])}: {note}", file=sys.stderr)
    return 0


def _list(store: ImageStore, options: argparse.Namespace) -> int:
    if options.images:
        raise UsageError("image ls takes no names; image inspect does")
    images = store.images()
    if options.output == "json":
        print(as_json([_data(image) for image in images]))
    elif not images:
        print(_NOTHING)
    else:
        rows = [_row(name, image) for image in images for name in image.names]
        print(table(("NAME", "IMAGE ID", "LAYERS", "SIZE", "LOADED"), sorted(rows)))
    return 0


def _row(name: str, image: StoredImage) -> list[str]:
    loaded = age(image.loaded, time.time())
    return [name, _short(image), str(len(image.layers)), _human(image.size), loaded]


def _inspect(store: ImageStore, options: argparse.Namespace) -> int:
    if not options.images:
        raise UsageError("image inspect needs a name")
    print(as_json([_details(store, _found(store, name)) for name in options.images]))
    return 0


def _remove(store: ImageStore, options: argparse.Namespace) -> int:
    if not options.images:
        raise UsageError("image rm needs a name")
    for name in options.images:
        image = store.remove(name)
        if image is None:
            raise _unknown(name)
        left = store.image(image.id)
        print(f"{name} removed" + (f"; the image is still {', '.join(left.names)}" if left else ""))
    return 0


def _found(store: ImageStore, name: str) -> StoredImage:
    image = store.find(name) or store.by_id(name)
    if image is None:
        raise _unknown(name)
    return image


def _unknown(name: str) -> UserError:
    return UserError(f"there is no image {name!r}; `emulab image ls` lists those that are loaded")


def _short(image: StoredImage) -> str:
    return image.id.partition(":")[2][:12]


def _human(octets: int) -> str:
    """As `docker images` and `crictl images` have it: in powers of 1000."""
    size, unit = float(octets), "B"
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.3g}{unit}" if size < 1000 else f"{size:.0f}{unit}"


def _data(image: StoredImage) -> Mapping[str, Any]:
    return {
        "names": list(image.names),
        "id": image.id,
        "digest": image.digest,
        "platform": str(image.config.platform),
        "layers": len(image.layers),
        "size": image.size,
        "created": image.config.created,
        "loaded": image.loaded,
    }


def _details(store: ImageStore, image: StoredImage) -> Mapping[str, Any]:
    """`config` is in the words of the OCI."""
    config = image.config
    return {
        **_data(image),
        "layers": [{"digest": diff, "path": store.layer(diff)} for diff in image.layers],
        "config": {
            "Entrypoint": list(config.entrypoint),
            "Cmd": list(config.cmd),
            "Env": [f"{name}={value}" for name, value in config.env],
            "User": config.user,
            "WorkingDir": config.working_dir,
            "StopSignal": config.stop_signal,
            "ExposedPorts": list(config.ports),
            "Volumes": list(config.volumes),
        },
    }


_ACTIONS: Mapping[str, Callable[[ImageStore, argparse.Namespace], int]] = {
    "load": _load,
    "ls": _list,
    "inspect": _inspect,
    "rm": _remove,
}
