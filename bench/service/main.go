package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/curfewhq/curfew/bench/rig"
	"github.com/curfewhq/curfew/guard"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "bench service:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	s, err := rig.ReadSetup()
	if err != nil {
		return err
	}
	switch s.Variant {
	case "none":
		return rig.Serve(ctx, s, rig.None)
	case "guard":
		g, err := guard.Open(ctx, guard.Config{Authority: s.Authority, Key: s.Key, Audience: s.Audience})
		if err != nil {
			return err
		}
		defer g.Close()
		return rig.Serve(ctx, s, g.Middleware)
	case "introspection":
		return rig.Serve(ctx, s, introspection(s))
	}
	return fmt.Errorf("there is no variant %q", s.Variant)
}

// introspection asks the authority about each request (RFC 7662), over
// connections that stay open.
func introspection(s rig.Setup) rig.Check {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	active := func(r *http.Request) (bool, error) {
		raw, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			return false, nil
		}
		form := url.Values{"token": {raw}}.Encode()
		ask, err := http.NewRequestWithContext(r.Context(), http.MethodPost, s.Authority+"/introspect", strings.NewReader(form))
		if err != nil {
			return false, err
		}
		ask.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		ask.Header.Set("Authorization", "Bearer "+s.Key)
		resp, err := client.Do(ask)
		if err != nil {
			return false, err
		}
		defer resp.Body.Close()
		var body struct {
			Active  bool   `json:"active"`
			Subject string `json:"sub"`
		}
		if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
			return false, err
		}
		return resp.StatusCode == http.StatusOK && body.Active && body.Subject != "", nil
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch ok, err := active(r); {
			case err != nil:
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
			case !ok:
				http.Error(w, "invalid token", http.StatusUnauthorized)
			default:
				next.ServeHTTP(w, r)
			}
		})
	}
}
