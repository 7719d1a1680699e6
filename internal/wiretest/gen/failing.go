package main

// failing is about authorities that do not serve.
func failing() []*dialogue {
	var all []*dialogue
	for _, f := range []struct {
		name, why string
		answer    func(d *dialogue, t int64)
	}{
		{"401", "The key was removed. It ends nothing at once, and nothing renews the lease.",
			func(d *dialogue, t int64) { d.fail(t, 401, "invalid_key") }},
		{"503", "The authority has no store. The lease runs out, and the verifier is back with the first grant.",
			func(d *dialogue, t int64) { d.fail(t, 503, "store_unavailable") }},
		{"500", "Any other status is no grant, whatever the body looks like.",
			func(d *dialogue, t int64) { d.raw(t, 500, d.body([]string{line(1, "session", "s-alice", "user")})) }},
		{"lost", "No answer at all: cut off, a verifier answers to the end of its lease and not a microsecond longer.",
			func(d *dialogue, t int64) { d.lost(t) }},
	} {
		d := newDialogue("failure-"+f.name, f.why).issue("alice", claims{}).issue("bob", claims{})
		d.warm()
		for range 3 {
			f.answer(d, d.now+500*ms)
			d.check(d.now, "alice", "ok", "bob", "ok").again()
		}
		d.check(2999999, "alice", "ok").check(3*second, "alice", "stale", "bob", "stale")
		f.answer(d, 3500*ms)
		d.again().grant(3700*ms, []string{line(1, "session", "s-alice", "user")})
		all = append(all, d.check(3700*ms, "alice", "revoked", "bob", "ok").poll(3700*ms))
	}
	return all
}

// extras is about releasing, and about what a verifier may do without.
func extras() []*dialogue {
	release := newDialogue("release", "A verifier that shuts down stops answering first and says so then, so that no logout waits for its lease.").
		issue("alice", claims{})
	release.warm().check(500*ms, "alice", "ok").release(500*ms).check(500*ms, "alice", "stale")
	release.raw(520*ms, 204, "").check(520*ms, "alice", "stale")

	confirmed := newDialogue("confirm", "A confirm is answered after the request arrived. Its verdict needs no lease and no clock, and gives no lease.").
		issue("alice", claims{}).issue("bob", claims{}).issue("carol-5s", claims{exp: 5})
	confirmed.needs = []string{"confirm"}
	confirmed.warm().lost(4*second).check(4*second, "alice", "stale", "bob", "stale")
	confirmed.confirm(5*second).grant(5020*ms, []string{line(1, "session", "s-alice", "user")}, with("confirm", "$confirm"), with("lease_us", 0))
	confirmed.strictCheck(5020*ms, "alice", "revoked", "bob", "ok", "carol-5s", "expired").check(5020*ms, "bob", "stale")
	confirmed.poll(5120*ms).grant(5140*ms, nil).check(5140*ms, "alice", "revoked", "bob", "ok").poll(5140 * ms)

	wrong := newDialogue("confirm-other-text", "An answer with another text, or none, may be from before the request arrived. Nothing of it is taken.").
		issue("alice", claims{}).issue("bob", claims{})
	wrong.needs = []string{"confirm"}
	wrong.warm().lost(4 * second)
	entry := []string{line(1, "session", "s-alice", "user")}
	wrong.confirm(5*second).badGrant(5020*ms, entry, with("confirm", "some-other-request"), with("lease_us", 0))
	wrong.strictCheck(5020*ms, "alice", "stale", "bob", "stale")
	wrong.confirm(5100*ms).badGrant(5120*ms, entry, with("lease_us", 0)).strictCheck(5120*ms, "alice", "stale", "bob", "stale")
	wrong.confirm(5200*ms).lost(7*second).strictCheck(7*second, "alice", "stale", "bob", "stale")
	wrong.poll(7100*ms).grant(7120*ms, entry).check(7120*ms, "alice", "revoked", "bob", "ok").poll(7120 * ms)

	seen := newDialogue("seen", "Sessions that a person was active in are reported with how long before the sending that was, until a poll that has them is answered.").
		issue("alice", claims{}).issue("bob", claims{}).issue("carol", claims{})
	seen.needs, seen.seen = []string{"seen"}, true
	seen.poll(0).grant(20*ms, nil).poll(20*ms, member{"seen", nil})
	seen.active(500*ms, "alice").active(900*ms, "bob").active(1000*ms, "alice").check(1000*ms, "carol", "ok")
	seen.grant(1100*ms, nil).poll(1100*ms, member{"seen", object{{"s-alice", 100}, {"s-bob", 200}}})
	seen.active(1200*ms, "bob").lost(1400 * ms)
	seen.poll(1500*ms, member{"seen", object{{"s-alice", 500}, {"s-bob", 300}}}).active(1600*ms, "alice")
	seen.grant(1800*ms, nil).poll(1800*ms, member{"seen", object{{"s-alice", 200}}})
	seen.grant(2000*ms, nil).poll(2000*ms, member{"seen", nil})

	unwanted := newDialogue("seen-not-wanted", "An authority without idle time-outs is told nothing of what people do.").issue("alice", claims{})
	unwanted.needs = []string{"seen"}
	unwanted.poll(0).grant(20*ms, nil, with("report_seen", false)).poll(20 * ms)
	unwanted.active(500*ms, "alice").grant(1000*ms, nil).poll(1000*ms, member{"seen", nil})

	return []*dialogue{release, confirmed, wrong, seen, unwanted}
}
