package verify

import (
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"math/big"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/denylist"
	"github.com/curfewhq/curfew/internal/token"
)

const (
	issuer   = "https://as.example"
	audience = "https://api.example"
)

// issued is when the tokens of the tests were issued; they live ten minutes.
var issued = time.Unix(1795176000, 0)

// rig is a verifier with a clock and a lease that tests set.
type rig struct {
	*Verifier
	signer *token.Signer
	deny   *denylist.Set
	now    time.Time
	lease  error
}

func newSigner(t testing.TB, alg token.Alg) *token.Signer {
	t.Helper()
	key, err := token.GenerateKey(alg)
	if err != nil {
		t.Fatal(err)
	}
	kid, err := token.KeyID(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	s, err := token.NewSigner(kid, alg, key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{signer: newSigner(t, token.ES256), deny: denylist.New(), now: issued.Add(time.Minute)}
	r.Verifier = New(Config{
		Issuer: issuer, Audience: audience, Denylist: r.deny, CacheSize: 64,
		Clock: func() (time.Time, error) { return r.now, r.lease },
	})
	r.SetKeys(token.NewKeySet(r.signer.Public()))
	return r
}

func claims() token.Claims {
	return token.Claims{
		Issuer: issuer, Subject: "u_42", Audience: []string{audience},
		Iat: issued.Unix(), Exp: issued.Add(10 * time.Minute).Unix(),
		ID: curfew.NewID(), ClientID: "web", Session: curfew.NewID(), Ver: 10,
	}
}

func sign(t testing.TB, s *token.Signer, c token.Claims) string {
	t.Helper()
	raw, err := s.Sign(c)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// revoke appends a revocation at seq.
func (r *rig) revoke(seq curfew.Seq, kind curfew.Kind, target string) {
	r.deny.Apply(curfew.Revocation{Seq: seq, Kind: kind, Target: target, ExpiresAt: issued.Add(10 * time.Minute)})
}

// mustFail checks that there is an error of the wanted kind and no claims.
func mustFail(t testing.TB, c *token.Claims, err, want error) {
	t.Helper()
	if c != nil || !errors.Is(err, want) {
		t.Errorf("claims %v, error %v; want no claims and %v", c, err, want)
	}
}

func mustPass(t testing.TB, v *Verifier, raw string) *token.Claims {
	t.Helper()
	c, err := v.Check(raw)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCheck(t *testing.T) {
	r := newRig(t)
	c := claims()
	raw := sign(t, r.signer, c)
	c.KeyID = r.signer.KeyID()
	first := mustPass(t, r.Verifier, raw)
	if diff := cmp.Diff(&c, first); diff != "" {
		t.Errorf("claims differ:\n%s", diff)
	}
	if second := mustPass(t, r.Verifier, raw); second != first {
		t.Error("the second check was not answered from the cache")
	}
	got, err := r.Check(raw + "=")
	mustFail(t, got, err, curfew.ErrInvalidToken)
}

// Every level ends a token that was cached as genuine, and a new one.
func TestRevoked(t *testing.T) {
	for _, cached := range []bool{false, true} {
		for _, kind := range []curfew.Kind{
			curfew.KindToken, curfew.KindSession, curfew.KindSubject, curfew.KindClient, curfew.KindKey, curfew.KindEverything,
		} {
			t.Run(fmt.Sprintf("%s/cached=%v", kind, cached), func(t *testing.T) {
				r := newRig(t)
				c := claims()
				raw := sign(t, r.signer, c)
				if cached {
					mustPass(t, r.Verifier, raw)
				}
				r.revoke(11, kind, map[curfew.Kind]string{
					curfew.KindToken: c.ID, curfew.KindSession: c.Session, curfew.KindSubject: c.Subject,
					curfew.KindClient: c.ClientID, curfew.KindKey: r.signer.KeyID(),
				}[kind])
				got, err := r.Check(raw)
				mustFail(t, got, err, curfew.ErrRevoked)
				if got, err := r.Genuine(raw); err != nil || got.ID != c.ID {
					t.Errorf("Genuine = %v, %v: logout of a revoked token does not work", got, err)
				}
				// The login after it has a session of its own and a later epoch.
				c = claims()
				c.Ver = 11
				if kind != curfew.KindKey {
					mustPass(t, r.Verifier, sign(t, r.signer, c))
				}
			})
		}
	}
}

func TestExpired(t *testing.T) {
	r := newRig(t)
	c := claims()
	raw := sign(t, r.signer, c)
	exp := time.Unix(c.Exp, 0)
	for _, tc := range []struct {
		now  time.Time
		live bool
	}{
		{exp.Add(-time.Nanosecond), true},
		{exp, false},
		{exp.Add(time.Hour), false},
		{exp.Add(-time.Second), true},
	} {
		r.now = tc.now
		got, err := r.Check(raw)
		if tc.live {
			if err != nil {
				t.Errorf("at %v: %v", tc.now, err)
			}
			continue
		}
		mustFail(t, got, err, curfew.ErrExpired)
		if _, err := r.Genuine(raw); err != nil {
			t.Errorf("Genuine: %v", err)
		}
	}
}

// Rule 11: a token whose revocation may have been forgotten is dead, however
// far behind the clock is.
func TestHorizon(t *testing.T) {
	for _, cached := range []bool{false, true} {
		r := newRig(t)
		c := claims()
		raw := sign(t, r.signer, c)
		later := claims()
		later.Exp++
		if cached {
			mustPass(t, r.Verifier, raw)
		}
		r.revoke(11, curfew.KindSession, c.Session)
		if n := r.deny.Forget(time.Unix(c.Exp, 0)); n != 1 {
			t.Fatalf("forgot %d entries", n)
		}
		r.now = issued
		got, err := r.Check(raw)
		mustFail(t, got, err, curfew.ErrExpired)
		mustPass(t, r.Verifier, sign(t, r.signer, later))
	}
}

// The horizon is read late: an entry that is dropped while a Check is paused in
// its clock does not let the token through.
func TestHorizonIsReadLate(t *testing.T) {
	r := newRig(t)
	c := claims()
	raw := sign(t, r.signer, c)
	r.revoke(11, curfew.KindSession, c.Session)
	v := New(Config{Issuer: issuer, Audience: audience, Denylist: r.deny, Clock: func() (time.Time, error) {
		r.deny.Forget(time.Unix(c.Exp, 0))
		return issued, nil
	}})
	v.SetKeys(token.NewKeySet(r.signer.Public()))
	got, err := v.Check(raw)
	mustFail(t, got, err, curfew.ErrExpired)
}

// While somebody forgets, a revoked token is refused as revoked or as dead, and
// never passes in between, even if the clock is behind.
func TestHorizonRace(t *testing.T) {
	for range 200 {
		r := newRig(t)
		c := claims()
		raw := sign(t, r.signer, c)
		r.now = issued
		mustPass(t, r.Verifier, raw)
		r.revoke(11, curfew.KindSession, c.Session)
		var wg sync.WaitGroup
		wg.Go(func() { r.deny.Forget(time.Unix(c.Exp, 0)) })
		for range 50 {
			if _, err := r.Check(raw); err == nil {
				t.Fatal("a revoked token passed while its entry was being dropped")
			}
		}
		wg.Wait()
	}
}

func TestLease(t *testing.T) {
	r := newRig(t)
	raw := sign(t, r.signer, claims())
	mustPass(t, r.Verifier, raw)
	r.lease = curfew.ErrStale
	got, err := r.Check(raw)
	mustFail(t, got, err, curfew.ErrStale)
	// Garbage gets no verdict either: a stale verifier says nothing.
	got, err = r.Check("garbage")
	mustFail(t, got, err, curfew.ErrStale)
	if _, err := r.Genuine(raw); err != nil {
		t.Errorf("Genuine needs no lease, but: %v", err)
	}
	r.lease = nil
	mustPass(t, r.Verifier, raw)
}

// Rule 4. A verifier that is paused between its steps must not launder an old
// look into the denylist with a lease that was renewed in between. The pause is
// in the clock, which is read before the denylist.
func TestLeaseBeforeDenylist(t *testing.T) {
	r := newRig(t)
	c := claims()
	raw := sign(t, r.signer, c)
	mustPass(t, r.Verifier, raw)

	v := New(Config{
		Issuer: issuer, Audience: audience, Denylist: r.deny,
		Clock: func() (time.Time, error) {
			// The pause: meanwhile the logout is applied, and answered.
			r.revoke(11, curfew.KindSession, c.Session)
			return r.now, nil
		},
	})
	v.SetKeys(token.NewKeySet(r.signer.Public()))
	got, err := v.Check(raw)
	mustFail(t, got, err, curfew.ErrRevoked)
}

// A cold verifier has no keys. It must not log anybody out because of it.
func TestCold(t *testing.T) {
	r := newRig(t)
	raw := sign(t, r.signer, claims())
	v := New(Config{Issuer: issuer, Audience: audience, Denylist: r.deny})
	got, err := v.Check(raw)
	mustFail(t, got, err, curfew.ErrStale)
	got, err = v.Genuine(raw)
	mustFail(t, got, err, curfew.ErrStale)
	v.Remember(raw, &token.Claims{})

	defer func() {
		if recover() == nil {
			t.Error("New took a configuration without a denylist")
		}
	}()
	New(Config{Issuer: issuer, Audience: audience})
}

func TestSetKeys(t *testing.T) {
	r := newRig(t)
	old, next := r.signer, newSigner(t, token.EdDSA)
	raw := sign(t, old, claims())
	first := mustPass(t, r.Verifier, raw)

	// The rotation keeps the old key, and what was cached.
	both := token.NewKeySet(next.Public(), old.Public())
	r.SetKeys(both)
	if c := mustPass(t, r.Verifier, raw); c != first {
		t.Error("the rotation dropped a verdict of a key that stayed")
	}
	mustPass(t, r.Verifier, sign(t, next, claims()))

	// The old key is withdrawn.
	r.SetKeys(token.NewKeySet(next.Public()))
	got, err := r.Check(raw)
	mustFail(t, got, err, token.ErrUnknownKey)
	for e := range r.remembered() {
		if e.claims.KeyID == old.KeyID() {
			t.Error("a verdict of the old key is still there")
		}
	}

	// A Check that began before may put its verdict in after the sweep.
	b, tag := r.bucket(raw)
	b.store(tag, raw, first, &trust{want: token.Expect{Issuer: issuer, Audience: audience}, keys: both})
	got, err = r.Check(raw)
	mustFail(t, got, err, curfew.ErrInvalidToken)

	// Another key under the old name is another key.
	key, err := token.GenerateKey(token.ES256)
	if err != nil {
		t.Fatal(err)
	}
	r.SetKeys(both)
	mustPass(t, r.Verifier, raw)
	r.SetKeys(token.NewKeySet(token.PublicKey{ID: old.KeyID(), Alg: token.ES256, Key: key.Public()}))
	got, err = r.Check(raw)
	mustFail(t, got, err, curfew.ErrInvalidToken)
}

func TestRemember(t *testing.T) {
	r := newRig(t)
	c := claims()
	raw := sign(t, r.signer, c)
	r.Remember(raw, &c)
	c.Subject = "changed by the caller afterwards"
	got := mustPass(t, r.Verifier, raw)
	if b, tag := r.bucket(raw); got != b.lookup(tag, raw, r.trust.Load()) {
		t.Error("not answered from the cache")
	}
	if got.Subject != "u_42" || got.KeyID != r.signer.KeyID() {
		t.Errorf("claims %+v", got)
	}
	// The key's revocation reaches a token whose KeyID the caller left empty.
	r.revoke(11, curfew.KindKey, r.signer.KeyID())
	got, err := r.Check(raw)
	mustFail(t, got, err, curfew.ErrRevoked)

	// What a Check could not accept is not remembered.
	r = newRig(t)
	other := newSigner(t, token.ES256)
	for name, tc := range map[string]struct {
		signer *token.Signer
		change func(*token.Claims)
	}{
		"another audience": {r.signer, func(c *token.Claims) { c.Audience = []string{"https://other.example"} }},
		"another issuer":   {r.signer, func(c *token.Claims) { c.Issuer = "https://other.example" }},
		"another key":      {other, func(c *token.Claims) {}},
	} {
		t.Run(name, func(t *testing.T) {
			c := claims()
			tc.change(&c)
			raw := sign(t, tc.signer, c)
			r.Remember(raw, &c)
			got, err := r.Check(raw)
			mustFail(t, got, err, curfew.ErrInvalidToken)
		})
	}
}

// JW-15, the log-out test: after the revocation of a token none of its other
// spellings is accepted, and none was before.
func TestReplayInOtherSpellings(t *testing.T) {
	r := newRig(t)
	c := claims()
	raw := sign(t, r.signer, c)
	dot := strings.LastIndexByte(raw, '.')
	sig, err := base64.RawURLEncoding.DecodeString(raw[dot+1:])
	if err != nil {
		t.Fatal(err)
	}
	n, _ := new(big.Int).SetString("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16)
	high := append([]byte(nil), sig...)
	n.Sub(n, new(big.Int).SetBytes(sig[32:])).FillBytes(high[32:])
	others := []string{
		raw + "!!!!", raw + "=", raw + "==", raw + "\n", raw + "\r\n", " " + raw, raw[:9] + "\n" + raw[9:],
		raw[:len(raw)-1], raw + "A", raw + ".", raw[:dot+1] + base64.RawURLEncoding.EncodeToString(high),
	}
	for i := range len(raw) {
		// All changes of one bit of one character.
		for bit := range 8 {
			b := []byte(raw)
			b[i] ^= 1 << bit
			others = append(others, string(b))
		}
	}
	mustPass(t, r.Verifier, raw)
	for _, revoked := range []bool{false, true} {
		if revoked {
			r.revoke(11, curfew.KindSession, c.Session)
			got, err := r.Check(raw)
			mustFail(t, got, err, curfew.ErrRevoked)
		}
		for _, other := range others {
			if got, err := r.Check(other); got != nil || !errors.Is(err, curfew.ErrInvalidToken) {
				t.Errorf("revoked %v: %q: claims %v, error %v", revoked, other, got, err)
			}
		}
	}
}

// remembered yields what is in the cache.
func (v *Verifier) remembered() iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		for b := range v.buckets {
			for i := range v.buckets[b].slots {
				if e := v.buckets[b].slots[i].Load(); e != nil && !yield(e) {
					return
				}
			}
		}
	}
}

// Tokens that share a bucket, and even a tag, do not get each other's claims
// (CVE-2026-35039).
func TestCacheCollisions(t *testing.T) {
	r := newRig(t)
	v := New(Config{Issuer: issuer, Audience: audience, Denylist: r.deny, CacheSize: 1, Clock: func() (time.Time, error) { return r.now, nil }})
	v.SetKeys(token.NewKeySet(r.signer.Public()))
	if len(v.buckets) != 1 {
		t.Fatalf("%d buckets, want 1", len(v.buckets))
	}
	ids := map[string]string{}
	for range 3 * ways {
		c := claims()
		ids[sign(t, r.signer, c)] = c.ID
	}
	for range 3 {
		for raw, id := range ids {
			for range 2 { // verified, or from the cache, and then surely from it
				if mustPass(t, v, raw).ID != id {
					t.Fatal("claims of another token")
				}
			}
		}
	}
	for i := range v.buckets[0].tags {
		for raw := range ids {
			if c := v.buckets[0].lookup(v.buckets[0].tags[i].Load(), raw, v.trust.Load()); c != nil && c.ID != ids[raw] {
				t.Fatal("claims of another token under the same tag")
			}
		}
	}
	// Nothing that failed is remembered.
	other := sign(t, r.signer, claims())
	_, _ = v.Check(other + "A")
	_, _ = v.Genuine(other)
	for e := range v.remembered() {
		if e.raw == other || e.raw == other+"A" {
			t.Error("a token that did not pass Check is remembered")
		}
	}
	for size, want := range map[int]int{0: 65536 / ways, 2: 1, 3: 1, 1000: 1024 / ways} {
		if got := len(New(Config{Denylist: r.deny, CacheSize: size}).buckets); got != want {
			t.Errorf("CacheSize %d: %d buckets, want %d", size, got, want)
		}
	}
}

// Revocations, key changes and checks at once: a token that was revoked before
// a Check began is refused, and a live one always passes.
func TestConcurrent(t *testing.T) {
	r := newRig(t)
	next := newSigner(t, token.EdDSA)
	sets := []*token.KeySet{
		token.NewKeySet(r.signer.Public()),
		token.NewKeySet(r.signer.Public(), next.Public()),
	}
	live := sign(t, r.signer, claims())
	raws, cs := make([]string, 200), make([]token.Claims, 200)
	for i := range raws {
		cs[i] = claims()
		raws[i] = sign(t, r.signer, cs[i])
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := r.Check(live); err != nil {
					t.Errorf("a live token was refused: %v", err)
					return
				}
				_, _ = r.Check(raws[rand.IntN(len(raws))])
			}
		})
	}
	for i, raw := range raws {
		r.SetKeys(sets[i%2])
		r.revoke(curfew.Seq(11+i), curfew.KindSession, cs[i].Session)
		if _, err := r.Check(raw); !errors.Is(err, curfew.ErrRevoked) {
			t.Errorf("token %d after its revocation: %v", i, err)
		}
	}
	close(stop)
	wg.Wait()
}

func TestCachedCheckDoesNotAllocate(t *testing.T) {
	r := newRig(t)
	raw := sign(t, r.signer, claims())
	r.revoke(1, curfew.KindSession, "x")
	mustPass(t, r.Verifier, raw)
	if n := testing.AllocsPerRun(100, func() { _, _ = r.Check(raw) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkCheckCached is a check of one of 10,000 tokens that were seen before,
// with a million revocations.
func BenchmarkCheckCached(b *testing.B) {
	deny := denylist.New()
	for i := range 1_000_000 {
		deny.Apply(curfew.Revocation{
			Seq: curfew.Seq(i + 1), Kind: curfew.KindSession, Target: curfew.NewID(), ExpiresAt: time.Now().Add(time.Hour),
		})
	}
	s := newSigner(b, token.EdDSA)
	v := New(Config{Issuer: issuer, Audience: audience, Denylist: deny, Clock: func() (time.Time, error) { return time.Now(), nil }})
	v.SetKeys(token.NewKeySet(s.Public()))
	c := claims()
	c.Iat, c.Exp = time.Now().Unix(), time.Now().Add(time.Hour).Unix()
	c.Ver = deny.Watermark()
	c.Scope, c.Email, c.Roles = "openid orders:read", "someone@example.com", []string{"admin", "ops"}
	raws := make([]string, 0, 10_000)
	for len(raws) < cap(raws) {
		c.ID, c.Session = curfew.NewID(), curfew.NewID()
		raw := sign(b, s, c)
		v.Remember(raw, &c)
		raws = append(raws, raw)
	}
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := v.Check(raws[i%len(raws)]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := rand.IntN(len(raws)); pb.Next(); i++ {
				if _, err := v.Check(raws[i%len(raws)]); err != nil {
					b.Error(err)
				}
			}
		})
	})
}
