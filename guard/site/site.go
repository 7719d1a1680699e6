package site

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/curfewhq/curfew/guard"
	"github.com/curfewhq/curfew/internal/netaddr"
)

// Config is what a Site works with. Only the Authority of Guard is required.
type Config struct {
	// Guard says who the authority is. Its Key, made by `curfew verifiers add
	// NAME`, is what the authority believes the site's server for. Sources and
	// Refused stay empty: the site sets them.
	Guard guard.Config
	// LoginURL is the page to sign in: a path of this site, or a URL of the
	// authority where that shares the site's host. "/login" if empty.
	LoginURL string
	// Home is where [Site.ReturnTo] leads if a request names nothing else; "/"
	// if empty.
	Home string
	// ReturnOrigins are origins such as "https://shop.example.com" that may be
	// returned to, beside paths of this site.
	ReturnOrigins []string
	// TrustedProxies are the addresses and CIDR prefixes of the proxies in front,
	// whose X-Forwarded-Proto and X-Forwarded-For are believed. A proxy that does
	// TLS has to be among them.
	TrustedProxies []string
	// ClientID is what the sessions are for, as the authority knows it; empty is
	// the authority's default.
	ClientID string
	// CookieName begins with "__Host-", which makes browsers refuse a cookie of
	// that name from a sibling domain or over plain HTTP. [guard.SessionCookie]
	// if empty.
	CookieName string
	// ClearSiteData is what browsers are told to clear when somebody signs out;
	// {"storage"} if nil, nothing if empty and not nil. "cache" keeps Chromium
	// busy for seconds on a large cache, and pages of signed-in people are not
	// in it anyway. "cookies" reaches all sub-domains of the registrable domain,
	// and signs people out of sites that have nothing to do with this one.
	ClearSiteData []string
	// Refused answers requests that are not let through and not redirected; nil
	// writes a line of text, or JSON where no person reads it. The error wraps
	// [curfew.ErrStale] where the answer must be 503, [ErrInsecure] or
	// [guard.ErrCrossOrigin] where it is 403, and otherwise it is 401. Only
	// [Site.SignOutHandler] has [ErrUnavailable] too, which is 503.
	Refused func(w http.ResponseWriter, r *http.Request, err error)
	// Timeout bounds a call to the authority; 10 seconds if 0. Signing out takes
	// milliseconds, and with a verifier that has died as long as a lease.
	Timeout time.Duration

	// InsecureLoopback allows plain HTTP to and from this machine, with a cookie
	// called curfew-dev. It is for development.
	InsecureLoopback bool
	// InsecureURLTicket is for clients that have no cookies: sign-ins with
	// Credentials.InsecureURLTicket carry the session in the URLs of the pages,
	// see [Site.URL]. URLs are logged, shown, shared and bookmarked, and whoever
	// has one of these is the person until the session ends.
	InsecureURLTicket bool
}

// Site signs people in and out with cookies. Its methods may be called
// concurrently.
type Site struct {
	cfg       Config
	guard     *guard.Guard
	authority *authority
	addresses *netaddr.Resolver
	origins   map[string]bool // of cfg.ReturnOrigins
	clear     string          // the header Clear-Site-Data, or empty
	log       *slog.Logger
	gone      *gone
	warned    atomic.Int64 // when plain HTTP was last complained about, in Unix seconds
}

// Open returns a Site whose guard has heard from the authority, as [guard.Open]
// does. ctx is for opening only: the Site lives until [Site.Close].
func Open(ctx context.Context, cfg Config) (*Site, error) {
	s := &Site{cfg: cfg, log: cfg.Guard.Logger}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := s.configure(); err != nil {
		return nil, fmt.Errorf("site: %w", err)
	}
	gc := cfg.Guard
	gc.Sources = []guard.Source{{Find: s.findCookie, Ambient: true}, {Find: s.findTicket}}
	gc.Refused = s.refused
	g, err := guard.Open(ctx, gc)
	if err != nil {
		return nil, fmt.Errorf("site: %w", err)
	}
	s.guard = g
	s.authority = newAuthority(cfg.Guard, s.cfg.Timeout)
	s.gone = newGone(s.authority, s.log)
	return s, nil
}

// configure checks the configuration and fills in what is empty.
func (s *Site) configure() (err error) {
	c := &s.cfg
	if len(c.Guard.Sources) > 0 || c.Guard.Refused != nil {
		return errors.New("Guard.Sources and Guard.Refused are for the site to set; Config has a Refused of its own")
	}
	if c.CookieName == "" {
		c.CookieName = guard.SessionCookie
	}
	// Compared as written: servers must not take __HOST- for it (RFC 6265bis).
	if !strings.HasPrefix(c.CookieName, "__Host-") || (&http.Cookie{Name: c.CookieName, Value: "x"}).Valid() != nil {
		return fmt.Errorf("the CookieName %q must begin with __Host-: other names can be set by sibling domains, and over plain HTTP", c.CookieName)
	}
	if s.addresses, err = netaddr.New(c.TrustedProxies); err != nil {
		return err
	}
	s.origins = map[string]bool{}
	for _, o := range c.ReturnOrigins {
		u, err := url.Parse(o)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || o != u.Scheme+"://"+u.Host || o != strings.ToLower(o) || strings.Contains(o, "*") {
			return fmt.Errorf("ReturnOrigins: %q is no origin such as https://shop.example.com", o)
		}
		s.origins[o] = true
	}
	if c.LoginURL == "" {
		c.LoginURL = "/login"
	}
	if c.Home == "" {
		c.Home = "/"
	}
	login, err := url.Parse(c.LoginURL)
	if local(c.LoginURL) == "" && (err != nil || login.Scheme != "https" && login.Scheme != "http" || login.Host == "" || login.User != nil) {
		return fmt.Errorf("the LoginURL %q is no path of this site and no URL", c.LoginURL)
	}
	if local(c.Home) == "" {
		return fmt.Errorf("the Home %q is no path of this site", c.Home)
	}
	if c.ClearSiteData == nil {
		c.ClearSiteData = []string{"storage"}
	}
	if s.clear, err = clearSiteData(c.ClearSiteData); err != nil {
		return err
	}
	if c.Timeout < 0 {
		return errors.New("the Timeout must not be negative")
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	return nil
}

// clearable are the directives that mean one thing each. "*" grows with the
// browsers, and nobody knows what it will clear.
var clearable = map[string]bool{
	"storage": true, "cache": true, "cookies": true, "clientHints": true, "prefetchCache": true, "prerenderCache": true,
}

func clearSiteData(list []string) (string, error) {
	var quoted []string
	for _, d := range list {
		if !clearable[d] {
			return "", fmt.Errorf("ClearSiteData: there is no %q to clear", d)
		}
		quoted = append(quoted, `"`+d+`"`) // browsers ignore what is not quoted
	}
	return strings.Join(quoted, ", "), nil
}

// Guard returns the guard of the site, for its Status and for what has nothing
// to do with cookies.
func (s *Site) Guard() *guard.Guard { return s.guard }

// Close stops the site and its guard. Sign-outs that the authority has not heard
// of are tried once more, for two seconds. Close the servers first.
func (s *Site) Close() error {
	s.gone.close()
	err := s.guard.Close()
	s.authority.http.CloseIdleConnections()
	return err
}

// User returns who is there, as far as the site knows at this moment: nil for
// somebody anonymous, for one who has just signed out, and where neither
// [Site.RequireLogin] nor [Site.Recognize] is around the handler. The claims are
// shared and read-only.
func User(r *http.Request) *guard.Claims {
	if v := visitOf(r.Context()); v != nil {
		return v.who()
	}
	return nil
}
