package authority

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/audit"
	"github.com/curfewhq/curfew/internal/store"
)

// The kinds of API keys.
const (
	KindOperator = "operator"
	KindVerifier = "verifier"
)

var apiKeyPrefix = map[string]string{KindOperator: "cro_", KindVerifier: "crv_"}

// ErrInvalidName is a name that an API key cannot have.
var ErrInvalidName = errors.New("a name has 1 to 64 letters, digits and ._-:/")

// apiKeys finds a key by the hash of its secret.
type apiKeys map[[sha256.Size]byte]store.APIKey

func (a *Authority) loadAPIKeys(ctx context.Context) error {
	rows, err := a.store.APIKeys(ctx)
	if err != nil {
		return fmt.Errorf("reading API keys: %w", err)
	}
	m := apiKeys{}
	for _, k := range rows {
		m[[sha256.Size]byte(k.Hash)] = k
	}
	a.apiKeys.Store(&m)
	return nil
}

// CreateAPIKey makes a key and returns its secret, which is not kept.
func (a *Authority) CreateAPIKey(ctx context.Context, name, kind string, by Actor, from Origin) (secret string, err error) {
	prefix, ok := apiKeyPrefix[kind]
	if !ok || !validClient(name) {
		return "", ErrInvalidName
	}
	secret = prefix + rand.Text() + rand.Text()
	hash := sha256.Sum256([]byte(secret))
	_, err = a.decide(ctx, func() (store.Change, error) {
		e := a.entry(audit.CredentialCreated, by, from)
		e.Detail = kind + " " + name
		return store.Change{
			InsertAPIKeys: []store.APIKey{{Name: name, Kind: kind, Hash: hash[:], CreatedAt: a.clock.now()}},
			Audit:         []audit.Entry{e},
		}, nil
	})
	if err != nil {
		return "", err
	}
	return secret, a.loadAPIKeys(ctx)
}

// DeleteAPIKey makes a key worthless at once.
func (a *Authority) DeleteAPIKey(ctx context.Context, name, kind string, by Actor, from Origin) error {
	_, err := a.decide(ctx, func() (store.Change, error) {
		rows, err := a.store.APIKeys(ctx)
		if err != nil {
			return store.Change{}, err
		}
		for _, k := range rows {
			if k.Name == name && k.Kind == kind {
				e := a.entry(audit.CredentialDeleted, by, from)
				e.Detail = kind + " " + name
				return store.Change{DeleteAPIKeys: []string{name}, Audit: []audit.Entry{e}}, nil
			}
		}
		return store.Change{}, fmt.Errorf("%s %q: %w", kind, clip(name, 80), store.ErrNotFound)
	})
	if err != nil {
		return err
	}
	if err := a.loadAPIKeys(ctx); err != nil {
		return err
	}
	a.feed.Drop()
	return nil
}

// APIKeys lists the keys of a kind.
func (a *Authority) APIKeys(ctx context.Context, kind string) ([]store.APIKey, error) {
	rows, err := a.store.APIKeys(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]store.APIKey, 0, len(rows))
	for _, k := range rows {
		if k.Kind == kind {
			out = append(out, k)
		}
	}
	return out, nil
}

// CheckAPIKey returns the key that a secret is of. It compares hashes of the
// whole secret, so that no prefix of it is worth anything.
func (a *Authority) CheckAPIKey(secret string) (store.APIKey, bool) {
	hash := sha256.Sum256([]byte(secret))
	k, ok := (*a.apiKeys.Load())[hash]
	return k, ok && bytes.Equal(k.Hash, hash[:])
}

// IsAPIKey reports whether a bearer credential has the form of an API key.
func IsAPIKey(secret string) bool {
	return strings.HasPrefix(secret, apiKeyPrefix[KindOperator]) || strings.HasPrefix(secret, apiKeyPrefix[KindVerifier])
}

// Audit returns audit entries.
func (a *Authority) Audit(ctx context.Context, f store.AuditFilter) ([]audit.Entry, error) {
	return a.store.Audit(ctx, f)
}

// VerifyAudit checks the whole audit trail, against an anchor if its Seq is not
// zero, and returns the end of it.
func (a *Authority) VerifyAudit(ctx context.Context, anchor audit.Head) (audit.Head, error) {
	// The head is read first: entries appended meanwhile lie behind it.
	st, err := a.store.State(ctx)
	if err != nil {
		return audit.Head{}, err
	}
	v := audit.NewVerifier(anchor)
	for v.Head().Seq < st.AuditHead.Seq {
		page, err := a.store.Audit(ctx, store.AuditFilter{After: v.Head().Seq, Limit: 1000})
		if err != nil {
			return v.Head(), err
		}
		if len(page) == 0 {
			break
		}
		for _, e := range page {
			if e.Seq > st.AuditHead.Seq {
				break
			}
			if err := v.Add(e); err != nil {
				return v.Head(), err
			}
		}
	}
	return v.Head(), v.End(st.AuditHead)
}

// Revocations returns up to limit entries of the log after a position.
func (a *Authority) Revocations(ctx context.Context, after curfew.Seq, limit int) ([]curfew.Revocation, error) {
	return a.store.Revocations(ctx, after, limit)
}

// Revocation returns one entry of the log.
func (a *Authority) Revocation(ctx context.Context, seq curfew.Seq) (curfew.Revocation, error) {
	return a.store.Revocation(ctx, seq)
}

// State returns what there is one of.
func (a *Authority) State(ctx context.Context) (store.State, error) { return a.store.State(ctx) }

// Backup writes a consistent copy of the store. It holds no key in the clear.
func (a *Authority) Backup(ctx context.Context, w io.Writer, by Actor, from Origin) error {
	if _, err := a.decide(ctx, func() (store.Change, error) {
		return store.Change{Audit: []audit.Entry{a.entry(audit.BackupTaken, by, from)}}, nil
	}); err != nil {
		return err
	}
	return a.store.Backup(ctx, w)
}
