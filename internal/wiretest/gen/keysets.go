package main

// keySets is about the keys that come with the feed.
func keySets() []*dialogue {
	replaced := newDialogue("keys-replaced", "A key set replaces the one before. A token of a key that is gone is not genuine, although it was found so a moment ago.").
		issue("alice", claims{}).issue("bob-es2", claims{key: es2})
	replaced.warm().check(100*ms, "alice", "ok", "bob-es2", "invalid")
	replaced.keys = keySet("es2", es2.jwk())
	replaced.grant(500*ms, nil).check(500*ms, "alice", "invalid", "bob-es2", "ok")
	replaced.poll(500*ms).grant(600*ms, nil).check(600*ms, "alice", "invalid", "bob-es2", "ok").poll(600 * ms)

	rotated := newDialogue("keys-rotated", "A rotation adds a key and keeps the old one: nobody is logged out by it.").
		issue("alice", claims{}).issue("bob-es2", claims{key: es2})
	rotated.warm().check(100*ms, "alice", "ok", "bob-es2", "invalid")
	rotated.keys = keySet("es1+es2", es2.jwk(), es1.jwk())
	rotated.grant(500*ms, nil).check(500*ms, "alice", "ok", "bob-es2", "ok").poll(500 * ms)

	impostor := es2
	impostor.kid = "es1"
	renamed := newDialogue("keys-same-kid", "Another key under an old name is another key, and a token that was found genuine with the old one is not any more.").
		issue("alice", claims{}).issue("bob-impostor", claims{key: impostor})
	renamed.warm().check(100*ms, "alice", "ok", "bob-impostor", "invalid")
	renamed.keys = keySet("es1-is-es2", impostor.jwk())
	renamed.grant(500*ms, nil).check(500*ms, "alice", "invalid", "bob-impostor", "ok").poll(500 * ms)

	bySnapshot := newDialogue("keys-by-snapshot", "The key set of a snapshot counts like that of a grant.").
		issue("alice", claims{}).issue("bob-es2", claims{key: es2})
	bySnapshot.warm().check(100*ms, "alice", "ok", "bob-es2", "invalid").fail(500*ms, 409, "snapshot_required")
	bySnapshot.keys = keySet("es2", es2.jwk())
	bySnapshot.snapshot(500*ms).take(520*ms, 7, nil).poll(520*ms).grant(540*ms, nil)
	bySnapshot.check(540*ms, "alice", "invalid", "bob-es2", "ok").poll(540 * ms)

	algorithms := newDialogue("keys-algorithms", "ES256, EdDSA and RS256, each by its own key.").
		issue("alice", claims{}).issue("bob-ed", claims{key: ed1}).issue("carol-rs", claims{key: rs1})
	algorithms.keys = keySet("es1+ed1+rs1", es1.jwk(), ed1.jwk(), rs1.jwk())
	algorithms.warm().check(100*ms, "alice", "ok", "bob-ed", "ok", "carol-rs", "ok")

	// A symmetric key, a key that leaves the algorithm to the token, and a type
	// that is not known.
	secret := stream("oct1", 32)
	vague := es2.jwkWithout("alg")
	useless := newDialogue("keys-useless", "Keys that a verifier cannot use are left out and do not spoil the set: symmetric ones, those without an algorithm, types that are not known.").
		issue("alice", claims{}).issue("bob-es2", claims{key: es2}).
		forge("secret", "HS256 with the symmetric key oct1 of the set", claims{}.withDefaults("secret").hmac("oct1", secret))
	useless.keys = keySet("es1-and-useless",
		object{{"kty", "oct"}, {"use", "sig"}, {"alg", "HS256"}, {"kid", "oct1"}, {"k", b64(secret)}},
		vague, object{{"kty", "PQ"}, {"use", "sig"}, {"alg", "ML-DSA-44"}, {"kid", "pq1"}, {"pub", "AAAA"}}, es1.jwk())
	useless.warm().check(100*ms, "alice", "ok", "bob-es2", "invalid", "secret", "invalid")

	return []*dialogue{replaced, rotated, renamed, bySnapshot, algorithms, useless}
}
