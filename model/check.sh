#!/usr/bin/env bash
# Checks poll.pml, and that the check bites.
#
#   model/check.sh              the model, what it can do, every seeded mistake
#   model/check.sh deep         the model within larger bounds: five minutes, 3 GB
#   model/check.sh trace NAME   a story in which mistake NAME does harm, the shortest but for NO_FREEZE
set -euo pipefail
export LC_ALL=C

for tool in spin gcc; do
  command -v "$tool" >/dev/null && continue
  echo "missing: $tool; install it with: apt-get install spin gcc (Debian, Ubuntu), brew install spin (macOS)" >&2
  exit 1
done

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" # spin writes into the current directory
failed=0

# build SEARCH FLAGS...
build() {
  local search=$1 options
  shift
  case $search in
    full) options='-O2 -DSAFETY' ;;
    shortest) options='-O1 -DSAFETY -DBFS' ;; # breadth first: stops at the shortest counterexample
    live) options='-O2 -DNFAIR=3' ;;
  esac
  rm -rf ./*
  cp "$here/poll.pml" .
  # shellcheck disable=SC2086
  spin "$@" -a poll.pml >spin.out 2>&1 && gcc -w -DMEMLIM=6000 $options -o pan pan.c >gcc.out 2>&1 && return
  cat spin.out gcc.out >&2 2>/dev/null
  exit 1
}

# verdict ROW says what the checker has found.
verdict() {
  if grep -q 'assertion violated.*==' out; then echo 'reached'
  elif grep -q 'assertion violated.*late' out; then echo 'final broken'
  elif grep -q 'assertion violated.*again' out; then echo 'monotone broken'
  elif grep -q 'acceptance cycle' out; then echo 'live broken'
  elif grep -qE 'depth too small|not completed|out of memory|hash conflicts.*omitted' out; then echo 'INCOMPLETE'
  elif ! grep -q 'errors: 0$' out; then echo 'ERROR'
  elif [[ $1 == correct* ]] && grep -E 'state [0-9]+, "' out | grep -qv -- '"-end-"'; then echo 'DEAD CODE'
  else echo 'holds'
  fi
}

# check ROW EXPECTED SEARCH FLAGS...
check() {
  local row=$1 expected=$2 search=$3 from=$EPOCHREALTIME result states
  shift 3
  build "$search" "$@"
  case $search in
    full) ./pan -m20000000 >out 2>&1 || true ;;
    shortest) ./pan >out 2>&1 || true ;;
    live) ./pan -a -f -m20000000 >out 2>&1 || true ;;
  esac
  result=$(verdict "$row")
  states=$(awk '/states, stored/ { print $1; exit }' out)
  printf '%-26s %-16s %-16s %12.0f %8.1f\n' "$row" "$expected" "$result" "${states:-0}" \
    "$(awk "BEGIN { print ($EPOCHREALTIME - $from) }")"
  if [[ $result != "$expected" ]]; then
    failed=1
    echo "  expected \"$expected\". Flags: $*" >&2
    grep -E '^pan|error|Warning' out >&2 || true
  fi
}

mistakes=(
  'LEASE_FROM_RECEIPT      final -DK=1 -DINCS=1'
  'ANY_GRANT               final -DK=1 -DINCS=1'
  'WAIT_D                  final'
  'WAIT_HALF_DRIFT         final'
  'ACK_BEFORE_APPLY        final'
  'LEASE_BEFORE_APPLY      final'
  'LOOKUP_BEFORE_DEADLINE  final'
  'GRANT_OUTSIDE_LOCK      final'
  'NO_WAIT_AFTER_RESTART   final'
  'GRANT_WITHOUT_ENTRIES   final -DK=2'
  'ANSWER_BEFORE_COMMIT    final'
  'REPEAT_AT_ONCE          final'
  'GRANT_BEFORE_COMMIT     monotone'
  'MONOTONIC_ONLY          final -DK=1 -DINCS=1'
  'RELEASE_FIRST           final'
  'NO_FREEZE               live -DK=1 -DINCS=1'
)

search_for() { if [[ $1 == live ]]; then echo live -DLIVE; else echo shortest; fi; }

if [[ ${1:-} == trace ]]; then
  for line in "${mistakes[@]}"; do
    read -r name breaks flags <<<"$line"
    [[ $name == "${2:-}" ]] || continue
    read -r search live <<<"$(search_for "$breaks")"
    flags="-D$name ${flags:--DK=1} $live"
    # shellcheck disable=SC2086
    build "$search" $flags
    if [[ $search == live ]]; then ./pan -a -f -m20000000 >out 2>&1 || true; else ./pan >out 2>&1 || true; fi
    # shellcheck disable=SC2086
    spin -t $flags poll.pml | sed -n '/#processes/q; s/^ *//; /^spin: warning/d; /^Never claim/d; p'
    exit
  done
  echo "no such mistake: ${2:-}; there are:" >&2
  printf '  %s\n' "${mistakes[@]%% *}" >&2
  exit 1
fi

begun=$EPOCHREALTIME
printf '%-26s %-16s %-16s %12s %8s\n' variant expected result states seconds

if [[ ${1:-} == deep ]]; then
  check 'correct, finer time'       holds full -DK=1 -DD=6
  check 'correct, 3 incarnations'   holds full -DK=1 -DINCS=3
  check 'correct, 3 logouts'        holds full -DK=3
  check 'live, 2 verifiers'         holds live -DLIVE -DK=1 -DV=2 -DINCS=1
else
  check 'correct'                   holds full -DK=2
  check 'correct, 2 verifiers'      holds full -DK=1 -DV=2 -DINCS=1
  check 'live'                      holds live -DLIVE -DK=1

  check 'can accept'                reached shortest -DK=1 -DREACH=1
  check 'can enforce by ack'        reached shortest -DK=1 -DREACH=2
  check 'can enforce after crash'   reached shortest -DK=1 -DREACH=3
  check 'can refuse after restart'  reached shortest -DK=1 -DREACH=4

  for line in "${mistakes[@]}"; do
    read -r name breaks flags <<<"$line"
    read -r search live <<<"$(search_for "$breaks")"
    # shellcheck disable=SC2086
    check "$name" "$breaks broken" "$search" "-D$name" ${flags:--DK=1} $live
  done
fi

printf '%-72s %8.1f\n' total "$(awk "BEGIN { print ($EPOCHREALTIME - $begun) }")"
exit "$failed"
