package main

import "fmt"

// line is an entry of our own issuer that every token of the vectors outlives
// by a second at most.
func line(seq int, kind, target, reason string) string {
	return fmt.Sprintf("%d %s %s %d - %s", seq, kind, target, start+601, reason)
}

// starting is about the way to the first lease.
func starting() []*dialogue {
	empty := newDialogue("start-empty-log", "An authority without entries needs no snapshot: its first grant is all there is to know.").
		issue("alice", claims{}).issue("bob", claims{})
	empty.hashes = true
	empty.poll(0).check(10*ms, "alice", "stale")
	empty.grant(20*ms, nil).check(20*ms, "alice", "ok", "bob", "ok")
	empty.poll(20*ms).grant(500*ms, []string{line(1, "session", "s-alice", "user")})
	empty.check(500*ms, "alice", "revoked", "bob", "ok").poll(500 * ms)

	cold := newDialogue("start-snapshot", "A verifier that knows nothing of a log with entries takes a snapshot. It is stale until the grant after that: a snapshot brings no lease.").
		issue("alice", claims{}).issue("bob", claims{})
	cold.hashes = true
	cold.poll(0).fail(10*ms, 409, "snapshot_required").check(10*ms, "alice", "stale")
	cold.snapshot(10*ms).take(30*ms, 43, []string{
		line(41, "session", "s-other", "user"), line(42, "session", "s-alice", "user"), line(43, "session", "s-third", "idle"),
	})
	cold.check(30*ms, "alice", "stale", "bob", "stale")
	cold.poll(30*ms).grant(50*ms, nil).check(50*ms, "alice", "revoked", "bob", "ok")
	cold.poll(50 * ms)

	bare := newDialogue("start-snapshot-without-lines", "A snapshot in which nothing matters any more still says where the log stands.").
		issue("alice", claims{}).issue("bob", claims{})
	bare.poll(0).fail(10*ms, 409, "snapshot_required")
	bare.snapshot(10*ms).take(30*ms, 43, nil, without("clients")).poll(30*ms).grant(50*ms, nil).check(50*ms, "alice", "ok")
	bare.poll(50*ms).grant(500*ms, []string{line(44, "session", "s-alice", "user")})
	bare.check(500*ms, "alice", "revoked", "bob", "ok").poll(500 * ms)

	whole := newDialogue("start-whole-log", "An authority that still has all of its log may give it to a new verifier in the first grant: the entries begin right after 0.").
		issue("alice", claims{}).issue("alice-v1", claims{ver: 1}).issue("bob", claims{}).issue("bob-app", claims{client: "app"})
	whole.hashes = true
	whole.poll(0).grant(20*ms, []string{
		line(1, "subject", "alice", "user_all"), line(2, "session", "s-alice-v1", "user"), line(3, "session", "s-bob", "user"),
	})
	whole.check(20*ms, "alice", "revoked", "alice-v1", "revoked", "bob", "revoked", "bob-app", "ok").poll(20 * ms)

	silent := newDialogue("start-stale-says-nothing", "A verifier without a lease gives no verdict at all: a client must not lose its session over it, not even one with a token that is not good.").
		issue("alice", claims{}).issue("old", claims{exp: -1}).forge("garbage", "no token at all", "garbage")
	silent.check(0, "alice", "stale", "old", "stale", "garbage", "stale")
	silent.poll(0).grant(20*ms, nil).check(20*ms, "alice", "ok", "old", "expired", "garbage", "invalid")
	silent.poll(20*ms).grant(500*ms, []string{line(1, "session", "s-alice", "user")}).check(500*ms, "alice", "revoked")
	silent.poll(500*ms).lost(3100*ms).check(3100*ms, "alice", "stale", "old", "stale", "garbage", "stale")

	unknown := newDialogue("start-unknown-members", "Members that are not known are ignored, so that an authority may say more one day.").
		issue("alice", claims{})
	more := keySet("es1-and-more", es1.jwk())
	sets[more] = append(sets[more][:3:3], member{"later", []int{1}})
	unknown.keys = more
	unknown.poll(0).grant(20*ms, nil, with("later", object{{"entries", 7}})).check(20*ms, "alice", "ok").poll(20 * ms)

	keyless := newDialogue("start-without-keys", "A verifier that has a lease and no keys gives no verdict: it cannot tell a genuine token from any other.").
		issue("alice", claims{})
	keyless.poll(0).badGrant(20*ms, nil, without("keys")).check(20*ms, "alice", "stale")
	keyless.pos = at("first", 0)
	keyless.poll(20*ms).grant(40*ms, nil).check(40*ms, "alice", "ok").poll(40 * ms)

	return []*dialogue{empty, cold, bare, whole, silent, unknown, keyless}
}
