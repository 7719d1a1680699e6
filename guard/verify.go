package guard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/feed"
	"github.com/curfewhq/curfew/internal/token"
)

// Verify returns what a credential says if it is genuine and live: an access
// token, or a session cookie's value. Its error wraps [curfew.ErrStale] if the
// guard cannot know, and otherwise [curfew.ErrInvalidToken], [curfew.ErrExpired]
// or [curfew.ErrRevoked]. The first means 503, the others 401. ctx bounds
// questions to the authority, which a known token needs in mode Strict only.
func (g *Guard) Verify(ctx context.Context, credential string) (*Claims, error) {
	return g.verify(ctx, credential, g.cfg.Mode)
}

func (g *Guard) verify(ctx context.Context, raw string, mode Mode) (*Claims, error) {
	if strings.IndexByte(raw, '.') < 0 {
		return g.verifyOpaque(ctx, raw, mode)
	}
	if mode == Strict {
		now, err := g.follower.Confirm(ctx)
		if err != nil {
			return nil, err
		}
		return g.verifier.CheckAt(raw, now)
	}
	c, err := g.verifier.Check(raw)
	if err == nil {
		return c, nil
	}
	if errors.Is(err, token.ErrUnknownKey) {
		c, err = g.withNewKeys(ctx, raw)
	}
	if mode == Ask && errors.Is(err, curfew.ErrStale) {
		return g.ask(ctx, raw)
	}
	return c, err
}

// held is the answer to an introspection of an opaque credential. It is kept
// as a token is: it counts only under the lease, and only while nothing of what
// it says is revoked.
type held struct {
	raw    string
	claims *Claims
}

// opaqueCache keeps answers in slots, as the cache of tokens does: memory is
// bounded and nobody can choose whom to push out.
type opaqueCache struct {
	seed  maphash.Seed
	slots [opaqueSlots]atomic.Pointer[held]
}

const opaqueSlots = 1 << 14

func newOpaqueCache() *opaqueCache { return &opaqueCache{seed: maphash.MakeSeed()} }

func (c *opaqueCache) slot(raw string) *atomic.Pointer[held] {
	return &c.slots[maphash.String(c.seed, raw)%opaqueSlots]
}

const (
	minOpaque = 20
	maxOpaque = 512
	// maxAsking bounds the introspections under way. Random cookies cost an
	// attacker nothing, and must not cost the authority more than that.
	maxAsking  = 32
	askTimeout = 3 * time.Second
)

// verifyOpaque judges a session cookie. It is resolved once, and then held
// under the lease.
func (g *Guard) verifyOpaque(ctx context.Context, raw string, mode Mode) (*Claims, error) {
	if len(raw) < minOpaque || len(raw) > maxOpaque {
		return nil, fmt.Errorf("%w: no credential of this authority", curfew.ErrInvalidToken)
	}
	var now time.Time
	var err error
	if mode == Strict {
		now, err = g.follower.Confirm(ctx)
	} else {
		now, err = g.follower.Now() // before the denylist (rule 4)
	}
	if err != nil {
		if mode == Ask {
			return g.ask(ctx, raw)
		}
		return nil, err
	}
	cache := g.opaque.Load()
	slot := cache.slot(raw)
	if h := slot.Load(); h != nil && h.raw == raw && now.Unix() < h.claims.Exp {
		err := g.verifier.Denied(h.claims)
		if err == nil {
			return h.claims, nil
		}
		// A session that was kept when its subject's others were ended has a
		// later position since, which only the authority knows.
		renewed := *h.claims
		renewed.Ver = math.MaxInt64
		if g.verifier.Denied(&renewed) != nil {
			return nil, err
		}
	}
	c, err := g.ask(ctx, raw)
	if err != nil {
		return nil, err
	}
	slot.Store(&held{raw: strings.Clone(raw), claims: c})
	// What was revoked while the answer was on its way is in the denylist. In
	// another log it may not be.
	if err := g.verifier.Denied(c); err != nil {
		return nil, err
	}
	if g.opaque.Load() != cache {
		return nil, errReplaced
	}
	return c, nil
}

// ask asks the authority about a credential, by a call that begins after ask
// was called: an older one could be from before the logout.
func (g *Guard) ask(ctx context.Context, raw string) (*Claims, error) {
	return g.asked.Do(ctx, raw, func() (*Claims, error) {
		select {
		case g.asking <- struct{}{}:
			defer func() { <-g.asking }()
		default:
			return nil, fmt.Errorf("%w: too many questions to the authority at once", curfew.ErrStale)
		}
		ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
		defer cancel()
		body, err := g.client.Introspect(ctx, raw)
		if err != nil {
			return nil, fmt.Errorf("%w: asking the authority: %w", curfew.ErrStale, err)
		}
		return parseIntrospection(body, raw, g.cfg.Audience)
	})
}

// parseIntrospection reads an answer of RFC 7662.
func parseIntrospection(body []byte, raw, audience string) (*Claims, error) {
	var in struct {
		Active    bool     `json:"active"`
		TokenType string   `json:"token_type"`
		Issuer    string   `json:"iss"`
		Subject   string   `json:"sub"`
		Audience  []string `json:"aud"`
		ClientID  string   `json:"client_id"`
		Scope     string   `json:"scope"`
		Exp       int64    `json:"exp"`
		Iat       int64    `json:"iat"`
		AuthTime  int64    `json:"auth_time"`
		ID        string   `json:"jti"`
		Session   string   `json:"sid"`
		Ver       int64    `json:"ver"`
		Email     string   `json:"email"`
		Roles     []string `json:"roles"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, fmt.Errorf("%w: an answer of the authority that is no introspection", curfew.ErrStale)
	}
	if !in.Active {
		return nil, fmt.Errorf("%w: the authority does not know it as live", curfew.ErrRevoked)
	}
	// A refresh token is active too, and no credential for a service.
	want := "session"
	if strings.IndexByte(raw, '.') >= 0 {
		want = "Bearer"
	}
	if in.TokenType != want || in.Session == "" || in.Subject == "" || in.Exp == 0 {
		return nil, fmt.Errorf("%w: no credential for a service", curfew.ErrInvalidToken)
	}
	for _, aud := range in.Audience {
		if aud == audience {
			return &Claims{
				Issuer: in.Issuer, Subject: in.Subject, Audience: in.Audience, ClientID: in.ClientID, Scope: in.Scope,
				Exp: in.Exp, Iat: in.Iat, AuthTime: in.AuthTime, ID: in.ID, Session: in.Session, Ver: curfew.Seq(in.Ver),
				Email: in.Email, Roles: in.Roles,
			}, nil
		}
	}
	return nil, fmt.Errorf("%w: wrong audience", curfew.ErrInvalidToken)
}

var _ feed.Target = target{}
