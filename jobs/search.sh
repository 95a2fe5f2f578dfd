#!/usr/bin/env bash
# A search as a Ray job: it runs on the cluster, and goes on when this terminal is closed.
#
#   Command:  RAY_API_SERVER_ADDRESS=http://127.0.0.1:8265 jobs/search.sh --task psicov --budget 50 --runs /shared/runs
#   Needs:    pare-tune installed on every node; --runs on storage that all nodes see.
#   Expect:   the search's plain lines, one a trial, then where best.yaml is. Stop it with `ray job stop ID`, go on with
#             the same script and `resume RUN` in place of the options. On one machine, `ray start --head` makes the cluster.
set -euo pipefail
exec ray job submit --runtime-env-json '{"env_vars": {"PYTHONUNBUFFERED": "1"}}' -- pare-tune "$@"
