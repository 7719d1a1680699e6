package verify

import (
	"hash/maphash"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/denylist"
	"github.com/curfewhq/curfew/internal/fault"
	"github.com/curfewhq/curfew/internal/token"
)

// defaultCacheSize is the number of cache slots unless configured.
const defaultCacheSize = 1 << 16

// Config says what a [Verifier] accepts and whom it asks.
type Config struct {
	// Issuer and Audience are what tokens must say; if one is empty, no token
	// is accepted.
	Issuer, Audience string
	// Denylist is what has been revoked. It is required.
	Denylist *denylist.Set
	// Clock returns authority time while the verifier may rely on its denylist,
	// and an error that wraps curfew.ErrStale past the deadline of its lease. It
	// must load the deadline before it reads the clock. Nil means time.Now and
	// no deadline, which only the authority itself may claim.
	Clock func() (time.Time, error)
	// CacheSize is the number of verified tokens to remember, rounded up to a
	// power of two; 0 means 65536. An entry takes about three times the length
	// of its token, which is at most token.MaxSize.
	CacheSize int
}

// Verifier checks access tokens. It is safe for concurrent use.
type Verifier struct {
	issuer, audience string
	clock            func() (time.Time, error)
	denylist         atomic.Pointer[denylist.Set]
	trust            atomic.Pointer[trust]

	// The cache remembers genuine tokens, never verdicts: time, lease and
	// denylist are asked on every Check. A token can only be in one bucket,
	// so memory is bounded and nothing has to be evicted in order. The seed is
	// random, so nobody can choose whose slot a token takes.
	seed    maphash.Seed
	shift   int
	buckets []bucket
}

// ways is how many tokens a bucket holds. With one, every seventh of 10,000
// tokens shares its slot among 65,536 with another, and both are verified again
// each time they take turns; with eight, one in a million does.
const ways = 8

// bucket is where the tokens are whose hashes begin alike. Its tags say which of
// them are worth comparing: a tag may be older or newer than its slot, and is
// never more than a hint.
type bucket struct {
	tags  [ways]atomic.Uint32
	slots [ways]atomic.Pointer[entry]
}

// trust is whose tokens are accepted. It is immutable.
type trust struct {
	want token.Expect
	keys *token.KeySet
}

// entry is a token that was found genuine. It is immutable.
type entry struct {
	raw    string
	claims *token.Claims
	trust  *trust // with which it was found genuine
}

// New returns a Verifier that is stale until [Verifier.SetKeys] is called. It
// panics if c has no Denylist: a verifier that has nothing to ask would accept
// what was revoked.
func New(c Config) *Verifier {
	if c.Denylist == nil {
		panic("verify: no denylist")
	}
	if c.Clock == nil {
		c.Clock = func() (time.Time, error) { return time.Now(), nil }
	}
	if c.CacheSize <= 0 {
		c.CacheSize = defaultCacheSize
	}
	log := max(bits.Len(uint(c.CacheSize-1))-bits.Len(ways-1), 0)
	v := &Verifier{
		issuer: c.Issuer, audience: c.Audience, clock: c.Clock,
		seed:    maphash.MakeSeed(),
		shift:   64 - log,
		buckets: make([]bucket, 1<<log),
	}
	v.denylist.Store(c.Denylist)
	return v
}

// Replace puts another denylist in place, as after a snapshot. Every Check that
// starts after Replace has returned asks that one.
func (v *Verifier) Replace(set *denylist.Set) { v.denylist.Store(set) }

// SetKeys replaces the keys that tokens are verified with. Tokens of keys that
// are no longer in the set are not accepted by any Check that starts after
// SetKeys has returned, cached or not.
func (v *Verifier) SetKeys(keys *token.KeySet) { v.SetIssuer(v.issuer, keys) }

// SetIssuer is SetKeys for a verifier that learns from the authority what the
// issuer is called.
func (v *Verifier) SetIssuer(issuer string, keys *token.KeySet) {
	t := &trust{want: token.Expect{Issuer: issuer, Audience: v.audience}, keys: keys}
	if keys == nil {
		t = nil
	}
	v.trust.Store(t)
	// Lookups compare the key set of an entry themselves, so what a Check that
	// is running now may still put in is harmless. This frees what is dead, and
	// the old key set.
	for b := range v.buckets {
		for i := range v.buckets[b].slots {
			slot := &v.buckets[b].slots[i]
			e := slot.Load()
			if e == nil || e.trust == t {
				continue
			}
			var kept *entry
			if e.valid(t) {
				kept = &entry{raw: e.raw, claims: e.claims, trust: t}
			}
			slot.CompareAndSwap(e, kept)
		}
	}
}

// Check returns the claims of raw if it is genuine and live, and otherwise an
// error that wraps [curfew.ErrStale], [curfew.ErrInvalidToken],
// [curfew.ErrExpired] or [curfew.ErrRevoked]: claims or an error, never both.
// The claims are shared and read-only.
func (v *Verifier) Check(raw string) (*token.Claims, error) {
	// The deadline comes first, before the denylist. The other way round, a
	// verifier that was paused in between would launder an old lookup: it finds
	// nothing in the denylist, is stopped past its deadline while the authority
	// waits that out and answers the logout, is continued, applies the
	// revocation, renews its lease, and then finds the new deadline good for the
	// look it took before the logout.
	if fault.On(fault.LookupBeforeDeadline) {
		return v.checkInTheWrongOrder(raw)
	}
	now, err := v.clock()
	if err != nil {
		return nil, err
	}
	return v.checkAt(raw, now)
}

// CheckAt is Check at a time and under a lease that the caller vouches for: it
// has heard from the authority since it was asked.
func (v *Verifier) CheckAt(raw string, now time.Time) (*token.Claims, error) {
	return v.checkAt(raw, now)
}

func (v *Verifier) checkAt(raw string, now time.Time) (*token.Claims, error) {
	t := v.trust.Load()
	if t == nil {
		return nil, curfew.ErrStale // cold: no verdict, rather than a logout
	}

	b, tag := v.bucket(raw)
	c := b.lookup(tag, raw, t)
	cached := c != nil
	if !cached {
		var err error
		if c, err = token.Parse(raw, t.keys, t.want); err != nil {
			return nil, err
		}
	}
	if now.Unix() >= c.Exp {
		return nil, curfew.ErrExpired
	}
	if !cached {
		b.store(tag, raw, c, t)
	}
	if err := v.Denied(c); err != nil {
		return nil, err
	}
	return c, nil
}

// Denied returns an error that wraps [curfew.ErrRevoked] or [curfew.ErrExpired]
// if what c says has been revoked, and nil otherwise. It asks neither lease nor
// clock: it is for work that was accepted before.
func (v *Verifier) Denied(c *token.Claims) error {
	deny := v.denylist.Load()
	if err := deny.Check(levels(c)); err != nil {
		return err
	}
	// The horizon comes after the denylist. Forget raises it before it drops
	// anything; so if the entry of this token was dropped before we looked, we
	// see the horizon that covers it. Read before, a clock that is behind would
	// bring a revoked token back to life for one Check.
	if horizon := deny.Horizon(); !horizon.Before(time.Unix(c.Exp, 0)) {
		return curfew.ErrExpired
	}
	return nil
}

// checkInTheWrongOrder is what the comment in Check warns of, for the tests
// that must find it.
func (v *Verifier) checkInTheWrongOrder(raw string) (*token.Claims, error) {
	c, err := v.checkAt(raw, time.Unix(0, 0))
	now, stale := v.clock()
	switch {
	case stale != nil:
		return nil, stale
	case err != nil:
		return nil, err
	case now.Unix() >= c.Exp:
		return nil, curfew.ErrExpired
	}
	return c, nil
}

// Genuine returns the claims of raw if it was ever good: it looks at spelling,
// signature, issuer and audience only. It is for logout, which must work with a
// token that has expired or that was revoked before, and for nothing else. The
// claims are shared and read-only.
func (v *Verifier) Genuine(raw string) (*token.Claims, error) {
	t := v.trust.Load()
	if t == nil {
		return nil, curfew.ErrStale
	}
	b, tag := v.bucket(raw)
	if c := b.lookup(tag, raw, t); c != nil {
		return c, nil
	}
	// Not stored: a token is mostly seen here for the last time.
	return token.Parse(raw, t.keys, t.want)
}

// Remember puts a token into the cache that the caller has just signed with c,
// so that its first Check need not verify the signature. A token that a Check
// here could not accept is left out: one of another issuer, for another audience
// or of a key that is not in the set. Remember keeps a copy of c with the KeyID
// that the token names, but shares its slices.
func (v *Verifier) Remember(raw string, c *token.Claims) {
	t := v.trust.Load()
	if t == nil || len(raw) > token.MaxSize || c == nil {
		return
	}
	kid, ok := t.keys.Issued(raw)
	if !ok || t.want.Audience == "" || c.Issuer != t.want.Issuer || !slices.Contains(c.Audience, t.want.Audience) {
		return
	}
	kept := *c
	kept.KeyID = kid
	b, tag := v.bucket(raw)
	b.store(tag, raw, &kept, t)
}

// levels returns what the denylist is asked about a token of our own.
func levels(c *token.Claims) denylist.Levels {
	if fault.On(fault.DenyByTokenText) {
		return denylist.Levels{Token: c.ID, Ver: c.Ver}
	}
	return denylist.Levels{
		Key: c.KeyID, Client: c.ClientID, Subject: c.Subject, Session: c.Session, Token: c.ID, Ver: c.Ver,
	}
}

// bucket returns the bucket of raw and its tag there, which is never 0: that
// marks a free slot.
func (v *Verifier) bucket(raw string) (*bucket, uint32) {
	h := maphash.String(v.seed, raw)
	return &v.buckets[h>>v.shift], uint32(h) | 1
}

// lookup returns the claims of raw if b has them and its key is still good.
// The whole text is compared: a cache that compares less hands out the claims
// of somebody else sooner or later (CVE-2026-35039).
func (b *bucket) lookup(tag uint32, raw string, t *trust) *token.Claims {
	for i := range b.tags {
		if b.tags[i].Load() != tag {
			continue
		}
		if e := b.slots[i].Load(); e != nil && e.raw == raw && e.valid(t) {
			return e.claims
		}
	}
	return nil
}

// store keeps a copy of raw, which may be a part of something much larger, such
// as all headers of a request. It takes the slot that has raw, or a free one, or
// any: nobody can choose whom to push out.
func (b *bucket) store(tag uint32, raw string, c *token.Claims, t *trust) {
	at := -1
	for i := range b.slots {
		e := b.slots[i].Load()
		if e != nil && b.tags[i].Load() == tag && e.raw == raw {
			at = i
			break
		}
		if e == nil && at < 0 {
			at = i
		}
	}
	if at < 0 {
		at = int(rand.Uint32() % ways)
	}
	b.slots[at].Store(&entry{raw: strings.Clone(raw), claims: c, trust: t})
	b.tags[at].Store(tag)
}

// valid reports whether t trusts the issuer and the key of e.
func (e *entry) valid(t *trust) bool {
	if e.trust == t {
		return true
	}
	if t == nil || e.trust.want != t.want {
		return false
	}
	then, ok := e.trust.keys.Lookup(e.claims.KeyID)
	if !ok {
		return false
	}
	now, ok := t.keys.Lookup(e.claims.KeyID)
	return ok && now.Equal(then)
}
