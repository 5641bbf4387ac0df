"""What does one rank do when probes are asked on several?

It is started as `python -m logclock.testing.rank FOLDER RANK RANKS PROBE ...`.
"""

import datetime
import json
import os
import pickle
import socket
import sys
import warnings
from pathlib import Path
from typing import Any

__all__ = ["main"]

COLLECTIVE_TIMEOUT = datetime.timedelta(seconds=30)


def main(arguments: list[str]) -> int:
    """Answer the named probes until one fails.

    Args:
        arguments: Folder of the job, number of this rank, number of ranks, names of the probes.
    """
    folder, rank, ranks, names = Path(arguments[0]), int(arguments[1]), int(arguments[2]), arguments[3:]
    os.environ["GLOO_SOCKET_IFNAME"] = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    warnings.simplefilter("ignore")
    import torch
    import torch.distributed as dist

    from logclock.testing.conformance import ask
    from logclock.testing.probes import PROBES
    from logclock.testing.ranks import JOB, STORE, answer_path
    from logclock.testing.subject import Subject

    answers: list[dict[str, Any]] = []

    def tell(answer: dict[str, Any]) -> None:
        answers.append(answer)
        whole = folder / f"new{rank}"
        whole.write_text(json.dumps(answers))
        whole.replace(answer_path(folder, rank))

    torch.set_num_threads(1)
    try:
        job = pickle.loads((folder / JOB).read_bytes())  # written by the process that started this one
    except Exception as error:
        reason = f"Other processes cannot import it ({error}): give a class or function of a module."
        tell({"status": "not applicable", "seen": reason})
        return 0
    subject = Subject(job["build"], job["settings"], job["shapes"])
    stores: Any = dist
    store = stores.FileStore(str(folder / STORE), ranks)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=ranks, timeout=COLLECTIVE_TIMEOUT)
    for name in names:
        asked = next(probe for probe in PROBES if probe.name == name)
        torch.manual_seed(0)
        result = ask(asked, subject, ranks, str(folder / name))
        is_about_others = result.status == "fail" and any(
            sign in result.seen for sign in ("Connection closed by peer", "Timed out waiting", "DistNetworkError")
        )
        tell(
            {
                "status": result.status,
                "seen": result.seen,
                "amount": result.amount,
                "is_about_others": is_about_others,
            }
        )
        if result.status != "pass":
            sys.stderr.flush()
            os._exit(0)  # the others may never come to the end of the process group
    dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
