#!/usr/bin/env bash
# A search as a Ray job: it runs on the cluster, and goes on when this terminal is closed.
#
#   Command:  RAY_API_SERVER_ADDRESS=http://127.0.0.1:8265 jobs/search.sh --task psicov --budget 50 --runs /shared/runs
#   Needs:    pare-tune installed on every node; --runs on storage that all nodes see, at a URL (s3://bucket/runs), or on
#             the head's disk alone, to which the files of other nodes then come back; the cluster's token in
#             ~/.ray/auth_token. On one machine `ray start --head` makes a cluster.
#   Expect:   the search's plain lines, one a trial, then where best.yaml is; 20 s more than the search itself.
#             `ray job stop ID` interrupts it in order; go on with `jobs/search.sh resume RUN`.
set -euo pipefail
# Local clusters ask for their token since Ray 2.60, but `ray job submit` sends it only when told to.
export RAY_AUTH_MODE="${RAY_AUTH_MODE:-token}"
# The dashboard lists the job under its task, or under the run that it resumes.
what="${*: -1}" previous=""
for argument in "$@"; do
  case "$previous" in --task | resume) what="$(basename "$argument")" ;; esac
  case "$argument" in --task=*) what="$(basename "${argument#--task=}")" ;; esac
  previous="$argument"
done
metadata="$(printf '{"job_name": "pare-tune %s"}' "${what//[\"\\]/}")"
exec ray job submit --metadata-json "$metadata" --runtime-env-json '{"env_vars": {"PYTHONUNBUFFERED": "1"}}' \
  -- pare-tune "$@"
