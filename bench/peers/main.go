package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/curfewhq/curfew/bench/rig"
	"github.com/curfewhq/curfew/internal/token"
	"github.com/golang-jwt/jwt/v5"
	"github.com/redis/go-redis/v9"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "bench peers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	if text := os.Getenv(rig.SwarmEnv); text != "" {
		return subscribers(ctx, text)
	}
	s, err := rig.ReadSetup()
	if err != nil {
		return err
	}
	if s.Variant == "exists" {
		return exists(ctx, s)
	}
	parse, err := newParser(s)
	if err != nil {
		return err
	}
	switch s.Variant {
	case "jwt":
		return rig.Serve(ctx, s, checked(parse, func(context.Context, *claims) error { return nil }))
	case "redis":
		client := redis.NewClient(&redis.Options{Addr: s.Redis})
		defer client.Close()
		if err := client.Ping(ctx).Err(); err != nil {
			return err
		}
		return rig.Serve(ctx, s, checked(parse, func(ctx context.Context, c *claims) error {
			n, err := client.Exists(ctx, "revoked:"+c.ID).Result()
			if err == nil && n > 0 {
				err = errRevoked
			}
			return err
		}))
	}
	return fmt.Errorf("there is no variant %q", s.Variant)
}

var errRevoked = errors.New("revoked")

// claims is what a service wants to know of a token.
type claims struct {
	jwt.RegisteredClaims
	Session  string   `json:"sid"`
	ClientID string   `json:"client_id"`
	Scope    string   `json:"scope"`
	Roles    []string `json:"roles"`
}

type parser func(raw string) (*claims, error)

// newParser checks tokens as the library's documentation shows it: algorithm,
// issuer, audience and expiry are asked for, and the key is chosen by its id.
func newParser(s rig.Setup) (parser, error) {
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(s.JWKS, &set); err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	keys := map[string]any{}
	for _, raw := range set.Keys {
		k, err := token.ParseJWK(raw)
		if err != nil {
			return nil, err
		}
		keys[k.ID] = k.Key
	}
	p := jwt.NewParser(jwt.WithValidMethods([]string{"ES256"}), jwt.WithIssuer(s.Issuer), jwt.WithAudience(s.Audience), jwt.WithExpirationRequired())
	find := func(t *jwt.Token) (any, error) {
		kid, _ := t.Header["kid"].(string)
		if k, ok := keys[kid]; ok {
			return k, nil
		}
		return nil, errors.New("unknown key")
	}
	return func(raw string) (*claims, error) {
		c := new(claims)
		if _, err := p.ParseWithClaims(raw, c, find); err != nil {
			return nil, err
		}
		return c, nil
	}, nil
}

type claimsKey struct{}

func checked(parse parser, live func(context.Context, *claims) error) rig.Check {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			raw, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
			if !ok {
				http.Error(w, "no token", http.StatusUnauthorized)
				return
			}
			c, err := parse(raw)
			if err == nil {
				err = live(r.Context(), c)
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), claimsKey{}, c)))
		})
	}
}
