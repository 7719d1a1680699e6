package app

import (
	"log/slog"
	"slices"
	"time"

	"github.com/curfewhq/curfew/internal/authority"
	"github.com/curfewhq/curfew/internal/config"
	"github.com/curfewhq/curfew/internal/limit"
	"github.com/curfewhq/curfew/internal/password"
	"github.com/curfewhq/curfew/internal/server"
	"github.com/curfewhq/curfew/internal/token"
	"github.com/curfewhq/curfew/internal/webui"
)

// never stands for "not by itself" where the authority takes zero for its own
// default. It is short enough to be added to any date.
const never = 100 * 365 * 24 * time.Hour

// policy maps the configuration to that of the authority. In the configuration
// zero means zero; in the authority it means the default, so that a zero has to
// be spelt in another way here.
func policy(c config.Config, issuer string) authority.Config {
	p := authority.Config{
		Issuer: issuer, Audience: c.Audience,
		Algorithm: token.Alg(c.Tokens.Algorithm), AccessLife: c.Tokens.AccessLife,
		RotateEvery: orElse(c.Keys.RotateEvery, never), Announce: orElse(c.Keys.Announce, time.Nanosecond),
		Lifetime: c.Sessions.Lifetime, IdleTimeout: c.Sessions.IdleTimeout,
		RefreshGrace: orElse(c.Sessions.RefreshGrace, time.Nanosecond),
		MaxSessions:  c.Sessions.Max, EndOldest: c.Sessions.AtMax == "end_oldest",
		Retention: orElse(c.Sessions.Retention, time.Nanosecond),
		Lease:     c.Feed.Lease,
		Clients:   c.Clients, DefaultClient: c.DefaultClient, Scopes: c.Tokens.Scopes,
		LogoutLimit:          limit.Config{Limit: orElse(c.Limits.LogoutCalls, -1), Window: c.Limits.LogoutWindow},
		LoginFailuresAccount: orElse(c.Limits.LoginFailuresAccount, -1),
		LoginFailuresAddress: orElse(c.Limits.LoginFailuresAddress, -1),
		LoginWindow:          c.Limits.LoginWindow,
	}
	if c.Sessions.Expiry == "sliding" {
		// A life that counts from the last activity is an idle time-out under
		// another name.
		p.Lifetime = c.Sessions.MaxLifetime
		if p.IdleTimeout == 0 {
			p.IdleTimeout = c.Sessions.Lifetime
		}
	}
	return p
}

// pages returns the pages for people, or nil where they are off.
func pages(c config.Config, o Options) (*webui.UI, error) {
	if c.Web.Pages == "off" {
		return nil, nil
	}
	targets := c.Web.Origins
	if o.Demo != nil {
		targets = append(slices.Clone(targets), "http://localhost:*", "http://127.0.0.1:*")
	}
	return webui.New(webui.Config{FormAction: targets})
}

func cookies(c config.Config, o Options) server.Cookies {
	return server.Cookies{
		Name: c.Cookies.Name, Remember: c.Cookies.Remember == "offer",
		ClearSiteData: append([]string{}, c.Cookies.ClearSiteData...), InsecureLoopback: o.Demo != nil,
	}
}

func orElse[T int | time.Duration](v, zero T) T {
	if v == 0 {
		return zero
	}
	return v
}

func hashing(c config.Config) password.Config {
	return password.Config{
		MemoryKiB: c.Password.MemoryKiB, Iterations: c.Password.Iterations, Parallelism: c.Password.Parallelism,
		Concurrency: c.Password.Concurrency, MaxWait: c.Password.MaxWait,
	}
}

// LogLevel returns the level that the configuration names.
func LogLevel(c config.Config) slog.Level {
	var level slog.Level
	// The configuration has been validated and knows no other names.
	_ = level.UnmarshalText([]byte(c.Log.Level))
	return level
}
