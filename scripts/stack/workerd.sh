#!/bin/sh
# Runs workerd ($CYXCLOUD_WORKERD), and ends it within a second of the death of the process that started it:
# Miniflare cannot do so itself when it is killed, and an orphan would keep its port and write to the same storage.
(
  while kill -0 "$PPID" && kill -0 "$$"; do sleep 1; done
  kill -9 "$$"
) </dev/null >/dev/null 2>&1 3>&- &
exec "$CYXCLOUD_WORKERD" "$@"
