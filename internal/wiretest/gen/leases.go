package main

// leases is about how long a verifier may answer.
func leases() []*dialogue {
	simple := func(name, why string) *dialogue { return newDialogue(name, why).issue("alice", claims{}) }

	end := simple("lease-end", "A lease is good for less than its length: at the very microsecond it is over.")
	end.warm().check(2999999, "alice", "ok").check(3*second, "alice", "stale").check(3000001, "alice", "stale")

	sent := simple("lease-from-sending", "A lease counts from the sending of the poll (rule 1). Counted from the answer it would outlast what the authority waits.")
	sent.poll(0).grant(2500*ms, nil).check(2999999, "alice", "ok").check(3*second, "alice", "stale")

	renewed := simple("lease-renewed", "Each grant counts from its own poll.")
	renewed.warm().grant(1020*ms, nil).poll(1020*ms).check(3019999, "alice", "ok").check(3020*ms, "alice", "stale")
	renewed.grant(3500*ms, nil).poll(3500*ms).check(4019999, "alice", "ok").check(4020*ms, "alice", "stale")

	length := simple("lease-length", "How long a lease is stands in the grant, to the microsecond.")
	length.poll(0).grant(20*ms, nil, with("lease_us", 700001)).poll(20*ms).
		check(700*ms, "alice", "ok").check(700001, "alice", "stale")

	over := simple("lease-over-on-arrival", "An answer that took longer than its lease brings entries and no right to use them. They are acknowledged all the same.").
		issue("bob", claims{})
	over.warm().grant(3020*ms, []string{line(1, "session", "s-alice", "user")}).check(3020*ms, "alice", "stale", "bob", "stale")
	over.poll(3020*ms).grant(3040*ms, nil).check(3040*ms, "alice", "revoked", "bob", "ok").poll(3040 * ms)

	none := simple("lease-none", "A grant without a lease is still a grant: keys and position count, and nothing may be answered.")
	none.poll(0).grant(20*ms, nil, with("lease_us", 0)).check(20*ms, "alice", "stale")
	none.poll(20*ms).grant(40*ms, nil).check(40*ms, "alice", "ok").poll(40 * ms)

	forward := simple("clock-wall-forward", "A wall clock that jumps forward shortens a lease (rule 9): the machine may have slept.")
	forward.warm().wallJump(second, 1900*ms).check(second, "alice", "ok")
	forward.check(1099999, "alice", "ok").check(1100*ms, "alice", "stale")

	backward := simple("clock-wall-backward", "A wall clock that is set back does not lengthen a lease (rule 9).")
	backward.warm().wallJump(second, -3600*second).check(2999999, "alice", "ok").check(3*second, "alice", "stale")

	asleep := simple("clock-suspend", "In suspend the monotonic clock stands still. Only the wall clock shows that the lease has run out.")
	asleep.warm().check(second, "alice", "ok").wallJump(second, 8*3600*second).check(second, "alice", "stale")
	asleep.lost(1100*ms).poll(1200*ms).grant(1220*ms, nil).check(1220*ms, "alice", "ok").poll(1220 * ms)
	asleep.check(4199999, "alice", "ok").check(4200*ms, "alice", "stale")

	midway := simple("clock-suspend-during-poll", "The machine sleeps while a poll is under way. The lease of the answer counts from before the sleep and is over.").
		issue("bob", claims{})
	midway.warm().wallJump(500*ms, 10*second)
	midway.grant(600*ms, []string{line(1, "session", "s-alice", "user")}).check(600*ms, "alice", "stale", "bob", "stale")
	midway.poll(600*ms).grant(620*ms, nil).check(620*ms, "alice", "revoked", "bob", "ok").poll(620 * ms)

	return []*dialogue{end, sent, renewed, length, over, none, forward, backward, asleep, midway}
}

// authorityTime is about what a token's exp is compared with.
func authorityTime() []*dialogue {
	var all []*dialogue
	for name, year := range map[string]int64{"behind": 1_000_000_000, "ahead": 2_200_000_000} {
		d := newDialogue("time-wall-clock-"+name, "Tokens are judged by authority time (rule 10), and a wall clock that is years "+name+" changes nothing.").
			issue("alice", claims{}).issue("old", claims{exp: -1})
		d.wall = year * second
		d.warm().check(100*ms, "alice", "ok", "old", "expired")
		d.grant(1000*ms, nil).poll(1000*ms).check(1500*ms, "alice", "ok", "old", "expired")
		all = append(all, d)
	}

	boundary := newDialogue("time-expiry", "A token is dead from its exp on. Authority time is that of the poll's arrival and what has passed since its sending.").
		issue("alice-2s", claims{exp: 2}).issue("bob-3s", claims{exp: 3})
	boundary.poll(0).grant(500*ms, nil).check(500*ms, "alice-2s", "ok").poll(500 * ms)
	boundary.check(1999999, "alice-2s", "ok", "bob-3s", "ok").check(2*second, "alice-2s", "expired", "bob-3s", "ok")

	grants := newDialogue("time-never-back", "Authority time never goes back, or what has expired would be good again: an answer may be of an authority whose clock was set back.").
		issue("alice-4s", claims{exp: 4}).issue("bob", claims{})
	grants.poll(0).grant(20*ms, nil, with("time_us", (start+5)*second)).check(20*ms, "alice-4s", "expired", "bob", "ok")
	grants.poll(20*ms).grant(500*ms, nil, with("time_us", start*second)).check(500*ms, "alice-4s", "expired", "bob", "ok")
	grants.poll(500 * ms)

	unseen := newDialogue("time-never-back-unseen", "The same when nobody asked about a token in between.").
		issue("alice-4s", claims{exp: 4}).issue("bob", claims{})
	unseen.poll(0).grant(20*ms, nil, with("time_us", (start+5)*second))
	unseen.poll(20*ms).grant(500*ms, nil, with("time_us", start*second)).check(500*ms, "alice-4s", "expired", "bob", "ok")
	unseen.poll(500 * ms)

	jump := newDialogue("time-never-back-clock", "A wall clock that jumps forward and back again does not bring an expired token back within a lease.").
		issue("alice-2s", claims{exp: 2}).issue("bob", claims{})
	jump.warm().check(500*ms, "alice-2s", "ok").wallJump(500*ms, 2*second).check(500*ms, "alice-2s", "expired", "bob", "ok")
	jump.wallJump(500*ms, -2*second).check(500*ms, "alice-2s", "expired", "bob", "ok")

	horizon := newDialogue("horizon", "A token with exp at or before the horizon is dead although no clock says so (rule 11), and the horizon never falls.").
		issue("alice-100s", claims{exp: 100}).issue("bob-101s", claims{exp: 101})
	horizon.warm().check(100*ms, "alice-100s", "ok", "bob-101s", "ok")
	horizon.grant(500*ms, nil, with("horizon", start+100)).check(500*ms, "alice-100s", "expired", "bob-101s", "ok")
	horizon.poll(500*ms).grant(600*ms, nil, with("horizon", start+50)).check(600*ms, "alice-100s", "expired", "bob-101s", "ok")
	horizon.poll(600 * ms)

	replaced := newDialogue("horizon-snapshot", "A snapshot replaces the denylist, and still does not lower the horizon. One that raises it counts at once.").
		issue("alice-100s", claims{exp: 100}).issue("bob-200s", claims{exp: 200}).issue("carol", claims{})
	replaced.horizon = start + 100
	replaced.warm().check(100*ms, "alice-100s", "expired", "bob-200s", "ok")
	replaced.fail(500*ms, 409, "snapshot_required").snapshot(500*ms).take(520*ms, 9, nil, with("horizon", start+50))
	replaced.horizon = start + 50
	replaced.poll(520*ms).grant(540*ms, nil).check(540*ms, "alice-100s", "expired", "bob-200s", "ok", "carol", "ok")
	replaced.poll(540*ms).fail(600*ms, 409, "snapshot_required")
	replaced.horizon = start + 200
	replaced.snapshot(600*ms).take(620*ms, 12, nil).check(620*ms, "bob-200s", "expired", "carol", "ok").poll(620 * ms)

	return append(all, boundary, grants, unseen, jump, horizon, replaced)
}
