#!/bin/sh
# Makes the submissions beside this file: five systems, ten scenes, three adversaries.
set -e
run=${1:-runs/leaderboard}
here=$(dirname "$0")
gauntlet benchmark --split test --scenes 10 --sut replay idm rule_expert td3 ppo --adversary rule cat sage --playback 1 --out "$run"
for pair in replay:replay idm:rules rule_expert:rules td3:learned ppo:learned; do
  gauntlet leaderboard submit "$run" --sut "${pair%:*}" --kind "${pair#*:}" --authors "Gauntlet's authors" --out "$here/${pair%:*}.json"
done
