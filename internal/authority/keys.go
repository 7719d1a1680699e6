package authority

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/audit"
	"github.com/curfewhq/curfew/internal/store"
	"github.com/curfewhq/curfew/internal/token"
)

const (
	useSign    = "sig"
	useRefresh = "refresh"
)

// ring is the set of keys in use. It is replaced as a whole.
type ring struct {
	rows    []store.Key
	signer  *token.Signer
	set     *token.KeySet
	refresh []byte // secret behind the refresh tokens
}

// ErrUnknownKey is a kid that does not exist.
var ErrUnknownKey = errors.New("no such key")

// loadKeys reads the keys, makes those that are missing, and puts them in use.
func (a *Authority) loadKeys(ctx context.Context) error {
	for range 2 {
		r, missing, err := a.readKeys(ctx)
		if err != nil {
			return err
		}
		if len(missing) == 0 {
			a.keys.Store(r)
			a.verifier.SetKeys(r.set)
			jwks := r.set.JWKS()
			version := sha256.Sum256(jwks)
			a.feed.SetKeys(a.cfg.Issuer, hex.EncodeToString(version[:16]), jwks)
			return nil
		}
		if _, err := a.decide(ctx, func() (store.Change, error) { return a.makeKeys(missing) }); err != nil {
			return fmt.Errorf("making keys: %w", err)
		}
	}
	return errors.New("keys that were made are not there")
}

// readKeys returns the ring, or the uses that have no active key.
func (a *Authority) readKeys(ctx context.Context) (*ring, []string, error) {
	rows, err := a.store.Keys(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("reading keys: %w", err)
	}
	r := &ring{rows: rows}
	var public []token.PublicKey
	for _, k := range rows {
		inUse := k.Status == store.KeyAnnounced || k.Status == store.KeyActive || k.Status == store.KeyRetained
		if !inUse {
			continue
		}
		if k.Use == useSign {
			pub, err := token.ParseJWK(k.PublicJWK)
			if err != nil {
				return nil, nil, fmt.Errorf("key %s: %w", k.ID, err)
			}
			public = append(public, pub)
		}
		if k.Status != store.KeyActive {
			continue
		}
		plain, err := a.sealer.Open(k.Sealed, []byte(k.ID))
		if err != nil {
			return nil, nil, fmt.Errorf("opening key %s: %w", k.ID, err)
		}
		if k.Use == useRefresh {
			r.refresh = plain
			continue
		}
		private, err := token.ParsePrivate(plain)
		if err != nil {
			return nil, nil, fmt.Errorf("key %s: %w", k.ID, err)
		}
		if r.signer, err = token.NewSigner(k.ID, token.Alg(k.Alg), private); err != nil {
			return nil, nil, fmt.Errorf("key %s: %w", k.ID, err)
		}
	}
	r.set = token.NewKeySet(public...)
	var missing []string
	if r.signer == nil {
		missing = append(missing, useSign)
	}
	if r.refresh == nil {
		missing = append(missing, useRefresh)
	}
	return r, missing, nil
}

func (a *Authority) makeKeys(uses []string) (store.Change, error) {
	var c store.Change
	for _, use := range uses {
		k, err := a.newKey(use, store.KeyActive)
		if err != nil {
			return c, err
		}
		c.InsertKeys = append(c.InsertKeys, k)
		c.Audit = append(c.Audit, a.keyEntry(audit.KeyCreated, System, Origin{}, k.ID))
	}
	return c, nil
}

func (a *Authority) newKey(use string, status store.KeyStatus) (store.Key, error) {
	now := a.clock.now()
	k := store.Key{Use: use, Status: status, CreatedAt: now, ChangedAt: now}
	var plain []byte
	if use == useRefresh {
		k.ID, k.Alg = "refresh-"+curfew.NewID()[:12], "HS256"
		plain = make([]byte, 32)
		rand.Read(plain) // never fails, see crypto/rand
	} else {
		private, err := token.GenerateKey(a.cfg.Algorithm)
		if err != nil {
			return k, fmt.Errorf("generating a key: %w", err)
		}
		if k.ID, err = token.KeyID(private.Public()); err != nil {
			return k, err
		}
		k.Alg = string(a.cfg.Algorithm)
		if k.PublicJWK, err = (token.PublicKey{ID: k.ID, Alg: a.cfg.Algorithm, Key: private.Public()}).MarshalJWK(); err != nil {
			return k, err
		}
		if plain, err = token.MarshalPrivate(private); err != nil {
			return k, err
		}
	}
	var err error
	k.Sealed, err = a.sealer.Seal(plain, []byte(k.ID))
	return k, err
}

func (a *Authority) keyEntry(e audit.Event, by Actor, from Origin, kid string) audit.Entry {
	out := a.entry(e, by, from)
	out.Detail = kid
	return out
}

// JWKS returns the public keys as a JSON Web Key Set (RFC 7517).
func (a *Authority) JWKS() []byte { return a.keys.Load().set.JWKS() }

// Keys lists the signing keys, newest last.
func (a *Authority) Keys(ctx context.Context) ([]store.Key, error) {
	rows, err := a.store.Keys(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]store.Key, 0, len(rows))
	for _, k := range rows {
		if k.Use == useSign {
			out = append(out, k)
		}
	}
	return out, nil
}

// RotateKeys makes the announced key the active one, or a new one where none is
// announced. Tokens of the key before stay good until they expire.
func (a *Authority) RotateKeys(ctx context.Context, by Actor, from Origin) error {
	return a.changeKeys(ctx, func(rows []store.Key) (store.Change, error) {
		var c store.Change
		err := a.activateNext(&c, rows, by, from, "")
		return c, err
	})
}

// activateNext retains the active key and activates the announced one, or a new
// one. The key named skip is passed over.
func (a *Authority) activateNext(c *store.Change, rows []store.Key, by Actor, from Origin, skip string) error {
	now := a.clock.now()
	activated := false
	for _, k := range rows {
		if k.Use != useSign || k.ID == skip {
			continue
		}
		switch {
		case k.Status == store.KeyAnnounced && !activated:
			k.Status, k.ChangedAt, activated = store.KeyActive, now, true
			c.UpdateKeys = append(c.UpdateKeys, k)
			c.Audit = append(c.Audit, a.keyEntry(audit.KeyActivated, by, from, k.ID))
		case k.Status == store.KeyActive:
			k.Status, k.ChangedAt = store.KeyRetained, now
			c.UpdateKeys = append(c.UpdateKeys, k)
		}
	}
	if activated {
		return nil
	}
	k, err := a.newKey(useSign, store.KeyActive)
	if err != nil {
		return err
	}
	c.InsertKeys = append(c.InsertKeys, k)
	c.Audit = append(c.Audit, a.keyEntry(audit.KeyActivated, by, from, k.ID))
	return nil
}

// RevokeKey kills a signing key: every token under it is refused at once, by
// verifiers that have cached the key too, because the revocation reaches them
// through the log. If it was the active key another takes its place.
func (a *Authority) RevokeKey(ctx context.Context, kid string, by Actor, from Origin) (Receipt, error) {
	start := time.Now()
	var revoked bool
	done, err := a.decide(ctx, func() (store.Change, error) {
		var c store.Change
		rows, err := a.store.Keys(ctx)
		if err != nil {
			return c, err
		}
		for _, k := range rows {
			if k.ID != kid || k.Use != useSign {
				continue
			}
			if k.Status == store.KeyRevoked || k.Status == store.KeyRetired {
				return c, nil // no token under it can be live
			}
			if k.Status == store.KeyActive {
				if err := a.activateNext(&c, rows, by, from, kid); err != nil {
					return c, err
				}
			}
			k.Status, k.ChangedAt, k.Sealed = store.KeyRevoked, a.clock.now(), nil
			revoked = true
			c.UpdateKeys = append(c.UpdateKeys, k)
			c.Revocations = []curfew.Revocation{a.revocation(curfew.KindKey, kid, curfew.ReasonKeyRevoked, by)}
			c.Audit = append(c.Audit, a.keyEntry(audit.KeyRevoked, by, from, kid))
			return c, nil
		}
		return c, fmt.Errorf("key %q: %w", kid, ErrUnknownKey)
	})
	if err != nil {
		return Receipt{}, err
	}
	if revoked {
		if err := a.loadKeys(ctx); err != nil {
			return Receipt{}, err
		}
	}
	return a.enforce(ctx, start, done.Head.Seq, 0, curfew.ReasonKeyRevoked)
}

func (a *Authority) changeKeys(ctx context.Context, build func([]store.Key) (store.Change, error)) error {
	done, err := a.decide(ctx, func() (store.Change, error) {
		rows, err := a.store.Keys(ctx)
		if err != nil {
			return store.Change{}, err
		}
		return build(rows)
	})
	if err != nil {
		return err
	}
	_ = done
	return a.loadKeys(ctx)
}

// tendKeys moves the keys on along their life: announce, activate, retain,
// retire.
func (a *Authority) tendKeys(ctx context.Context) error {
	if c, err := a.dueKeys(a.keys.Load().rows); err != nil || isEmpty(c) {
		return err
	}
	return a.changeKeys(ctx, a.dueKeys)
}

func (a *Authority) dueKeys(rows []store.Key) (store.Change, error) {
	var c store.Change
	var active, announced *store.Key
	now := a.clock.now()
	for i, k := range rows {
		switch {
		case k.Use != useSign:
		case k.Status == store.KeyActive:
			active = &rows[i]
		case k.Status == store.KeyAnnounced:
			announced = &rows[i]
		case k.Status == store.KeyRetained && now.Sub(k.ChangedAt) > a.tokenLife+time.Hour:
			k.Status, k.ChangedAt, k.Sealed = store.KeyRetired, now, nil
			c.UpdateKeys = append(c.UpdateKeys, k)
			c.Audit = append(c.Audit, a.keyEntry(audit.KeyRetired, System, Origin{}, k.ID))
		}
	}
	switch {
	case active == nil:
		return c, nil // loadKeys makes one
	case active.Alg != string(a.cfg.Algorithm):
		return c, a.activateNext(&c, rows, System, Origin{}, "")
	case announced != nil && now.Sub(announced.ChangedAt) >= a.cfg.Announce && now.Sub(active.ChangedAt) >= a.cfg.RotateEvery:
		return c, a.activateNext(&c, rows, System, Origin{}, "")
	case announced == nil && now.Sub(active.ChangedAt) >= a.cfg.RotateEvery-a.cfg.Announce:
		k, err := a.newKey(useSign, store.KeyAnnounced)
		if err != nil {
			return c, err
		}
		c.InsertKeys = append(c.InsertKeys, k)
		c.Audit = append(c.Audit, a.keyEntry(audit.KeyCreated, System, Origin{}, k.ID))
	}
	return c, nil
}
