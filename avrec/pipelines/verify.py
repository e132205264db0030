"""`avrec verify`: re-check a bundle: every file against its hash, shapes, graphs, parity and parts."""

from omegaconf import DictConfig

from avrec.bundle.verify import VerifyReport, verify
from avrec.core.errors import ArtefactError


def run(config: DictConfig) -> VerifyReport:
    """Verify `config.bundle_dir`.

    Raises:
        ArtefactError: a check failed; the message lists all that did.
    """
    report = verify(config.bundle_dir)
    if not report.ok:
        raise ArtefactError("\n".join(report.problems))
    print(f"bundle {config.bundle_dir}: {report.num_files} files, {report.num_bytes / 2**20:.1f} MiB verified")
    return report
