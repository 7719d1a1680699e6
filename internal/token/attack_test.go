package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/curfewhq/curfew"
)

// twin returns raw with the other ECDSA signature (r, n-s).
func twin(t testing.TB, raw string) string {
	t.Helper()
	dot := strings.LastIndexByte(raw, '.')
	sig, err := base64.RawURLEncoding.DecodeString(raw[dot+1:])
	if err != nil {
		t.Fatal(err)
	}
	s := new(big.Int).SetBytes(sig[32:])
	s.Sub(new(big.Int).SetBytes(p256Order[:]), s).FillBytes(sig[32:])
	return raw[:dot+1] + b64(string(sig))
}

// lastChars returns the twins of segment that differ in the bits of the last
// character that decode to nothing.
func lastChars(segment string) []string {
	const set = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	want, err := base64.RawURLEncoding.DecodeString(segment)
	if err != nil {
		panic(err)
	}
	var twins []string
	head := segment[:len(segment)-1]
	for _, c := range set {
		got, err := base64.RawURLEncoding.DecodeString(head + string(c))
		if err == nil && string(got) == string(want) && head+string(c) != segment {
			twins = append(twins, head+string(c))
		}
	}
	return twins
}

// spellings returns other spellings of the token raw that some decoder or other
// reads as the same token.
func spellings(t testing.TB, f *fixture, alg Alg, raw string) map[string]string {
	t.Helper()
	p := strings.Split(raw, ".")
	m := map[string]string{
		"!!!! appended (CVE-2026-102269)": raw + "!!!!",
		"padding (CVE-2026-62995)":        raw + "=",
		"double padding":                  raw + "==",
		"padded header":                   p[0] + "=." + p[1] + "." + p[2],
		"padded payload":                  p[0] + "." + p[1] + "=." + p[2],
		"standard alphabet":               p[0] + "." + p[1] + "." + strings.NewReplacer("-", "+", "_", "/").Replace(p[2]) + "+",
		"newline at the end":              raw + "\n",
		"newline at the start":            "\n" + raw,
		"newline within":                  raw[:len(raw)-5] + "\n" + raw[len(raw)-5:],
		"carriage return within payload":  p[0] + "." + p[1][:9] + "\r\n" + p[1][9:] + "." + p[2],
		"newline in header":               raw[:4] + "\n" + raw[4:],
		"space at the end":                raw + " ",
		"space at the start":              " " + raw,
		"tab within":                      raw[:7] + "\t" + raw[7:],
		"NUL at the end":                  raw + "\x00",
		"dot at the end":                  raw + ".",
		"dot at the start":                "." + raw,
		"fourth segment":                  raw + "." + p[2],
		"five segments (JWE)":             raw + "." + p[2] + "." + p[2],
		"percent-encoded dot":             p[0] + "%2E" + p[1] + "%2E" + p[2],
		"full-width dot":                  p[0] + "\uff0e" + p[1] + "\uff0e" + p[2],
		"truncated (CVE-2026-27840)":      raw[:len(raw)-1],
		"one character more":              raw + "A",
		"two characters more":             raw + "AA",
		"four characters more":            raw + "AAAA",
		"quoted":                          `"` + raw + `"`,
		"JSON serialisation":              `{"protected":"` + p[0] + `","payload":"` + p[1] + `","signature":"` + p[2] + `"}`,
		"scheme kept":                     "Bearer " + raw,
		"re-ordered header":               b64(`{"alg":"`+string(alg)+`","typ":"at+jwt","kid":"`+f.signers[alg].KeyID()+`"}`) + "." + p[1] + "." + p[2],
		"header with a space":             b64(f.header(alg)+" ") + "." + p[1] + "." + p[2],
		"payload with a space":            p[0] + "." + b64(payloadOf(t, full())+" ") + "." + p[2],
	}
	for i := range p {
		for _, last := range lastChars(p[i]) {
			q := append([]string(nil), p...)
			q[i] = last
			m["trailing bits of segment "+string('0'+rune(i))+" "+last[len(last)-1:]] = strings.Join(q, ".")
		}
	}
	if alg == ES256 {
		m["ECDSA twin (r, n-s)"] = twin(t, raw)
	}
	return m
}

// JW-15: a token has one spelling.
func TestMalleability(t *testing.T) {
	f := newFixture()
	for _, alg := range algs {
		c := full()
		// Lengths vary so that every segment has a last character with bits to
		// spare in one of the rounds.
		trailing := 0
		for pad := range 3 {
			c.Email = strings.Repeat("a", pad+1)
			for name := range spellings(t, f, alg, f.mustSign(t, alg, c)) {
				if strings.HasPrefix(name, "trailing bits of segment 1") {
					trailing++
				}
			}
		}
		if trailing == 0 {
			t.Error("no payload had trailing bits")
		}
		for _, pad := range []string{"a", "aa", "aaa"} {
			c.Email = pad
			for name, other := range spellings(t, f, alg, f.mustSign(t, alg, c)) {
				t.Run(string(alg)+"/"+name, func(t *testing.T) {
					got, err := Parse(other, f.keys, want)
					refused(t, got, err)
				})
			}
		}
	}
}

// Headers, each signed correctly with the right key.
func TestHeaderAttacks(t *testing.T) {
	f := newFixture()
	kid := f.signers[ES256].KeyID()
	good := `"alg":"ES256","kid":"` + kid + `"`
	payload := payloadOf(t, minimal())
	for name, header := range map[string]string{
		"alg none (CVE-2015-9235)":             `{"typ":"at+jwt","alg":"none","kid":"` + kid + `"}`,
		"alg None":                             `{"typ":"at+jwt","alg":"None","kid":"` + kid + `"}`,
		"alg nOnE":                             `{"typ":"at+jwt","alg":"nOnE","kid":"` + kid + `"}`,
		"alg noNE":                             `{"typ":"at+jwt","alg":"noNE","kid":"` + kid + `"}`,
		"alg empty":                            `{"typ":"at+jwt","alg":"","kid":"` + kid + `"}`,
		"alg missing":                          `{"typ":"at+jwt","kid":"` + kid + `"}`,
		"alg in lower case":                    `{"typ":"at+jwt","alg":"es256","kid":"` + kid + `"}`,
		"alg with a space (CVE-2026-34950)":    `{"typ":"at+jwt","alg":" ES256","kid":"` + kid + `"}`,
		"alg of a wider curve":                 `{"typ":"at+jwt","alg":"ES384","kid":"` + kid + `"}`,
		"alg of another key":                   `{"typ":"at+jwt","alg":"RS256","kid":"` + kid + `"}`,
		"alg symmetric":                        `{"typ":"at+jwt","alg":"HS256","kid":"` + kid + `"}`,
		"alg is an array":                      `{"typ":"at+jwt","alg":["ES256"],"kid":"` + kid + `"}`,
		"alg is null":                          `{"typ":"at+jwt","alg":null,"kid":"` + kid + `"}`,
		"kid of another algorithm":             `{"typ":"at+jwt","alg":"ES256","kid":"` + f.signers[RS256].KeyID() + `"}`,
		"kid missing":                          `{"typ":"at+jwt","alg":"ES256"}`,
		"kid empty":                            `{"typ":"at+jwt","alg":"ES256","kid":""}`,
		"kid unknown":                          `{"typ":"at+jwt","alg":"ES256","kid":"nobody"}`,
		"kid path traversal":                   `{"typ":"at+jwt","alg":"ES256","kid":"../../../../dev/null"}`,
		"kid SQL":                              `{"typ":"at+jwt","alg":"ES256","kid":"' UNION SELECT 'key'--"}`,
		"kid NUL":                              `{"typ":"at+jwt","alg":"ES256","kid":"` + kid + `\u0000"}`,
		"kid of 129 bytes":                     `{"typ":"at+jwt","alg":"ES256","kid":"` + strings.Repeat("k", 129) + `"}`,
		"kid of 2 KB":                          `{"typ":"at+jwt","alg":"ES256","kid":"` + strings.Repeat("k", 2048) + `"}`,
		"kid of 10 KB":                         `{"typ":"at+jwt","alg":"ES256","kid":"` + strings.Repeat("k", 10240) + `"}`,
		"kid is a number":                      `{"typ":"at+jwt","alg":"ES256","kid":1}`,
		"kid twice":                            `{"typ":"at+jwt",` + good + `,"kid":"` + kid + `"}`,
		"kid twice, once escaped":              `{"typ":"at+jwt",` + good + `,"\u006bid":"` + kid + `"}`,
		"crit unknown (CVE-2025-59420)":        `{"typ":"at+jwt",` + good + `,"crit":["exp"],"exp":1}`,
		"crit empty":                           `{"typ":"at+jwt",` + good + `,"crit":[]}`,
		"b64 false (CVE-2026-35042)":           `{"typ":"at+jwt",` + good + `,"b64":false}`,
		"b64 true":                             `{"typ":"at+jwt",` + good + `,"b64":true}`,
		"zip (CVE-2025-63811)":                 `{"typ":"at+jwt",` + good + `,"zip":"DEF"}`,
		"typ missing":                          `{` + good + `}`,
		"typ JWT (ID token)":                   `{"typ":"JWT",` + good + `}`,
		"typ logout+jwt (CVE-2023-0657)":       `{"typ":"logout+jwt",` + good + `}`,
		"typ secevent+jwt":                     `{"typ":"secevent+jwt",` + good + `}`,
		"typ dpop+jwt":                         `{"typ":"dpop+jwt",` + good + `}`,
		"typ statuslist+jwt":                   `{"typ":"statuslist+jwt",` + good + `}`,
		"typ vp+jwt (CVE-2026-41164)":          `{"typ":"vp+jwt",` + good + `}`,
		"typ with a space":                     `{"typ":"at+jwt ",` + good + `}`,
		"typ of another tree":                  `{"typ":"text/at+jwt",` + good + `}`,
		"typ is an array":                      `{"typ":["at+jwt"],` + good + `}`,
		"TYP":                                  `{"TYP":"at+jwt",` + good + `}`,
		"header is an array":                   `[{"typ":"at+jwt",` + good + `}]`,
		"header is a string":                   `"at+jwt"`,
		"header is null":                       `null`,
		"header is not UTF-8":                  `{"typ":"at+jwt",` + good + ",\"x\":\"\xff\"}",
		"header with trailing data":            `{"typ":"at+jwt",` + good + `}{}`,
		"header nested 9 deep":                 `{"typ":"at+jwt",` + good + `,"x":` + strings.Repeat("[", 8) + strings.Repeat("]", 8) + `}`,
		"duplicate in an ignored member":       `{"typ":"at+jwt",` + good + `,"jwk":{"kty":"EC","kty":"oct"}}`,
		"members enough to make a search slow": `{"typ":"at+jwt",` + good + manyMembers(65) + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Parse(f.craft(t, ES256, header, payload), f.keys, want)
			refused(t, c, err)
			if strings.HasPrefix(name, "kid unknown") && !errors.Is(err, ErrUnknownKey) {
				t.Errorf("error %v, want ErrUnknownKey", err)
			}
		})
	}
	for name, header := range map[string]string{
		"typ in capitals":          `{"typ":"AT+JWT",` + good + `}`,
		"typ with application/":    `{"typ":"application/at+jwt",` + good + `}`,
		"typ APPLICATION/at+JWT":   `{"typ":"APPLICATION/at+JWT",` + good + `}`,
		"another order and spaces": ` { "kid" : "` + kid + `" , "alg" : "ES256" , "typ" : "at+jwt" } `,
		"unknown member":           `{"typ":"at+jwt",` + good + `,"x":{"y":[1,-2.5e+3,true,false,null,"z"]}}`,
		"nested 8 deep":            `{"typ":"at+jwt",` + good + `,"x":` + strings.Repeat("[", 7) + strings.Repeat("]", 7) + `}`,
	} {
		t.Run("accepted/"+name, func(t *testing.T) {
			if _, err := Parse(f.craft(t, ES256, header, payload), f.keys, want); err != nil {
				t.Error(err)
			}
		})
	}
}

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(`,"` + strings.Repeat("a", i+1) + `":1`)
	}
	return b.String()
}

// A token never brings its own key (CVE-2018-0114, CVE-2025-24976).
func TestEmbeddedKeys(t *testing.T) {
	f := newFixture()
	key, err := GenerateKey(ES256)
	if err != nil {
		t.Fatal(err)
	}
	evil, err := NewSigner("evil", ES256, key)
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := evil.Public().MarshalJWK()
	if err != nil {
		t.Fatal(err)
	}
	for name, member := range map[string]string{
		"jwk": `"jwk":` + string(jwk),
		"jku": `"jku":"https://evil.example/jwks"`,
		"x5u": `"x5u":"https://evil.example/cert"`,
		"x5c": `"x5c":["AAAA"]`,
	} {
		for _, kid := range []string{"evil", f.signers[ES256].KeyID()} {
			t.Run(name+"/"+kid, func(t *testing.T) {
				header := `{"typ":"at+jwt","alg":"ES256","kid":"` + kid + `",` + member + `}`
				msg := b64(header) + "." + b64(payloadOf(t, minimal()))
				sig, err := evil.sign([]byte(msg))
				if err != nil {
					t.Fatal(err)
				}
				c, err := Parse(msg+"."+b64(string(sig)), f.keys, want)
				refused(t, c, err)
			})
		}
		t.Run(name+"/ignored under a good signature", func(t *testing.T) {
			header := strings.TrimSuffix(f.header(ES256), "}") + "," + member + "}"
			if _, err := Parse(f.craft(t, ES256, header, payloadOf(t, minimal())), f.keys, want); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSignatureAttacks(t *testing.T) {
	f := newFixture()
	hmacWith := func(secret []byte, msg string) string {
		h := hmac.New(sha256.New, secret)
		h.Write([]byte(msg))
		return msg + "." + b64(string(h.Sum(nil)))
	}
	payload := b64(payloadOf(t, minimal()))
	zero := strings.Repeat("\x00", 32)
	one := zero[:31] + "\x01"
	order := string(p256Order[:])
	for _, alg := range algs {
		raw := f.mustSign(t, alg, minimal())
		dot := strings.LastIndexByte(raw, '.')
		msg := raw[:dot]
		sig, _ := base64.RawURLEncoding.DecodeString(raw[dot+1:])
		flipped := append([]byte(nil), sig...)
		flipped[len(flipped)/2] ^= 1
		jwk, err := f.signers[alg].Public().MarshalJWK()
		if err != nil {
			t.Fatal(err)
		}
		hs := func(kid string) string {
			return b64(`{"typ":"at+jwt","alg":"HS256","kid":"`+kid+`"}`) + "." + payload
		}
		other := minimal()
		other.Subject = "root"
		for name, bad := range map[string]string{
			"stripped":                              msg + ".",
			"stripped with its dot":                 msg,
			"one bit flipped":                       msg + "." + b64(string(flipped)),
			"short":                                 msg + "." + b64(string(sig[:len(sig)-1])),
			"long":                                  msg + "." + b64(string(sig)+"\x00"),
			"zero bytes (psychic, CVE-2022-21449)":  msg + "." + b64(strings.Repeat("\x00", len(sig))),
			"r=0":                                   msg + "." + b64(zero+one),
			"s=0":                                   msg + "." + b64(one+zero),
			"r=s=1":                                 msg + "." + b64(one+one),
			"r=n":                                   msg + "." + b64(order+one),
			"s=n":                                   msg + "." + b64(one+order),
			"all ones":                              msg + "." + b64(strings.Repeat("\xff", len(sig))),
			"DER":                                   msg + "." + b64(string(asn1Signature(nil, sig[:64]))),
			"of another payload":                    b64(f.header(alg)) + "." + b64(payloadOf(t, other)) + raw[dot:],
			"HMAC with the JWK (CVE-2016-5431)":     hmacWith(jwk, hs(f.signers[alg].KeyID())),
			"HMAC with an empty key":                hmacWith(nil, hs(f.signers[alg].KeyID())),
			"HMAC without kid":                      hmacWith(nil, b64(`{"typ":"at+jwt","alg":"HS256"}`)+"."+payload),
			"HMAC under the header of the real alg": hmacWith(jwk, b64(f.header(alg))+"."+payload),
			"none with empty signature":             b64(`{"typ":"at+jwt","alg":"none"}`) + "." + payload + ".",
			"none with the signature of the real":   b64(`{"typ":"at+jwt","alg":"none","kid":"`+f.signers[alg].KeyID()+`"}`) + "." + payload + raw[dot:],
			"10,000 dots (CVE-2025-30204)":          strings.Repeat(".", 10_000),
			"4,096 dots":                            strings.Repeat(".", MaxSize),
			"4,097 bytes":                           strings.Repeat("a", MaxSize+1),
			"empty":                                 "",
			"two dots":                              "..",
			"empty header":                          "." + payload + raw[dot:],
			"empty payload":                         b64(f.header(alg)) + "." + raw[dot:],
			"signed with the key of another issuer": foreignToken(t, f, alg),
		} {
			t.Run(string(alg)+"/"+name, func(t *testing.T) {
				c, err := Parse(bad, f.keys, want)
				refused(t, c, err)
			})
		}
	}
}

// foreignToken is signed by another key under the kid of ours (JW-4).
func foreignToken(t testing.TB, f *fixture, alg Alg) string {
	t.Helper()
	key, err := GenerateKey(alg)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSigner(f.signers[alg].KeyID(), alg, key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := s.Sign(minimal())
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Payloads, each signed correctly.
func TestPayloadAttacks(t *testing.T) {
	f := newFixture()
	good := payloadOf(t, minimal())
	replace := func(old, new string) string {
		t.Helper()
		if !strings.Contains(good, old) {
			t.Fatalf("payload has no %s", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	add := func(member string) string { return strings.TrimSuffix(good, "}") + "," + member + "}" }
	exp, iat := `"exp":1795176600`, `"iat":1795176000`
	aud, sid := `"aud":"https://api.example"`, `"sid":"0af7651916cd43dd8448eb211c80319c"`

	cases := map[string]string{
		"payload is an array (CVE-2026-107723)": "[" + good + "]",
		"payload is a string":                   `"` + b64(good) + `"`,
		"payload is null":                       "null",
		"payload is a number":                   "1",
		"payload is empty":                      " ",
		"payload is not JSON":                   "exp=1795176600",
		"payload with trailing data":            good + "x",
		"payload with a second object":          good + good,
		"payload with NUL":                      good + "\x00",
		"payload with byte order mark":          "\ufeff" + good,
		"payload not UTF-8":                     replace(`"u_42"`, "\"u_42\xff\""),
		"payload with unpaired surrogate":       replace(`"u_42"`, `"\ud800"`),
		"payload with trailing comma":           strings.TrimSuffix(good, "}") + ",}",
		"payload truncated":                     strings.TrimSuffix(good, "}"),

		"duplicate sid, other value last": add(`"sid":"other"`),
		"duplicate sid, same value":       add(sid),
		"duplicate sid, escaped":          add(`"\u0073id":"other"`),
		"duplicate in a nested object":    add(`"x":{"y":{"z":1,"z":2}}`),
		"duplicate in an array":           add(`"x":[{"z":1,"z":2}]`),
		"duplicate unknown":               add(`"x":1,"x":1`),
		"SID for sid":                     replace(`"sid"`, `"SID"`),
		"Exp for exp":                     replace(`"exp"`, `"Exp"`),
		"kelvin sign for k":               replace(`"client_id"`, "\"client_\u0130d\""),
		"nested 9 deep":                   add(`"x":` + strings.Repeat("[", 8) + strings.Repeat("]", 8)),
		"nested 1,000 deep":               add(`"x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000)),

		"exp string (CVE-2026-54238)": replace(exp, `"exp":"1795176600"`),
		"exp float (HSEC-2026-0010)":  replace(exp, `"exp":1795176600.0001`),
		"exp float .0":                replace(exp, `"exp":1795176600.0`),
		"exp exponent":                replace(exp, `"exp":1795176600e0`),
		"exp 2E9":                     replace(exp, `"exp":2E9`),
		"exp 1e400":                   replace(exp, `"exp":1e400`),
		"exp 1e308":                   replace(exp, `"exp":1e308`),
		"exp negative":                replace(exp, `"exp":-1`),
		"exp minus zero":              replace(exp, `"exp":-0`),
		"exp plus sign":               replace(exp, `"exp":+1795176600`),
		"exp leading zero":            replace(exp, `"exp":01795176600`),
		"exp hexadecimal":             replace(exp, `"exp":0x6B000000`),
		"exp NaN":                     replace(exp, `"exp":NaN`),
		"exp Infinity":                replace(exp, `"exp":Infinity`),
		"exp null":                    replace(exp, `"exp":null`),
		"exp true":                    replace(exp, `"exp":true`),
		"exp array":                   replace(exp, `"exp":[1795176600]`),
		"exp object":                  replace(exp, `"exp":{"x":1}`),
		"exp zero":                    replace(exp, `"exp":0`),
		"exp at iat":                  replace(exp, `"exp":1795176000`),
		"exp before iat":              replace(exp, `"exp":1795175999`),
		"exp 2^53":                    replace(exp, `"exp":9007199254740992`),
		"exp 2^63":                    replace(exp, `"exp":9223372036854775808`),
		"exp 2^64 + later":            replace(exp, `"exp":18446744075504728216`),
		"exp of 100 digits":           replace(exp, `"exp":`+strings.Repeat("9", 100)),
		"iat string":                  replace(iat, `"iat":"1795176000"`),
		"iat float":                   replace(iat, `"iat":1795176000.5`),
		"iat zero":                    replace(iat, `"iat":0`),
		"iat negative":                replace(iat, `"iat":-1`),
		"ver string":                  replace(`"ver":0`, `"ver":"0"`),
		"ver float":                   replace(`"ver":0`, `"ver":0.0`),
		"ver negative":                replace(`"ver":0`, `"ver":-1`),
		"ver 2^53":                    replace(`"ver":0`, `"ver":9007199254740992`),
		"auth_time string":            add(`"auth_time":"1"`),
		"auth_time float":             add(`"auth_time":1.5`),
		"auth_time zero":              add(`"auth_time":0`),
		"nbf after iat":               add(`"nbf":1795176001`),
		"nbf string":                  add(`"nbf":"1"`),

		"wrong iss":                   replace(`"https://as.example"`, `"https://evil.example"`),
		"iss with slash":              replace(`"https://as.example"`, `"https://as.example/"`),
		"iss in capitals":             replace(`"https://as.example"`, `"HTTPS://as.example"`),
		"iss array":                   replace(`"https://as.example"`, `["https://as.example"]`),
		"wrong aud (CVE-2024-5798)":   replace(aud, `"aud":"https://other.example"`),
		"aud prefix":                  replace(aud, `"aud":"https://api.example.evil"`),
		"aud empty":                   replace(aud, `"aud":""`),
		"aud empty array":             replace(aud, `"aud":[]`),
		"aud array of others":         replace(aud, `"aud":["https://other.example"]`),
		"aud array with a number":     replace(aud, `"aud":["https://api.example",1]`),
		"aud array with an empty one": replace(aud, `"aud":["https://api.example",""]`),
		"aud nested array":            replace(aud, `"aud":[["https://api.example"]]`),
		"aud object":                  replace(aud, `"aud":{"https://api.example":1}`),
		"aud null":                    replace(aud, `"aud":null`),
		"sid number":                  replace(sid, `"sid":1`),
		"sid null":                    replace(sid, `"sid":null`),
		"sid array":                   replace(sid, `"sid":["0af7651916cd43dd8448eb211c80319c"]`),
		"sid empty":                   replace(sid, `"sid":""`),
		"scope array":                 add(`"scope":["a"]`),
		"email null":                  add(`"email":null`),
		"roles string":                add(`"roles":"admin"`),
		"roles with a number":         add(`"roles":[1]`),
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(good), &members); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"iss", "sub", "aud", "exp", "iat", "jti", "client_id", "sid", "ver"} {
		if members[name] == nil {
			t.Fatalf("payload has no %s", name)
		}
		rest := make(map[string]json.RawMessage)
		for k, v := range members {
			if k != name {
				rest[k] = v
			}
		}
		p, err := json.Marshal(rest)
		if err != nil {
			t.Fatal(err)
		}
		cases["missing "+name] = string(p)
	}
	for name, payload := range cases {
		t.Run(name, func(t *testing.T) {
			c, err := Parse(f.craft(t, ES256, f.header(ES256), payload), f.keys, want)
			refused(t, c, err)
		})
	}

	for name, payload := range map[string]string{
		"aud array of one":          replace(aud, `"aud":["https://api.example"]`),
		"aud array of two":          replace(aud, `"aud":["x","https://api.example"]`),
		"SID beside sid":            add(`"SID":"other"`),
		"unknown claims":            add(`"x":{"y":[{"z":-0.5e-3}]},"":null`),
		"white space":               " \t\r\n" + strings.ReplaceAll(good, `":`, "\" :\n") + "\n",
		"exp 2^53-1":                replace(exp, `"exp":9007199254740991`),
		"nbf at iat":                add(`"nbf":1795176000`),
		"surrogate pair":            replace(`"u_42"`, `"\ud83d\ude00"`),
		"same name at other depths": add(`"x":{"x":{"x":1}},"y":[{"x":1},{"x":1}]`),
	} {
		t.Run("accepted/"+name, func(t *testing.T) {
			c, err := Parse(f.craft(t, ES256, f.header(ES256), payload), f.keys, want)
			if err != nil {
				t.Fatal(err)
			}
			if c.Session != minimal().Session {
				t.Errorf("sid %q", c.Session)
			}
		})
	}
}

// CVE-2020-26160: nothing expected is nothing accepted.
func TestEmptyExpectation(t *testing.T) {
	f := newFixture()
	raw := f.mustSign(t, ES256, minimal())
	for name, w := range map[string]Expect{
		"no audience": {Issuer: want.Issuer}, "no issuer": {Audience: want.Audience}, "neither": {},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Parse(raw, f.keys, w)
			refused(t, c, err)
		})
	}
	c, err := Parse(raw, nil, want)
	refused(t, c, err)
	c, err = Parse(raw, NewKeySet(), want)
	refused(t, c, err)
}

// Errors are written to logs and answers: nothing of the token is in them.
func TestErrorsDoNotQuote(t *testing.T) {
	f := newFixture()
	for _, payload := range []string{`{"canary":"canary","canary":1}`, `{"iss":"canary"}`, `{"exp":canary}`} {
		_, err := Parse(f.craft(t, ES256, f.header(ES256), payload), f.keys, want)
		if err == nil || strings.Contains(err.Error(), "canary") || !errors.Is(err, curfew.ErrInvalidToken) {
			t.Errorf("error %v", err)
		}
	}
}
