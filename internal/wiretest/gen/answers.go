package main

import "strings"

// answers is about answers that must be discarded as a whole.
func answers() []*dialogue {
	revoke := func(seq int) string { return line(seq, "session", "s-alice", "user") }
	other := func(seq int) string { return line(seq, "session", "s-other", "user") }

	// Each bad answer must leave everything as it was: no entry, no position,
	// no lease beyond the first one's end at 3 s. The next one is good.
	bad := func(name, why string, answers ...func(d *dialogue, t int64)) *dialogue {
		d := newDialogue("discard-"+name, why).issue("alice", claims{}).issue("bob", claims{})
		d.warm().check(100*ms, "alice", "ok", "bob", "ok")
		for _, answer := range answers {
			t := d.now + 250*ms
			answer(d, t)
			d.check(t, "alice", "ok", "bob", "ok").again()
		}
		d.check(3*second, "alice", "stale", "bob", "stale")
		return d.grant(3050*ms, []string{revoke(1)}).check(3050*ms, "alice", "revoked", "bob", "ok").poll(3050 * ms)
	}
	grant := func(lines []string, changes ...change) func(*dialogue, int64) {
		return func(d *dialogue, t int64) { d.badGrant(t, lines, changes...) }
	}
	raw := func(body string) func(*dialogue, int64) {
		return func(d *dialogue, t int64) { d.raw(t, 200, body) }
	}

	all := []*dialogue{
		bad("too-few-lines", "An answer that was cut after a line would acknowledge an entry that never arrived.",
			grant([]string{revoke(1)}, with("entries", 2), with("seq", 2))),
		bad("too-many-lines", "Lines beyond the number in the head: the answer is not what the authority wrote.",
			grant([]string{revoke(1), other(2)}, with("entries", 1), with("seq", 1))),
		bad("wrong-count", "The head counts its lines rightly and goes further than they do, or they are complete and it counts fewer.",
			grant([]string{revoke(1)}, with("seq", 2)), grant([]string{revoke(1), other(2)}, with("entries", 1))),
		bad("out-of-order", "Lines in another order than that of the log, or one of them twice.",
			grant([]string{other(2), revoke(1)}), grant([]string{revoke(1), revoke(1)})),
		bad("gap", "The number of lines is right, and an entry is missing between two, or before the first.",
			grant([]string{revoke(1), other(3)}, with("seq", 3)), grant([]string{revoke(2)}, with("seq", 2))),
		bad("truncated-line", "The last line has no line feed: half an entry can look like a whole one, and half of one more shows that the answer is not whole.",
			func(d *dialogue, t int64) { d.raw(t, 200, strings.TrimSuffix(d.body([]string{revoke(1)}), "\n")) },
			func(d *dialogue, t int64) { d.raw(t, 200, strings.TrimSuffix(d.body([]string{revoke(1)}), "er\n")) },
			func(d *dialogue, t int64) { d.raw(t, 200, d.body([]string{revoke(1)})+"2 session s-ot") }),
		bad("malformed-lines", "Lines that are not six fields with one space between them, or with a broken escape.",
			grant([]string{"1 session s-alice 1800000601 -"}),
			grant([]string{"1 session s-alice 1800000601 - user more"}),
			grant([]string{"1  session s-alice 1800000601 - user"}),
			grant([]string{"1 session s-alice soon - user"}),
			grant([]string{"1 session %6 1800000601 - user"})),
		bad("not-a-grant", "A 200 of something in between that is no authority.",
			raw("<html><body>Sign in to the network</body></html>\n"), raw(""), raw("[]\n"), raw("{}\n"),
			grant([]string{revoke(1)}, without("poll"))),
		bad("other-log", "A grant of another log does not follow on what was applied, even if its numbers do.",
			grant([]string{revoke(1)}, with("log", "other"), with("hash", at("other", 1).hash))),
	}

	older := newDialogue("discard-older-poll", "The answer to an older poll that arrives for a newer one would have its lease counted from too late a sending.").
		issue("alice", claims{}).issue("bob", claims{})
	older.warm().lost(1500*ms).poll(1600*ms).badGrant(1700*ms, []string{revoke(1)}, with("poll", 2))
	older.check(1700*ms, "alice", "ok").again().check(3*second, "bob", "stale")
	older.grant(3100*ms, []string{revoke(1)}).check(3100*ms, "alice", "revoked", "bob", "ok").poll(3100 * ms)

	overlap := newDialogue("discard-overlap", "Lines that were applied before do not begin right after the applied position: the answer is to another request.").
		issue("alice", claims{}).issue("bob", claims{})
	overlap.warm().grant(400*ms, []string{other(1)}).poll(400*ms).
		badGrant(500*ms, []string{other(1), revoke(2)}, with("seq", 2)).check(500*ms, "alice", "ok").again()
	overlap.grant(700*ms, []string{revoke(2)}).check(700*ms, "alice", "revoked", "bob", "ok").poll(700 * ms)

	behind := newDialogue("discard-behind", "No travel back in time: a grant whose head lies behind the applied position gives no lease.").
		issue("alice", claims{}).issue("bob", claims{})
	behind.warm().grant(400*ms, []string{revoke(1), other(2)}).poll(400*ms).
		badGrant(500*ms, nil, with("seq", 1), with("hash", at("first", 1).hash)).check(500*ms, "alice", "revoked", "bob", "ok").again()
	behind.check(3020*ms, "alice", "stale", "bob", "stale").grant(3100*ms, nil)
	behind.check(3100*ms, "alice", "revoked", "bob", "ok").poll(3100 * ms)

	acked := newDialogue("acknowledge-what-is-applied", "The position of a poll is the acknowledgement (rule 3): it moves with entries that a check sees, and not otherwise.").
		issue("alice", claims{}).issue("bob", claims{}).issue("carol", claims{})
	acked.hashes = true
	acked.warm().grant(300*ms, []string{revoke(1)}).check(300*ms, "alice", "revoked", "bob", "ok").poll(300 * ms)
	acked.lost(400 * ms).poll(500 * ms)
	acked.badGrant(600*ms, []string{line(2, "session", "s-bob", "user")}, with("entries", 2), with("seq", 3)).poll(700 * ms)
	acked.grant(800*ms, []string{line(2, "session", "s-bob", "user"), line(3, "session", "s-carol", "user")})
	acked.check(800*ms, "alice", "revoked", "bob", "revoked", "carol", "revoked").poll(800 * ms)

	return append(all, older, overlap, behind, acked)
}
