"""The certificate that a server shows: its chain and name verified, and how long it is still valid."""

import asyncio
import contextlib
import ssl
import time

from dcctl.adapters.probes.http import tls_context
from dcctl.adapters.probes.round import Outcome
from dcctl.domain.probe import TlsCheck

DAY_S = 86400.0


async def probe_tls(check: TlsCheck) -> Outcome:
    context = tls_context(check.ca_file)
    try:
        _reader, writer = await asyncio.open_connection(check.address, check.port, ssl=context)
    except ssl.SSLCertVerificationError as error:
        return Outcome(ok=False, saw=f"its certificate is refused: {error.verify_message}")
    except ssl.SSLError as error:
        return Outcome(ok=False, saw=f"no TLS: {error.reason or error}")
    try:
        ours = writer.get_extra_info("peercert")
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    # The authority's own end counts too, where we were given the authority: without it nothing verifies.
    authorities = [each for each in context.get_ca_certs() if each.get("subject") == ours.get("issuer")]
    ends = min(ssl.cert_time_to_seconds(str(each["notAfter"])) for each in (ours, *authorities))
    days = (ends - time.time()) / DAY_S
    return Outcome(ok=days >= check.days, saw=f"valid for {days:.1f} more days", figure=days)
