// Command bench measures the authority as its users meet it: HTTP over loopback
// against the real server on a real SQLite file that is synced on every commit.
//
//	go run ./bench                        everything, about a quarter of an hour
//	go run ./bench -only refresh,logout   some of it
//	go run ./bench -json                  for machines
//
// What verifiers pay and how fast a logout reaches them is measured with the
// binary that users run, against services and verifiers in processes of their
// own:
//
//	go run ./bench -only guard      one check in process, beside the bare signature
//	go run ./bench -only requests   one handler behind different checks, Redis among them
//	go run ./bench -only enforce    logouts with 1 to 10,000 verifiers
//	go run ./bench -only fanout     a storm of logouts to 1,000 verifiers, and Redis pub/sub
//	go run ./bench -only verifier   a service that holds a million live revocations
//
// requests and fanout need redis-server, which they start by themselves, and
// install where apt-get and the rights for it are there.
//
// The server runs in a process of its own, this program executed once more, so
// that neither side's garbage collector is charged to the other. The load
// generator speaks just enough HTTP/1.1 to keep connections alive and to check
// every answer, because net/http's client would cost more than the server. An
// answer that is not what the scenario asks for fails the run: a server that
// refuses is fast.
//
// The machine itself is measured in the same run: what a sync of the disk takes,
// and how many transactions of two rows the same SQLite driver commits. Figures
// move from machine to machine and from hour to hour; the ratios to those two
// hardly do.
//
// What costs nanoseconds is not measured here but by the benchmarks beside the
// code: go test -bench . ./internal/denylist ./internal/verify ./internal/token.
package main
