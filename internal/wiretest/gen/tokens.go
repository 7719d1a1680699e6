package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// tokens is about which texts are tokens.
func tokens() []*dialogue {
	return []*dialogue{spellings(), json8259(), headers(), algorithms(), missing(), addressed()}
}

// refuse plays a dialogue in which alice's token is good and each of others is
// invalid, before alice's was seen and after it.
func refuse(d *dialogue, others map[string]string) *dialogue {
	var pairs []string
	for _, name := range sortedKeys(others) {
		d.forge(name, "", others[name])
		pairs = append(pairs, name, "invalid")
	}
	d.issue("alice", claims{})
	return d.warm().check(100*ms, pairs...).check(100*ms, "alice", "ok").check(200*ms, pairs...)
}

var alice = claims{}.withDefaults("alice")

// spellings is about other ways of writing a genuine token. Each was accepted
// by some library, and whatever goes by the text of a token is evaded with it.
func spellings() *dialogue {
	text := alice.sign()
	p := strings.Split(text, ".")
	sig := must(base64.RawURLEncoding.DecodeString(p[2]))
	var der struct{ R, S *big.Int }
	der.R, der.S = new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])
	standard := p[0] + "." + p[1] + "." + strings.NewReplacer("-", "+", "_", "/").Replace(p[2])
	if standard == text {
		panic("alice's signature has no character in which the alphabets differ")
	}
	// A number that happens to begin with a zero byte can be written without.
	short := alice
	var zero []byte
	for n := 0; zero == nil || zero[32] != 0; n++ {
		short.jti = fmt.Sprintf("t-alice-%d", n)
		zero = short.key.sign(short.message())
	}
	return refuse(newDialogue("token-spellings", "A token has one spelling. Whoever could write it in another could replay it where the first one was recognised."), map[string]string{
		"padding":              text + "=",
		"trailing-bits":        text[:len(text)-1] + nextChar(text[len(text)-1]),
		"trailing-bits-signed": alice.seal(p[0] + "." + trailing(compact(alice.payload()))),
		"padding-signed":       alice.seal(p[0] + "." + padded(compact(alice.payload()))),
		"standard-alphabet":    standard,
		"line-feed-at-the-end": text + "\n",
		"space-at-the-start":   " " + text,
		"line-feed-within":     text[:len(text)-9] + "\n" + text[len(text)-9:],
		"fourth-segment":       text + "." + p[2],
		"foreign-characters":   text + "!!!!",
		"non-ascii-letter":     text[:len(text)-1] + "é",
		"signature-high-twin":  p[0] + "." + p[1] + "." + b64(highTwin(sig)),
		"signature-der":        p[0] + "." + p[1] + "." + b64(must(asn1.Marshal(der))),
		"signature-short":      short.message() + "." + b64(slices.Delete(zero, 32, 33)),
		"signature-and-more":   p[0] + "." + p[1] + "." + b64(append(sig[:64:64], 0)),
		"signature-all-zero":   p[0] + "." + p[1] + "." + b64(make([]byte, 64)),
		"signature-empty":      p[0] + "." + p[1] + ".",
		"json-serialisation":   `{"protected":"` + p[0] + `","payload":"` + p[1] + `","signature":"` + p[2] + `"}`,
	})
}

// json8259 is about payloads and headers that two readers read differently.
// All are signed by the right key.
func json8259() *dialogue {
	h, p := compact(alice.header()), compact(alice.payload())
	add := func(text, more string) string { return strings.TrimSuffix(text, "}") + "," + more + "}" }
	return refuse(newDialogue("token-json", "Header and payload are JSON objects without duplicate members: two readers of one token must not see different sessions."), map[string]string{
		"sid-twice":            alice.craft(h, add(p, `"sid":"s-bob"`)),
		"sid-twice-escaped":    alice.craft(h, add(p, `"\u0073id":"s-bob"`)),
		"nested-twice":         alice.craft(h, add(p, `"x":{"a":1,"a":2}`)),
		"kid-twice":            alice.craft(add(h, `"kid":"es1"`), p),
		"payload-in-an-array":  alice.craft(h, "["+p+"]"),
		"payload-is-not-json":  alice.craft(h, strings.TrimSuffix(p, "}")),
		"payload-and-more":     alice.craft(h, p+"{}"),
		"payload-is-not-utf-8": alice.craft(h, add(p, "\"x\":\"\xff\"")),
		"header-in-an-array":   alice.craft("["+h+"]", p),
		"header-is-empty":      alice.craft("{}", p),
	})
}

// headers is about tokens that are not access tokens, or that bring their own
// key.
func headers() *dialogue {
	p := compact(alice.payload())
	change := func(name string, value any) string {
		h := alice.header()
		h.set(name, value)
		return compact(h)
	}
	without := func(name string) string {
		h := alice.header()
		without(name)(&h)
		return compact(h)
	}
	evil := alice
	evil.key = newKey("evil", "ES256")
	return refuse(newDialogue("token-headers", "typ is at+jwt, kid names a key of the set, and whatever else a header says, no key ever comes from it."), map[string]string{
		"typ-of-an-id-token":     alice.craft(change("typ", "JWT"), p),
		"typ-of-a-logout-token":  alice.craft(change("typ", "logout+jwt"), p),
		"typ-missing":            alice.craft(without("typ"), p),
		"kid-missing":            alice.craft(without("kid"), p),
		"kid-unknown":            alice.craft(change("kid", "nobody"), p),
		"kid-of-another-key":     alice.craft(change("kid", "ed1"), p),
		"crit":                   alice.craft(compact(append(alice.header(), member{"crit", []string{"exp"}}, member{"exp", 1})), p),
		"key-of-a-stranger":      evil.craft(change("kid", "evil"), p),
		"key-in-the-header":      evil.craft(compact(append(evil.header(), member{"jwk", evil.key.jwk()})), p),
		"key-under-another-name": evil.craft(compact(append(alice.header(), member{"jwk", evil.key.jwk()})), p),
	})
}

// algorithms is about talking a verifier into another algorithm.
func algorithms() *dialogue {
	d := newDialogue("token-algorithms", "The algorithm is the key's own. A public key is no secret for HMAC, and none is no signature.")
	d.keys = keySet("es1+ed1+rs1", es1.jwk(), ed1.jwk(), rs1.jwk())
	p := compact(alice.payload())
	header := func(alg, kid string) string { return compact(object{{"typ", "at+jwt"}, {"alg", alg}, {"kid", kid}}) }
	others := map[string]string{
		"none-empty":         b64([]byte(header("none", "es1"))) + "." + b64([]byte(p)) + ".",
		"none-signed":        alice.craft(header("none", "es1"), p),
		"alg-of-another-key": alice.craft(header("RS256", "es1"), p),
		"alg-missing":        alice.craft(`{"typ":"at+jwt","kid":"es1"}`, p),
		"eddsa-key-named":    alice.craft(header("ES256", "ed1"), p),
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(rs1.signer.Public()))})
	others["hmac-with-the-pem-of-rs1"] = alice.hmac("rs1", text)
	others["hmac-with-the-jwk-of-es1"] = alice.hmac("es1", es1.jwk())
	others["hmac-with-nothing"] = alice.hmac("es1", nil)
	return refuse(d, others)
}

// missing is about claims that are not there or of another type.
func missing() *dialogue {
	others := make(map[string]string)
	for _, m := range alice.payload() {
		payload := alice.payload()
		without(m.name)(&payload)
		others[m.name+"-missing"] = alice.craft(compact(alice.header()), compact(payload))
	}
	for name, value := range map[string]any{"exp": "1800000600", "ver": "9", "sid": 7, "sub": []string{"alice"}, "jti": nil, "aud": object{{"curfew", 1}}} {
		payload := alice.payload()
		payload.set(name, value)
		others[name+"-of-another-type"] = alice.craft(compact(alice.header()), compact(payload))
	}
	return refuse(newDialogue("token-claims", "All nine claims are there. Without one of them some revocation could not touch the token."), others)
}

// addressed is about issuers and audiences.
func addressed() *dialogue {
	d := newDialogue("token-audience-and-issuer", "The issuer is compared exactly, and the verifier's own audience must be named, alone or in a list.")
	d.audience = "orders"
	for name, aud := range map[string]any{
		"one": "orders", "list": []string{"billing", "orders"}, "other": "curfew", "longer": "orders2", "capital": "Orders",
		"others": []string{"billing", "curfew"}, "joined": "billing orders",
	} {
		d.issue("aud-"+name, claims{aud: aud})
	}
	for name, iss := range map[string]string{
		"slash": issuer + "/", "other": "https://id.example.org",
	} {
		d.issue("iss-"+name, claims{aud: "orders", iss: iss})
	}
	return d.warm().check(100*ms, "aud-one", "ok", "aud-list", "ok",
		"aud-other", "invalid", "aud-longer", "invalid", "aud-capital", "invalid", "aud-others", "invalid",
		"aud-joined", "invalid", "iss-slash", "invalid", "iss-other", "invalid")
}

// hmac returns the claims under an HS256 header for kid.
func (c claims) hmac(kid string, secret []byte) string {
	msg := b64([]byte(compact(object{{"typ", "at+jwt"}, {"alg", "HS256"}, {"kid", kid}}))) + "." + b64([]byte(compact(c.payload())))
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(msg))
	return msg + "." + b64(mac.Sum(nil))
}

// jwkWithout returns the public key without one of its members.
func (k key) jwkWithout(name string) json.RawMessage {
	var members map[string]any
	if err := json.Unmarshal(k.jwk(), &members); err != nil {
		panic(err)
	}
	delete(members, name)
	return json.RawMessage(compact(members))
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// nextChar returns the character after c, which differs in the lowest bit: of
// a canonical last character one that decodes to nothing.
func nextChar(c byte) string { return string(alphabet[strings.IndexByte(alphabet, c)+1]) }

// trailing spells data with an unused bit set, and padded with padding. White
// space at the end brings it to a length that has room for either.
func trailing(data string) string {
	s := b64([]byte(spare(data)))
	return s[:len(s)-1] + nextChar(s[len(s)-1])
}

func padded(data string) string { return base64.URLEncoding.EncodeToString([]byte(spare(data))) }

func spare(data string) string {
	for len(data)%3 != 1 {
		data += " "
	}
	return data
}
