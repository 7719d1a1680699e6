package verify

import (
	"hash/maphash"
	"math/bits"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/denylist"
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
	// Now returns authority time; nil means time.Now.
	Now func() time.Time
	// Lease returns nil while the verifier may rely on its denylist, and an
	// error that wraps curfew.ErrStale past the deadline. Nil means always,
	// which only the authority itself may claim.
	Lease func() error
	// CacheSize is the number of verified tokens to remember, rounded up to a
	// power of two; 0 means 65536. An entry takes about three times the length
	// of its token, which is at most token.MaxSize.
	CacheSize int
}

// Verifier checks access tokens. It is safe for concurrent use.
type Verifier struct {
	want     token.Expect
	denylist *denylist.Set
	now      func() time.Time
	lease    func() error
	keys     atomic.Pointer[token.KeySet]

	// The cache remembers genuine tokens, never verdicts: time, lease and
	// denylist are asked on every Check. A token can only be in one slot,
	// so memory is bounded and nothing has to be evicted in order. The seed is
	// random, so nobody can choose whose slot a token takes.
	seed  maphash.Seed
	shift int
	slots []atomic.Pointer[entry]
}

// entry is a token that was found genuine. It is immutable.
type entry struct {
	raw    string
	claims *token.Claims
	keys   *token.KeySet // with which it was found genuine
}

// New returns a Verifier that is stale until [Verifier.SetKeys] is called. It
// panics if c has no Denylist: a verifier that has nothing to ask would accept
// what was revoked.
func New(c Config) *Verifier {
	if c.Denylist == nil {
		panic("verify: no denylist")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.CacheSize <= 0 {
		c.CacheSize = defaultCacheSize
	}
	log := bits.Len(uint(c.CacheSize - 1))
	return &Verifier{
		want:     token.Expect{Issuer: c.Issuer, Audience: c.Audience},
		denylist: c.Denylist,
		now:      c.Now,
		lease:    c.Lease,
		seed:     maphash.MakeSeed(),
		shift:    64 - log,
		slots:    make([]atomic.Pointer[entry], 1<<log),
	}
}

// SetKeys replaces the keys that tokens are verified with. Tokens of keys that
// are no longer in the set are not accepted by any Check that starts after
// SetKeys has returned, cached or not.
func (v *Verifier) SetKeys(keys *token.KeySet) {
	v.keys.Store(keys)
	// Lookups compare the key set of an entry themselves, so what a Check that
	// is running now may still put in is harmless. This frees what is dead, and
	// the old key set.
	for i := range v.slots {
		slot := &v.slots[i]
		e := slot.Load()
		if e == nil || e.keys == keys {
			continue
		}
		var kept *entry
		if e.valid(keys) {
			kept = &entry{raw: e.raw, claims: e.claims, keys: keys}
		}
		slot.CompareAndSwap(e, kept)
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
	if v.lease != nil {
		if err := v.lease(); err != nil {
			return nil, err
		}
	}
	now := v.now()
	keys := v.keys.Load()
	if keys == nil {
		return nil, curfew.ErrStale // cold: no verdict, rather than a logout
	}

	slot := v.slot(raw)
	c := lookup(slot, raw, keys)
	cached := c != nil
	if !cached {
		var err error
		if c, err = token.Parse(raw, keys, v.want); err != nil {
			return nil, err
		}
	}
	if now.Unix() >= c.Exp {
		return nil, curfew.ErrExpired
	}
	if !cached {
		store(slot, raw, c, keys)
	}
	if err := v.denylist.Check(levels(c)); err != nil {
		return nil, err
	}
	// The horizon comes after the denylist. Forget raises it before it drops
	// anything; so if the entry of this token was dropped before we looked, we
	// see the horizon that covers it. Read before, a clock that is behind would
	// bring a revoked token back to life for one Check.
	if horizon := v.denylist.Horizon(); !horizon.Before(time.Unix(c.Exp, 0)) {
		return nil, curfew.ErrExpired
	}
	return c, nil
}

// Genuine returns the claims of raw if it was ever good: it looks at spelling,
// signature, issuer and audience only. It is for logout, which must work with a
// token that has expired or that was revoked before, and for nothing else. The
// claims are shared and read-only.
func (v *Verifier) Genuine(raw string) (*token.Claims, error) {
	keys := v.keys.Load()
	if keys == nil {
		return nil, curfew.ErrStale
	}
	if c := lookup(v.slot(raw), raw, keys); c != nil {
		return c, nil
	}
	// Not stored: a token is mostly seen here for the last time.
	return token.Parse(raw, keys, v.want)
}

// Remember puts a token into the cache that the caller has just signed with c,
// so that its first Check need not verify the signature. A token that a Check
// here could not accept is left out: one of another issuer, for another audience
// or of a key that is not in the set. Remember keeps a copy of c with the KeyID
// that the token names, but shares its slices.
func (v *Verifier) Remember(raw string, c *token.Claims) {
	keys := v.keys.Load()
	if keys == nil || len(raw) > token.MaxSize || c == nil {
		return
	}
	kid, ok := keys.Issued(raw)
	if !ok || v.want.Audience == "" || c.Issuer != v.want.Issuer || !slices.Contains(c.Audience, v.want.Audience) {
		return
	}
	kept := *c
	kept.KeyID = kid
	store(v.slot(raw), raw, &kept, keys)
}

// levels returns what the denylist is asked about a token of our own.
func levels(c *token.Claims) denylist.Levels {
	return denylist.Levels{
		Key: c.KeyID, Client: c.ClientID, Subject: c.Subject, Session: c.Session, Token: c.ID, Ver: c.Ver,
	}
}

func (v *Verifier) slot(raw string) *atomic.Pointer[entry] {
	return &v.slots[maphash.String(v.seed, raw)>>v.shift]
}

// lookup returns the claims of raw if slot has them and its key is still good.
// The whole text is compared: a cache that compares less hands out the claims
// of somebody else sooner or later (CVE-2026-35039).
func lookup(slot *atomic.Pointer[entry], raw string, keys *token.KeySet) *token.Claims {
	e := slot.Load()
	if e == nil || e.raw != raw || !e.valid(keys) {
		return nil
	}
	return e.claims
}

// store keeps a copy of raw, which may be a part of something much larger, such
// as all headers of a request.
func store(slot *atomic.Pointer[entry], raw string, c *token.Claims, keys *token.KeySet) {
	slot.Store(&entry{raw: strings.Clone(raw), claims: c, keys: keys})
}

// valid reports whether the key of e is in keys.
func (e *entry) valid(keys *token.KeySet) bool {
	if e.keys == keys {
		return true
	}
	if keys == nil {
		return false
	}
	then, ok := e.keys.Lookup(e.claims.KeyID)
	if !ok {
		return false
	}
	now, ok := keys.Lookup(e.claims.KeyID)
	return ok && now.Equal(then)
}
