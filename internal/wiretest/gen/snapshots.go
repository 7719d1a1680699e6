package main

// snapshots is about being told to start again.
func snapshots() []*dialogue {
	compacted := newDialogue("snapshot-compacted", "The log was compacted past the verifier's position. The old lease runs on until it ends, what the snapshot has counts at once, and the snapshot renews nothing.").
		issue("alice", claims{}).issue("bob", claims{})
	compacted.warm().fail(500*ms, 409, "snapshot_required").check(500*ms, "alice", "ok", "bob", "ok")
	compacted.snapshot(500*ms).take(700*ms, 50, []string{line(49, "session", "s-other", "user"), line(50, "session", "s-alice", "user")})
	compacted.check(700*ms, "alice", "revoked", "bob", "ok").poll(700*ms).check(2999999, "bob", "ok")
	compacted.check(3*second, "alice", "stale", "bob", "stale").grant(3100*ms, nil).check(3100*ms, "alice", "revoked", "bob", "ok")
	compacted.poll(3100 * ms)

	unavailable := newDialogue("snapshot-unavailable", "While the snapshot cannot be had the old lease runs out, and then the verifier is stale.").
		issue("alice", claims{})
	unavailable.warm().fail(500*ms, 409, "snapshot_required").snapshot(500*ms).fail(600*ms, 503, "store_unavailable")
	unavailable.poll(700*ms).fail(800*ms, 409, "snapshot_required").snapshot(800 * ms).lost(2000 * ms)
	unavailable.poll(2100*ms).fail(2200*ms, 409, "snapshot_required").check(2999999, "alice", "ok").check(3*second, "alice", "stale")
	unavailable.snapshot(3*second).take(3020*ms, 2, []string{line(2, "session", "s-alice", "user")}).check(3020*ms, "alice", "stale")
	unavailable.poll(3020*ms).grant(3040*ms, nil).check(3040*ms, "alice", "revoked").poll(3040 * ms)

	// What the first log ended must not be looked for in the second one.
	diverge := func(name, why, log string) *dialogue {
		d := newDialogue(name, why)
		d.hashes = true
		d.issue("alice", claims{}).issue("alice-v2", claims{ver: 2}).issue("bob", claims{}).issue("bob-v2", claims{ver: 2})
		d.warm().grant(300*ms, []string{
			line(1, "session", "s-other", "user"), line(2, "session", "s-third", "user"), line(3, "session", "s-fourth", "user"),
			line(4, "subject", "alice", "user_all"), line(5, "client", "web", "admin"),
		}).check(300*ms, "alice", "revoked", "bob", "revoked")
		d.poll(300*ms).fail(500*ms, 409, "snapshot_required")
		d.log = log
		d.snapshot(500*ms).take(520*ms, 2, []string{"2 everything - 0 - restored"}, with("everything", 2))
		d.poll(520*ms).grant(540*ms, nil)
		d.check(540*ms, "alice", "revoked", "alice-v2", "ok", "bob", "revoked", "bob-v2", "ok")
		d.poll(540*ms).grant(600*ms, []string{line(3, "session", "s-alice-v2", "user")})
		return d.check(600*ms, "alice-v2", "revoked", "bob-v2", "ok").poll(600 * ms)
	}
	diverged := diverge("snapshot-diverged",
		"The authority was restored and has another log. Its snapshot replaces the denylist: the positions of the old one would refuse what was issued since.",
		"second")
	same := diverge("snapshot-diverged-same-log",
		"The same where the restored log has kept its name, and its head lies behind the verifier's.", "first")

	broken := newDialogue("snapshot-broken", "A snapshot is good as a whole or not at all: lines are missing, do not end at seq, or have a gap.").
		issue("alice", claims{}).issue("bob", claims{})
	lines := []string{line(41, "session", "s-other", "user"), line(42, "session", "s-alice", "user")}
	broken.poll(0).fail(10*ms, 409, "snapshot_required").snapshot(10*ms).badSnapshot(30*ms, 42, lines[:1], with("entries", 2))
	broken.again().fail(200*ms, 409, "snapshot_required").snapshot(200*ms).badSnapshot(220*ms, 43, lines)
	broken.again().fail(400*ms, 409, "snapshot_required").snapshot(400*ms).badSnapshot(420*ms, 43, []string{lines[0], line(43, "session", "s-alice", "user")})
	broken.check(420*ms, "alice", "stale").again().fail(600*ms, 409, "snapshot_required").snapshot(600*ms).take(620*ms, 42, lines)
	broken.poll(620*ms).grant(640*ms, nil).check(640*ms, "alice", "revoked", "bob", "ok").poll(640 * ms)

	kept := newDialogue("snapshot-broken-keeps", "A snapshot that is not good leaves the old denylist in place, and its lease.").
		issue("alice", claims{}).issue("bob", claims{})
	kept.warm().grant(300*ms, []string{line(1, "session", "s-alice", "user")}).poll(300*ms).fail(500*ms, 409, "snapshot_required")
	kept.snapshot(500*ms).badSnapshot(520*ms, 9, []string{line(9, "session", "s-bob", "user")}, with("entries", 2))
	kept.check(520*ms, "alice", "revoked", "bob", "ok").again()
	kept.check(3019999, "alice", "revoked", "bob", "ok").check(3020*ms, "alice", "stale")

	floors := newDialogue("snapshot-floors", "The floors of a snapshot stand for entries that are no longer in it. Later entries raise them.").
		issue("alice-v29", claims{ver: 29}).issue("alice-v30", claims{ver: 30}).
		issue("bob-app-v16", claims{ver: 16, client: "app"}).issue("bob-app-v17", claims{ver: 17, client: "app"}).
		issue("carol-v44", claims{ver: 44}).issue("dave-app-v45", claims{ver: 45, client: "app"})
	floors.poll(0).fail(10*ms, 409, "snapshot_required").snapshot(10 * ms)
	floors.take(30*ms, 43, []string{line(43, "session", "s-other", "user")}, with("everything", 17), with("clients", object{{"web", 30}, {"old app", 3}}))
	floors.poll(30*ms).grant(50*ms, nil)
	floors.check(50*ms, "alice-v29", "revoked", "alice-v30", "ok", "bob-app-v16", "revoked", "bob-app-v17", "ok", "carol-v44", "ok", "dave-app-v45", "ok")
	floors.poll(50*ms).grant(100*ms, []string{"44 client web 0 - admin"})
	floors.check(100*ms, "alice-v30", "revoked", "bob-app-v17", "ok", "carol-v44", "ok", "dave-app-v45", "ok")
	floors.poll(100*ms).grant(200*ms, []string{"45 everything - 0 - admin"})
	floors.check(200*ms, "alice-v30", "revoked", "bob-app-v17", "revoked", "carol-v44", "revoked", "dave-app-v45", "ok").poll(200 * ms)

	return []*dialogue{compacted, unavailable, diverged, same, broken, kept, floors}
}
