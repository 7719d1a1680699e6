package main

import "fmt"

// kinds is about what a line of the log ends.
func kinds() []*dialogue {
	one := func(kind, why, revocation string, issue func(*dialogue), after ...string) *dialogue {
		d := newDialogue("kind-"+kind, why)
		issue(d)
		var before []string
		for i := 0; i < len(after); i += 2 {
			before = append(before, after[i], "ok")
		}
		d.warm().check(100*ms, before...)
		d.grant(500*ms, []string{revocation}).check(500*ms, after...).poll(500 * ms)
		return d
	}
	all := []*dialogue{
		one("token", "An entry for a token ends what has its jti, and leaves the session alone.",
			line(1, "token", "t-alice", "token_revoked"), func(d *dialogue) {
				d.issue("alice", claims{}).issue("alice-same-session", claims{sid: "s-alice"})
			}, "alice", "revoked", "alice-same-session", "ok"),
		one("session", "An entry for a session ends every token with its sid, whatever their ver, and no other session of the subject.",
			line(1, "session", "s-alice", "user"), func(d *dialogue) {
				d.issue("alice", claims{}).issue("alice-same-session-v1", claims{sid: "s-alice", ver: 1}).issue("alice-phone", claims{})
			}, "alice", "revoked", "alice-same-session-v1", "revoked", "alice-phone", "ok"),
		one("key", "An entry for a key ends what it signed, whatever the ver.",
			line(1, "key", "es1", "key_revoked"), func(d *dialogue) {
				d.keys = keySet("es1+ed1", es1.jwk(), ed1.jwk())
				d.issue("alice", claims{}).issue("alice-v1", claims{ver: 1}).issue("bob-ed", claims{key: ed1})
			}, "alice", "revoked", "alice-v1", "revoked", "bob-ed", "ok"),
		one("subject", "An entry for a subject ends what was issued before it. A ver that equals its seq was issued after it.",
			line(1, "subject", "alice", "password_changed"), func(d *dialogue) {
				d.issue("alice", claims{}).issue("alice-v1", claims{ver: 1}).issue("bob", claims{})
			}, "alice", "revoked", "alice-v1", "ok", "bob", "ok"),
		one("client", "An entry for a client ends what was issued to it before.",
			line(1, "client", "web", "admin"), func(d *dialogue) {
				d.issue("alice", claims{}).issue("alice-v1", claims{ver: 1}).issue("alice-app", claims{client: "app"})
			}, "alice", "revoked", "alice-v1", "ok", "alice-app", "ok"),
		one("everything", "An entry for everything ends what was issued before it, whoever has it.",
			"1 everything - 0 - restored", func(d *dialogue) {
				d.issue("alice", claims{}).issue("bob-app", claims{client: "app"}).issue("bob-v1", claims{ver: 1})
			}, "alice", "revoked", "bob-app", "revoked", "bob-v1", "ok"),
		one("unknown", "A kind that is not known here counts as everything: it may mean any of the tokens issued before.",
			line(1, "device", "d-17", "user"), func(d *dialogue) {
				d.issue("alice", claims{}).issue("alice-v1", claims{ver: 1})
			}, "alice", "revoked", "alice-v1", "ok"),
	}

	apart := newDialogue("kinds-apart", "A name means something for its own kind only: a session that is called like a subject ends nobody else.").
		issue("alice", claims{})
	apart.warm().grant(500*ms, []string{
		line(1, "session", "alice", "user"), line(2, "session", "t-alice", "user"), line(3, "token", "s-alice", "user"),
		line(4, "subject", "s-alice", "admin"), line(5, "client", "alice", "admin"), line(6, "key", "alice", "key_revoked"),
	}).check(500*ms, "alice", "ok").poll(500 * ms)

	epochs := newDialogue("kinds-epochs-rise", "Of several entries for one subject the latest counts, and a session of before it stays dead.").
		issue("alice-v1", claims{ver: 1}).issue("alice-v3", claims{ver: 3})
	epochs.warm().grant(400*ms, []string{line(1, "subject", "alice", "user_all")}).check(400*ms, "alice-v1", "ok")
	epochs.poll(400*ms).grant(500*ms, []string{line(2, "session", "s-other", "user"), line(3, "subject", "alice", "user_all")})
	epochs.check(500*ms, "alice-v1", "revoked", "alice-v3", "ok").poll(500 * ms)

	foreign := func(name, why string, kinds ...string) *dialogue {
		d := newDialogue(name, why).issue("alice", claims{})
		targets := map[string]string{
			"token": "t-alice", "session": "s-alice", "key": "es1", "subject": "alice", "client": "web", "everything": "-", "device": "s-alice",
		}
		var lines []string
		for i, kind := range kinds {
			lines = append(lines, fmt.Sprintf("%d %s %s %d https://idp.example.org user", i+1, kind, targets[kind], start+601))
		}
		return d.warm().grant(500*ms, lines).check(500*ms, "alice", "ok").poll(500 * ms)
	}
	escapes := newDialogue("line-escapes", "Fields are percent-encoded byte by byte, a plus is a plus, and a target that is a lone - is written %2D.").
		issue("zoe", claims{sub: "Zoë 100%"}).issue("dash", claims{sub: "-"}).
		issue("plus", claims{sid: "a+b"}).issue("space", claims{sid: "a b"}).
		issue("literal", claims{sid: "%61"}).issue("hyphen", claims{jti: "a-b"})
	escapes.warm().check(100*ms, "zoe", "ok", "dash", "ok", "plus", "ok", "space", "ok", "literal", "ok", "hyphen", "ok")
	escapes.grant(500*ms, []string{
		line(1, "subject", "Zo%C3%AB%20100%25", "user_all"), line(2, "subject", "%2D", "user_all"), line(3, "session", "a+b", "user"),
		line(4, "token", "a-b", "a%20long%20reason"), line(5, "session", "a", "user"),
	}).check(500*ms, "zoe", "revoked", "dash", "revoked", "plus", "revoked", "space", "ok", "literal", "ok", "hyphen", "revoked")
	escapes.poll(500*ms).grant(600*ms, []string{line(6, "session", "%2561", "user")}).check(600*ms, "literal", "revoked")
	escapes.poll(600 * ms)

	return append(all, apart, epochs, escapes,
		foreign("foreign-issuer", "Entries of a foreign issuer concern its own tokens only, whatever names they share with ours.",
			"token", "session", "key", "subject", "client", "everything"),
		foreign("foreign-issuer-unknown-kind", "A kind that is not known here counts as everything of the issuer in the line, not of ours.", "device"))
}
