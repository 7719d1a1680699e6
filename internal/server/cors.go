package server

import (
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/rs/cors"
)

// loopbackOrigin is an origin on this machine. Nothing may stand behind the port
// that a browser could read as part of a host.
var loopbackOrigin = regexp.MustCompile(`^http://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?$`)

func (s *Server) allowedOrigin(origin string) bool {
	return slices.Contains(s.origins, origin) || s.loopback && loopbackOrigin.MatchString(origin)
}

// allowOrigins lets front ends of other origins call with a token. Never with
// the cookie: what a browser adds by itself is for this origin alone.
func (s *Server) allowOrigins(next http.Handler) (http.Handler, error) {
	if len(s.origins) == 0 && !s.loopback {
		return next, nil
	}
	return cors.New(cors.Options{
		AllowOriginFunc: s.allowedOrigin,
		AllowedMethods:  []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete},
		AllowedHeaders:  []string{"Authorization", "Content-Type", "Prefer", BackgroundHeader},
		ExposedHeaders:  []string{"RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "Retry-After", "WWW-Authenticate"},
		MaxAge:          600,
	}).Handler(next), nil
}

const afterSignIn = "/account"

// returnTo is where a browser goes after signing in or out: to a path here, or
// to an origin that is on the list. Anything else could be the link of somebody
// who wants to be taken for this site (open redirect), so it is the default.
//
// What is compared is the text that the browser will get. Nothing is parsed and
// put together again: two parsers that disagree are how such lists are got
// around (CVE-2019-14857, CVE-2022-23527).
func (s *Server) returnTo(target, otherwise string) string {
	if target == "" || len(target) > 2000 || strings.IndexFunc(target, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }) >= 0 {
		return otherwise
	}
	if target[0] == '/' {
		if strings.HasPrefix(target, "//") {
			return otherwise // another host, with our scheme
		}
		return target
	}
	end := strings.Index(target, "://")
	if end < 0 {
		return otherwise
	}
	host := target[end+len("://"):]
	rest := strings.IndexAny(host, "/?#")
	if rest < 0 {
		rest = len(host)
	}
	if s.allowedOrigin(target[:end+len("://")+rest]) {
		return target
	}
	return otherwise
}
