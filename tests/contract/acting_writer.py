"""A singleton at work: writes a row under its epoch, again and again, and notes what it was told.

``python acting_writer.py NOTES CONNINFO [unchecked] [stubborn]``. ``unchecked`` leaves the epoch's check
out, ``stubborn`` ignores SIGTERM. Each line of NOTES: epoch, invoked_s, acknowledged_s (empty: it was not),
both of the clock that leases are judged by.
"""

import os
import signal
import sys
import time

import psycopg


def now_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def main() -> None:
    notes, conninfo, *manners = sys.argv[1:]
    epoch, role = int(os.environ["DCCTL_EPOCH"]), os.environ["DCCTL_ROLE"]
    if "stubborn" in manners:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with open(notes, "a", buffering=1) as file, psycopg.connect(conninfo, autocommit=True) as connection:  # noqa: PTH123
        while True:
            invoked_s = now_s()
            file.write(f"{epoch} {invoked_s} \n")
            try:
                with connection.transaction():
                    if "unchecked" not in manners:
                        connection.execute("SELECT role_epoch_check(%s, %s)", (role, epoch))
                    connection.execute("INSERT INTO act (epoch, pid) VALUES (%s, %s)", (epoch, os.getpid()))
            except psycopg.errors.RaiseException:
                pass
            except psycopg.Error as error:
                # DC001: another epoch is in force. It goes on trying: that is what makes it a test.
                if error.sqlstate != "DC001":
                    raise
            else:
                file.write(f"{epoch} {invoked_s} {now_s()}\n")
            time.sleep(0.05)


if __name__ == "__main__":
    main()
